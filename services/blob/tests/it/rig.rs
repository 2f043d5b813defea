//! What the tests share.

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use puro_api::{Failure, model::Part};
use puro_blob::{Blobs, Piece};
use puro_types::Location;

/// A message of about `length` octets, different for each number; its body is half text, half noise.
pub(crate) fn message(length: usize, number: u64) -> Bytes {
    let mut message = format!("Subject: message {number}\r\nX-Length: {length}\r\n\r\n").into_bytes();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while message.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        message.extend_from_slice(b"the text of a message, ");
        message.extend_from_slice(&state.to_le_bytes());
        message.extend_from_slice(&state.rotate_left(11).to_le_bytes());
    }
    message.into()
}

/// The pieces of a message, the last with its size.
pub(crate) fn pieces(message: &Bytes, chunk: usize) -> Vec<Result<Piece, Failure>> {
    let chunks = message
        .chunks(chunk)
        .map(|chunk| Ok(Piece { chunk: message.slice_ref(chunk), finish: None, label: Bytes::new() }));
    let finish = Piece { chunk: Bytes::new(), finish: Some(message.len() as u64), label: Bytes::new() };
    chunks.chain([Ok(finish)]).collect()
}

pub(crate) async fn store(blobs: &Blobs, message: &Bytes) -> Result<Location, Failure> {
    blobs.store(stream::iter(pieces(message, 64 * 1024))).await
}

pub(crate) async fn read(blobs: &Blobs, location: &Location, part: Part) -> Result<Bytes, Failure> {
    let chunks: Vec<Bytes> = blobs.read(location, part).await?.try_collect().await?;
    Ok(chunks.concat().into())
}

//! Messages too large to share a segment: compressed and written as they arrive.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use puro_api::Failure;
use puro_types::{Frame, Location};
use tokio::task::spawn_blocking;

use crate::{
    Piece,
    commit::Place,
    error::{compression, failure, interrupted},
    frames::{Codecs, FrameEncoder, HeaderSplitter},
    index,
    store::SegmentStore,
    upload::Upload,
};

/// Octets that are compressed in one visit to the blocking pool.
const STRIDE: usize = 256 * 1024;

/// Stores a message of which `gathered` is here and the rest still to come.
pub(crate) async fn store<S>(
    store: &dyn SegmentStore,
    codecs: Arc<Codecs>,
    gathered: Vec<Bytes>,
    upload: &mut Upload<S>,
) -> Result<Location, Failure>
where
    S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
{
    let mut writer = store.begin().await.map_err(failure)?;
    let mut encoder = MessageEncoder::new(codecs);
    let mut pending_bytes: usize = gathered.iter().map(Bytes::len).sum();
    let mut pending = gathered;
    loop {
        let next = upload.next().await?;
        let ended = next.is_none();
        if let Some(chunk) = next {
            pending_bytes += chunk.len();
            pending.push(chunk);
        }
        if !ended && pending_bytes < STRIDE {
            continue;
        }
        pending_bytes = 0;
        let octets = std::mem::take(&mut pending);
        let stored;
        (encoder, stored) = spawn_blocking(move || encoder.push(octets)).await.map_err(interrupted)??;
        for piece in stored {
            writer.write(piece).await.map_err(failure)?;
        }
        if ended {
            break;
        }
    }
    let (header, body, stored) = spawn_blocking(move || encoder.finish()).await.map_err(interrupted)??;
    let index = index::behind(header.stored_length + body.stored_length, &upload.label());
    for piece in stored.into_iter().chain(index) {
        writer.write(piece).await.map_err(failure)?;
    }
    let written = writer.finish().await.map_err(failure)?;
    Ok(Place::ALONE.location(written, header, body))
}

/// Makes the two frames of a message.
struct MessageEncoder {
    codecs: Arc<Codecs>,
    splitter: HeaderSplitter,
    /// The frame that is being made.
    frame: FrameEncoder,
    /// The header's, once it is made.
    header: Option<Frame>,
}

impl MessageEncoder {
    fn new(codecs: Arc<Codecs>) -> Self {
        let frame = FrameEncoder::new(codecs.clone());
        Self { codecs, splitter: HeaderSplitter::new(), frame, header: None }
    }

    fn push(mut self, octets: Vec<Bytes>) -> Result<(Self, Vec<Bytes>), Failure> {
        let mut stored = Vec::new();
        for mut chunk in octets {
            if self.header.is_none()
                && let Some(inside) = self.splitter.push(&chunk)
            {
                self.frame.push(chunk.split_to(inside), &mut stored).map_err(compression)?;
                self.end_header(&mut stored)?;
            }
            self.frame.push(chunk, &mut stored).map_err(compression)?;
        }
        Ok((self, stored))
    }

    fn end_header(&mut self, stored: &mut Vec<Bytes>) -> Result<Frame, Failure> {
        let body = FrameEncoder::new(self.codecs.clone());
        let header = std::mem::replace(&mut self.frame, body).finish(stored).map_err(compression)?;
        self.header = Some(header);
        Ok(header)
    }

    fn finish(mut self) -> Result<(Frame, Frame, Vec<Bytes>), Failure> {
        let mut stored = Vec::new();
        let header = match self.header {
            Some(header) => header,
            // No blank line: all of it is header.
            None => self.end_header(&mut stored)?,
        };
        let body = self.frame.finish(&mut stored).map_err(compression)?;
        Ok((header, body, stored))
    }
}

//! A message as it arrives.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use puro_api::Failure;

use crate::index::LABEL_MAX;

/// A piece of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// The next octets.
    pub chunk: Bytes,
    /// In the last piece: octets of the whole message.
    pub finish: Option<u64>,
    /// In the last piece: what the segment is to say of the message. Not understood here, and given back by
    /// [`crate::Blobs::labels`]; may be empty.
    pub label: Bytes,
}

/// Checks the pieces of one message.
pub(crate) struct Upload<S> {
    pieces: S,
    limit: u64,
    received: u64,
    complete: bool,
    label: Bytes,
}

impl<S> Upload<S>
where
    S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
{
    pub(crate) fn new(pieces: S, limit: u64) -> Self {
        Self { pieces, limit, received: 0, complete: false, label: Bytes::new() }
    }

    /// Returns the next octets; `None` once the message is complete. A stream that just ends is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.complete {
            let Some(piece) = self.pieces.next().await else {
                return Err(Failure::Invalid("the stream ended before the message did".to_owned()));
            };
            let Piece { chunk, finish, label } = piece?;
            self.received += chunk.len() as u64;
            if self.received > self.limit {
                return Err(Failure::TooLarge(format!("a message may have {} octets", self.limit)));
            }
            if let Some(size) = finish {
                self.complete = true;
                if label.len() > LABEL_MAX {
                    return Err(Failure::Invalid(format!("a label has at most {LABEL_MAX} octets")));
                }
                self.label = label;
                if size != self.received {
                    let received = self.received;
                    return Err(Failure::Invalid(format!("{received} octets came instead of {size}")));
                }
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The label, once the message is complete.
    pub(crate) fn label(&self) -> Bytes {
        self.label.clone()
    }

    /// Octets until now.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

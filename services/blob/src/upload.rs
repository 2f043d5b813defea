//! A message as it arrives.

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use puro_api::Failure;

/// A piece of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// The next octets.
    pub chunk: Bytes,
    /// In the last piece: octets of the whole message.
    pub finish: Option<u64>,
}

/// Checks the pieces of one message.
pub(crate) struct Upload<S> {
    pieces: S,
    limit: u64,
    received: u64,
    complete: bool,
}

impl<S> Upload<S>
where
    S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
{
    pub(crate) fn new(pieces: S, limit: u64) -> Self {
        Self { pieces, limit, received: 0, complete: false }
    }

    /// Returns the next octets; `None` once the message is complete. A stream that just ends is an error.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while !self.complete {
            let Some(piece) = self.pieces.next().await else {
                return Err(Failure::Invalid("the stream ended before the message did".to_owned()));
            };
            let Piece { chunk, finish } = piece?;
            self.received += chunk.len() as u64;
            if self.received > self.limit {
                return Err(Failure::Exhausted(format!("a message may have {} octets", self.limit)));
            }
            if let Some(size) = finish {
                self.complete = true;
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

    /// Octets until now.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }
}

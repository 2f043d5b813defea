//! Reads frames back in bounded memory, and never hands out the last octets of one before its checksum is verified.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use puro_types::{Codec, Frame};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::Codecs;
use crate::store::{CHUNK_MAX, StoreError, chunks};

/// A frame up to this, stored and not, is verified and read whole.
const WHOLE_MAX: u64 = 128 * 1024;
/// The window that a frame may ask for, as a power of two: 8 MiB, as RFC 8878 section 3.1.1.1.2 recommends.
const WINDOW_LOG_MAX: u32 = 23;

/// Why frames cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FrameFault {
    /// The store's own.
    Store(StoreError),
    /// The octets are not those that were stored.
    Damaged(String),
}

/// Returns what the frames hold, in chunks of at most 64 KiB. `stored` are their octets, one frame after another.
pub(crate) fn decode(
    stored: BoxStream<'static, Result<Bytes, StoreError>>,
    frames: impl IntoIterator<Item = Frame>,
    codecs: Arc<Codecs>,
) -> impl Stream<Item = Result<Bytes, FrameFault>> + Send {
    let reader = Reader {
        source: Source { stored, at_hand: Bytes::new() },
        frames: frames.into_iter().collect(),
        long: None,
        ready: VecDeque::new(),
        codecs,
    };
    stream::try_unfold(reader, |mut reader| async move {
        let chunk = reader.next().await?;
        Ok(chunk.map(|chunk| (chunk, reader)))
    })
}

struct Reader {
    source: Source,
    frames: VecDeque<Frame>,
    /// The long frame that is being read.
    long: Option<Long>,
    /// Verified chunks.
    ready: VecDeque<Bytes>,
    codecs: Arc<Codecs>,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, FrameFault> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            if let Some(long) = &mut self.long {
                match long.next(&mut self.source).await? {
                    Some(chunk) => return Ok(Some(chunk)),
                    None => self.long = None,
                }
                continue;
            }
            match self.frames.pop_front() {
                None => return self.source.end().await.map(|()| None),
                Some(frame) if frame.stored_length.max(frame.length) <= WHOLE_MAX => {
                    let octets = self.whole(&frame).await?;
                    self.ready.extend(chunks(octets));
                }
                Some(frame) => self.long = Some(Long::new(frame)?),
            }
        }
    }

    async fn whole(&mut self, frame: &Frame) -> Result<Bytes, FrameFault> {
        let stored = self.source.exactly(to_usize(frame.stored_length)?).await?;
        if crc32c::crc32c(&stored) != frame.checksum {
            return Err(damaged("its checksum differs"));
        }
        let octets = match frame.codec {
            Codec::Plain => stored,
            Codec::Zstd => self
                .codecs
                .decompress(&stored, to_usize(frame.length)?)
                .map_err(|error| damaged(&error.to_string()))?
                .into(),
        };
        if octets.len() as u64 == frame.length { Ok(octets) } else { Err(damaged("its length differs")) }
    }
}

/// The octets of the store.
struct Source {
    stored: BoxStream<'static, Result<Bytes, StoreError>>,
    at_hand: Bytes,
}

impl Source {
    /// Makes sure that something is at hand.
    async fn fill(&mut self) -> Result<(), FrameFault> {
        while self.at_hand.is_empty() {
            match self.stored.next().await {
                Some(chunk) => self.at_hand = chunk.map_err(FrameFault::Store)?,
                None => return Err(damaged("the store gave fewer octets than it was asked for")),
            }
        }
        Ok(())
    }

    async fn exactly(&mut self, length: usize) -> Result<Bytes, FrameFault> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        self.fill().await?;
        if self.at_hand.len() >= length {
            return Ok(self.at_hand.split_to(length));
        }
        let mut octets = BytesMut::with_capacity(length);
        while octets.len() < length {
            self.fill().await?;
            let part = self.at_hand.len().min(length - octets.len());
            octets.extend_from_slice(&self.at_hand.split_to(part));
        }
        Ok(octets.freeze())
    }

    async fn end(&mut self) -> Result<(), FrameFault> {
        while self.at_hand.is_empty() {
            match self.stored.next().await {
                Some(chunk) => self.at_hand = chunk.map_err(FrameFault::Store)?,
                None => return Ok(()),
            }
        }
        Err(damaged("the store gave more octets than it was asked for"))
    }
}

/// A frame that is not held whole.
struct Long {
    frame: Frame,
    /// Octets of the store that are still to come.
    stored_left: u64,
    /// Octets of the message that are still to come.
    left: u64,
    checksum: u32,
    zstd: Option<Zstd>,
    /// The last chunk, not to be handed out before there is another or the checksum is verified.
    held: Option<Bytes>,
}

struct Zstd {
    decoder: Decoder<'static>,
    input: Bytes,
    /// The output was full: more may come without any input.
    more: bool,
    ended: bool,
}

impl Long {
    fn new(frame: Frame) -> Result<Self, FrameFault> {
        let zstd = match frame.codec {
            Codec::Plain => None,
            Codec::Zstd => Some(Zstd::new().map_err(|error| {
                FrameFault::Store(StoreError::Internal(format!("beginning to decompress: {error}")))
            })?),
        };
        let Frame { stored_length: stored_left, length: left, .. } = frame;
        Ok(Self { frame, stored_left, left, checksum: 0, zstd, held: None })
    }

    async fn next(&mut self, source: &mut Source) -> Result<Option<Bytes>, FrameFault> {
        loop {
            let Some(chunk) = self.produce(source).await? else {
                self.verify()?;
                return Ok(self.held.take());
            };
            self.left = self
                .left
                .checked_sub(chunk.len() as u64)
                .ok_or_else(|| damaged("it holds more than its length"))?;
            if let Some(before) = self.held.replace(chunk) {
                return Ok(Some(before));
            }
        }
    }

    /// Returns the next chunk, unverified; `None` after the last.
    async fn produce(&mut self, source: &mut Source) -> Result<Option<Bytes>, FrameFault> {
        loop {
            if let Some(zstd) = &mut self.zstd
                && let Some(chunk) = zstd.step()?
            {
                return Ok(Some(chunk));
            }
            if self.stored_left == 0 {
                return Ok(None);
            }
            source.fill().await?;
            let most = usize::try_from(self.stored_left).unwrap_or(CHUNK_MAX).min(CHUNK_MAX);
            let octets = source.at_hand.split_to(source.at_hand.len().min(most));
            self.stored_left -= octets.len() as u64;
            self.checksum = crc32c::crc32c_append(self.checksum, &octets);
            match &mut self.zstd {
                Some(zstd) => zstd.input = octets,
                None => return Ok(Some(octets)),
            }
        }
    }

    fn verify(&self) -> Result<(), FrameFault> {
        if self.checksum != self.frame.checksum {
            return Err(damaged("its checksum differs"));
        }
        if self.left != 0 || self.zstd.as_ref().is_some_and(|zstd| !zstd.ended) {
            return Err(damaged("it ends too soon"));
        }
        Ok(())
    }
}

impl Zstd {
    fn new() -> std::io::Result<Self> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
        Ok(Self { decoder, input: Bytes::new(), more: false, ended: false })
    }

    /// Decompresses a chunk from the input at hand; `None`: it needs more.
    fn step(&mut self) -> Result<Option<Bytes>, FrameFault> {
        while !self.input.is_empty() || self.more {
            if self.ended && !self.input.is_empty() {
                return Err(damaged("something follows its end"));
            }
            let mut output = Vec::with_capacity(CHUNK_MAX);
            let mut input = InBuffer::around(&self.input);
            let hint = self
                .decoder
                .run(&mut input, &mut OutBuffer::around(&mut output))
                .map_err(|error| damaged(&error.to_string()))?;
            let used = input.pos();
            drop(self.input.split_to(used));
            self.ended = hint == 0;
            self.more = !self.ended && output.len() == output.capacity();
            if !output.is_empty() {
                return Ok(Some(output.into()));
            }
        }
        Ok(None)
    }
}

fn to_usize(length: u64) -> Result<usize, FrameFault> {
    usize::try_from(length).map_err(|_| damaged("it is too long"))
}

fn damaged(why: &str) -> FrameFault {
    FrameFault::Damaged(format!("a frame is damaged: {why}"))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

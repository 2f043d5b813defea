//! Frames of any length, made piece by piece in bounded memory.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use puro_types::{Codec, Frame};
use zstd::stream::raw::{Encoder, InBuffer, Operation, OutBuffer};

use super::{Codecs, zstd_failed};

/// Octets by which it is decided whether compression pays.
const SAMPLE: usize = 64 * 1024;
/// Octets that are handed on at once.
const OUTPUT: usize = 128 * 1024;

/// Makes one frame.
#[derive(Debug)]
pub(crate) struct FrameEncoder {
    codecs: Arc<Codecs>,
    mode: Mode,
    length: u64,
    stored_length: u64,
    checksum: u32,
}

enum Mode {
    /// The first octets, until there are enough to decide by.
    Sampling(Vec<u8>),
    Plain,
    Zstd(Box<Encoder<'static>>),
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sampling(_) => "Sampling",
            Self::Plain => "Plain",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl FrameEncoder {
    pub(crate) fn new(codecs: Arc<Codecs>) -> Self {
        Self { codecs, mode: Mode::Sampling(Vec::new()), length: 0, stored_length: 0, checksum: 0 }
    }

    /// Takes the next octets of the message; what is to be stored is added to `stored`.
    pub(crate) fn push(&mut self, octets: Bytes, stored: &mut Vec<Bytes>) -> io::Result<()> {
        self.length += octets.len() as u64;
        match &mut self.mode {
            Mode::Sampling(sample) => {
                sample.extend_from_slice(&octets);
                if sample.len() >= SAMPLE {
                    let sample = Bytes::from(std::mem::take(sample));
                    self.decide(&sample)?;
                    self.write(sample, stored)?;
                }
                Ok(())
            }
            _ => self.write(octets, stored),
        }
    }

    /// Ends the frame.
    pub(crate) fn finish(mut self, stored: &mut Vec<Bytes>) -> io::Result<Frame> {
        let codec = match &mut self.mode {
            Mode::Sampling(sample) => {
                let (frame, octets) = self.codecs.encode(std::mem::take(sample).into())?;
                if !octets.is_empty() {
                    stored.push(octets);
                }
                return Ok(frame);
            }
            Mode::Plain => Codec::Plain,
            Mode::Zstd(_) => {
                self.end(stored)?;
                Codec::Zstd
            }
        };
        let Self { length, stored_length, checksum, .. } = self;
        Ok(Frame { stored_length, length, codec, checksum })
    }

    fn decide(&mut self, sample: &[u8]) -> io::Result<()> {
        let start = &sample[..SAMPLE.min(sample.len())];
        let compressed = self.codecs.compress(start)?;
        self.mode = match compressed.is_some() {
            true => {
                let encoder = Encoder::new(self.codecs.level());
                Mode::Zstd(Box::new(encoder.map_err(|error| zstd_failed("beginning to compress", &error))?))
            }
            false => Mode::Plain,
        };
        Ok(())
    }

    fn write(&mut self, octets: Bytes, stored: &mut Vec<Bytes>) -> io::Result<()> {
        let Mode::Zstd(encoder) = &mut self.mode else {
            self.emit(octets, stored);
            return Ok(());
        };
        let mut input = InBuffer::around(&octets);
        let mut outputs = Vec::new();
        while input.pos() < octets.len() {
            let mut output = Vec::with_capacity(OUTPUT);
            encoder
                .run(&mut input, &mut OutBuffer::around(&mut output))
                .map_err(|error| zstd_failed("compressing", &error))?;
            outputs.push(output);
        }
        outputs.into_iter().for_each(|output| self.emit(output.into(), stored));
        Ok(())
    }

    fn end(&mut self, stored: &mut Vec<Bytes>) -> io::Result<()> {
        loop {
            let Mode::Zstd(encoder) = &mut self.mode else { return Ok(()) };
            let mut output = Vec::with_capacity(OUTPUT);
            let left = encoder
                .finish(&mut OutBuffer::around(&mut output), true)
                .map_err(|error| zstd_failed("compressing", &error))?;
            self.emit(output.into(), stored);
            if left == 0 {
                return Ok(());
            }
        }
    }

    fn emit(&mut self, octets: Bytes, stored: &mut Vec<Bytes>) {
        if !octets.is_empty() {
            self.checksum = crc32c::crc32c_append(self.checksum, &octets);
            self.stored_length += octets.len() as u64;
            stored.push(octets);
        }
    }
}

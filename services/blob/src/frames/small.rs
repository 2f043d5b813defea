//! Frames that fit in memory, made and read in one step with contexts that are kept.

use std::{
    fmt, io,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use puro_types::{Codec, Frame};
use zstd::bulk::{Compressor, Decompressor};

use super::{COMPRESS_MIN, pays_below, zstd_failed};

/// Contexts kept for the next frame, of either kind. One is used for microseconds, so more are hardly ever out.
const KEPT: usize = 8;

/// Compresses and decompresses small frames.
pub(crate) struct Codecs {
    level: i32,
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl fmt::Debug for Codecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codecs").field("level", &self.level).finish_non_exhaustive()
    }
}

impl Codecs {
    pub(crate) fn new(level: i32) -> Self {
        Self { level, compressors: Mutex::default(), decompressors: Mutex::default() }
    }

    pub(crate) fn level(&self) -> i32 {
        self.level
    }

    /// Makes a frame of octets: compressed where that pays, else as they are.
    pub(crate) fn encode(&self, octets: Bytes) -> io::Result<(Frame, Bytes)> {
        let length = octets.len() as u64;
        let (codec, stored) = match self.compress(&octets)? {
            Some(compressed) => (Codec::Zstd, compressed.into()),
            None => (Codec::Plain, octets),
        };
        let checksum = crc32c::crc32c(&stored);
        Ok((Frame { stored_length: stored.len() as u64, length, codec, checksum }, stored))
    }

    /// Returns the compressed octets, if they are enough fewer.
    pub(crate) fn compress(&self, octets: &[u8]) -> io::Result<Option<Vec<u8>>> {
        if octets.len() < COMPRESS_MIN {
            return Ok(None);
        }
        let kept = lock(&self.compressors).pop();
        let mut compressor = match kept {
            Some(compressor) => compressor,
            None => {
                Compressor::new(self.level).map_err(|error| zstd_failed("beginning to compress", &error))?
            }
        };
        // Just so large that a frame that does not pay has no room, and zstd gives up.
        let mut compressed = Vec::with_capacity(pays_below(octets.len()));
        let pays = compressor.compress_to_buffer(octets, &mut compressed).is_ok();
        keep(&self.compressors, compressor);
        Ok(pays.then_some(compressed))
    }

    /// Undoes [`Self::compress`]; `length` bounds the memory used.
    pub(crate) fn decompress(&self, stored: &[u8], length: usize) -> io::Result<Vec<u8>> {
        let kept = lock(&self.decompressors).pop();
        let mut decompressor = match kept {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(|error| zstd_failed("beginning to decompress", &error))?,
        };
        let outcome = decompressor.decompress(stored, length);
        if outcome.is_ok() {
            keep(&self.decompressors, decompressor);
        }
        outcome
    }
}

fn lock<T>(contexts: &Mutex<Vec<T>>) -> std::sync::MutexGuard<'_, Vec<T>> {
    contexts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<T>(contexts: &Mutex<Vec<T>>, context: T) {
    let mut kept = lock(contexts);
    if kept.len() < KEPT {
        kept.push(context);
    }
}

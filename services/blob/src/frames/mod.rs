//! The two frames of a stored message: header and body, each compressed by itself, with a checksum.

mod decode;
mod encode;
mod small;
mod split;

use std::io;

pub(crate) use self::{
    decode::{FrameFault, decode},
    encode::FrameEncoder,
    small::Codecs,
    split::HeaderSplitter,
};

/// Octets below which nothing is compressed: a zstd frame costs about ten by itself.
const COMPRESS_MIN: usize = 64;

/// Compressed octets at which compression still pays: it must save a thirty-second part.
fn pays_below(length: usize) -> usize {
    length - length / 32
}

fn zstd_failed(doing: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing}: {error}"))
}

//! Reads ranges of segments.

use std::{collections::VecDeque, fs::File, io, ops::Range, os::unix::fs::FileExt, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};

use super::{Disk, blocking, fault, name::Name, record::HEADER};
use crate::store::{CHUNK_MAX, StoreError, chunks};

/// Octets read in one visit to the blocking pool.
const STRIDE: u64 = 4 * CHUNK_MAX as u64;

/// A range of a file.
struct Span {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Span {
    fn next(&mut self) -> Result<VecDeque<Bytes>, StoreError> {
        let length = (self.end - self.at).min(STRIDE);
        let mut octets = vec![0; usize::try_from(length).unwrap_or(CHUNK_MAX)];
        self.file
            .read_exact_at(&mut octets, self.at)
            .map_err(|error| fault::unavailable("reading a segment", &error))?;
        self.at += octets.len() as u64;
        Ok(chunks(octets.into()).collect())
    }

    fn is_done(&self) -> bool {
        self.at == self.end
    }
}

pub(super) async fn read(
    disk: Arc<Disk>,
    name: Name,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
    let (span, first) = blocking(move || {
        let mut span = locate(&disk, name, range)?;
        let first = span.next()?;
        Ok((span, first))
    })
    .await?;
    let first = stream::iter(first.into_iter().map(Ok));
    if span.is_done() {
        return Ok(first.boxed());
    }
    let rest = stream::try_unfold((span, VecDeque::new()), |(mut span, mut ready)| async move {
        if ready.is_empty() && !span.is_done() {
            (span, ready) = blocking(move || {
                let ready = span.next()?;
                Ok((span, ready))
            })
            .await?;
        }
        Ok(ready.pop_front().map(|chunk| (chunk, (span, ready))))
    });
    Ok(first.chain(rest).boxed())
}

/// Finds the octets of a range; they are inside the segment.
fn locate(disk: &Disk, name: Name, range: Range<u64>) -> Result<Span, StoreError> {
    let not_found = || StoreError::NotFound(name.to_string());
    let (file, start, length) = match name {
        Name::Large(number) => {
            let file = disk.large.open(number)?;
            let metadata =
                file.metadata().map_err(|error| fault::unavailable("opening a large segment", &error))?;
            (Arc::new(file), 0, metadata.len())
        }
        Name::Record { volume, offset } => {
            let volume = disk.volumes.find(volume).ok_or_else(not_found)?;
            let file = disk.volumes.file(&volume).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => not_found(),
                _ => fault::unavailable("opening a volume", &error),
            })?;
            let header = volume.live_header(&file, offset)?;
            (file, u64::from(offset) + u64::from(HEADER), u64::from(header.length))
        }
    };
    if range.start > range.end || range.end > length {
        return Err(StoreError::NotFound(format!("{name}, octets {}–{}", range.start, range.end)));
    }
    Ok(Span { file, at: start + range.start, end: start + range.end })
}

//! The few calls to the file system that need care.

use std::{
    fmt,
    fs::File,
    io::{self, IoSlice},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rustix::{fs::FallocateFlags, io::Errno};

/// Makes a file's octets durable; passed in, so that a disk that fails can be had in tests.
#[derive(Clone)]
pub(super) struct FileSync(pub(super) Arc<SyncFile>);

type SyncFile = dyn Fn(&File) -> io::Result<()> + Send + Sync;

impl FileSync {
    pub(super) fn real() -> Self {
        Self(Arc::new(File::sync_data))
    }

    pub(super) fn file(&self, file: &File) -> io::Result<()> {
        (self.0)(file)
    }
}

impl fmt::Debug for FileSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileSync")
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes the directory's own name durable, and those of the ones around it, as far as we may: it may be new.
pub(super) fn sync_ancestors(directory: &Path) {
    for ancestor in directory.ancestors().skip(1).filter(|ancestor| !ancestor.as_os_str().is_empty()) {
        if let Err(error) = sync_directory(ancestor) {
            tracing::debug!(path = %ancestor.display(), %error, "a directory's names could not be synced");
        }
    }
}

/// Sets disk space aside and makes the file so long: a write into it then changes no size, which halves the cost of
/// `fdatasync`. Where the file system cannot, the file is sparse.
pub(super) fn preallocate(file: &File, length: u32) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, u64::from(length)) {
        Err(Errno::OPNOTSUPP) => file.set_len(u64::from(length)),
        other => Ok(other?),
    }
}

/// Gives the blocks inside a range back, where the file system can; the range then reads as zeros.
pub(super) fn punch(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, offset, length) {
        Err(Errno::OPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// Writes all pieces, one after another, from `offset` on.
pub(super) fn write_all_at(file: &File, head: &[u8], pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
    // What Linux takes in one call (IOV_MAX).
    const SLICES: usize = 1024;
    let all = std::iter::once(head).chain(pieces.iter().map(Bytes::as_ref)).filter(|piece| !piece.is_empty());
    let all: Vec<&[u8]> = all.collect();
    for group in all.chunks(SLICES) {
        let mut slices: Vec<IoSlice<'_>> = group.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match rustix::io::pwritev(file, left, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_pieces_than_one_call_takes_are_all_written() {
        let file = tempfile::tempfile().unwrap();
        let pieces: Vec<Bytes> = (0..5000_u32).map(|n| Bytes::from(n.to_le_bytes().to_vec())).collect();
        write_all_at(&file, b"head", &pieces, 3).unwrap();
        let mut expected = b"\0\0\0head".to_vec();
        expected.extend(pieces.iter().flatten());
        let mut octets = vec![0; expected.len()];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut octets, 0).unwrap();
        assert_eq!(octets, expected);
        assert_eq!(file.metadata().unwrap().len(), expected.len() as u64);
    }
}

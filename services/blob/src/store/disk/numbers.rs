//! Numbers for volumes and large files, none of which is ever given twice.
//!
//! The file `numbers` holds the first number that is not yet reserved. A block of numbers is reserved, durably, before
//! the first of it is used; a crash loses the rest of the block. So a number is not given again even when the
//! files that bore it are all gone.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use super::{
    fault,
    files::{FileSync, sync_directory},
    name::NUMBER_MAX,
};
use crate::store::StoreError;

const BLOCK: u64 = 64;
const FILE: &str = "numbers";

#[derive(Debug)]
pub(super) struct Numbers {
    directory: PathBuf,
    sync: FileSync,
    next: u64,
    reserved: u64,
}

impl Numbers {
    /// Reads what was reserved. `used` is the highest number that a file bears.
    pub(super) fn open(directory: &Path, used: Option<u64>, sync: FileSync) -> Result<Self, StoreError> {
        let reserved = match fs::read_to_string(directory.join(FILE)) {
            Ok(text) => text.trim_end().parse::<u64>().map_err(|_| {
                StoreError::Internal(format!("{} holds no number", directory.join(FILE).display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 1,
            Err(error) => return Err(fault::unavailable("reading the reserved numbers", &error)),
        };
        let next = reserved.max(used.map_or(1, |used| used + 1));
        Ok(Self { directory: directory.to_owned(), sync, next, reserved: next })
    }

    /// Returns a number that was never given before.
    ///
    /// # Errors
    /// `Unavailable`: the disk does not take the reservation.
    pub(super) fn take(&mut self) -> Result<u64, StoreError> {
        if self.next > NUMBER_MAX {
            return Err(StoreError::Internal("no numbers are left for segments".to_owned()));
        }
        if self.next == self.reserved {
            let reserved = self.next + BLOCK;
            self.write(reserved).map_err(|error| fault::unavailable("reserving numbers", &error))?;
            self.reserved = reserved;
        }
        self.next += 1;
        Ok(self.next - 1)
    }

    fn write(&self, reserved: u64) -> io::Result<()> {
        let new = self.directory.join("numbers.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{reserved}")?;
        self.sync.file(&file)?;
        fs::rename(&new, self.directory.join(FILE))?;
        sync_directory(&self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only_grow_whatever_happens_between() {
        let directory = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..5 {
            let mut numbers = Numbers::open(directory.path(), None, FileSync::real()).unwrap();
            for _ in 0..100 {
                let number = numbers.take().unwrap();
                assert!(number > last);
                last = number;
            }
        }
        let mut numbers = Numbers::open(directory.path(), Some(last + 1000), FileSync::real()).unwrap();
        assert_eq!(numbers.take().unwrap(), last + 1001);
    }

    #[test]
    fn a_failed_reservation_gives_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let broken = FileSync(std::sync::Arc::new(|_| Err(io::ErrorKind::StorageFull.into())));
        let mut numbers = Numbers::open(directory.path(), None, broken).unwrap();
        assert!(matches!(numbers.take(), Err(StoreError::Unavailable(_))));
        numbers.sync = FileSync::real();
        assert_eq!(numbers.take().unwrap(), 1);
    }

    #[test]
    fn a_file_without_a_number_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE), "").unwrap();
        assert!(matches!(
            Numbers::open(directory.path(), None, FileSync::real()),
            Err(StoreError::Internal(_))
        ));
    }
}

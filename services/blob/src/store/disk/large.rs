//! Large segments: a file each, written under another name and renamed when it is whole and durable.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::UNIX_EPOCH,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    blocking, fault, files,
    name::{Name, file_number},
    numbers::Numbers,
};
use crate::store::{SegmentInfo, SegmentWriter, StoreError, Written};

/// Octets gathered before they are written.
const GATHER: usize = 256 * 1024;

/// The directory of large segments.
#[derive(Debug)]
pub(super) struct Large {
    directory: PathBuf,
    sync: files::FileSync,
    numbers: Arc<Mutex<Numbers>>,
}

impl Large {
    pub(super) fn new(directory: &Path, sync: files::FileSync, numbers: Arc<Mutex<Numbers>>) -> Self {
        Self { directory: directory.to_owned(), sync, numbers }
    }

    pub(super) fn begin(self: Arc<Self>) -> Result<LargeWriter, StoreError> {
        let number = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let path = self.directory.join(format!("{number:010x}.part"));
        let file = File::options().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| fault::unavailable("beginning a large segment", &error))?;
        let part = Part { file, number, length: 0, unfinished: Unfinished(Some(path)) };
        Ok(LargeWriter { large: self, part: Some(part), gathered: Vec::new(), gathered_bytes: 0 })
    }

    pub(super) fn open(&self, number: u64) -> Result<File, StoreError> {
        File::open(self.path(number)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StoreError::NotFound(Name::Large(number).to_string()),
            _ => fault::unavailable("opening a large segment", &error),
        })
    }

    pub(super) fn delete(&self, number: u64) -> Result<(), StoreError> {
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(fault::unavailable("deleting a large segment", &error))
            }
            _ => Ok(()),
        }
    }

    /// Returns the segments after `after`, in order, at most `limit`.
    pub(super) fn list(&self, after: Option<u64>, limit: usize) -> Result<Vec<SegmentInfo>, StoreError> {
        let failed = |error: io::Error| fault::unavailable("listing large segments", &error);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let number = entry.map_err(failed)?.file_name().to_str().and_then(file_number);
            numbers.extend(number.filter(|number| after.is_none_or(|after| *number > after)));
        }
        numbers.sort_unstable();
        numbers.truncate(limit);
        let infos = numbers.into_iter().map(|number| self.info(number));
        infos.filter_map(Result::transpose).collect::<io::Result<_>>().map_err(failed)
    }

    fn info(&self, number: u64) -> io::Result<Option<SegmentInfo>> {
        let metadata = match fs::metadata(self.path(number)) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let age = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(SegmentInfo {
            object_name: Name::Large(number).to_string(),
            size_bytes: metadata.len(),
            created_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        }))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:010x}"))
    }
}

/// Removes what a crash left unfinished, and returns the highest number that a file bears.
pub(super) fn clear(directory: &Path) -> io::Result<Option<u64>> {
    let mut highest = None;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let number = match name.strip_suffix(".part") {
            Some(stem) => {
                fs::remove_file(entry.path())?;
                file_number(stem)
            }
            None => file_number(name),
        };
        highest = highest.max(number);
    }
    Ok(highest)
}

/// Writes one large segment.
#[derive(Debug)]
pub(super) struct LargeWriter {
    large: Arc<Large>,
    /// Away while it is being written, and for good after a failure.
    part: Option<Part>,
    gathered: Vec<Bytes>,
    gathered_bytes: usize,
}

#[derive(Debug)]
struct Part {
    file: File,
    number: u64,
    length: u64,
    unfinished: Unfinished,
}

/// Removes the file when dropped, unless it was renamed.
#[derive(Debug)]
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "an unfinished segment could not be removed");
        }
    }
}

impl LargeWriter {
    fn take(&mut self) -> Result<Part, StoreError> {
        let broken = || StoreError::Unavailable("an earlier write of this segment failed".to_owned());
        self.part.take().ok_or_else(broken)
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut part = self.take()?;
        let pieces = std::mem::take(&mut self.gathered);
        let length = std::mem::take(&mut self.gathered_bytes) as u64;
        let part = blocking(move || {
            files::write_all_at(&part.file, &[], &pieces, part.length)
                .map_err(|error| fault::unavailable("writing a large segment", &error))?;
            part.length += length;
            Ok(part)
        })
        .await?;
        self.part = Some(part);
        Ok(())
    }
}

#[async_trait]
impl SegmentWriter for LargeWriter {
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        self.gathered_bytes += octets.len();
        self.gathered.push(octets);
        if self.gathered_bytes >= GATHER { self.flush().await } else { Ok(()) }
    }

    async fn finish(mut self: Box<Self>) -> Result<Written, StoreError> {
        self.flush().await?;
        let part = self.take()?;
        let large = self.large.clone();
        blocking(move || finish(&large, part)).await
    }
}

fn finish(large: &Large, mut part: Part) -> Result<Written, StoreError> {
    let failed = |error: io::Error| fault::unavailable("finishing a large segment", &error);
    large.sync.file(&part.file).map_err(failed)?;
    let path = large.path(part.number);
    if let Some(unfinished) = &part.unfinished.0 {
        fs::rename(unfinished, &path).map_err(failed)?;
        // It has another name now, and stays.
        part.unfinished.0 = None;
    }
    if let Err(error) = files::sync_directory(&large.directory) {
        drop(fs::remove_file(&path));
        return Err(fault::unknown("making a large segment's name durable", &error));
    }
    Ok(Written { bucket: String::new(), object_name: Name::Large(part.number).to_string() })
}

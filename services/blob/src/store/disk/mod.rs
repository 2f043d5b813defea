//! Segments on local disks: small ones appended to volumes, large ones as files of their own.
//!
//! ```text
//! LOCK                        held by the one process that uses the directory
//! numbers                     the first number not yet reserved for a volume or a large segment
//! volumes/0000000001.volume   records, see `record`
//! large/0000000002            a large segment;  large/0000000003.part: one being written
//! ```
//!
//! A put is one write and one `fdatasync` into a file whose blocks are already there. Nothing is ever rewritten but a
//! record's state octet.

mod fault;
mod files;
mod large;
mod name;
mod numbers;
mod read;
mod record;
mod recover;
mod scan;
#[cfg(test)]
mod tests;
mod volume;
mod volumes;

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use self::{
    large::Large,
    name::Name,
    numbers::Numbers,
    volumes::{Volumes, Writer},
};
use super::{SegmentInfo, SegmentPage, SegmentStore, SegmentWriter, StoreError, Written};

/// Settings of a [`DiskStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskConfig {
    /// Octets of disk space set aside for a volume. A full volume ends up to a segment short of it; a segment
    /// larger than it has a volume of its own.
    pub volume_bytes: u32,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self { volume_bytes: 64 << 20 }
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process")]
    InUse(PathBuf),
    /// It cannot be made, locked or read.
    #[error("cannot use {path}")]
    Io {
        /// What it was about.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is in it cannot be opened.
    #[error("cannot open the segments")]
    Store(#[source] StoreError),
}

/// A store of segments in a directory.
#[derive(Debug)]
pub struct DiskStore {
    disk: Arc<Disk>,
    writer: Arc<tokio::sync::Mutex<Writer>>,
}

#[derive(Debug)]
struct Disk {
    volumes: Volumes,
    large: Arc<Large>,
    /// Locked while it is open.
    _lock: File,
}

impl DiskStore {
    /// Opens the store in a directory, which is made where it is missing, and recovers what a crash left. Blocks.
    ///
    /// # Errors
    /// Another process uses it, or it cannot be read and written.
    pub fn open(directory: &Path, config: &DiskConfig) -> Result<Self, OpenError> {
        Self::open_with(directory, config, files::FileSync::real())
    }

    fn open_with(directory: &Path, config: &DiskConfig, sync: files::FileSync) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| OpenError::Io { path, source }
        };
        let (volumes_at, large_at) = (directory.join("volumes"), directory.join("large"));
        for path in [&volumes_at, &large_at] {
            fs::create_dir_all(path).map_err(io(path))?;
        }
        let lock = lock(directory)?;
        files::sync_directory(directory).map_err(io(directory))?;
        files::sync_ancestors(directory);
        let highest_large = large::clear(&large_at).map_err(io(&large_at))?;
        let found = recover::volumes(&volumes_at, &sync).map_err(OpenError::Store)?;
        let used = highest_large.max(found.highest);
        let numbers = Numbers::open(directory, used, sync.clone()).map_err(OpenError::Store)?;
        let numbers = Arc::new(Mutex::new(numbers));
        let large = Arc::new(Large::new(&large_at, sync.clone(), numbers.clone()));
        let volumes = Volumes::new(&volumes_at, config, sync, numbers, found.volumes);
        let disk = Arc::new(Disk { volumes, large, _lock: lock });
        Ok(Self { disk, writer: Arc::default() })
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("LOCK");
    let io = |source: io::Error| OpenError::Io { path: path.clone(), source };
    drop(File::options().create(true).append(true).open(&path).map_err(io)?);
    // Open for reading only: a file open for writing would keep the file system from becoming read-only.
    let file = File::open(&path).map_err(io)?;
    // flock(2): gone with the process, however it ends.
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

#[async_trait]
impl SegmentStore for DiskStore {
    fn kind(&self) -> &'static str {
        "disk"
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        // Held by the write itself, so that a caller who goes away does not let the next one in too soon.
        let mut writer = self.writer.clone().lock_owned().await;
        let disk = self.disk.clone();
        let name = blocking(move || writer.append(&disk.volumes, &pieces)).await?;
        Ok(Written { bucket: String::new(), object_name: name.to_string() })
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        let large = self.disk.large.clone();
        let writer = blocking(move || large.begin()).await?;
        Ok(Box::new(writer))
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        read::read(self.disk.clone(), Name::parse(object_name)?, range).await
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        let names: Vec<Name> = object_names.iter().map(|name| Name::parse(name)).collect::<Result<_, _>>()?;
        let disk = self.disk.clone();
        blocking(move || disk.delete(&names)).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        let after = after.map(Name::parse).transpose()?;
        let disk = self.disk.clone();
        blocking(move || disk.list(after, limit.max(1))).await
    }
}

impl Disk {
    fn delete(&self, names: &[Name]) -> Result<(), StoreError> {
        let mut records: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for name in names {
            match *name {
                Name::Large(number) => self.large.delete(number)?,
                Name::Record { volume, offset } => records.entry(volume).or_default().push(offset),
            }
        }
        records.into_iter().try_for_each(|(volume, offsets)| self.volumes.kill(volume, &offsets))
    }

    fn list(&self, after: Option<Name>, limit: usize) -> Result<SegmentPage, StoreError> {
        let (mut segments, mut number, mut offset) = match after {
            None => (self.large.list(None, limit)?, 0, None),
            Some(Name::Large(after)) => (self.large.list(Some(after), limit)?, 0, None),
            Some(Name::Record { volume, offset }) => (Vec::new(), volume, Some(offset)),
        };
        while segments.len() < limit
            && let Some(volume) = self.volumes.at_or_after(number)
        {
            let after = offset.take().filter(|_| volume.number == number);
            let records = volume.live_after(after, limit - segments.len())?;
            if records.is_empty() && after.is_none() {
                self.volumes.remove_if_dead(volume.number);
            }
            segments.extend(records.into_iter().map(|record| SegmentInfo {
                object_name: Name::Record { volume: volume.number, offset: record.offset }.to_string(),
                size_bytes: record.header.length.into(),
                created_ms: record.header.created_ms,
            }));
            number = volume.number + 1;
        }
        let next = segments.last().filter(|_| segments.len() == limit).map(|last| last.object_name.clone());
        Ok(SegmentPage { segments, next })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreError::Internal(format!("disk work did not end: {error}"))))
}

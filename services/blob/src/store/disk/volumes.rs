//! All volumes, and the one that is being written.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;
use quick_cache::sync::Cache;

use super::{
    DiskConfig, fault, files,
    name::Name,
    numbers::Numbers,
    record::{HEADER, Header, Kind, State, next_offset},
    volume::{self, Extent, Volume},
};
use crate::store::{StoreError, now_ms};

/// Volumes whose files stay open for reading.
const OPEN_FILES: usize = 128;

#[derive(Debug)]
pub(super) struct Volumes {
    directory: PathBuf,
    capacity: u32,
    sync: files::FileSync,
    numbers: Arc<Mutex<Numbers>>,
    all: RwLock<BTreeMap<u64, Arc<Volume>>>,
    open: Cache<u64, Arc<File>>,
}

impl Volumes {
    pub(super) fn new(
        directory: &Path,
        config: &DiskConfig,
        sync: files::FileSync,
        numbers: Arc<Mutex<Numbers>>,
        all: BTreeMap<u64, Arc<Volume>>,
    ) -> Self {
        Self {
            directory: directory.to_owned(),
            capacity: config.volume_bytes,
            sync,
            numbers,
            all: RwLock::new(all),
            open: Cache::new(OPEN_FILES),
        }
    }

    pub(super) fn find(&self, number: u64) -> Option<Arc<Volume>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Returns the volume with this number or the first after it.
    pub(super) fn at_or_after(&self, number: u64) -> Option<Arc<Volume>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.range((Bound::Included(number), Bound::Unbounded)).next().map(|(_, volume)| volume.clone())
    }

    /// Returns a volume's file for reading.
    pub(super) fn file(&self, volume: &Volume) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.get(&volume.number) {
            return Ok(file);
        }
        let file = Arc::new(File::open(&volume.path)?);
        self.open.insert(volume.number, file.clone());
        // Removed meanwhile: a file kept open would keep its blocks.
        if self.find(volume.number).is_none() {
            self.open.remove(&volume.number);
        }
        Ok(file)
    }

    /// Deletes records of one volume, and the volume with its last one.
    pub(super) fn kill(&self, number: u64, offsets: &[u32]) -> Result<(), StoreError> {
        let Some(volume) = self.find(number) else { return Ok(()) };
        if volume.kill(offsets)? {
            self.remove(&volume).map_err(|error| fault::unavailable("removing a volume", &error))?;
        }
        Ok(())
    }

    /// Removes a volume whose last record was deleted just before a crash.
    pub(super) fn remove_if_dead(&self, number: u64) {
        if let Err(error) = self.kill(number, &[]) {
            tracing::debug!(volume = number, %error, "a dead volume could not be removed");
        }
    }

    /// Removes a volume that has no live record and gets none.
    fn remove(&self, volume: &Volume) -> io::Result<()> {
        match fs::remove_file(&volume.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.all.write().unwrap_or_else(PoisonError::into_inner).remove(&volume.number);
        self.open.remove(&volume.number);
        Ok(())
    }

    /// Begins a volume that holds at least `size` octets.
    fn begin(&self, size: u32) -> Result<Active, StoreError> {
        let number = self.numbers.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let path = volume::path(&self.directory, number);
        let begun = self.create(&path, size);
        let (file, capacity) = begun.map_err(|error| {
            // Best effort: a start removes it too, since it has no record.
            drop(fs::remove_file(&path));
            fault::unavailable("beginning a volume", &error)
        })?;
        let extent = Extent { end: 0, sealed: false, live: Some(0) };
        let volume = Arc::new(Volume::new(&self.directory, number, extent));
        let file = Arc::new(file);
        self.open.insert(number, file.clone());
        self.all.write().unwrap_or_else(PoisonError::into_inner).insert(number, volume.clone());
        Ok(Active { volume, file, end: 0, capacity })
    }

    fn create(&self, path: &Path, size: u32) -> io::Result<(File, u32)> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        let mut capacity = self.capacity.max(size);
        // A nearly full disk may still have room for a smaller one.
        while let Err(error) = files::preallocate(&file, capacity) {
            if error.kind() != io::ErrorKind::StorageFull || capacity <= size {
                return Err(error);
            }
            capacity = (capacity / 2).max(size);
        }
        file.sync_all()?;
        files::sync_directory(&self.directory)?;
        Ok((file, capacity))
    }

    /// Ends a full volume. A failure does no harm: the next start scans it.
    fn seal(&self, active: &Active) {
        let done = match active.volume.close() {
            Some(0) => self.remove(&active.volume),
            _ => volume::seal(&active.file, active.volume.number, active.end, &self.sync),
        };
        if let Err(error) = done {
            tracing::warn!(volume = active.volume.number, %error, "a full volume could not be sealed");
        }
    }

    /// Gives up a volume in which a write failed. It is not written to again: after a failed sync nobody knows which of
    /// its pages are on the disk, and another sync would not tell.
    fn abandon(&self, active: &Active) {
        // So that the next start does not find the record that failed; if this fails too, it may, as an orphan.
        let done = match active.volume.close() {
            Some(0) => self.remove(&active.volume),
            _ => active.file.set_len(active.end.into()),
        };
        if let Err(error) = done {
            tracing::warn!(volume = active.volume.number, %error, "an abandoned volume could not be cut off");
        }
    }
}

/// Appends records, one after another.
#[derive(Debug, Default)]
pub(super) struct Writer {
    active: Option<Active>,
}

#[derive(Debug)]
struct Active {
    volume: Arc<Volume>,
    file: Arc<File>,
    end: u32,
    capacity: u32,
}

impl Writer {
    /// Writes a segment, durably.
    pub(super) fn append(&mut self, volumes: &Volumes, pieces: &[Bytes]) -> Result<Name, StoreError> {
        let length = pieces.iter().map(Bytes::len).sum::<usize>();
        // With room for the header and for the end of a volume.
        let sizes = u32::try_from(length).ok().and_then(|length| {
            let size = next_offset(0, length)?;
            Some((length, size, size.checked_add(HEADER)?))
        });
        let (length, size, with_end) = sizes
            .ok_or_else(|| StoreError::Internal(format!("{length} octets are too many for a volume")))?;
        let checksum = pieces.iter().fold(0, |checksum, piece| crc32c::crc32c_append(checksum, piece));
        if let Some(full) =
            self.active.take_if(|active| u64::from(active.end) + u64::from(with_end) > active.capacity.into())
        {
            volumes.seal(&full);
        }
        // Taken out: whatever fails, the volume is not written to again.
        let mut active = match self.active.take() {
            Some(active) => active,
            None => volumes.begin(with_end)?,
        };
        let offset = active.end;
        let header =
            Header { kind: Kind::Segment, state: State::Live, length, checksum, created_ms: now_ms() };
        let head = header.encode(active.volume.number, offset);
        if let Err(error) = files::write_all_at(&active.file, &head, pieces, offset.into()) {
            volumes.abandon(&active);
            return Err(fault::unavailable("writing a segment", &error));
        }
        if let Err(error) = volumes.sync.file(&active.file) {
            volumes.abandon(&active);
            return Err(fault::unknown("making a segment durable", &error));
        }
        active.end += size;
        let mut extent = active.volume.extent();
        extent.end = active.end;
        extent.live = extent.live.map(|live| live + 1);
        drop(extent);
        let name = Name::Record { volume: active.volume.number, offset };
        self.active = Some(active);
        Ok(name)
    }
}

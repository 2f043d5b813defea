//! A volume: a file of records, appended to until it is full, then sealed.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    fault, files,
    name::Name,
    record::{HEADER, Header, Kind, STATE_AT, State},
    scan::{Record, Scan, read_up_to},
};
use crate::store::StoreError;

/// Segments below this have no whole block to give back.
const PUNCH_MIN: u32 = 4096;

#[derive(Debug)]
pub(super) struct Volume {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    extent: Mutex<Extent>,
    /// Held while records are deleted, so that one deleted twice at once is counted once.
    deleting: Mutex<()>,
}

/// How far a volume goes.
#[derive(Debug)]
pub(super) struct Extent {
    /// Where the acknowledged records end: nothing beyond is ever shown.
    pub(super) end: u32,
    /// Nothing more is appended.
    pub(super) sealed: bool,
    /// Live records; counted when first needed.
    pub(super) live: Option<u32>,
}

impl Volume {
    pub(super) fn new(directory: &Path, number: u64, extent: Extent) -> Self {
        Self { number, path: path(directory, number), extent: Mutex::new(extent), deleting: Mutex::new(()) }
    }

    pub(super) fn extent(&self) -> MutexGuard<'_, Extent> {
        // Each change is one assignment: whoever panicked left it whole.
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends appending, and returns how many live records there are, if that is known.
    pub(super) fn close(&self) -> Option<u32> {
        let mut extent = self.extent();
        extent.sealed = true;
        extent.live
    }

    /// Returns the header of a live record.
    pub(super) fn live_header(&self, file: &File, offset: u32) -> Result<Header, StoreError> {
        let not_found = || StoreError::NotFound(Name::Record { volume: self.number, offset }.to_string());
        if offset >= self.extent().end {
            return Err(not_found());
        }
        let header = self.header(file, offset)?.ok_or_else(not_found)?;
        if header.state == State::Live { Ok(header) } else { Err(not_found()) }
    }

    /// Returns the live records after the one at `after`, at most `limit`.
    pub(super) fn live_after(&self, after: Option<u32>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault::unavailable("opening a volume", &error)),
        };
        let end = self.extent().end;
        let from = match after {
            Some(offset) if self.header(&file, offset)?.is_some() => offset,
            _ => 0,
        };
        let mut scan = Scan::new(&file, self.number, from, end);
        let mut records = Vec::new();
        while records.len() < limit
            && let Some(record) = scan.next()?
        {
            if record.header.state == State::Live && after.is_none_or(|after| record.offset > after) {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Marks records dead and gives their blocks back. Says whether the volume is sealed and has no live record left.
    ///
    /// The marks are not synced: what a crash brings back is an orphan, which the audit finds.
    pub(super) fn kill(&self, offsets: &[u32]) -> Result<bool, StoreError> {
        let failed = |error: io::Error| fault::unavailable("deleting from a volume", &error);
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        let _deleting = self.deleting.lock().unwrap_or_else(PoisonError::into_inner);
        let (end, live) = {
            let extent = self.extent();
            (extent.end, extent.live)
        };
        // A volume whose records are not counted yet is sealed: none is added meanwhile.
        if live.is_none() {
            let live = self.count_live(&file, end)?;
            self.extent().live = Some(live);
        }
        for &offset in offsets.iter().filter(|offset| **offset < end) {
            let Some(header) = self.header(&file, offset)?.filter(|header| header.state == State::Live)
            else {
                continue;
            };
            mark(&file, offset, State::Dead).map_err(failed)?;
            {
                let mut extent = self.extent();
                extent.live = extent.live.map(|live| live.saturating_sub(1));
            }
            if header.length >= PUNCH_MIN {
                let start = u64::from(offset) + u64::from(HEADER);
                files::punch(&file, start, header.length.into()).map_err(failed)?;
            }
        }
        let extent = self.extent();
        Ok(extent.sealed && extent.live == Some(0))
    }

    fn count_live(&self, file: &File, end: u32) -> Result<u32, StoreError> {
        let mut scan = Scan::new(file, self.number, 0, end);
        let mut live = 0;
        while let Some(record) = scan.next()? {
            live += u32::from(record.header.state == State::Live);
        }
        Ok(live)
    }

    fn header(&self, file: &File, offset: u32) -> Result<Option<Header>, StoreError> {
        let mut octets = [0; HEADER as usize];
        let read = read_up_to(file, &mut octets, offset.into())
            .map_err(|error| fault::unavailable("reading a volume", &error))?;
        if read < octets.len() {
            return Ok(None);
        }
        let header = Header::decode(&octets, self.number, offset).ok();
        Ok(header.filter(|header| header.kind == Kind::Segment))
    }
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010x}.volume"))
}

/// Writes a record's state.
pub(super) fn mark(file: &File, offset: u32, state: State) -> io::Result<()> {
    file.write_all_at(&[state.octet()], u64::from(offset) + u64::from(STATE_AT))
}

/// Ends a volume at `end`: what lies behind is cut off, and the next start need not scan it.
pub(super) fn seal(file: &File, number: u64, end: u32, sync: &files::FileSync) -> io::Result<()> {
    let header = Header { kind: Kind::End, state: State::Live, length: 0, checksum: 0, created_ms: 0 };
    file.write_all_at(&header.encode(number, end), end.into())?;
    file.set_len(u64::from(end) + u64::from(HEADER))?;
    sync.file(file)
}

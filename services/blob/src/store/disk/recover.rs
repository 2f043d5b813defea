//! What a start finds: volumes, sealed or not, and the one that was being written when a process died.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
};

use super::{
    fault, files,
    name::file_number,
    record::{HEADER, Header, Kind, State, next_offset},
    scan::{Record, Scan, payload_is_whole, read_up_to},
    volume::{self, Extent, Volume},
};
use crate::store::StoreError;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) volumes: BTreeMap<u64, Arc<Volume>>,
    /// The highest number that any volume bears, empty ones included.
    pub(super) highest: Option<u64>,
}

/// Opens every volume; those that were not sealed are scanned, and end after their last whole record. None is
/// appended to again, so no name can be given twice.
pub(super) fn volumes(directory: &Path, sync: &files::FileSync) -> Result<Found, StoreError> {
    let failed = |error: io::Error| fault::unavailable("opening the volumes", &error);
    let mut found = Found::default();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".volume")).and_then(file_number);
        let Some(number) = number else {
            tracing::warn!(file = ?name, "not a volume: left alone");
            continue;
        };
        found.highest = found.highest.max(Some(number));
        if let Some(extent) = open(directory, number, sync)? {
            found.volumes.insert(number, Arc::new(Volume::new(directory, number, extent)));
        }
    }
    Ok(found)
}

fn open(directory: &Path, number: u64, sync: &files::FileSync) -> Result<Option<Extent>, StoreError> {
    let failed = |error: io::Error| fault::unavailable("opening a volume", &error);
    let path = volume::path(directory, number);
    let file = File::options().read(true).write(true).open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let length = u32::try_from(length)
        .map_err(|_| StoreError::Internal(format!("{} is too long for a volume", path.display())))?;
    if let Some(end) = sealed_at(&file, number, length).map_err(failed)? {
        return Ok(Some(Extent { end, sealed: true, live: None }));
    }
    let extent = scan(&file, number, length)?;
    match extent.live {
        Some(0) => {
            fs::remove_file(&path).map_err(failed)?;
            Ok(None)
        }
        _ => {
            // Without the seal the next start scans it again: no harm.
            if let Err(error) = volume::seal(&file, number, extent.end, sync) {
                tracing::warn!(volume = number, %error, "a recovered volume could not be sealed");
            }
            Ok(Some(extent))
        }
    }
}

fn sealed_at(file: &File, number: u64, length: u32) -> io::Result<Option<u32>> {
    let Some(end) = length.checked_sub(HEADER) else { return Ok(None) };
    let mut octets = [0; HEADER as usize];
    let read = read_up_to(file, &mut octets, end.into())?;
    let header = Header::decode(&octets, number, end);
    let sealed = read == octets.len() && header.is_ok_and(|header| header.kind == Kind::End);
    Ok(sealed.then_some(end))
}

/// Finds the whole records of a volume that was not sealed. Each was synced before the next was begun, so only the last
/// can be torn.
fn scan(file: &File, number: u64, length: u32) -> Result<Extent, StoreError> {
    let mut scan = Scan::new(file, number, 0, length);
    let mut live = 0;
    let mut last: Option<Record> = None;
    while let Some(record) = scan.next()? {
        live += u32::from(record.header.state == State::Live);
        last = Some(record);
    }
    let Some(last) = last else { return Ok(Extent { end: 0, sealed: true, live: Some(0) }) };
    if last.header.state == State::Live && !payload_is_whole(file, &last)? {
        tracing::warn!(volume = number, offset = last.offset, "the last record is torn: left out");
        volume::mark(file, last.offset, State::Torn)
            .map_err(|error| fault::unavailable("marking a torn record", &error))?;
        live -= 1;
    }
    let end = next_offset(last.offset, last.header.length).unwrap_or(length);
    Ok(Extent { end, sealed: true, live: Some(live) })
}

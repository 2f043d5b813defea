//! Walks the records of a volume by their headers.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{
    fault,
    record::{HEADER, Header, Kind, NotAHeader, next_offset},
};
use crate::store::StoreError;

/// Small records share one read.
const WINDOW: usize = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u32,
    pub(super) header: Header,
}

/// The records of a volume, in order. Damage is stepped over: the next whole record after it is looked for, so that
/// one bad header does not hide what follows.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    file: &'a File,
    volume: u64,
    at: u32,
    end: u32,
    window: Vec<u8>,
    window_at: u32,
}

impl<'a> Scan<'a> {
    /// Begins at the record at `from`; `end` is where the volume's records end.
    pub(super) fn new(file: &'a File, volume: u64, from: u32, end: u32) -> Self {
        Self { file, volume, at: from, end, window: Vec::new(), window_at: 0 }
    }

    /// Returns the next record, in whatever state it is.
    pub(super) fn next(&mut self) -> Result<Option<Record>, StoreError> {
        let mut searching = false;
        while self.at.checked_add(HEADER).is_some_and(|header_end| header_end <= self.end) {
            let offset = self.at;
            match self.header_at(offset)? {
                Ok(header) if self.is_inside(offset, &header) => {
                    let record = Record { offset, header };
                    // Found by searching: the octets of a segment could look like a header.
                    if !searching || payload_is_whole(self.file, &record)? {
                        self.at = next_offset(offset, header.length).unwrap_or(self.end);
                        return Ok(Some(record));
                    }
                }
                Ok(Header { kind: Kind::End, .. }) if !searching => return Ok(None),
                Err(NotAHeader::Newer(version)) if !searching => {
                    return Err(StoreError::Internal(format!(
                        "volume {:010x} was written by a later version (form {version})",
                        self.volume
                    )));
                }
                Ok(_) | Err(_) => {}
            }
            searching = true;
            self.at = offset.saturating_add(HEADER);
        }
        Ok(None)
    }

    fn is_inside(&self, offset: u32, header: &Header) -> bool {
        let end = u64::from(offset) + u64::from(HEADER) + u64::from(header.length);
        header.kind == Kind::Segment && end <= u64::from(self.end)
    }

    fn header_at(&mut self, offset: u32) -> Result<Result<Header, NotAHeader>, StoreError> {
        let length = HEADER as usize;
        let inside = |window_at: u32, window: &[u8]| {
            let start = offset.checked_sub(window_at)? as usize;
            window.get(start..start + length).and_then(|octets| octets.try_into().ok())
        };
        let octets = match inside(self.window_at, &self.window) {
            Some(octets) => octets,
            None => {
                self.window.resize(WINDOW, 0);
                let read = read_up_to(self.file, &mut self.window, offset.into())
                    .map_err(|error| fault::unavailable("reading a volume", &error))?;
                self.window.truncate(read);
                self.window_at = offset;
                match inside(offset, &self.window) {
                    Some(octets) => octets,
                    None => return Ok(Err(NotAHeader::Other)),
                }
            }
        };
        Ok(Header::decode(&octets, self.volume, offset))
    }
}

/// Compares a record's segment with the checksum in its header.
pub(super) fn payload_is_whole(file: &File, record: &Record) -> Result<bool, StoreError> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = u64::from(record.offset) + u64::from(HEADER);
    let mut left = record.header.length as usize;
    let mut checksum = 0;
    while left > 0 {
        let part = left.min(buffer.len());
        let read = read_up_to(file, &mut buffer[..part], at)
            .map_err(|error| fault::unavailable("reading a volume", &error))?;
        if read == 0 {
            return Ok(false);
        }
        checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
        at += read as u64;
        left -= read;
    }
    Ok(checksum == record.header.checksum)
}

/// Fills the buffer as far as the file goes.
pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

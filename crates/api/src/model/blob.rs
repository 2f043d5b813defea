//! Locations, frames and segments.

use bytes::Bytes;
use puro_types::{Codec, Frame, Location};

use super::Malformed;
use crate::pb::blob::v1 as pb;

/// Octets of a segment's name at most: S3's limit for keys.
const OBJECT_NAME_MAX: usize = 1024;
/// Octets of a bucket's name at most.
const BUCKET_MAX: usize = 255;

/// Which part of a message to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The header, up to and including the blank line.
    Header,
    /// All octets after the blank line.
    Body,
    /// Both.
    Message,
}

/// What the store knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The segment's name.
    pub object_name: String,
    /// Octets.
    pub size_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A page of segments, and the time of the service that listed them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentPage {
    /// The segments.
    pub segments: Vec<Segment>,
    /// Where to go on; `None` after the last page.
    pub next: Option<String>,
    /// The service's time, milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What a segment says of one of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Octets of both frames in the segment.
    pub stored_length: u64,
    /// As it was stored; empty for none. [`super::Owners::from_label`] reads it.
    pub label: Bytes,
}

impl From<pb::Label> for Labelled {
    fn from(wire: pb::Label) -> Self {
        Self { stored_length: wire.stored_length, label: wire.label }
    }
}

impl TryFrom<pb::Frame> for Frame {
    type Error = Malformed;

    fn try_from(wire: pb::Frame) -> Result<Self, Malformed> {
        let codec = match wire.codec() {
            pb::Codec::Unspecified => return Err(Malformed::new("codec", "missing or unknown")),
            pb::Codec::Plain if wire.stored_length != wire.length => {
                return Err(Malformed::new("frame", "a plain frame is stored in as many octets as it holds"));
            }
            pb::Codec::Plain => Codec::Plain,
            pb::Codec::Zstd => Codec::Zstd,
        };
        Ok(Self { stored_length: wire.stored_length, length: wire.length, codec, checksum: wire.checksum })
    }
}

impl From<Frame> for pb::Frame {
    fn from(frame: Frame) -> Self {
        let codec = match frame.codec {
            Codec::Plain => pb::Codec::Plain,
            Codec::Zstd => pb::Codec::Zstd,
        };
        Self {
            stored_length: frame.stored_length,
            length: frame.length,
            codec: codec.into(),
            checksum: frame.checksum,
        }
    }
}

impl TryFrom<pb::Location> for Location {
    type Error = Malformed;

    fn try_from(wire: pb::Location) -> Result<Self, Malformed> {
        if wire.object_name.is_empty() || wire.object_name.len() > OBJECT_NAME_MAX {
            return Err(Malformed::new("object_name", "empty or too long"));
        }
        if wire.bucket.len() > BUCKET_MAX {
            return Err(Malformed::new("bucket", "too long"));
        }
        if wire.slot >= wire.slots {
            return Err(Malformed::new("slot", "not one of the segment's slots"));
        }
        let header: Frame = wire.header.ok_or_else(|| Malformed::new("header", "missing"))?.try_into()?;
        let body: Frame = wire.body.ok_or_else(|| Malformed::new("body", "missing"))?.try_into()?;
        let end = wire
            .offset
            .checked_add(header.stored_length)
            .and_then(|header_end| header_end.checked_add(body.stored_length));
        if end.is_none() || header.length.checked_add(body.length).is_none() {
            return Err(Malformed::new("location", "beyond the largest number"));
        }
        Ok(Self {
            bucket: wire.bucket,
            object_name: wire.object_name,
            offset: wire.offset,
            header,
            body,
            slot: wire.slot,
            slots: wire.slots,
        })
    }
}

impl From<Location> for pb::Location {
    fn from(location: Location) -> Self {
        Self {
            bucket: location.bucket,
            object_name: location.object_name,
            offset: location.offset,
            header: Some(location.header.into()),
            body: Some(location.body.into()),
            slot: location.slot,
            slots: location.slots,
        }
    }
}

/// Takes the location out of a message that must have one.
pub(super) fn location(wire: Option<pb::Location>) -> Result<Location, Malformed> {
    wire.ok_or_else(|| Malformed::new("location", "missing"))?.try_into()
}

impl TryFrom<pb::StoreResponse> for Location {
    type Error = Malformed;

    fn try_from(wire: pb::StoreResponse) -> Result<Self, Malformed> {
        location(wire.location)
    }
}

impl TryFrom<pb::Part> for Part {
    type Error = Malformed;

    fn try_from(wire: pb::Part) -> Result<Self, Malformed> {
        match wire {
            pb::Part::Unspecified => Err(Malformed::new("part", "missing or unknown")),
            pb::Part::Header => Ok(Self::Header),
            pb::Part::Body => Ok(Self::Body),
            pb::Part::Message => Ok(Self::Message),
        }
    }
}

impl From<Part> for pb::Part {
    fn from(part: Part) -> Self {
        match part {
            Part::Header => Self::Header,
            Part::Body => Self::Body,
            Part::Message => Self::Message,
        }
    }
}

impl TryFrom<pb::ReadRequest> for (Location, Part) {
    type Error = Malformed;

    fn try_from(wire: pb::ReadRequest) -> Result<Self, Malformed> {
        let part = wire.part().try_into()?;
        Ok((location(wire.location)?, part))
    }
}

impl From<pb::Segment> for Segment {
    fn from(wire: pb::Segment) -> Self {
        Self { object_name: wire.object_name, size_bytes: wire.size_bytes, created_ms: wire.created_ms }
    }
}

impl From<Segment> for pb::Segment {
    fn from(segment: Segment) -> Self {
        Self {
            object_name: segment.object_name,
            size_bytes: segment.size_bytes,
            created_ms: segment.created_ms,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::Fault;

    pub(crate) fn sample() -> Location {
        Location {
            bucket: String::new(),
            object_name: "ab-segment".into(),
            offset: 77,
            header: Frame { stored_length: 90, length: 200, codec: Codec::Zstd, checksum: 0xDEAD_BEEF },
            body: Frame { stored_length: 0, length: 0, codec: Codec::Plain, checksum: 0 },
            slot: 2,
            slots: 3,
        }
    }

    #[test]
    fn a_location_comes_back_as_it_went() {
        let location = sample();
        assert_eq!(Location::try_from(pb::Location::from(location.clone())), Ok(location));
    }

    #[test]
    fn a_wrong_location_is_refused() {
        let faults: [Fault<pb::Location>; 9] = [
            ("no header", |l| l.header = None),
            ("no body", |l| l.body = None),
            ("no name", |l| l.object_name.clear()),
            ("long name", |l| l.object_name = "x".repeat(OBJECT_NAME_MAX + 1)),
            ("slot beyond slots", |l| l.slot = 3),
            ("no codec", |l| l.header.as_mut().unwrap().codec = 0),
            ("unknown codec", |l| l.header.as_mut().unwrap().codec = 99),
            ("plain of another length", |l| l.body.as_mut().unwrap().length = 1),
            ("overflow", |l| l.offset = u64::MAX),
        ];
        for (name, spoil) in faults {
            let mut wire = pb::Location::from(sample());
            spoil(&mut wire);
            assert!(Location::try_from(wire).is_err(), "{name}");
        }
    }

    #[test]
    fn parts_come_back_as_they_went() {
        for part in [Part::Header, Part::Body, Part::Message] {
            assert_eq!(Part::try_from(pb::Part::from(part)), Ok(part));
        }
        assert!(Part::try_from(pb::Part::Unspecified).is_err());
    }
}

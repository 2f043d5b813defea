//! Where a stored message is.

/// How a frame's octets are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    Plain,
    /// One Zstandard frame (RFC 8878).
    Zstd,
}

/// One stored part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Octets in the segment.
    pub stored_length: u64,
    /// Octets of the message that it holds.
    pub length: u64,
    /// How they are stored.
    pub codec: Codec,
    /// CRC-32C of the stored octets.
    pub checksum: u32,
}

/// Where a stored message is: two frames, header then body, adjacent in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The bucket, or empty for the store's own place.
    pub bucket: String,
    /// The segment's name in the store.
    pub object_name: String,
    /// Octets from the start of the segment to the header frame.
    pub offset: u64,
    /// The header, up to and including the blank line.
    pub header: Frame,
    /// All octets after the blank line; it starts where the header frame ends.
    pub body: Frame,
    /// This message's place among the segment's messages, from 0.
    pub slot: u32,
    /// Messages in the segment.
    pub slots: u32,
}

impl Location {
    /// Returns the octets of the whole message.
    pub fn size_bytes(&self) -> u64 {
        self.header.length + self.body.length
    }

    /// Returns the octets of both frames in the segment.
    pub fn stored_length(&self) -> u64 {
        self.header.stored_length + self.body.stored_length
    }
}

//! The form of a record in a volume: a header of 32 octets, then the segment.
//!
//! | octets | |
//! |---|---|
//! | 0–3 | magic: `PRSG` a segment, `PRSE` the end of a sealed volume |
//! | 4 | version of this form |
//! | 5 | state: 0 live, else not; the only octet that ever changes, hence outside the checksum |
//! | 6–7 | zero |
//! | 8–11 | octets of the segment |
//! | 12–15 | CRC-32C of the segment |
//! | 16–23 | when it was made, milliseconds since the Unix epoch |
//! | 24–27 | zero |
//! | 28–31 | CRC-32C of octets 0–27 with state 0, of the volume's number and of the record's offset |
//!
//! Numbers are little-endian. The number and the offset in the checksum make a header valid in its own place only.

/// Octets of a header. Records also start at multiples of it, so that one can be looked for.
pub(super) const HEADER: u32 = 32;
/// Where the state is.
pub(super) const STATE_AT: u32 = 5;

const VERSION: u8 = 1;

/// What a header stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Segment,
    End,
}

impl Kind {
    const fn magic(self) -> [u8; 4] {
        match self {
            Self::Segment => *b"PRSG",
            Self::End => *b"PRSE",
        }
    }
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Live,
    /// Deleted.
    Dead,
    /// The last record before a crash, not written whole: never acknowledged.
    Torn,
}

impl State {
    pub(super) const fn octet(self) -> u8 {
        match self {
            Self::Live => 0,
            Self::Dead => 0xdd,
            Self::Torn => 0x77,
        }
    }

    const fn of(octet: u8) -> Self {
        match octet {
            0 => Self::Live,
            0x77 => Self::Torn,
            _ => Self::Dead,
        }
    }
}

/// Why octets are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAHeader {
    /// Zeros, part of a segment, or damage.
    Other,
    /// A whole header of a later version of this form.
    Newer(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) state: State,
    pub(super) length: u32,
    pub(super) checksum: u32,
    pub(super) created_ms: u64,
}

impl Header {
    pub(super) fn encode(&self, volume: u64, offset: u32) -> [u8; HEADER as usize] {
        let mut octets = [0; HEADER as usize];
        octets[..4].copy_from_slice(&self.kind.magic());
        octets[4] = VERSION;
        octets[8..12].copy_from_slice(&self.length.to_le_bytes());
        octets[12..16].copy_from_slice(&self.checksum.to_le_bytes());
        octets[16..24].copy_from_slice(&self.created_ms.to_le_bytes());
        let own = checksum_of(&octets, volume, offset);
        octets[28..].copy_from_slice(&own.to_le_bytes());
        octets[STATE_AT as usize] = self.state.octet();
        octets
    }

    pub(super) fn decode(
        octets: &[u8; HEADER as usize],
        volume: u64,
        offset: u32,
    ) -> Result<Self, NotAHeader> {
        let [m0, m1, m2, m3, version, state, _, _, l0, l1, l2, l3, c0, c1, c2, c3, rest @ ..] = *octets;
        let [t0, t1, t2, t3, t4, t5, t6, t7, _, _, _, _, o0, o1, o2, o3] = rest;
        let magic = [m0, m1, m2, m3];
        let kind = [Kind::Segment, Kind::End].into_iter().find(|kind| kind.magic() == magic);
        let kind = kind.ok_or(NotAHeader::Other)?;
        if u32::from_le_bytes([o0, o1, o2, o3]) != checksum_of(octets, volume, offset) {
            return Err(NotAHeader::Other);
        }
        if version != VERSION {
            return Err(NotAHeader::Newer(version));
        }
        Ok(Self {
            kind,
            state: State::of(state),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            checksum: u32::from_le_bytes([c0, c1, c2, c3]),
            created_ms: u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
        })
    }
}

/// Returns where the record after one of this length begins; `None` beyond what a volume can hold.
pub(super) fn next_offset(offset: u32, length: u32) -> Option<u32> {
    offset.checked_add(HEADER)?.checked_add(length)?.checked_next_multiple_of(HEADER)
}

fn checksum_of(octets: &[u8; HEADER as usize], volume: u64, offset: u32) -> u32 {
    let mut covered = [0; 40];
    covered[..28].copy_from_slice(&octets[..28]);
    covered[STATE_AT as usize] = 0;
    covered[28..36].copy_from_slice(&volume.to_le_bytes());
    covered[36..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER_1: Header = Header {
        kind: Kind::Segment,
        state: State::Live,
        length: 5,
        checksum: 7,
        created_ms: 1_700_000_000_000,
    };

    #[test]
    fn a_header_is_read_as_it_is_written_in_its_own_place_only() {
        let octets = HEADER_1.encode(3, 64);
        assert_eq!(Header::decode(&octets, 3, 64), Ok(HEADER_1));
        assert_eq!(Header::decode(&octets, 4, 64), Err(NotAHeader::Other));
        assert_eq!(Header::decode(&octets, 3, 96), Err(NotAHeader::Other));
        assert_eq!(Header::decode(&[0; 32], 3, 64), Err(NotAHeader::Other));
    }

    #[test]
    fn only_the_state_may_change() {
        let octets = HEADER_1.encode(3, 64);
        for bit in 0..256 {
            let mut changed = octets;
            changed[bit / 8] ^= 1 << (bit % 8);
            let decoded = Header::decode(&changed, 3, 64);
            if bit / 8 == STATE_AT as usize {
                assert_ne!(decoded.unwrap().state, State::Live);
            } else {
                assert_eq!(decoded, Err(NotAHeader::Other), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut octets = HEADER_1.encode(3, 64);
        octets[4] = 9;
        let own = checksum_of(&octets, 3, 64);
        octets[28..].copy_from_slice(&own.to_le_bytes());
        assert_eq!(Header::decode(&octets, 3, 64), Err(NotAHeader::Newer(9)));
    }

    #[test]
    fn records_start_at_multiples_of_the_header() {
        assert_eq!(next_offset(0, 0), Some(32));
        assert_eq!(next_offset(32, 1), Some(96));
        assert_eq!(next_offset(u32::MAX - 40, 9), None);
    }
}

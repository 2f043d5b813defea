//! What a segment says of itself: a label for each of its messages, as the caller of `Store` gave it, and their lengths.
//!
//! A segment of gathered messages begins with it, since all is known when it is put. A streamed message has it at the
//! end, since its label comes last. What is not understood here is no index: segments without labels have none.
//!
//! ```text
//! in front:  MAGIC  length u32  CRC-32C u32  entries          (big-endian)
//! behind:    entries  length u32  CRC-32C u32  MAGIC
//! entry:     label's length u32  octets of both frames u64  label
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Octets of a label at most: the owners of a message to ten thousand mailboxes fit.
pub(crate) const LABEL_MAX: usize = 256 * 1024;
/// Octets before the entries, and behind those of a streamed message.
pub(crate) const FRAME: u64 = 16;

const MAGIC: [u8; 8] = *b"\x00PuRo\xff\x01\n";
/// Octets of all entries at most: as many as a segment that is put whole.
const ENTRIES_MAX: u32 = 8 << 20;
/// Octets of an entry besides its label.
pub(crate) const ENTRY: usize = 12;

/// What is said of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelled {
    /// Octets of both frames in the segment.
    pub stored_length: u64,
    /// As it was given to `Store`; empty for none.
    pub label: Bytes,
}

/// How long the entries are, and their checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) length: u32,
    checksum: u32,
}

/// Returns the index that stands in front of these messages; none where no message has a label.
pub(crate) fn in_front<'a>(messages: impl Iterator<Item = (u64, &'a Bytes)>) -> Option<Bytes> {
    let entries = entries(messages)?;
    let mut index = BytesMut::with_capacity(entries.len() + 16);
    index.put_slice(&MAGIC);
    put_frame(&mut index, &entries);
    index.put_slice(&entries);
    Some(index.freeze())
}

/// Returns the index that stands behind a streamed message; none where it has no label.
pub(crate) fn behind(stored_length: u64, label: &Bytes) -> Option<Bytes> {
    let entries = entries(std::iter::once((stored_length, label)))?;
    let mut index = BytesMut::from(entries.as_ref());
    put_frame(&mut index, &entries);
    index.put_slice(&MAGIC);
    Some(index.freeze())
}

/// Reads the frame of an index: the first sixteen octets of a segment, or its last.
pub(crate) fn frame(mut octets: &[u8], is_behind: bool) -> Option<Frame> {
    if octets.len() != MAGIC.len() + 8 {
        return None;
    }
    let (numbers, magic) = if is_behind { (0, 8) } else { (8, 0) };
    if octets[magic..magic + 8] != MAGIC {
        return None;
    }
    octets.advance(numbers);
    let frame = Frame { length: octets.get_u32(), checksum: octets.get_u32() };
    (frame.length <= ENTRIES_MAX).then_some(frame)
}

/// Reads the entries; `None` where they are damaged.
pub(crate) fn read(frame: Frame, mut entries: Bytes) -> Option<Vec<Labelled>> {
    if crc32c::crc32c(&entries) != frame.checksum {
        return None;
    }
    let mut messages = Vec::new();
    while entries.has_remaining() {
        if entries.remaining() < ENTRY {
            return None;
        }
        let length = usize::try_from(entries.get_u32()).ok()?;
        let stored_length = entries.get_u64();
        if entries.remaining() < length {
            return None;
        }
        messages.push(Labelled { stored_length, label: entries.split_to(length) });
    }
    Some(messages)
}

fn entries<'a>(messages: impl Iterator<Item = (u64, &'a Bytes)>) -> Option<Bytes> {
    let mut entries = BytesMut::new();
    let mut is_labelled = false;
    for (stored_length, label) in messages {
        is_labelled |= !label.is_empty();
        entries.put_u32(u32::try_from(label.len()).ok()?);
        entries.put_u64(stored_length);
        entries.put_slice(label);
    }
    is_labelled.then(|| entries.freeze())
}

fn put_frame(index: &mut BytesMut, entries: &Bytes) {
    // Bounded by the label's bound times the slots of a segment, far below 32 bits for every segment that can be put.
    index.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    index.put_u32(crc32c::crc32c(entries));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_index_reads_back_in_front_and_behind() {
        let labels = [label("first"), label(""), label("third")];
        let front = in_front((10..).zip(&labels)).unwrap();
        let (head, entries) = front.split_at(16);
        let read_back = read(frame(head, false).unwrap(), Bytes::copy_from_slice(entries)).unwrap();
        assert_eq!(read_back.len(), 3);
        assert_eq!(read_back[2], Labelled { stored_length: 12, label: label("third") });
        let behind = behind(77, &labels[0]).unwrap();
        let (entries, tail) = behind.split_at(behind.len() - 16);
        let read_back = read(frame(tail, true).unwrap(), Bytes::copy_from_slice(entries)).unwrap();
        assert_eq!(read_back, [Labelled { stored_length: 77, label: label("first") }]);
    }

    #[test]
    fn what_has_no_label_has_no_index() {
        assert_eq!(in_front([(5, &label(""))].into_iter()), None);
        assert_eq!(behind(5, &label("")), None);
    }

    #[test]
    fn anything_else_is_no_index() {
        assert_eq!(frame(b"Return-Path: <a@", false), None);
        assert_eq!(frame(b"short", false), None);
        let labels = [label("first")];
        let front = in_front((10..).zip(&labels)).unwrap();
        assert_eq!(frame(&front[..16], true), None);
        let head = frame(&front[..16], false).unwrap();
        for at in 16..front.len() {
            let mut damaged = front.to_vec();
            damaged[at] ^= 1;
            assert_eq!(read(head, Bytes::copy_from_slice(&damaged[16..])), None, "octet {at}");
        }
    }
}

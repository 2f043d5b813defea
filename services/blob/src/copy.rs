//! Copies messages out of a segment that is mostly dead, frame by frame as they are stored: nothing is decompressed.
//!
//! The octets never leave this service: through the caller they would cross the network twice, and be compressed anew.
//! Memory is that of the copied frames, at most a batch's, and comes out of the same allowance as messages that are being
//! stored, so that a copy waits while senders need it. Each stretch is one read, the new segment one write.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use puro_api::Failure;
use puro_types::{Frame, Location};

use crate::{
    Blobs,
    commit::{Place, SLOTS_MAX},
    error::failure,
    index::{self, FRAME, Labelled},
    store::StoreError,
};

/// Octets between two messages that are read along rather than asked for in a read of its own.
const GAP: u64 = 256 * 1024;

impl Blobs {
    /// Returns what a segment says of its messages, slot by slot; `None` where it says nothing, or is not there. The
    /// segment's size, from its listing, is needed for one that was streamed; 0 where it is not known.
    ///
    /// # Errors
    /// [`Failure::DataLoss`]: what it says is damaged; [`Failure::Invalid`]: no segment's name; else the store's.
    pub async fn labels(&self, object_name: &str, size_bytes: u64) -> Result<Option<Vec<Labelled>>, Failure> {
        let outcome = self.find_labels(object_name, size_bytes).await;
        outcome.inspect_err(|failure| self.0.metrics.failed("labels", failure))
    }

    /// Copies messages of one segment, with their labels, into a new one of their own, and returns where they are now,
    /// in the same order. A call that fails, or is dropped, may leave an orphan.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: they are not of one segment, or more than one segment takes; [`Failure::NotFound`]: the
    /// segment is gone; [`Failure::DataLoss`]: octets are not those that were stored, and nothing is copied; else the
    /// store's.
    pub async fn copy(&self, locations: &[Location]) -> Result<Vec<Location>, Failure> {
        let outcome = self.try_copy(locations).await;
        outcome.inspect_err(|failure| self.0.metrics.failed("copy", failure))
    }

    async fn find_labels(
        &self,
        object_name: &str,
        size_bytes: u64,
    ) -> Result<Option<Vec<Labelled>>, Failure> {
        if let Some(head) = self.octets(object_name, 0..FRAME).await?
            && let Some(frame) = index::frame(&head, false)
        {
            let entries = self.octets(object_name, FRAME..FRAME + u64::from(frame.length)).await?;
            return labelled(object_name, frame, entries).map(Some);
        }
        let Some(start) = size_bytes.checked_sub(FRAME) else { return Ok(None) };
        let Some(tail) = self.octets(object_name, start..size_bytes).await? else { return Ok(None) };
        let Some(frame) = index::frame(&tail, true) else { return Ok(None) };
        let entries = match start.checked_sub(frame.length.into()) {
            Some(first) => self.octets(object_name, first..start).await?,
            None => None,
        };
        labelled(object_name, frame, entries).map(Some)
    }

    async fn try_copy(&self, locations: &[Location]) -> Result<Vec<Location>, Failure> {
        let Some(first) = locations.first() else { return Ok(Vec::new()) };
        let object_name = &first.object_name;
        if locations.iter().any(|location| location.object_name != *object_name) {
            return Err(Failure::Invalid("the messages are not of one segment".to_owned()));
        }
        let labels = self.find_labels(object_name, 0).await?.unwrap_or_default();
        let label = |location: &Location| {
            let slot = usize::try_from(location.slot).ok();
            slot.and_then(|slot| labels.get(slot)).map(|message| message.label.clone()).unwrap_or_default()
        };
        let labels: Vec<Bytes> = locations.iter().map(label).collect();
        let octets: u64 = locations.iter().map(Location::stored_length).sum();
        let room = octets + labels.iter().map(|label| label.len() as u64).sum::<u64>();
        if locations.len() > SLOTS_MAX || room > self.0.config.batch_bytes as u64 {
            return Err(Failure::Invalid("the messages are more than one segment takes".to_owned()));
        }
        let wanted = u32::try_from(room).unwrap_or(u32::MAX).min(self.0.config.memory_bytes);
        let memory = self.0.memory.clone().acquire_many_owned(wanted).await;
        let _memory = memory.map_err(|_| Failure::Internal("memory is no longer given".to_owned()))?;
        let frames = self.read_frames(locations).await?;
        let index = index::in_front(locations.iter().map(Location::stored_length).zip(&labels));
        let mut offset = index.as_ref().map_or(0, |index| index.len() as u64);
        let pieces = index.into_iter().chain(frames).collect();
        let written = self.0.store.put(pieces).await.map_err(failure)?;
        let slots = u32::try_from(locations.len()).unwrap_or(u32::MAX);
        let mut copies = Vec::with_capacity(locations.len());
        for (slot, location) in (0..slots).zip(locations) {
            let place = Place { offset, slot, slots };
            offset += location.stored_length();
            copies.push(place.location(written.clone(), location.header, location.body));
        }
        Ok(copies)
    }

    /// Reads the stored octets of these messages, checks them, and returns them in the order of the locations.
    async fn read_frames(&self, locations: &[Location]) -> Result<Vec<Bytes>, Failure> {
        let mut order: Vec<usize> = (0..locations.len()).collect();
        order.sort_by_key(|at| locations[*at].offset);
        let mut frames = vec![Bytes::new(); locations.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let count = together(rest.iter().map(|at| &locations[*at]));
            let (stretch, others) = rest.split_at(count);
            rest = others;
            self.read_stretch(locations, stretch, &mut frames).await?;
        }
        for (location, octets) in locations.iter().zip(&frames) {
            check(location, octets)?;
        }
        Ok(frames)
    }

    /// Reads messages that lie near one another, and drops what lies between them as it comes.
    async fn read_stretch(
        &self,
        locations: &[Location],
        stretch: &[usize],
        frames: &mut [Bytes],
    ) -> Result<(), Failure> {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { return Ok(()) };
        let Range { start, end: stop } = locations[*first].offset..end(&locations[*last]);
        if start == stop {
            return Ok(());
        }
        let mut stored =
            self.0.store.read(&locations[*first].object_name, start..stop).await.map_err(failure)?;
        let mut at = start;
        let mut parts: Vec<BytesMut> = stretch.iter().map(|_| BytesMut::new()).collect();
        while let Some(chunk) = stored.next().await {
            let chunk = chunk.map_err(failure)?;
            let chunk_end = at + chunk.len() as u64;
            for (part, location) in parts.iter_mut().zip(stretch.iter().map(|at| &locations[*at])) {
                let (from, to) = (location.offset.max(at), end(location).min(chunk_end));
                if from < to
                    && let (Ok(from), Ok(to)) = (usize::try_from(from - at), usize::try_from(to - at))
                {
                    part.extend_from_slice(&chunk[from..to]);
                }
            }
            at = chunk_end;
        }
        for (part, at) in parts.into_iter().zip(stretch) {
            frames[*at] = part.freeze();
        }
        Ok(())
    }

    /// Reads a range whole; `None` where the segment, or so much of it, is not there.
    async fn octets(&self, object_name: &str, range: Range<u64>) -> Result<Option<Bytes>, Failure> {
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let mut stored = match self.0.store.read(object_name, range).await {
            Ok(stored) => stored,
            Err(StoreError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(failure(error)),
        };
        let mut octets = BytesMut::new();
        while let Some(chunk) = stored.next().await {
            match chunk {
                Ok(chunk) => octets.extend_from_slice(&chunk),
                Err(StoreError::NotFound(_)) => return Ok(None),
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(Some(octets.freeze()))
    }
}

fn labelled(
    object_name: &str,
    frame: index::Frame,
    entries: Option<Bytes>,
) -> Result<Vec<Labelled>, Failure> {
    let read = entries.and_then(|entries| index::read(frame, entries));
    read.ok_or_else(|| Failure::DataLoss(format!("the labels of segment {object_name} are damaged")))
}

fn end(location: &Location) -> u64 {
    location.offset.saturating_add(location.stored_length())
}

/// Returns how many of these messages, in the order of their offsets, are read at once.
fn together<'a>(locations: impl Iterator<Item = &'a Location>) -> usize {
    let mut reached = None;
    let near = |location: &&Location| {
        let is_near = reached.is_none_or(|reached| location.offset.saturating_sub(reached) <= GAP);
        reached = Some(end(location));
        is_near
    };
    locations.take_while(near).count()
}

fn check(location: &Location, octets: &Bytes) -> Result<(), Failure> {
    let damaged = || {
        let Location { object_name, slot, .. } = location;
        Failure::DataLoss(format!("slot {slot} of segment {object_name} is damaged"))
    };
    let is_good = |frame: Frame, octets: &[u8]| {
        octets.len() as u64 == frame.stored_length && crc32c::crc32c(octets) == frame.checksum
    };
    let header = usize::try_from(location.header.stored_length).map_err(|_| damaged())?;
    let (header, body) = octets.split_at_checked(header).ok_or_else(damaged)?;
    if is_good(location.header, header) && is_good(location.body, body) { Ok(()) } else { Err(damaged()) }
}

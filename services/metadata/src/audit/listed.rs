//! The segments that there are, or a part of them that fits in memory.

use puro_api::model::{AuditPhase, Segment, SegmentPage};

use super::Report;
use crate::{Metadata, MetadataError};

/// Segments of a part at most: 48 MB.
const LISTED_MAX: usize = 2_000_000;

/// Which part of all names is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    number: u64,
    of: u64,
}

impl Default for Part {
    fn default() -> Self {
        Self { number: 0, of: 1 }
    }
}

impl Part {
    pub(super) fn is_first(self) -> bool {
        self.number == 0
    }

    pub(super) fn next(self) -> Option<Self> {
        (self.number + 1 < self.of).then_some(Self { number: self.number + 1, ..self })
    }

    fn holds(self, name: Name) -> bool {
        name.0 % self.of == self.number
    }
}

/// 128 bits of a name's hash: no two names of any system share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name(u64, u64);

impl Name {
    fn of(object_name: &str) -> Self {
        let hash = blake3::hash(object_name.as_bytes());
        let half = |at: usize| {
            let octets = hash.as_bytes()[at..at + 8].iter();
            octets.fold(0, |number, octet| (number << 8) | u64::from(*octet))
        };
        Self(half(0), half(8))
    }
}

/// The segments of a part, and which of them were seen in use.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Sorted by name, each with its octets; the highest bit says that it was seen.
    segments: Vec<(Name, u64)>,
    unseen: u64,
}

const SEEN: u64 = 1 << 63;

/// What is known of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It belongs to another part.
    Elsewhere,
    /// It is listed, with so many octets.
    Listed(u64),
    /// It was not there when segments were listed.
    NotListed,
}

impl Listed {
    /// Looks a name up and notes that it is in use.
    pub(super) fn see(&mut self, part: Part, object_name: &str) -> Found {
        let name = Name::of(object_name);
        if !part.holds(name) {
            return Found::Elsewhere;
        }
        let Ok(at) = self.segments.binary_search_by_key(&name, |(name, _)| *name) else {
            return Found::NotListed;
        };
        let Some((_, size)) = self.segments.get_mut(at) else { return Found::NotListed };
        self.unseen -= u64::from(*size & SEEN == 0);
        *size |= SEEN;
        Found::Listed(*size & !SEEN)
    }

    /// Looks a name up.
    pub(super) fn find(&self, part: Part, object_name: &str) -> Found {
        let name = Name::of(object_name);
        if !part.holds(name) {
            return Found::Elsewhere;
        }
        match self.segments.binary_search_by_key(&name, |(name, _)| *name) {
            Ok(at) => Found::Listed(self.segments.get(at).map_or(0, |(_, size)| size & !SEEN)),
            Err(_) => Found::NotListed,
        }
    }

    /// Returns how many segments nothing was seen to use.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// Says whether this segment was listed, and nothing was seen to use it.
    pub(super) fn is_unseen(&self, object_name: &str) -> bool {
        let name = Name::of(object_name);
        let at = self.segments.binary_search_by_key(&name, |(name, _)| *name);
        at.is_ok_and(|at| self.segments.get(at).is_some_and(|(_, size)| size & SEEN == 0))
    }

    /// Takes a segment in. The first part is divided when it grows too large.
    fn add(&mut self, part: &mut Part, segment: &Segment, most: usize) {
        let name = Name::of(&segment.object_name);
        if !part.holds(name) {
            return;
        }
        self.segments.push((name, segment.size_bytes & !SEEN));
        while part.is_first() && self.segments.len() > most {
            part.of *= 2;
            self.segments.retain(|(name, _)| part.holds(*name));
        }
    }

    fn sort(&mut self) {
        self.segments.sort_unstable();
        self.segments.dedup_by_key(|(name, _)| *name);
        self.unseen = self.segments.len() as u64;
    }
}

impl Metadata {
    /// Lists the segments of a part; the first time it is found how many parts there must be.
    pub(super) async fn list_segments(
        &self,
        part: &mut Part,
        report: &mut Report,
    ) -> Result<Listed, MetadataError> {
        report.begin(AuditPhase::Segments, None).await?;
        let mut listed = Listed::default();
        let mut after = None;
        loop {
            let SegmentPage { segments, next, .. } = self.segment_page(after.as_deref()).await?;
            for segment in &segments {
                if part.is_first() {
                    report.summary.segments += 1;
                    report.summary.segment_bytes += segment.size_bytes;
                }
                listed.add(part, segment, LISTED_MAX);
            }
            report.did(segments.len(), None).await?;
            after = next;
            if after.is_none() {
                listed.sort();
                return Ok(listed);
            }
        }
    }

    pub(super) async fn segment_page(&self, after: Option<&str>) -> Result<SegmentPage, MetadataError> {
        let page = self.segments.list(after).await;
        page.map_err(|error| MetadataError::Unavailable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u64) -> Segment {
        Segment { object_name: format!("segment-{number}"), size_bytes: number, created_ms: 0 }
    }

    #[test]
    fn parts_hold_each_segment_once_and_stay_small() {
        let most = 100;
        let mut part = Part::default();
        let mut found = 0;
        loop {
            let mut listed = Listed::default();
            for number in 0..1_000 {
                listed.add(&mut part, &segment(number), most);
                assert!(!part.is_first() || listed.segments.len() <= most);
            }
            listed.sort();
            assert!(listed.segments.len() < 2 * most, "parts are about as large as one another");
            for number in 0..1_000 {
                match listed.see(part, &segment(number).object_name) {
                    Found::Listed(size) => {
                        assert_eq!(size, number);
                        found += 1;
                    }
                    other => assert_eq!(other, Found::Elsewhere),
                }
            }
            assert_eq!(listed.unseen(), 0);
            match part.next() {
                Some(next) => part = next,
                None => break,
            }
        }
        assert!(part.of > 8);
        assert_eq!(found, 1_000);
    }

    #[test]
    fn what_is_seen_is_counted_once() {
        let mut part = Part::default();
        let mut listed = Listed::default();
        for number in 0..3 {
            listed.add(&mut part, &segment(number), 10);
        }
        listed.sort();
        assert_eq!(listed.see(part, "segment-9"), Found::NotListed);
        for _ in 0..2 {
            assert_eq!(listed.see(part, "segment-1"), Found::Listed(1));
        }
        assert_eq!(listed.unseen(), 2);
        assert!(listed.is_unseen("segment-2") && !listed.is_unseen("segment-1"));
        assert!(!listed.is_unseen("segment-9"), "it was not listed");
    }
}

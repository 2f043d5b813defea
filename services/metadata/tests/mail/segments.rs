//! A blob service in a box: segments whose messages have no bytes but an identity.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use puro_api::model::{Labelled, Segment, SegmentPage};
use puro_metadata::{Clock, ManualClock, Presence, Segments, SegmentsError};
use puro_types::{Codec, Frame, Location};

/// Octets of a message.
const LENGTH: u64 = 1_000;
/// Octets in front of the first message of a segment.
const FRONT: u64 = 100;
/// Segments on a page.
const PAGE: usize = 3;

#[derive(Debug, Clone)]
struct Stored {
    /// Who each message is, and its label.
    messages: Vec<(u32, Bytes)>,
    created_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    stored: BTreeMap<String, Stored>,
    deleted: BTreeSet<String>,
    next: u32,
    /// Changing calls so far, and which of them fails, before or after it was done.
    calls: u64,
    failing: Option<(u64, bool)>,
}

/// Segments that remember which of them were deleted, those that were never put here included.
#[derive(Debug)]
pub(crate) struct FakeSegments {
    state: Mutex<State>,
    clock: Arc<ManualClock>,
    down: AtomicBool,
}

impl FakeSegments {
    pub(crate) fn new(clock: Arc<ManualClock>) -> Self {
        Self { state: Mutex::default(), clock, down: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Puts a segment of messages with these labels; returns their places.
    pub(crate) fn put(&self, labels: Vec<Bytes>) -> Vec<Location> {
        let mut state = self.state();
        let messages = labels.into_iter().map(|label| {
            state.next += 1;
            (state.next, label)
        });
        let messages = messages.collect();
        self.add(&mut state, messages)
    }

    fn add(&self, state: &mut State, messages: Vec<(u32, Bytes)>) -> Vec<Location> {
        state.next += 1;
        let object_name = format!("stored-{:05}", state.next);
        let slots = u32::try_from(messages.len()).unwrap();
        let places = (0..).zip(&messages).map(|(slot, (identity, _))| Location {
            bucket: String::new(),
            object_name: object_name.clone(),
            offset: FRONT + u64::from(slot) * LENGTH,
            header: frame(300, *identity),
            body: frame(LENGTH - 300, *identity),
            slot,
            slots,
        });
        let places = places.collect();
        state.stored.insert(object_name, Stored { messages, created_ms: self.clock.now_ms() });
        places
    }

    /// Has the `call`-th changing call from now fail, before or after it is done.
    pub(crate) fn fail(&self, call: u64, after: bool) {
        let mut state = self.state();
        (state.calls, state.failing) = (0, Some((call, after)));
    }

    pub(crate) fn heal(&self) {
        self.set_down(false);
        self.state().failing = None;
    }

    /// Says whether the call that was to fail was made.
    pub(crate) fn has_failed(&self) -> bool {
        let state = self.state();
        state.failing.is_some_and(|(call, _)| state.calls > call)
    }

    pub(crate) fn deleted(&self) -> BTreeSet<String> {
        self.state().deleted.clone()
    }

    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        self.state().deleted.contains(name)
    }

    /// Loses a segment, as no program does.
    pub(crate) fn lose(&self, name: &str) {
        assert!(self.state().stored.remove(name).is_some(), "{name}");
    }

    /// Damages a message.
    pub(crate) fn damage(&self, location: &Location) {
        let slot = usize::try_from(location.slot).unwrap();
        self.state().stored.get_mut(&location.object_name).unwrap().messages[slot].0 += 1_000_000;
    }

    /// Makes a segment older, or younger.
    pub(crate) fn set_created(&self, name: &str, created_ms: u64) {
        self.state().stored.get_mut(name).unwrap().created_ms = created_ms;
    }

    /// Returns the names of the segments that are there, of those that were put here.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.state().stored.keys().cloned().collect()
    }

    /// Says whether a message is where it is said to be.
    pub(crate) fn holds(&self, location: &Location) -> bool {
        let state = self.state();
        let slot = usize::try_from(location.slot).unwrap();
        let found = state.stored.get(&location.object_name).and_then(|stored| stored.messages.get(slot));
        let is_here = found.is_some_and(|(identity, _)| frame(300, *identity) == location.header);
        is_here && location.offset == FRONT + u64::from(location.slot) * LENGTH
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    fn up(&self) -> Result<(), SegmentsError> {
        if self.down.load(Ordering::SeqCst) { Err(SegmentsError("down".to_owned())) } else { Ok(()) }
    }

    /// Does a change, or fails before or after it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T, SegmentsError> {
        self.up()?;
        let mut state = self.state();
        let number = state.calls;
        state.calls += 1;
        let failed = || SegmentsError("injected".to_owned());
        match state.failing {
            Some((call, false)) if call == number => Err(failed()),
            Some((call, true)) if call == number => {
                change(&mut state);
                Err(failed())
            }
            _ => Ok(change(&mut state)),
        }
    }
}

/// The frame of a message with this identity.
fn frame(length: u64, identity: u32) -> Frame {
    Frame { stored_length: length, length, codec: Codec::Plain, checksum: identity }
}

#[async_trait]
impl Segments for FakeSegments {
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError> {
        self.change(|state| {
            for name in object_names {
                state.stored.remove(name);
                state.deleted.insert(name.clone());
            }
        })
    }

    async fn labels(&self, object_name: &str, _: u64) -> Result<Vec<Labelled>, SegmentsError> {
        self.up()?;
        let state = self.state();
        let Some(stored) = state.stored.get(object_name) else { return Ok(Vec::new()) };
        if stored.messages.iter().all(|(_, label)| label.is_empty()) {
            return Ok(Vec::new());
        }
        let label = |(_, label): &(u32, Bytes)| Labelled { stored_length: LENGTH, label: label.clone() };
        Ok(stored.messages.iter().map(label).collect())
    }

    async fn copy(&self, locations: &[Location]) -> Result<Option<Vec<Location>>, SegmentsError> {
        if !locations.iter().all(|location| self.holds(location)) {
            return Ok(None);
        }
        self.change(|state| {
            let from = &state.stored[&locations[0].object_name];
            let messages =
                locations.iter().map(|at| from.messages[usize::try_from(at.slot).unwrap()].clone());
            let messages = messages.collect();
            Some(self.add(state, messages))
        })
    }

    async fn list(&self, after: Option<&str>) -> Result<SegmentPage, SegmentsError> {
        self.up()?;
        let state = self.state();
        let rest = state.stored.iter().filter(|(name, _)| after.is_none_or(|after| name.as_str() > after));
        let segment = |(name, stored): (&String, &Stored)| Segment {
            object_name: name.clone(),
            size_bytes: FRONT + LENGTH * stored.messages.len() as u64,
            created_ms: stored.created_ms,
        };
        let segments: Vec<Segment> = rest.map(segment).take(PAGE).collect();
        let next = segments.last().filter(|_| segments.len() == PAGE).map(|last| last.object_name.clone());
        Ok(SegmentPage { segments, next, now_ms: self.clock.now_ms() })
    }

    async fn inspect(&self, location: &Location) -> Result<Presence, SegmentsError> {
        self.up()?;
        let is_there = self.state().stored.contains_key(&location.object_name);
        Ok(match (is_there, self.holds(location)) {
            (_, true) => Presence::Whole,
            (true, false) => Presence::Damaged,
            (false, false) => Presence::Gone,
        })
    }
}

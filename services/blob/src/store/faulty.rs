//! Makes a store fail on purpose: at the k-th call, or at random from a seed.

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};

use super::{SegmentPage, SegmentStore, SegmentWriter, StoreError, Written};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done: `Unavailable`.
    Before,
    /// All is done, and the answer is lost: `OutcomeUnknown` from a write, `Unavailable` from the rest.
    After,
    /// As `Before` or `After`, but the error is `OutcomeUnknown` either way; every second one is done.
    Unknown,
    /// A read ends, without an error, after so many octets. Another call is not touched.
    CutRead(u64),
    /// One bit of a read is turned: of the octet at this place in the range, as far as there is one. Another call is not
    /// touched.
    FlipBit(u64),
}

/// Which calls go wrong. Every verb of the store and of its writers is a call; they are counted from 0.
#[derive(Debug, Clone)]
pub enum Faults {
    /// These calls.
    Script(Vec<(u64, Fault)>),
    /// So many calls in a thousand, chosen by the seed.
    Seeded {
        /// One seed gives one run.
        seed: u64,
        /// Calls in a thousand.
        per_mille: u64,
    },
}

/// A store that fails.
#[derive(Debug)]
pub struct Faulty<S: ?Sized> {
    plan: Arc<Mutex<Plan>>,
    inner: Arc<S>,
}

#[derive(Debug)]
struct Plan {
    faults: Faults,
    calls: u64,
    unknowns: u64,
}

impl<S: SegmentStore + ?Sized> Faulty<S> {
    /// Wraps a store.
    pub fn new(inner: Arc<S>, faults: Faults) -> Self {
        Self { plan: Arc::new(Mutex::new(Plan { faults, calls: 0, unknowns: 0 })), inner }
    }

    /// Returns how many calls there were.
    pub fn calls(&self) -> u64 {
        lock(&self.plan).calls
    }

    /// Puts another plan in the place of this one; calls are counted on.
    pub fn set(&self, faults: Faults) {
        lock(&self.plan).faults = faults;
    }
}

fn lock(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Plan {
    fn next(&mut self) -> Option<Fault> {
        let call = self.calls;
        self.calls += 1;
        match &mut self.faults {
            Faults::Script(faults) => faults.iter().find(|(at, _)| *at == call).map(|(_, fault)| *fault),
            Faults::Seeded { seed, per_mille } => {
                let (dice, kind) = (split_mix(seed), split_mix(seed));
                let faults = [
                    Fault::Before,
                    Fault::After,
                    Fault::Unknown,
                    Fault::CutRead(kind >> 48),
                    Fault::FlipBit(kind >> 48),
                ];
                let fault = faults.get(usize::try_from(kind % 5).unwrap_or(0)).copied();
                fault.filter(|_| dice % 1000 < *per_mille)
            }
        }
    }
}

/// SplitMix64, by Sebastiano Vigna (public domain): small, and the same on every machine.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a call is about to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Write,
    Other,
}

/// Runs a call under the plan.
async fn call<T>(
    plan: &Mutex<Plan>,
    verb: Verb,
    work: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    let unknown = || StoreError::OutcomeUnknown("injected".to_owned());
    let (done, error) = {
        let mut plan = lock(plan);
        match plan.next() {
            None | Some(Fault::CutRead(_) | Fault::FlipBit(_)) => (true, None),
            Some(Fault::Before) => (false, Some(StoreError::Unavailable("injected".to_owned()))),
            Some(Fault::After) if verb == Verb::Write => (true, Some(unknown())),
            Some(Fault::After) => (true, Some(StoreError::Unavailable("injected".to_owned()))),
            Some(Fault::Unknown) => {
                plan.unknowns += 1;
                (plan.unknowns.is_multiple_of(2), Some(unknown()))
            }
        }
    };
    match (done, error) {
        (_, None) => work.await,
        (false, Some(error)) => Err(error),
        (true, Some(error)) => work.await.and(Err(error)),
    }
}

#[async_trait]
impl<S: SegmentStore + ?Sized> SegmentStore for Faulty<S> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        call(&self.plan, Verb::Write, self.inner.put(pieces)).await
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        let inner = call(&self.plan, Verb::Other, self.inner.begin()).await?;
        Ok(Box::new(FaultyWriter { plan: self.plan.clone(), inner }))
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let fault = lock(&self.plan).next();
        match fault {
            Some(Fault::Before | Fault::After | Fault::Unknown) => {
                Err(StoreError::Unavailable("injected".to_owned()))
            }
            _ => Ok(spoil(self.inner.read(object_name, range).await?, fault)),
        }
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        call(&self.plan, Verb::Write, self.inner.delete(object_names)).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        call(&self.plan, Verb::Other, self.inner.list(after, limit)).await
    }
}

fn spoil(
    chunks: BoxStream<'static, Result<Bytes, StoreError>>,
    fault: Option<Fault>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let mut at = 0;
    let change = move |chunk: Bytes| {
        let start = at;
        at += chunk.len() as u64;
        let inside = |place: u64| place.checked_sub(start).and_then(|place| usize::try_from(place).ok());
        match fault {
            Some(Fault::CutRead(left)) => chunk.slice(..inside(left).map_or(0, |left| left.min(chunk.len()))),
            Some(Fault::FlipBit(place)) => match inside(place).filter(|place| *place < chunk.len()) {
                Some(place) => {
                    let mut octets = chunk.to_vec();
                    octets[place] ^= 1 << (place % 8);
                    octets.into()
                }
                None => chunk,
            },
            _ => chunk,
        }
    };
    let mut change = change;
    chunks.map(move |chunk| chunk.map(&mut change)).boxed()
}

struct FaultyWriter {
    plan: Arc<Mutex<Plan>>,
    inner: Box<dyn SegmentWriter>,
}

#[async_trait]
impl SegmentWriter for FaultyWriter {
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        call(&self.plan, Verb::Other, self.inner.write(octets)).await
    }

    async fn finish(self: Box<Self>) -> Result<Written, StoreError> {
        call(&self.plan, Verb::Write, self.inner.finish()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, contract};

    #[tokio::test]
    async fn contract_without_faults() {
        let store = MemoryStore::new();
        let faults = Faults::Script(Vec::new());
        contract::run(Box::new(move || Arc::new(Faulty::new(Arc::new(store.clone()), faults.clone())))).await;
    }

    #[tokio::test]
    async fn a_fault_before_writes_nothing_and_one_after_writes() {
        let memory = Arc::new(MemoryStore::new());
        let script = vec![(0, Fault::Before), (1, Fault::After), (2, Fault::Unknown), (3, Fault::Unknown)];
        let store = Faulty::new(memory.clone(), Faults::Script(script));
        let mut segments = Vec::new();
        for _ in 0..5 {
            let error = store.put(vec![Bytes::from_static(b"x")]).await.err();
            segments.push((error, memory.list(None, 100).await.unwrap().segments.len()));
        }
        let unavailable = Some(StoreError::Unavailable("injected".to_owned()));
        let unknown = Some(StoreError::OutcomeUnknown("injected".to_owned()));
        let expected =
            [(unavailable, 0), (unknown.clone(), 1), (unknown.clone(), 1), (unknown, 2), (None, 3)];
        assert_eq!(segments, expected);
        assert_eq!(store.calls(), 5);
    }

    #[tokio::test]
    async fn reads_are_cut_and_bits_turned() {
        let faults = Faults::Script(vec![(1, Fault::CutRead(2)), (2, Fault::FlipBit(1))]);
        let store = Faulty::new(Arc::new(MemoryStore::new()), faults);
        let name = store.put(vec![Bytes::from_static(b"abcd")]).await.unwrap().object_name;
        for expected in [&b"ab"[..], b"a`cd", b"abcd"] {
            let chunks: Vec<_> = store.read(&name, 0..4).await.unwrap().collect().await;
            assert_eq!(chunks, [Ok(Bytes::from(expected))]);
        }
    }

    #[tokio::test]
    async fn one_seed_gives_one_run() {
        let run = |seed| async move {
            let faults = Faults::Seeded { seed, per_mille: 300 };
            let store = Faulty::new(Arc::new(MemoryStore::new()), faults);
            let mut outcomes = Vec::new();
            for _ in 0..100 {
                outcomes.push(store.put(vec![Bytes::from_static(b"x")]).await.is_ok());
            }
            outcomes
        };
        assert_eq!(run(7).await, run(7).await);
        assert_ne!(run(7).await, run(8).await);
    }
}

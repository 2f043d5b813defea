//! Makes a store fail on purpose: at a chosen call, or at random from a seed. For tests.
//!
//! To try an operation with each of its calls failing in each way:
//!
//! ```
//! # use std::sync::Arc;
//! # use puro_metadata::store::{*, faulty::{Calls, Fault, FaultPlan, FaultyStore}, memory::MemoryStore};
//! # async fn operation(_: &dyn ItemStore) {}
//! # async fn test() {
//! for fault in Fault::ALL {
//!     for n in 0.. {
//!         let store = FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::nth(n, Calls::Any, fault));
//!         operation(&store).await;
//!         if store.injected() == 0 {
//!             break; // the operation makes no more than n calls
//!         }
//!         // here: look at what holds, repeat the operation, look again
//!     }
//! }
//! # }
//! ```

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update};

/// How a call fails. A read fails in one way only: [`StoreError::Unavailable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The write is not applied: [`StoreError::Unavailable`].
    Before,
    /// The write is not applied, but the caller cannot know: [`StoreError::OutcomeUnknown`].
    BeforeUnknown,
    /// The write is applied and its answer lost: [`StoreError::OutcomeUnknown`]. What the store itself refuses, a
    /// failed condition for one, is lost as well.
    AfterUnknown,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 3] = [Self::Before, Self::BeforeUnknown, Self::AfterUnknown];
}

/// Which calls a plan counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Calls {
    /// Every call.
    Any,
    /// Get, query and scan.
    Reads,
    /// Put, update and delete.
    Writes,
}

/// When to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultPlan {
    rule: Rule,
    delay: Option<(u64, Duration)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Never,
    During(Range<u64>, Calls, Fault),
    Random { seed: u64, per_mille: u64 },
}

impl FaultPlan {
    /// Never fails.
    #[must_use]
    pub const fn none() -> Self {
        Self { rule: Rule::Never, delay: None }
    }

    /// Fails the call with this number, from 0, among the calls counted.
    #[must_use]
    pub const fn nth(number: u64, calls: Calls, fault: Fault) -> Self {
        Self::during(number..number.saturating_add(1), calls, fault)
    }

    /// Fails a run of calls: an outage.
    #[must_use]
    pub const fn during(numbers: Range<u64>, calls: Calls, fault: Fault) -> Self {
        Self { rule: Rule::During(numbers, calls, fault), delay: None }
    }

    /// Fails so many of a thousand calls, in all ways. The n-th call fares the same for the same seed.
    #[must_use]
    pub const fn seeded(seed: u64, per_mille: u64) -> Self {
        Self { rule: Rule::Random { seed, per_mille }, delay: None }
    }

    /// Delays each call for a time up to `longest`, by tokio's clock (which a test can pause), from a seed.
    #[must_use]
    pub const fn with_delay(self, seed: u64, longest: Duration) -> Self {
        Self { delay: Some((seed, longest)), ..self }
    }

    fn fault(&self, number: Number) -> Option<Fault> {
        match &self.rule {
            Rule::Never => None,
            Rule::During(numbers, calls, fault) => {
                let number = match calls {
                    Calls::Any => Some(number.any),
                    Calls::Reads => (!number.is_write).then_some(number.of_kind),
                    Calls::Writes => number.is_write.then_some(number.of_kind),
                };
                number.is_some_and(|number| numbers.contains(&number)).then_some(*fault)
            }
            Rule::Random { seed, per_mille } => {
                let draw = scramble(*seed, number.any);
                let fault = Fault::ALL[usize::from(draw.to_be_bytes()[0]) % Fault::ALL.len()];
                (draw % 1000 < *per_mille).then_some(fault)
            }
        }
    }

    fn delay(&self, number: Number) -> Option<Duration> {
        let (seed, longest) = self.delay?;
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        Some(Duration::from_micros(scramble(seed, number.any) % micros))
    }
}

/// A number for each pair, well spread (the finaliser of SplitMix64).
fn scramble(seed: u64, number: u64) -> u64 {
    let mut x = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A call's place among all calls and among those of its kind.
#[derive(Debug, Clone, Copy)]
struct Number {
    any: u64,
    of_kind: u64,
    is_write: bool,
}

/// A store that fails by plan.
pub struct FaultyStore {
    inner: Arc<dyn ItemStore>,
    state: Mutex<State>,
    injected: AtomicU64,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    reads: u64,
    writes: u64,
}

impl FaultyStore {
    /// Wraps a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ItemStore>, plan: FaultPlan) -> Self {
        let state = Mutex::new(State { plan, reads: 0, writes: 0 });
        Self { inner, state, injected: AtomicU64::new(0) }
    }

    /// Changes the plan and counts from 0 again, the injected faults too.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.with_state(|state| *state = State { plan, reads: 0, writes: 0 });
        self.injected.store(0, Ordering::Relaxed);
    }

    /// Returns how many calls of a kind were made under this plan, failed ones included.
    #[must_use]
    pub fn calls(&self, calls: Calls) -> u64 {
        self.with_state(|state| match calls {
            Calls::Any => state.reads + state.writes,
            Calls::Reads => state.reads,
            Calls::Writes => state.writes,
        })
    }

    /// Returns how many calls failed by this plan.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.injected.load(Ordering::Relaxed)
    }

    fn with_state<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a call, waits out its delay and says how it fails.
    async fn next(&self, is_write: bool) -> Option<Fault> {
        let (fault, delay) = self.with_state(|state| {
            let any = state.reads + state.writes;
            let of_kind = if is_write { &mut state.writes } else { &mut state.reads };
            let number = Number { any, of_kind: *of_kind, is_write };
            *of_kind += 1;
            (state.plan.fault(number), state.plan.delay(number))
        });
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        if fault.is_some() {
            self.injected.fetch_add(1, Ordering::Relaxed);
        }
        fault
    }

    async fn read<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.next(false).await {
            None => call.await,
            Some(_) => Err(StoreError::Unavailable("injected".into())),
        }
    }

    async fn write<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.next(true).await {
            None => call.await,
            Some(Fault::Before) => Err(StoreError::Unavailable("injected".into())),
            Some(Fault::BeforeUnknown) => Err(StoreError::OutcomeUnknown("injected".into())),
            Some(Fault::AfterUnknown) => {
                let _ = call.await;
                Err(StoreError::OutcomeUnknown("injected".into()))
            }
        }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemStore for FaultyStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        self.read(self.inner.get(table, key, consistency)).await
    }

    async fn get_many(
        &self,
        table: Table,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.read(self.inner.get_many(table, keys, consistency)).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.read(self.inner.query(query)).await
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.read(self.inner.scan(table, after, limit)).await
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.write(self.inner.put(table, key, item, condition)).await
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        self.write(self.inner.update(table, key, update, condition)).await
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.write(self.inner.delete(table, key, condition)).await
    }
}

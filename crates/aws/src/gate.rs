//! The gate in front of a store: so many calls run, so many wait, and where the store is down none is made.
//!
//! Without it a store that hangs would gather a task, a connection and a request for each client that asks, until memory
//! ends. A refused call has sent nothing, so its caller may tell the client to come again at once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::breaker::{Admission, Breaker, BreakerLimits, Turn};

/// What a gate lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateLimits {
    /// Calls that run at once; as many connections there are at most.
    pub in_flight: usize,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// How long one waits.
    pub patience: Duration,
    /// A call that its caller gave up after this long counts as a failure of the store.
    pub slow: Duration,
    /// When the store counts as down.
    pub breaker: BreakerLimits,
}

/// Why a gate let a call not through. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// As many calls wait as may.
    #[error("too many calls are waiting for it")]
    Full,
    /// The wait took too long.
    #[error("it is too slow for the calls that wait")]
    TooLong,
    /// The store failed lately, and is tried now and then.
    #[error("it has failed lately and is being left alone for a moment")]
    Down,
}

/// What a gate has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateCounts {
    /// Calls that run now.
    pub in_flight: u64,
    /// Calls that wait now.
    pub waiting: u64,
    /// Calls refused so far.
    pub refused: u64,
    /// Whether the store counts as down now.
    pub is_down: bool,
}

/// A gate. One a store; clone the `Arc`.
#[derive(Debug)]
pub struct Gate {
    store: &'static str,
    limits: GateLimits,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    refused: AtomicU64,
    breaker: Mutex<Breaker>,
}

impl Gate {
    /// Makes the gate of a store, whose name is for the log.
    #[must_use]
    pub fn new(store: &'static str, limits: GateLimits) -> Arc<Self> {
        let in_flight = limits.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            store,
            limits: GateLimits { in_flight, ..limits },
            places: Arc::new(Semaphore::new(in_flight)),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            breaker: Mutex::new(Breaker::new(limits.breaker)),
        })
    }

    /// Waits for a turn. Cancel-safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// [`Closed`]: at once where the store is down or too many wait already.
    pub async fn enter(self: &Arc<Self>) -> Result<Pass, Closed> {
        let entered = self.try_enter().await;
        if entered.is_err() {
            self.refused.fetch_add(1, Relaxed);
        }
        entered
    }

    /// Returns what this gate has seen.
    #[must_use]
    pub fn counts(&self) -> GateCounts {
        let in_flight = self.limits.in_flight.saturating_sub(self.places.available_permits());
        GateCounts {
            in_flight: in_flight as u64,
            waiting: self.waiting.load(Relaxed) as u64,
            refused: self.refused.load(Relaxed),
            is_down: self.breaker().is_open(),
        }
    }

    async fn try_enter(self: &Arc<Self>) -> Result<Pass, Closed> {
        if self.breaker().refuses(Instant::now()) {
            return Err(Closed::Down);
        }
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => self.wait().await?,
        };
        let now = Instant::now();
        // It may have gone down while this call waited.
        let is_probe = match self.breaker().admit(now) {
            Admission::Refused => return Err(Closed::Down),
            Admission::Call => false,
            Admission::Probe => true,
        };
        Ok(Pass { gate: Arc::clone(self), begun: now, is_probe, is_settled: false, _place: place })
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, Closed> {
        let Some(_waiting) = Waiting::enter(&self.waiting, self.limits.waiting) else {
            return Err(Closed::Full);
        };
        match timeout(self.limits.patience, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(Closed::TooLong),
        }
    }

    fn turned(&self, turn: Turn) {
        match turn {
            Turn::Opened => {
                tracing::warn!(store = self.store, "the store does not answer: calls are refused")
            }
            Turn::Closed => tracing::info!(store = self.store, "the store answers again"),
            Turn::None => {}
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // No change to the breaker can panic half-way.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        count.fetch_update(Relaxed, Relaxed, |waiting| (waiting < most).then(|| waiting + 1)).ok()?;
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Leave to make one call, which says at its end how the store did. One that is dropped says nothing, unless the call
/// took so long that its caller must have given up.
#[derive(Debug)]
#[must_use = "a pass that is dropped at once bounds nothing"]
pub struct Pass {
    gate: Arc<Gate>,
    begun: Instant,
    is_probe: bool,
    is_settled: bool,
    _place: OwnedSemaphorePermit,
}

impl Pass {
    /// The store answered, if only to refuse the request.
    pub fn answered(mut self) {
        self.is_settled = true;
        let turn = self.gate.breaker().answered();
        self.gate.turned(turn);
    }

    /// The store did not answer, or answered that it is broken.
    pub fn failed(mut self) {
        self.fail();
    }

    fn fail(&mut self) {
        self.is_settled = true;
        let turn = self.gate.breaker().failed(self.is_probe, Instant::now());
        self.gate.turned(turn);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if self.begun.elapsed() >= self.gate.limits.slow {
            self.fail();
        } else if self.is_probe {
            self.gate.breaker().abandoned(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    fn gate() -> Arc<Gate> {
        let breaker = BreakerLimits { failures: 2, ..BreakerLimits::default() };
        let slow = Duration::from_secs(3);
        Gate::new("test", GateLimits { in_flight: 2, waiting: 3, patience: PATIENCE, slow, breaker })
    }

    async fn fill(gate: &Arc<Gate>) -> Vec<Pass> {
        vec![gate.enter().await.unwrap(), gate.enter().await.unwrap()]
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_run_so_many_wait_and_the_rest_is_refused_at_once() {
        let gate = gate();
        let mut running = fill(&gate).await;
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.enter().await })
            })
            .collect();
        while gate.counts().waiting < 3 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        assert_eq!(gate.enter().await.unwrap_err(), Closed::Full);
        assert_eq!(begun.elapsed(), Duration::ZERO);
        running.pop().unwrap().answered();
        let mut entered = Vec::new();
        for waiter in waiting {
            entered.push(waiter.await.unwrap());
        }
        // The place that became free went from one to the next when nobody settled it: the first has it, two gave up.
        assert_eq!(entered.iter().filter(|entry| entry.is_ok()).count(), 1);
        assert_eq!(begun.elapsed(), PATIENCE);
        assert_eq!(gate.counts(), GateCounts { in_flight: 2, waiting: 0, refused: 3, is_down: false });
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_makes_room() {
        let gate = gate();
        let _running = fill(&gate).await;
        for _ in 0..10 {
            assert!(timeout(Duration::from_millis(5), gate.enter()).await.is_err());
        }
        assert_eq!(gate.counts(), GateCounts { in_flight: 2, ..GateCounts::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_down_is_left_alone_and_tried_again() {
        let gate = gate();
        for pass in fill(&gate).await {
            pass.failed();
        }
        assert_eq!(gate.enter().await.unwrap_err(), Closed::Down);
        assert!(gate.counts().is_down);
        tokio::time::advance(Duration::from_millis(250)).await;
        let probe = gate.enter().await.unwrap();
        assert_eq!(gate.enter().await.unwrap_err(), Closed::Down);
        probe.answered();
        gate.enter().await.unwrap().answered();
        assert!(!gate.counts().is_down);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_are_refused_when_it_goes_down() {
        let gate = gate();
        let running = fill(&gate).await;
        let waiter = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.enter().await.map(drop) })
        };
        while gate.counts().waiting < 1 {
            tokio::task::yield_now().await;
        }
        for pass in running {
            pass.failed();
        }
        // The first place came free before the second failure: whoever was woken looks again.
        assert_eq!(waiter.await.unwrap(), Err(Closed::Down));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_given_up_early_says_nothing_and_late_counts_as_a_failure() {
        let gate = gate();
        for _ in 0..5 {
            drop(fill(&gate).await);
        }
        assert!(!gate.counts().is_down);
        let slow = fill(&gate).await;
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(slow);
        assert!(gate.counts().is_down);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_given_up_does_not_leave_the_gate_shut() {
        let gate = gate();
        for pass in fill(&gate).await {
            pass.failed();
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(gate.enter().await.unwrap());
        gate.enter().await.unwrap().answered();
        gate.enter().await.unwrap().answered();
    }
}

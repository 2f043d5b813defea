//! Slows the guessing of passwords: a few tries at once for each login, then one every few seconds.
//!
//! What it is not: a lock-out that lasts or that replicas share. It is in memory, so each replica counts for itself and
//! a restart forgets; limits that are durable, shared and by client address are left for later. A name that nobody has is
//! counted like any other, so that being slowed tells nothing about who has an account.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

/// Tries at once.
const BURST: u32 = 10;
/// How long it takes until one more try is allowed.
const REFILL: Duration = Duration::from_secs(5);
/// Logins that are remembered. A bucket is made only for a hash that failed, and those take so long that a bucket is full
/// again before so many others push it out.
const LOGINS_REMEMBERED: usize = 65_536;
/// The least time between two log lines about the same.
const LINES_APART: Duration = Duration::from_secs(5);

/// The failures of each login: when its bucket is full again, as much later than now as tries are missing.
#[derive(Debug)]
pub(crate) struct Throttle(Cache<[u8; 32], Arc<Mutex<Instant>>>);

impl Throttle {
    pub(crate) fn new() -> Self {
        Self(Cache::new(LOGINS_REMEMBERED))
    }

    /// Says whether a login, given by a hash of it, has a try left. Only failures take one: any number of connections
    /// may log in with the right password at once.
    pub(crate) fn allows(&self, login: &[u8; 32]) -> bool {
        let full_at = self.0.get(login);
        full_at.is_none_or(|full_at| missing(*lock(&full_at), Instant::now()) <= REFILL * (BURST - 1))
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, login: &[u8; 32]) {
        let now = Instant::now();
        let made = self.0.get_or_insert_with(login, || Ok::<_, Infallible>(Arc::new(now.into())));
        let Ok(full_at) = made;
        let mut full_at = lock(&full_at);
        *full_at = now + missing(*full_at, now) + REFILL;
    }
}

/// Returns how long a bucket takes to be full.
fn missing(full_at: Instant, now: Instant) -> Duration {
    full_at.saturating_duration_since(now)
}

/// An event that is logged at most every few seconds, however often it happens.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<(Option<Instant>, u64)>);

impl Seldom {
    /// Counts the event; returns how many there were since the last line if it is time for another.
    pub(crate) fn tell(&self) -> Option<u64> {
        let mut state = lock(&self.0);
        let (quiet_until, events) = &mut *state;
        *events += 1;
        let now = Instant::now();
        if quiet_until.is_some_and(|until| until > now) {
            return None;
        }
        *quiet_until = Some(now + LINES_APART);
        Some(std::mem::take(events))
    }
}

/// What is behind these locks is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn tries(throttle: &Throttle, login: u8) -> usize {
        let attempt = || {
            let allowed = throttle.allows(&[login; 32]);
            if allowed {
                throttle.failed(&[login; 32]);
            }
            allowed
        };
        (0..1_000).take_while(|_| attempt()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn ten_tries_and_then_one_every_five_seconds() {
        let throttle = Throttle::new();
        assert_eq!((tries(&throttle, 1), tries(&throttle, 2)), (10, 10), "each login has its own");
        advance(Duration::from_millis(4_999)).await;
        assert_eq!(tries(&throttle, 1), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(tries(&throttle, 1), 1);
        advance(Duration::from_secs(15)).await;
        assert_eq!(tries(&throttle, 1), 3);
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(tries(&throttle, 1), 10, "more than a full bucket");
        assert!((0..1_000).all(|_| throttle.allows(&[3; 32])), "a try that does not fail takes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_are_bounded() {
        let throttle = Throttle::new();
        for number in 0..2 * LOGINS_REMEMBERED {
            let mut login = [0; 32];
            login[..8].copy_from_slice(&number.to_le_bytes());
            throttle.failed(&login);
        }
        assert!(throttle.0.len() <= LOGINS_REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_seldom_and_count_what_went_by() {
        let seldom = Seldom::default();
        assert_eq!((seldom.tell(), seldom.tell(), seldom.tell()), (Some(1), None, None));
        advance(LINES_APART).await;
        assert_eq!((seldom.tell(), seldom.tell()), (Some(3), None));
    }
}

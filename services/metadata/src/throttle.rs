//! Slows the guessing of passwords: a few tries at once for each login, then one every few seconds.
//!
//! What it is not: a lock-out that lasts or that replicas share. It is in memory, so each replica counts for itself and
//! a restart forgets; limits that are durable, shared and by client address are left for later. A name that nobody has is
//! counted like any other, so that being slowed tells nothing about who has an account.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

/// Tries at once.
const BURST: u32 = 10;
/// How long it takes until one more try is allowed.
const REFILL: Duration = Duration::from_secs(5);
/// Logins that are remembered. A bucket is made only for a try that gets a hash, and those take so long that a bucket is
/// full again before so many others push it out.
const LOGINS_REMEMBERED: usize = 65_536;
/// The least time between two log lines about the same.
const LINES_APART: Duration = Duration::from_secs(5);

/// When a login's bucket is full again: as much later than now as tries are missing.
type FullAt = Arc<Mutex<Instant>>;

/// The tries that each login has left.
#[derive(Debug)]
pub(crate) struct Throttle(Cache<[u8; 32], FullAt>);

/// A try that was allowed.
#[derive(Debug)]
pub(crate) struct Try(FullAt);

impl Throttle {
    pub(crate) fn new() -> Self {
        Self(Cache::new(LOGINS_REMEMBERED))
    }

    /// Takes a try of a login, given by a hash of it; `None` where it has none left.
    pub(crate) fn take(&self, login: &[u8; 32]) -> Option<Try> {
        let now = Instant::now();
        let made =
            self.0.get_or_insert_with(login, || Ok::<_, std::convert::Infallible>(FullAt::new(now.into())));
        let full_at = match made {
            Ok(full_at) => full_at,
            Err(never) => match never {},
        };
        let mut until = lock(&full_at);
        let missing = until.saturating_duration_since(now);
        if missing > REFILL * (BURST - 1) {
            return None;
        }
        *until = now + missing + REFILL;
        drop(until);
        Some(Try(full_at))
    }
}

impl Try {
    /// Gives the try back: the password was right.
    pub(crate) fn give_back(self) {
        let mut until = lock(&self.0);
        if let Some(earlier) = until.checked_sub(REFILL) {
            *until = earlier;
        }
    }
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
        (0..1_000).take_while(|_| throttle.take(&[login; 32]).is_some()).count()
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
        throttle.take(&[3; 32]).unwrap().give_back();
        assert_eq!(tries(&throttle, 3), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_are_bounded() {
        let throttle = Throttle::new();
        for number in 0..2 * LOGINS_REMEMBERED {
            let mut login = [0; 32];
            login[..8].copy_from_slice(&number.to_le_bytes());
            throttle.take(&login).unwrap();
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

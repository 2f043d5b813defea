//! Slows the guessing of passwords: a few tries at once for each login, then one every few seconds.
//!
//! A login without a try left is put off, not refused: the password, which nobody looked at, may be the right one.
//!
//! What it is not: a lock-out that lasts or that replicas share. It is in memory, so each replica counts for itself and
//! a restart forgets. Failures by client address are limited where the address is known, in the front ends. A name that
//! nobody has is counted like any other, so that being slowed tells nothing about who has an account.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use puro_serve::limit::Buckets;
use tokio::time::Instant;

/// Tries at once.
const BURST: u32 = 10;
/// How long it takes until one more try is allowed.
const REFILL: Duration = Duration::from_secs(5);
/// The least time between two log lines about the same.
const LINES_APART: Duration = Duration::from_secs(5);

/// The failures of each login, given by a hash of it.
#[derive(Debug)]
pub(crate) struct Throttle(Buckets<[u8; 32]>);

impl Throttle {
    pub(crate) fn new() -> Self {
        Self(Buckets::new(BURST, REFILL))
    }

    /// Says whether a login has a try left. Only failures take one: any number of connections may log in with the right
    /// password at once.
    pub(crate) fn allows(&self, login: &[u8; 32]) -> bool {
        self.0.allows(login)
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, login: &[u8; 32]) {
        self.0.take(login);
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

    #[tokio::test(start_paused = true)]
    async fn ten_tries_and_then_one_every_five_seconds() {
        let throttle = Throttle::new();
        let tries = || {
            let attempt = || throttle.allows(&[1; 32]).then(|| throttle.failed(&[1; 32]));
            (0..1_000).map_while(|_| attempt()).count()
        };
        assert_eq!(tries(), 10);
        advance(Duration::from_secs(5)).await;
        assert_eq!(tries(), 1);
        assert!((0..1_000).all(|_| throttle.allows(&[3; 32])), "a try that does not fail takes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_seldom_and_count_what_went_by() {
        let seldom = Seldom::default();
        assert_eq!((seldom.tell(), seldom.tell(), seldom.tell()), (Some(1), None, None));
        advance(LINES_APART).await;
        assert_eq!((seldom.tell(), seldom.tell()), (Some(3), None));
    }
}

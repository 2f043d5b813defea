//! Time and randomness come in from outside, so that tests and simulations decide them.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The wall clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Returns the time in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Returns a clock that shows `now_ms`, milliseconds since the Unix epoch.
    pub fn new(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    /// Moves the clock forward by `ms` milliseconds.
    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A source of randomness.
pub trait Random: Send + Sync + fmt::Debug + 'static {
    /// Fills the buffer.
    ///
    /// # Errors
    /// The system cannot give any.
    fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError>;
}

/// The source of randomness cannot give any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no randomness to be had")]
pub struct RandomError;

impl From<RandomError> for crate::MetadataError {
    fn from(error: RandomError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The operating system's randomness, fit for secrets.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(octets).map_err(|_| RandomError)
    }
}

/// Octets that follow from a seed: one seed, one run. Never for secrets.
#[derive(Debug)]
pub struct SeededRandom(Mutex<blake3::OutputReader>);

impl SeededRandom {
    /// Returns the source for `seed`.
    pub fn new(seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        Self(Mutex::new(hasher.finalize_xof()))
    }
}

impl Random for SeededRandom {
    fn fill(&self, octets: &mut [u8]) -> Result<(), RandomError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(octets);
        Ok(())
    }
}

/// Returns `N` random octets.
pub(crate) fn random_octets<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomError> {
    let mut octets = [0; N];
    random.fill(&mut octets)?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_run() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            [random_octets::<16>(&random).unwrap(), random_octets::<16>(&random).unwrap()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[0], draw(7)[1]);
    }
}

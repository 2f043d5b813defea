//! How often somebody may do something: a bucket of tries for each, that fills again by and by.
//!
//! What it is not: shared or durable. Each process counts for itself, and a restart forgets; memory is bounded.

use std::{
    convert::Infallible,
    fmt,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::{config::Settings, listener::counted};

/// Who is remembered at most. A bucket that is pushed out is full again: others would have to come in such numbers within
/// the time that a bucket takes to fill.
const REMEMBERED: usize = 65_536;

/// As `max_failed_logins_per_address` says.
const FAILED_LOGIN_REFILL: Duration = Duration::from_secs(10);

/// Buckets of tries, one for each key.
pub struct Buckets<K> {
    burst: u32,
    refill: Duration,
    /// When each is full again, as much later than now as tries are missing.
    full_at: Cache<K, Arc<Mutex<Instant>>>,
}

impl<K: Clone + Eq + Hash> Buckets<K> {
    /// Makes buckets of `burst` tries (at least one), each of which comes back after `refill`.
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self { burst: burst.max(1), refill, full_at: Cache::new(REMEMBERED) }
    }

    /// Says whether a try is left; takes none.
    pub fn allows(&self, key: &K) -> bool {
        let full_at = self.full_at.get(key);
        full_at
            .is_none_or(|full_at| missing(*lock(&full_at), Instant::now()) <= self.refill * (self.burst - 1))
    }

    /// Takes a try, whether one is left or not.
    pub fn take(&self, key: &K) {
        let now = Instant::now();
        let made = self.full_at.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::new(now.into())));
        let Ok(full_at) = made;
        let mut full_at = lock(&full_at);
        *full_at = now + missing(*full_at, now) + self.refill;
    }

    /// Returns how many have a bucket.
    #[must_use]
    pub fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Says whether nobody has a bucket.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full_at.len() == 0
    }
}

impl<K> fmt::Debug for Buckets<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets")
            .field("burst", &self.burst)
            .field("refill", &self.refill)
            .finish_non_exhaustive()
    }
}

/// Buckets by the client's address, an IPv6 /64 counting as one. Loopback is exempt: it is the operator's own machine, its
/// load tests, and everyone behind a proxy that does not speak the PROXY protocol.
#[derive(Debug)]
pub struct AddressLimit(Option<Buckets<IpAddr>>);

impl AddressLimit {
    /// Makes buckets of `burst` tries, each of which comes back after `refill`; 0: no limit.
    #[must_use]
    pub fn new(burst: u32, refill: Duration) -> Self {
        Self((burst > 0).then(|| Buckets::new(burst, refill)))
    }

    /// Makes the limit on failed logins that the settings name.
    #[must_use]
    pub fn failed_logins(settings: &Settings) -> Self {
        Self::new(settings.general.max_failed_logins_per_address, FAILED_LOGIN_REFILL)
    }

    /// Says whether an address has a try left; takes none.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.of(address).is_none_or(|(buckets, address)| buckets.allows(&address))
    }

    /// Takes a try of an address.
    pub fn take(&self, address: IpAddr) {
        if let Some((buckets, address)) = self.of(address) {
            buckets.take(&address);
        }
    }

    fn of(&self, address: IpAddr) -> Option<(&Buckets<IpAddr>, IpAddr)> {
        let limited = !address.to_canonical().is_loopback();
        self.0.as_ref().filter(|_| limited).map(|buckets| (buckets, counted(address)))
    }
}

/// Returns how long a bucket takes to be full.
fn missing(full_at: Instant, now: Instant) -> Duration {
    full_at.saturating_duration_since(now)
}

/// What is behind these locks is whole at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn tries(buckets: &Buckets<u8>, key: u8) -> usize {
        let attempt = || {
            let allowed = buckets.allows(&key);
            if allowed {
                buckets.take(&key);
            }
            allowed
        };
        (0..1_000).take_while(|_| attempt()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_one_at_a_time() {
        let buckets = Buckets::new(10, Duration::from_secs(5));
        assert_eq!((tries(&buckets, 1), tries(&buckets, 2)), (10, 10), "each key has its own");
        advance(Duration::from_millis(4_999)).await;
        assert_eq!(tries(&buckets, 1), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(tries(&buckets, 1), 1);
        advance(Duration::from_secs(15)).await;
        assert_eq!(tries(&buckets, 1), 3);
        advance(Duration::from_secs(3_600)).await;
        assert_eq!(tries(&buckets, 1), 10, "no more than a full bucket");
        assert!((0..1_000).all(|_| buckets.allows(&3)), "asking takes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_are_bounded() {
        let buckets = Buckets::new(10, Duration::from_secs(5));
        for number in 0..2 * REMEMBERED {
            buckets.take(&number);
        }
        assert!(!buckets.is_empty() && buckets.len() <= REMEMBERED);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_limited_alone_and_a_64_is_one() {
        let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
        let limit = AddressLimit::new(1, Duration::from_secs(5));
        for address in ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"] {
            assert!(limit.allows(ip(address)));
            limit.take(ip(address));
        }
        for (address, allowed) in [
            ("192.0.2.1", false),
            ("::ffff:192.0.2.1", false),
            ("192.0.2.2", true),
            ("2001:db8::ffff:1", false),
            ("2001:db8:0:1::1", true),
            ("127.0.0.1", true),
            ("::1", true),
        ] {
            assert_eq!(limit.allows(ip(address)), allowed, "{address}");
        }
        let none = AddressLimit::new(0, Duration::from_secs(5));
        (0..100).for_each(|_| none.take(ip("192.0.2.1")));
        assert!(none.allows(ip("192.0.2.1")));
    }
}

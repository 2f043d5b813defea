//! Password hashes: argon2id PHC strings, checked off the runtime's threads, successes remembered for an hour.
//!
//! A check costs 20 ms of a core and 19 MiB (OWASP Password Storage Cheat Sheet: argon2id, m = 19 MiB, t = 2, p = 1), so
//! only a few run at once, and a client that polls every minute pays once in a while. Guesses at one account are slowed
//! before they cost that ([`crate::throttle`]).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    MetadataError,
    clock::{Random, random_octets},
    throttle::{Seldom, Throttle},
};

const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
/// Octets of a password at most.
pub const PASSWORD_MAX: usize = 1024;
/// How long a success is remembered: longer than the pauses of clients that poll, which would cost a hash each time.
/// What is remembered goes by the stored hash too, so that a new password counts at once.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// A hash with the same cost as a real one, that no password has: checked where there is no account.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Limits of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordLimits {
    /// Hashes computed at once.
    pub at_once: usize,
    /// Hashes that wait their turn; more are refused as unavailable.
    pub waiting: usize,
    /// Successes remembered.
    pub remembered: usize,
}

impl Default for PasswordLimits {
    fn default() -> Self {
        Self { at_once: 2, waiting: 256, remembered: 200_000 }
    }
}

/// What checks have cost and spared.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    computed: AtomicU64,
    throttled: AtomicU64,
}

impl Counts {
    /// Returns how many hashes were computed so far.
    pub(crate) fn computed(&self) -> u64 {
        self.computed.load(Ordering::SeqCst)
    }

    /// Returns how many checks were turned away unseen so far, after too many failures.
    pub(crate) fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::SeqCst)
    }
}

/// Hashes and checks passwords.
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    queued: AtomicUsize,
    queued_max: usize,
    counts: Arc<Counts>,
    throttle: Throttle,
    throttled: Seldom,
    refused: Seldom,
    /// Keyed, so that what is in memory cannot be searched for passwords off line.
    key: [u8; 32],
    /// Until when a success is remembered, by the keyed hash of address, password and stored hash. What is older still
    /// tells that the password was right.
    successes: Cache<[u8; 32], Instant>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("queued", &self.queued).finish_non_exhaustive()
    }
}

/// A place among the waiting, given back when dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Passwords {
    pub(crate) fn new(limits: PasswordLimits, random: &dyn Random) -> Result<Self, MetadataError> {
        Ok(Self {
            running: Arc::new(Semaphore::new(limits.at_once.max(1))),
            queued: AtomicUsize::new(0),
            queued_max: limits.waiting.saturating_add(limits.at_once),
            counts: Arc::default(),
            throttle: Throttle::new(),
            throttled: Seldom::default(),
            refused: Seldom::default(),
            key: random_octets(random)?,
            successes: Cache::new(limits.remembered.max(1)),
        })
    }

    /// Returns the counters, which go on counting.
    pub(crate) fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Returns the PHC string of a new password.
    ///
    /// # Errors
    /// `Busy` where too many hashes wait.
    pub(crate) async fn hash(
        &self,
        password: &SecretString,
        random: &dyn Random,
    ) -> Result<SecretString, MetadataError> {
        let salt: [u8; 16] = random_octets(random)?;
        let password = password.clone();
        let place = self.place()?;
        let permit = self.permit().await?;
        let (hash, _permit) = self
            .compute(place, permit, move || {
                let hash: PasswordHash = hasher()?
                    .hash_password_with_salt(password.expose_secret().as_bytes(), &salt)
                    .map_err(|error| MetadataError::Internal(error.to_string()))?;
                Ok(SecretString::from(hash.to_string()))
            })
            .await?;
        hash
    }

    /// Checks the password of a login against an account's stored hash, or against nobody's where there is no account
    /// that may log in: the work is the same. After too many failures of a login nothing is said of a password without
    /// any work, unless it has been right before: nobody can lock a user's mail programs out by guessing, or make them
    /// believe that the password has changed.
    ///
    /// # Errors
    /// `Busy` where too many checks wait, and after too many failures. A stored hash that cannot be read is `Internal`.
    pub(crate) async fn verify(
        &self,
        login: &str,
        password: &SecretString,
        stored: Option<&SecretString>,
    ) -> Result<bool, MetadataError> {
        let fingerprint = stored.map(|stored| self.fingerprint(login, password, stored));
        let success = || fingerprint.and_then(|print| self.successes.get(&print));
        let is_fresh = |success: Option<Instant>| success.is_some_and(|until| until > Instant::now());
        if is_fresh(success()) {
            return Ok(true);
        }
        let place = self.place()?;
        let permit = self.permit().await?;
        // Many connections of one user begin at once: what the first had checked is good for those that waited.
        let success = success();
        if is_fresh(success) {
            return Ok(true);
        }
        let key = blake3::keyed_hash(&self.key, login.as_bytes());
        if success.is_none() && !self.throttle.allows(key.as_bytes()) {
            self.note_throttled();
            return Err(MetadataError::Busy("too many logins have failed".to_owned()));
        }
        let stored = stored.map_or_else(|| SecretString::from(NOBODYS.to_owned()), Clone::clone);
        let password = password.clone();
        let (good, _permit) = self
            .compute(place, permit, move || {
                let hash = PasswordHash::new(stored.expose_secret())
                    .map_err(|_| MetadataError::Internal("a stored password hash is damaged".to_owned()))?;
                Ok::<_, MetadataError>(
                    hasher()?.verify_password(password.expose_secret().as_bytes(), &hash).is_ok(),
                )
            })
            .await?;
        let good = good?;
        match fingerprint {
            Some(fingerprint) if good => {
                self.successes.insert(fingerprint, Instant::now() + REMEMBERED);
                Ok(true)
            }
            _ => {
                self.throttle.failed(key.as_bytes());
                Ok(false)
            }
        }
    }

    fn note_throttled(&self) {
        self.counts.throttled.fetch_add(1, Ordering::SeqCst);
        // Not whose: a name that nobody has may be a password typed into the wrong field.
        if let Some(count) = self.throttled.tell() {
            tracing::info!(count, "logins were turned away after too many failures");
        }
    }

    /// Takes a place among those that wait.
    fn place(&self) -> Result<Place<'_>, MetadataError> {
        let place = Place(&self.queued);
        if self.queued.fetch_add(1, Ordering::SeqCst) < self.queued_max {
            return Ok(place);
        }
        if let Some(count) = self.refused.tell() {
            tracing::info!(count, "too many passwords are being checked: logins were put off");
        }
        Err(MetadataError::Busy("too many passwords are being checked".to_owned()))
    }

    /// Waits until a hash may be computed.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, MetadataError> {
        let closed = |_| MetadataError::Unavailable("shutting down".to_owned());
        Arc::clone(&self.running).acquire_owned().await.map_err(closed)
    }

    async fn compute<T: Send + 'static>(
        &self,
        place: Place<'_>,
        permit: OwnedSemaphorePermit,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), MetadataError> {
        self.counts.computed.fetch_add(1, Ordering::SeqCst);
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the caller: a caller that gives up must not let more run at once. One that does
            // not gives it up when the result is noted, so that the next one knows of it.
            (work(), permit)
        });
        let result = task.await.map_err(|error| MetadataError::Internal(error.to_string()));
        drop(place);
        result
    }

    fn fingerprint(&self, login: &str, password: &SecretString, stored: &SecretString) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in [login, password.expose_secret(), stored.expose_secret()] {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Says whether this is a PHC string, as [`Passwords::verify`] can read.
pub(crate) fn is_hash(stored: &SecretString) -> bool {
    PasswordHash::new(stored.expose_secret()).is_ok()
}

/// Compares stored hashes without telling by the time where they differ.
pub(crate) fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

fn hasher() -> Result<Argon2<'static>, MetadataError> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, None)
        .map_err(|error| MetadataError::Internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    fn passwords(limits: PasswordLimits) -> Passwords {
        Passwords::new(limits, &SeededRandom::new(1)).unwrap()
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = passwords(PasswordLimits::default());
        let stored = passwords.hash(&secret("correct horse"), &SeededRandom::new(2)).await.unwrap();
        assert!(stored.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        for _ in 0..2 {
            assert!(passwords.verify("a@b", &secret("correct horse"), Some(&stored)).await.unwrap());
            assert!(!passwords.verify("a@b", &secret("correct horsf"), Some(&stored)).await.unwrap());
            assert!(!passwords.verify("a@b", &secret(""), Some(&stored)).await.unwrap());
            assert!(!passwords.verify("a@b", &secret("correct horse"), None).await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_is_remembered_for_a_while_and_for_this_hash_only() {
        let passwords = passwords(PasswordLimits::default());
        let stored = passwords.hash(&secret("one"), &SeededRandom::new(2)).await.unwrap();
        assert!(passwords.verify("a@b", &secret("one"), Some(&stored)).await.unwrap());
        // With no hash allowed to run, only what is remembered can succeed.
        let all = passwords.running.clone().acquire_many_owned(2).await.unwrap();
        assert!(passwords.verify("a@b", &secret("one"), Some(&stored)).await.unwrap());
        let pending = |email: &'static str, password: &'static str, stored: SecretString| {
            let passwords = &passwords;
            async move {
                let check = passwords.verify(email, &secret(password), Some(&stored)).await;
                check.unwrap()
            }
        };
        let limit = Duration::from_secs(1);
        for (email, password, stored) in
            [("c@b", "one", stored.clone()), ("a@b", "two", stored.clone()), ("a@b", "one", secret(NOBODYS))]
        {
            let waited = tokio::time::timeout(limit, pending(email, password, stored)).await;
            assert!(waited.is_err(), "{email} {password} was answered without a hash");
        }
        tokio::time::advance(REMEMBERED).await;
        assert!(tokio::time::timeout(limit, pending("a@b", "one", stored)).await.is_err(), "for ever");
        drop(all);
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_may_wait_are_refused() {
        let passwords = passwords(PasswordLimits { at_once: 1, waiting: 1, remembered: 1 });
        let all = passwords.running.clone().acquire_owned().await.unwrap();
        let password = secret("x");
        let check = || passwords.verify("a@b", &password, None);
        let (mut one, mut two) = (Box::pin(check()), Box::pin(check()));
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut two).is_pending());
        assert!(matches!(check().await, Err(MetadataError::Busy(_))));
        drop(all);
        assert!(!one.await.unwrap() && !two.await.unwrap());
        assert!(!check().await.unwrap(), "places are given back");
    }
}

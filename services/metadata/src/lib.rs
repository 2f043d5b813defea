//! The metadata service: users, domains, aliases, folders, messages, the queue and the configuration.
//!
//! What it is: the mail logic ([`Metadata`]), written once above [`store::ItemStore`] with nothing but conditional
//! writes of one item each; the stores; and the gRPC services in front ([`routes`]). What it is not: it never sees a
//! message's bytes, which the blob service keeps; it only decides when they may go. Only the all-in-one binary may
//! depend on it as a library; everything else talks gRPC.

mod admin;
mod audit;
mod cleanup;
mod clock;
mod delivery;
mod directory;
mod error;
mod maildrop;
mod metrics;
mod passwords;
mod process;
mod queue;
mod retry;
mod schema;
mod server;
mod settings;
pub mod setup;
pub mod store;
mod throttle;
mod transfer;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    cleanup::Waiting,
    directory::Domains,
    maildrop::Listings,
    passwords::Passwords,
    queue::Alarm,
    settings::Settings,
    store::{ItemStore, dynamodb::Tables},
};
pub use crate::{
    cleanup::{BlobSegments, Presence, Round, Segments, SegmentsError},
    clock::{Clock, ManualClock, Random, RandomError, SeededRandom, SystemClock, SystemRandom},
    delivery::{OBJECT_NAME_MAX, RECIPIENTS_MAX},
    error::MetadataError,
    maildrop::{Listing, Snapshot},
    passwords::{PASSWORD_MAX, PasswordLimits},
    process::{build, open},
    server::routes,
    setup::{SetupError, StoreReport, TableReport, init_store, store_status},
};

/// What can be set about the mail logic. The defaults are for production.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataConfig {
    /// This replica's name, for leases and logs.
    pub worker: String,
    /// Limits of password checks.
    pub passwords: PasswordLimits,
    /// Messages in all cached listings together; each takes some 250 octets.
    pub listed_messages: usize,
    /// Writes of one request that run at once.
    pub writes_at_once: usize,
    /// How long one write may take, its repeats included.
    pub write_patience: Duration,
    /// How long removed messages stay readable for snapshots taken before.
    pub grace: Duration,
    /// How long after its greater part died a segment is compacted.
    pub compact_after: Duration,
    /// How long a segment stays readable after what lived in it was moved.
    pub spared: Duration,
    /// How old a segment without owners must be for an audit to call it an orphan.
    pub orphan_age: Duration,
    /// How long an audit waits for writes under way before it takes counters for wrong. Longer than any delivery or
    /// removal takes from its items to the folder's bump.
    pub audit_pause: Duration,
    /// How long a worker holds a job.
    pub lease: Duration,
    /// How often a worker looks for jobs that other replicas have put.
    pub poll_interval: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            worker: "metadata".to_owned(),
            passwords: PasswordLimits::default(),
            listed_messages: 100_000,
            writes_at_once: 16,
            write_patience: delivery::WRITE_PATIENCE,
            grace: Duration::from_secs(15 * 60),
            compact_after: DAY,
            spared: DAY,
            orphan_age: DAY,
            audit_pause: Duration::from_secs(15),
            lease: Duration::from_secs(5 * 60),
            poll_interval: Duration::from_secs(15),
        }
    }
}

impl MetadataConfig {
    fn grace_ms(&self) -> u64 {
        ms(self.grace)
    }

    fn compact_after_ms(&self) -> u64 {
        ms(self.compact_after)
    }

    fn spared_ms(&self) -> u64 {
        ms(self.spared)
    }

    fn orphan_age_ms(&self) -> u64 {
        ms(self.orphan_age)
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The mail logic above a store. One a process; its caches are bounded, and nothing but speed depends on them.
#[derive(Debug)]
pub struct Metadata {
    store: Arc<dyn ItemStore>,
    segments: Arc<dyn Segments>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    config: MetadataConfig,
    passwords: Passwords,
    domains: Domains,
    listings: Listings,
    cached_settings: Mutex<Option<Settings>>,
    waiting: Mutex<Option<Arc<Waiting>>>,
    /// One audit at a time.
    auditing: Semaphore,
    worker: Alarm,
    /// The tables under the store, if it has any.
    tables: Option<Tables>,
}

impl Metadata {
    /// Puts the mail logic on a store.
    ///
    /// # Errors
    /// `Unavailable` where there is no randomness to be had.
    pub fn new(
        store: Arc<dyn ItemStore>,
        segments: Arc<dyn Segments>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        config: MetadataConfig,
    ) -> Result<Self, MetadataError> {
        Ok(Self {
            passwords: Passwords::new(config.passwords, random.as_ref())?,
            domains: Domains::new(),
            listings: Listings::new(config.listed_messages),
            cached_settings: Mutex::new(None),
            waiting: Mutex::new(None),
            auditing: Semaphore::new(1),
            worker: Alarm::new(),
            tables: None,
            store,
            segments,
            clock,
            random,
            config,
        })
    }

    /// Says which tables are under the store, so that settings about them take effect.
    #[must_use]
    pub fn with_tables(self, tables: Tables) -> Self {
        Self { tables: Some(tables), ..self }
    }
}

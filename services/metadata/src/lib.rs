//! The metadata service: users, domains, aliases, folders, messages, the queue and the configuration.
//!
//! What it is: the mail logic ([`Metadata`]), written once above [`store::ItemStore`] with nothing but conditional
//! writes of one item each; the stores; and the gRPC services in front ([`routes`]). What it is not: it never sees a
//! message's bytes, which the blob service keeps; it only decides when they may go. Only the all-in-one binary may
//! depend on it as a library; everything else talks gRPC.

mod admin;
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
pub mod store;
mod throttle;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

pub use crate::{
    cleanup::{Round, Segments, SegmentsError},
    clock::{Clock, ManualClock, Random, RandomError, SeededRandom, SystemClock, SystemRandom},
    delivery::{OBJECT_NAME_MAX, RECIPIENTS_MAX},
    error::MetadataError,
    maildrop::{Listing, Snapshot},
    passwords::{PASSWORD_MAX, PasswordLimits},
    process::{build, open},
    server::routes,
};
use crate::{
    directory::Domains, maildrop::Listings, passwords::Passwords, queue::Alarm, settings::Settings,
    store::ItemStore,
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
    /// How long a worker holds a job.
    pub lease: Duration,
    /// How often a worker looks for jobs that other replicas have put.
    pub poll_interval: Duration,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            worker: "metadata".to_owned(),
            passwords: PasswordLimits::default(),
            listed_messages: 100_000,
            writes_at_once: 16,
            write_patience: delivery::WRITE_PATIENCE,
            grace: Duration::from_secs(15 * 60),
            lease: Duration::from_secs(5 * 60),
            poll_interval: Duration::from_secs(15),
        }
    }
}

impl MetadataConfig {
    fn grace_ms(&self) -> u64 {
        u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX)
    }
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
    worker: Alarm,
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
            worker: Alarm::new(),
            store,
            segments,
            clock,
            random,
            config,
        })
    }
}

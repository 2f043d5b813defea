//! What the worker's looks at the queue cost when jobs come due at a rate.

use std::{sync::Arc, time::Duration};

use puro_api::model::{Delivery, Domain, NewUser};
use puro_metadata::{
    Clock, Metadata, MetadataConfig, SeededRandom,
    store::{
        ItemStore, Table,
        faulty::{FaultPlan, FaultyStore},
        memory::MemoryStore,
        metered::{MeteredStore, Usage, Verb},
    },
};
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{super::units::Looked, Draw, items::FakeSegments, rounded, run};

const START_MS: u64 = 1_800_000_000_000;
/// Rates that are tried, jobs a second at one replica.
const RATES: [f64; 5] = [0.1, 1.0, 3.0, 10.0, 30.0];
/// Seconds that are looked at.
const WINDOW_SECONDS: u64 = 120;
/// A call of DynamoDB takes up to this, and half of it in the mean.
const CALL: Duration = Duration::from_millis(10);

/// The wall clock of a runtime whose time is paused.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now_ms(&self) -> u64 {
        START_MS + u64::try_from(self.0.elapsed().as_millis()).unwrap_or(0)
    }
}

/// Measures each rate.
pub(super) fn looks() -> Vec<Looked> {
    let idle = Looked { jobs_per_second: 0.0, reads_per_second: run(look(None)) };
    let busy = RATES.map(|rate| Looked { jobs_per_second: rate, reads_per_second: run(look(Some(rate))) });
    [idle].into_iter().chain(busy).collect()
}

/// Runs the worker while the bytes of removals come due, and returns the read units of its looks a second.
async fn look(rate: Option<f64>) -> f64 {
    let memory: Arc<MemoryStore> = Arc::new(MemoryStore::new());
    let delayed: Arc<dyn ItemStore> =
        Arc::new(FaultyStore::new(memory, FaultPlan::none().with_delay(1, CALL)));
    let metered = Arc::new(MeteredStore::new(delayed));
    let clock = Arc::new(PausedClock(Instant::now()));
    let config = MetadataConfig::default();
    let grace = config.grace;
    let store: Arc<dyn ItemStore> = metered.clone();
    let random = Arc::new(SeededRandom::new(1));
    let metadata = Metadata::new(store, Arc::new(FakeSegments::default()), clock.clone(), random, config);
    let metadata = Arc::new(metadata.unwrap());
    let domain = Domain { name: "example.org".parse().unwrap(), catch_all: None };
    metadata.add_domain(&domain).await.unwrap();
    let user = NewUser {
        email: "user@example.org".parse().unwrap(),
        password: "secret".to_owned().into(),
        first_name: String::new(),
        last_name: String::new(),
        quota: None,
    };
    let mailbox = metadata.add_user(&user).await.unwrap().mailbox;
    let begin = Instant::now();
    let end = begin + Duration::from_secs(WINDOW_SECONDS);
    let cancel = CancellationToken::new();
    let worker = tokio::spawn({
        let (metadata, cancel) = (metadata.clone(), cancel.clone());
        async move { metadata.run_worker(cancel).await }
    });
    let mut removals = tokio::task::JoinSet::new();
    let mut draw = Draw(7);
    let mut at = begin;
    let mut number = 0;
    while let Some(rate) = rate {
        at += Duration::from_secs_f64(draw.pause_seconds(rate));
        if at > end {
            break;
        }
        number += 1;
        let (metadata, mailbox, clock) = (metadata.clone(), mailbox.clone(), clock.clone());
        removals.spawn(async move {
            tokio::time::sleep_until(at).await;
            deliver_and_remove(&metadata, &mailbox, number, clock.now_ms()).await;
        });
    }
    while removals.join_next().await.is_some() {}
    // The jobs of that window are due a grace period later.
    tokio::time::sleep_until(begin + grace).await;
    let before = metered.units();
    tokio::time::sleep_until(end + grace).await;
    let reads = queue_reads(&metered.units().since(&before));
    cancel.cancel();
    worker.await.unwrap();
    rounded(reads / Duration::from_secs(WINDOW_SECONDS).as_secs_f64())
}

fn queue_reads(used: &Usage) -> f64 {
    used.iter()
        .filter(|(table, verb, _)| (*table, *verb) == (Table::Queue, Verb::Query))
        .map(|(_, _, units)| units.reads())
        .sum()
}

async fn deliver_and_remove(metadata: &Metadata, mailbox: &MailboxId, number: u64, now_ms: u64) {
    let mut random = [0; 11];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let transaction = TransactionId::new(now_ms, random);
    let id = MessageId::new(now_ms, &transaction, mailbox);
    let frame = Frame { stored_length: 500, length: 500, codec: Codec::Plain, checksum: 1 };
    let location = Location {
        bucket: String::new(),
        object_name: format!("7f/{number:024}"),
        offset: 0,
        header: frame,
        body: frame,
        slot: 0,
        slots: 1,
    };
    let delivery = Delivery { transaction, accepted_ms: now_ms, mailboxes: vec![mailbox.clone()], location };
    metadata.deliver(&delivery).await.unwrap();
    metadata.remove(mailbox, &[id]).await.unwrap();
}

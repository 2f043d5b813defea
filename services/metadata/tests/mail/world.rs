//! A metadata service with everything around it in hand.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;

use puro_api::model::{Delivered, Delivery, Domain, NewUser, Owners, User};
use puro_metadata::{
    Listing, ManualClock, Metadata, MetadataConfig, MetadataError, SeededRandom, Snapshot,
    store::{
        Consistency, Item, ItemStore, Key, Query, Table,
        faulty::{FaultPlan, FaultyStore},
        memory::MemoryStore,
        metered::MeteredStore,
    },
};
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};

pub(crate) use crate::segments::FakeSegments;

pub(crate) const START_MS: u64 = 1_800_000_000_000;
pub(crate) const MINUTE_MS: u64 = 60 * 1000;
pub(crate) const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// The service and what it stands on.
pub(crate) struct World {
    /// The store at the bottom.
    pub(crate) base: Arc<dyn ItemStore>,
    /// The same, unless the world was made on another.
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) faulty: Arc<FaultyStore>,
    pub(crate) metered: Arc<MeteredStore>,
    pub(crate) segments: Arc<FakeSegments>,
    pub(crate) clock: Arc<ManualClock>,
    /// The replica that most tests talk to.
    pub(crate) metadata: Arc<Metadata>,
    replicas: AtomicU64,
}

impl World {
    pub(crate) fn new() -> Self {
        let memory = Arc::new(MemoryStore::new());
        Self { memory: memory.clone(), ..Self::on(memory) }
    }

    /// Returns a world on a store.
    pub(crate) fn on(base: Arc<dyn ItemStore>) -> Self {
        let faulty = Arc::new(FaultyStore::new(base.clone(), FaultPlan::none()));
        let metered = Arc::new(MeteredStore::new(faulty.clone()));
        let clock = Arc::new(ManualClock::new(START_MS));
        let segments = Arc::new(FakeSegments::new(clock.clone()));
        let metadata = replica(metered.clone(), &segments, &clock, 0);
        let replicas = AtomicU64::new(1);
        let memory = Arc::new(MemoryStore::new());
        Self { base, memory, faulty, metered, segments, clock, metadata, replicas }
    }

    /// Returns a replica on another store.
    pub(crate) fn replica_on(&self, store: Arc<dyn ItemStore>) -> Arc<Metadata> {
        let number = self.replicas.fetch_add(1, Ordering::SeqCst);
        replica(store, &self.segments, &self.clock, number)
    }

    /// Returns one more replica, with empty caches.
    pub(crate) fn replica(&self) -> Arc<Metadata> {
        let number = self.replicas.fetch_add(1, Ordering::SeqCst);
        replica(self.metered.clone(), &self.segments, &self.clock, number)
    }

    /// The process dies and another takes its place.
    pub(crate) fn restart(&mut self) {
        self.metadata = self.replica();
    }

    pub(crate) fn heal(&self) {
        self.faulty.set_plan(FaultPlan::none());
        self.segments.heal();
    }

    /// Lets the worker do what comes due within this time, in steps of `step_ms`.
    pub(crate) async fn pass(&self, ms: u64, step_ms: u64) {
        for _ in 0..ms.div_ceil(step_ms) {
            self.clock.advance_ms(step_ms);
            while self.metadata.work_once().await.done > 0 {}
        }
    }

    /// Lets the worker do all that a removal leaves to do.
    pub(crate) async fn pass_all(&self) {
        self.pass(40 * MINUTE_MS, 5 * MINUTE_MS).await;
        self.pass(2 * DAY_MS, DAY_MS / 2).await;
        self.pass(40 * MINUTE_MS, 5 * MINUTE_MS).await;
        self.pass(2 * DAY_MS, DAY_MS / 2).await;
    }

    pub(crate) async fn list(&self, mailbox: &MailboxId) -> Result<Arc<Listing>, MetadataError> {
        match self.metadata.list(mailbox, 0).await? {
            Snapshot::Current(listing) => Ok(listing),
            Snapshot::Unchanged { .. } => panic!("unchanged, but nothing was known"),
        }
    }

    pub(crate) async fn ids(&self, mailbox: &MailboxId) -> Vec<MessageId> {
        let listing = self.list(mailbox).await.unwrap();
        listing.messages.iter().map(|message| message.id.clone()).collect()
    }

    /// Returns the time, in milliseconds since the start.
    pub(crate) fn clock_ms(&self) -> u64 {
        puro_metadata::Clock::now_ms(self.clock.as_ref()) - START_MS
    }

    /// Returns every item of a table.
    pub(crate) async fn items(&self, table: Table) -> Vec<(Key, Item)> {
        self.base.scan(table, None, 0).await.unwrap().items
    }

    /// Returns what is in the queue, past and future.
    pub(crate) async fn queue(&self) -> Vec<(Key, Item)> {
        let mut items = Vec::new();
        for shard in 0..16 {
            let query = Query {
                table: Table::Queue,
                partition: format!("{shard:02}"),
                after: String::new(),
                before: None,
                limit: 0,
                consistency: Consistency::Strong,
            };
            items.extend(self.base.query(&query).await.unwrap().items);
        }
        items
    }

    pub(crate) async fn add_domain(&self, name: &str, catch_all: Option<&str>) {
        let catch_all = catch_all.map(|address| address.parse().unwrap());
        let domain = Domain { name: name.parse().unwrap(), catch_all };
        self.metadata.add_domain(&domain).await.unwrap();
    }

    pub(crate) async fn add_user(&self, email: &str) -> User {
        self.metadata.add_user(&new_user(email)).await.unwrap()
    }

    /// Stores a segment of messages with these numbers, to these mailboxes, as the blob service does, and returns the
    /// deliveries that go with them.
    pub(crate) fn store(&self, messages: &[(u64, &[MailboxId])]) -> Vec<Delivery> {
        let labels = messages.iter().map(|(number, mailboxes)| {
            Owners::of_delivery(&transaction(*number), START_MS + number, *mailboxes).label()
        });
        let places = self.segments.put(labels.collect());
        let deliveries = places.into_iter().zip(messages);
        deliveries.map(|(place, (number, mailboxes))| delivery(*number, mailboxes, place)).collect()
    }

    pub(crate) async fn deliver(&self, delivery: &Delivery) -> Result<Delivered, MetadataError> {
        self.metadata.deliver(delivery).await
    }
}

fn replica(
    store: Arc<dyn ItemStore>,
    segments: &Arc<FakeSegments>,
    clock: &Arc<ManualClock>,
    number: u64,
) -> Arc<Metadata> {
    let config = MetadataConfig {
        worker: format!("replica-{number}"),
        // Where time is not paused, nobody waits for it.
        audit_pause: Duration::from_millis(20),
        ..MetadataConfig::default()
    };
    let random = Arc::new(SeededRandom::new(number));
    let metadata = Metadata::new(store, segments.clone(), clock.clone(), random, config);
    Arc::new(metadata.unwrap())
}

pub(crate) fn new_user(email: &str) -> NewUser {
    NewUser {
        email: email.parse().unwrap(),
        password: "secret".to_owned().into(),
        first_name: String::new(),
        last_name: String::new(),
        quota: None,
    }
}

pub(crate) fn mailbox(number: u8) -> MailboxId {
    MailboxId::new([number; 12])
}

/// Returns the location of one slot; each has 1,000 octets.
pub(crate) fn location(object_name: &str, slot: u32, slots: u32) -> Location {
    let frame = |length| Frame { stored_length: length, length, codec: Codec::Plain, checksum: slot };
    Location {
        bucket: String::new(),
        object_name: object_name.to_owned(),
        offset: u64::from(slot) * 1_000,
        header: frame(300),
        body: frame(700),
        slot,
        slots,
    }
}

/// Returns the transaction with this number.
pub(crate) fn transaction(number: u64) -> TransactionId {
    let mut random = [0; 11];
    random[..8].copy_from_slice(&number.to_be_bytes());
    TransactionId::new(START_MS + number, random)
}

/// Returns the delivery of transaction `number`, accepted `number` milliseconds after the start.
pub(crate) fn delivery(number: u64, mailboxes: &[MailboxId], location: Location) -> Delivery {
    Delivery {
        transaction: transaction(number),
        accepted_ms: START_MS + number,
        mailboxes: mailboxes.to_vec(),
        location,
    }
}

/// Returns the id that a delivery's message has in a mailbox.
pub(crate) fn message(delivery: &Delivery, mailbox: &MailboxId) -> MessageId {
    MessageId::new(delivery.accepted_ms, &delivery.transaction, mailbox)
}

/// Returns a delivery into a segment of its own.
pub(crate) fn alone(number: u64, mailboxes: &[MailboxId]) -> Delivery {
    delivery(number, mailboxes, location(&format!("alone-{number}"), 0, 1))
}

//! Units of the metadata service's operations.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use puro_api::model::{Delivery, Domain, NewUser, Resolution};
use puro_metadata::{
    ManualClock, Metadata, MetadataConfig, SeededRandom, Segments, SegmentsError, Snapshot,
    store::{
        Table,
        memory::MemoryStore,
        metered::{MeteredStore, Verb},
        size::item_bytes,
        {ItemStore, Key},
    },
};
use puro_types::{Codec, Frame, Location, MailboxId, MessageId, TransactionId};

use super::{
    super::units::{Freed, Listed, Operations, Units},
    rounded,
};

const START_MS: u64 = 1_800_000_000_000;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// Operations of which a mean is taken.
const TIMES: u16 = 10;

/// Segments that only remember which of them were deleted.
#[derive(Debug, Default)]
pub(super) struct FakeSegments(Mutex<BTreeSet<String>>);

#[async_trait]
impl Segments for FakeSegments {
    async fn delete(&self, object_names: &[String]) -> Result<(), SegmentsError> {
        self.0.lock().unwrap().extend(object_names.iter().cloned());
        Ok(())
    }
}

/// A metadata service with users, as one of two hosts has it.
struct Town {
    memory: Arc<MemoryStore>,
    metered: Arc<MeteredStore>,
    segments: Arc<FakeSegments>,
    clock: Arc<ManualClock>,
    metadata: Metadata,
    mailboxes: Vec<MailboxId>,
    deliveries: u64,
    now_ms: u64,
}

impl Town {
    async fn new(users: usize) -> Self {
        let memory = Arc::new(MemoryStore::new());
        let metered = Arc::new(MeteredStore::new(memory.clone()));
        let segments = Arc::new(FakeSegments::default());
        let clock = Arc::new(ManualClock::new(START_MS));
        let metadata = host(&metered, &segments, &clock);
        let domain = Domain { name: "mail.example.org".parse().unwrap(), catch_all: None };
        metadata.add_domain(&domain).await.unwrap();
        let mut mailboxes = Vec::new();
        for number in 0..users {
            mailboxes.push(metadata.add_user(&new_user(number)).await.unwrap().mailbox);
        }
        // The domain is remembered, and the password was checked minutes ago, as on any busy system.
        metadata.resolve(&email(0), 0).await.unwrap();
        login(&metadata, 0).await;
        let now_ms = START_MS;
        Self { memory, metered, segments, clock, metadata, mailboxes, deliveries: 0, now_ms }
    }

    /// Returns what some work uses.
    async fn used<T>(&self, work: impl Future<Output = T>) -> Units {
        let before = self.metered.units();
        work.await;
        let total = self.metered.units().since(&before).total();
        Units { writes: number(total.writes), reads: total.reads() }
    }

    /// A message as front ends deliver it: each recipient is looked up, and all get it in one call.
    async fn deliver(&mut self, users: &[usize], place: Place) -> Vec<MessageId> {
        self.pass(MINUTE_MS).await;
        self.deliveries += 1;
        let mut mailboxes = Vec::new();
        for user in users {
            let resolution = self.metadata.resolve(&email(*user), 500_000).await.unwrap();
            assert!(matches!(resolution, Resolution::Targets(_)));
            mailboxes.push(self.mailboxes[*user].clone());
        }
        let mut random = [0x5A; 11];
        random[..8].copy_from_slice(&self.deliveries.to_be_bytes());
        let transaction = TransactionId::new(self.now_ms, random);
        let ids = mailboxes.iter().map(|mailbox| MessageId::new(self.now_ms, &transaction, mailbox));
        let ids = ids.collect();
        let location = location(place);
        let delivery = Delivery { transaction, accepted_ms: self.now_ms, mailboxes, location };
        self.metadata.deliver(&delivery).await.unwrap();
        ids
    }

    async fn pass(&mut self, ms: u64) {
        self.clock.advance_ms(ms);
        self.now_ms += ms;
    }

    /// Lets the worker do all that removals leave to do, until nothing is left, and returns what it uses besides looking
    /// into the queue.
    async fn clean_up(&mut self, waits_ms: &[u64]) -> Units {
        let before = self.metered.units();
        for ms in waits_ms {
            self.pass(*ms).await;
            while self.metadata.work_once().await.done > 0 {}
        }
        let used = self.metered.units().since(&before);
        let sum = used
            .iter()
            .filter(|(table, verb, _)| (*table, *verb) != (Table::Queue, Verb::Query))
            .fold((0, 0.0), |sum, (_, _, units)| (sum.0 + units.writes, sum.1 + units.reads()));
        Units { writes: number(sum.0), reads: sum.1 }
    }
}

/// Long enough for the bytes, and then for the tombstones.
const TO_THE_END: [u64; 2] = [16 * MINUTE_MS, 2 * DAY_MS];

fn number(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

fn host(metered: &Arc<MeteredStore>, segments: &Arc<FakeSegments>, clock: &Arc<ManualClock>) -> Metadata {
    let store: Arc<dyn ItemStore> = metered.clone();
    let random = Arc::new(SeededRandom::new(1));
    let config = MetadataConfig { worker: "mail-1.example.org".to_owned(), ..MetadataConfig::default() };
    Metadata::new(store, segments.clone(), clock.clone(), random, config).unwrap()
}

fn email(user: usize) -> String {
    format!("given.family-{user:06}@mail.example.org")
}

fn new_user(number: usize) -> NewUser {
    NewUser {
        email: email(number).parse().unwrap(),
        password: "secret".to_owned().into(),
        first_name: "Given".to_owned(),
        last_name: "Family".to_owned(),
        quota: None,
    }
}

async fn login(metadata: &Metadata, user: usize) -> MailboxId {
    metadata.authenticate(&email(user), &"secret".to_owned().into()).await.unwrap().mailbox
}

/// A POP3 session up to its listing; returns the folder's version.
async fn poll(metadata: &Metadata, user: usize, known: u64) -> u64 {
    let mailbox = login(metadata, user).await;
    match metadata.list(&mailbox, known).await.unwrap() {
        Snapshot::Current(listing) => listing.version,
        Snapshot::Unchanged { version } => version,
    }
}

/// Where a message is stored.
#[derive(Clone, Copy)]
struct Place {
    segment: u64,
    slot: u32,
    slots: u32,
}

impl Place {
    fn alone(segment: u64) -> Self {
        Self { segment, slot: 0, slots: 1 }
    }
}

/// Returns a location with names and numbers as long as they are in life.
fn location(Place { segment, slot, slots }: Place) -> Location {
    Location {
        bucket: "puro-mail-example-org".to_owned(),
        object_name: format!("7f/0ABCDEFGHIJKLMNOPQ{segment:06}"),
        offset: u64::from(slot) * 371_293,
        header: Frame { stored_length: 431, length: 1_207, codec: Codec::Zstd, checksum: 0xDEAD_BEEF },
        body: Frame { stored_length: 371_293, length: 498_793, codec: Codec::Zstd, checksum: 0xFEED_F00D },
        slot,
        slots,
    }
}

fn minus(one: Units, other: Units) -> Units {
    Units { writes: one.writes - other.writes, reads: one.reads - other.reads }
}

fn plus(one: Units, other: Units) -> Units {
    Units { writes: one.writes + other.writes, reads: one.reads + other.reads }
}

fn times(units: Units, factor: f64) -> Units {
    Units { writes: rounded(units.writes * factor), reads: rounded(units.reads * factor) }
}

/// What was found of the metadata service.
pub(super) struct Items {
    pub(super) operations: Operations,
    pub(super) item_bytes: f64,
    pub(super) listings: Vec<Listed>,
    pub(super) shared_segments: Vec<Freed>,
}

/// Runs each operation and returns what it uses.
pub(super) async fn operations() -> Items {
    let (deliver, deliver_two) = (mean_delivery(&[0]).await, mean_delivery(&[0, 1]).await);
    let town = Town::new(1).await;
    let login_units = town.used(login(&town.metadata, 0)).await;
    let (poll_unchanged, poll_news) = polls().await;
    let [one, many] = [removal(1).await, removal(1 + TIMES).await];
    let per_message = |(one, many): (Units, Units)| times(minus(many, one), 1.0 / f64::from(TIMES));
    let (delete, cleanup_message) = (per_message((one.0, many.0)), per_message((one.1, many.1)));
    let (quit, cleanup_quit) = (minus(one.0, delete), minus(one.1, cleanup_message));
    let cleanup_owners = minus(two_owners().await, times(one.1, 2.0));
    let mut shared_segments = Vec::new();
    for slots in [2_u8, 3, 5, 8, 12, 20] {
        let alone = times(one.1, f64::from(slots));
        let Units { writes, reads } = minus(shared_segment(slots).await, alone);
        shared_segments.push(Freed { slots: f64::from(slots), writes, reads });
    }
    let operations = Operations {
        login: login_units,
        deliver,
        deliver_further: minus(deliver_two, deliver),
        poll_unchanged,
        poll_news,
        quit,
        delete,
        cleanup_quit,
        cleanup_message,
        cleanup_owners,
    };
    Items { operations, item_bytes: mean_item().await, listings: listings().await, shared_segments }
}

async fn mean_delivery(users: &[usize]) -> Units {
    let mut town = Town::new(2).await;
    let before = town.metered.units();
    for segment in 0..u64::from(TIMES) {
        town.deliver(users, Place { segment, slot: 3, slots: 7 }).await;
    }
    let total = town.metered.units().since(&before).total();
    times(Units { writes: number(total.writes), reads: total.reads() }, 1.0 / f64::from(TIMES))
}

/// A poll that finds nothing new, and one that finds one message, on a host that has listed the maildrop before.
async fn polls() -> (Units, Units) {
    let mut town = Town::new(1).await;
    for segment in 0..20 {
        town.deliver(&[0], Place { segment, slot: 3, slots: 7 }).await;
    }
    let known = poll(&town.metadata, 0, 0).await;
    let unchanged = town.used(poll(&town.metadata, 0, known)).await;
    // Whether the front end remembers the listing, or only the metadata service.
    assert_eq!(town.used(poll(&town.metadata, 0, 0)).await, unchanged);
    town.pass(10 * MINUTE_MS).await;
    town.deliver(&[0], Place { segment: 20, slot: 0, slots: 2 }).await;
    let news = town.used(poll(&town.metadata, 0, known)).await;
    (unchanged, news)
}

/// A QUIT that removes so many messages, each alone in its segment, and its clean-up.
async fn removal(messages: u16) -> (Units, Units) {
    let mut town = Town::new(1).await;
    let mut ids = Vec::new();
    for segment in 0..u64::from(messages) {
        ids.extend(town.deliver(&[0], Place::alone(segment)).await);
    }
    poll(&town.metadata, 0, 0).await;
    let quit = town.used(town.metadata.remove(&town.mailboxes[0], &ids)).await;
    let cleanup = town.clean_up(&TO_THE_END).await;
    assert_eq!(town.segments.0.lock().unwrap().len(), usize::from(messages), "all bytes are freed");
    assert!(town.memory.scan(Table::Queue, None, 0).await.unwrap().items.is_empty(), "nothing is left");
    (quit, cleanup)
}

/// The clean-up of a segment whose messages went to as many mailboxes and are removed one after the other.
async fn shared_segment(slots: u8) -> Units {
    let mut town = Town::new(slots.into()).await;
    let mut ids = Vec::new();
    for slot in 0..slots {
        let place = Place { segment: 1, slot: slot.into(), slots: slots.into() };
        ids.extend(town.deliver(&[slot.into()], place).await);
    }
    let mut sum = Units::default();
    for (user, id) in ids.into_iter().enumerate() {
        town.metadata.remove(&town.mailboxes[user], &[id]).await.unwrap();
        let units = town.clean_up(&[16 * MINUTE_MS]).await;
        sum = plus(sum, units);
    }
    let units = town.clean_up(&TO_THE_END).await;
    assert_eq!(town.segments.0.lock().unwrap().len(), 1, "the segment is freed");
    assert!(town.memory.scan(Table::Segment, None, 0).await.unwrap().items.is_empty(), "nothing is left");
    plus(sum, units)
}

/// The clean-up of a message that went to two mailboxes, alone in its segment.
async fn two_owners() -> Units {
    let mut town = Town::new(2).await;
    let ids = town.deliver(&[0, 1], Place::alone(1)).await;
    let mut sum = Units::default();
    for (user, id) in ids.into_iter().enumerate() {
        town.metadata.remove(&town.mailboxes[user], &[id]).await.unwrap();
        let units = town.clean_up(&[16 * MINUTE_MS]).await;
        sum = plus(sum, units);
    }
    let units = town.clean_up(&TO_THE_END).await;
    assert_eq!(town.segments.0.lock().unwrap().len(), 1, "the segment is freed");
    plus(sum, units)
}

/// Listings that a host makes which knows nothing of the maildrop.
async fn listings() -> Vec<Listed> {
    let mut town = Town::new(1).await;
    let mut rows = Vec::new();
    for messages in [0_u16, 16, 64, 300, 1_000] {
        for segment in town.deliveries..u64::from(messages) {
            town.deliver(&[0], Place { segment, slot: 3, slots: 7 }).await;
        }
        let fresh = host(&town.metered, &town.segments, &town.clock);
        let used = town.used(fresh.list(&town.mailboxes[0], 0)).await;
        rows.push(Listed { messages: f64::from(messages), reads: used.reads });
    }
    rows
}

/// Octets of a message's item.
async fn mean_item() -> f64 {
    let mut town = Town::new(1).await;
    town.deliver(&[0], Place { segment: 1, slot: 3, slots: 7 }).await;
    let items: Vec<(Key, _)> = town.memory.scan(Table::MetaMail, None, 0).await.unwrap().items;
    let sum: usize = items.iter().map(|(key, item)| item_bytes(Table::MetaMail, key, item)).sum();
    number(sum as u64) / number(items.len() as u64)
}

/// Measures how long a password that was right is not hashed again.
pub(super) async fn password_seconds() -> f64 {
    let town = Town::new(1).await;
    let hashes = town.metadata.password_hashes();
    let start = tokio::time::Instant::now();
    loop {
        tokio::time::advance(Duration::from_secs(10)).await;
        login(&town.metadata, 0).await;
        if town.metadata.password_hashes() > hashes {
            return start.elapsed().as_secs_f64();
        }
    }
}

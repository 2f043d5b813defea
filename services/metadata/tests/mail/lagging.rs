//! Replicas that lag: eventually consistent reads see an old state, strong ones the current.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use puro_metadata::{
    Metadata, Snapshot,
    store::{
        Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update,
        faulty::{Calls, Fault, FaultPlan},
        memory::MemoryStore,
    },
};
use puro_types::MailboxId;

use crate::world::{MINUTE_MS, World, alone, delivery, location, mailbox, message, new_user};

/// A store whose eventually consistent reads stand still at a moment.
#[derive(Debug)]
pub(crate) struct Lagging {
    current: Arc<MemoryStore>,
    past: Mutex<Arc<MemoryStore>>,
}

impl Lagging {
    pub(crate) async fn new(current: Arc<MemoryStore>) -> Arc<Self> {
        let past = Mutex::new(Arc::new(MemoryStore::new()));
        let lagging = Arc::new(Self { current, past });
        lagging.catch_up().await;
        lagging
    }

    /// Makes the state of now the one that eventually consistent reads see.
    async fn catch_up(&self) {
        let past = MemoryStore::new();
        for table in Table::ALL {
            for (key, item) in self.current.scan(table, None, 0).await.unwrap().items {
                past.put(table, key, item, Condition::default()).await.unwrap();
            }
        }
        *self.past.lock().unwrap() = Arc::new(past);
    }

    fn at(&self, consistency: Consistency) -> Arc<MemoryStore> {
        match consistency {
            Consistency::Strong => Arc::clone(&self.current),
            Consistency::Eventual => Arc::clone(&self.past.lock().unwrap()),
        }
    }
}

#[async_trait]
impl ItemStore for Lagging {
    fn kind(&self) -> &'static str {
        "lagging"
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        self.at(consistency).get(table, key, consistency).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.at(query.consistency).query(query).await
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.at(Consistency::Eventual).scan(table, after, limit).await
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.current.put(table, key, item, condition).await
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        self.current.update(table, key, update, condition).await
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.current.delete(table, key, condition).await
    }
}

async fn segments_seen(replica: &Metadata, mailbox: &MailboxId) -> Vec<String> {
    match replica.list(mailbox, 0).await.unwrap() {
        Snapshot::Current(listing) => {
            listing.messages.iter().map(|message| message.location.object_name.clone()).collect()
        }
        Snapshot::Unchanged { .. } => panic!("nothing was known"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_never_lags() {
    let world = World::new();
    let to = [mailbox(1)];
    let first = alone(1, &to);
    world.deliver(&first).await.unwrap();
    let store = Lagging::new(world.memory.clone()).await;
    // One with a cached listing, one without.
    let (knowing, fresh) = (world.replica_on(store.clone()), world.replica_on(store.clone()));
    assert_eq!(segments_seen(&knowing, &to[0]).await, ["alone-1"]);
    world.deliver(&alone(2, &to)).await.unwrap();
    for replica in [&knowing, &fresh] {
        assert_eq!(segments_seen(replica, &to[0]).await, ["alone-1", "alone-2"]);
    }
    // One of the same size goes and one comes: neither count nor octets tell.
    store.catch_up().await;
    world.metadata.remove(&to[0], &[message(&first, &to[0])]).await.unwrap();
    world.deliver(&alone(3, &to)).await.unwrap();
    let another = world.replica_on(store.clone());
    for replica in [&knowing, &fresh, &another] {
        assert_eq!(segments_seen(replica, &to[0]).await, ["alone-2", "alone-3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn counters_that_are_in_doubt_prove_nothing() {
    let world = World::new();
    let to = [mailbox(1)];
    world.deliver(&alone(1, &to)).await.unwrap();
    let store = Lagging::new(world.memory.clone()).await;
    // The bump is repeated without counting: the counters now fit the state without the message.
    world.faulty.set_plan(FaultPlan::nth(1, Calls::Writes, Fault::BeforeUnknown));
    world.deliver(&alone(2, &to)).await.unwrap();
    let replica = world.replica_on(store);
    assert_eq!(segments_seen(&replica, &to[0]).await, ["alone-1", "alone-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_tail_read_misses_nothing_that_came_late() {
    let world = World::new();
    let to = [mailbox(1)];
    world.deliver(&alone(60 * MINUTE_MS, &to)).await.unwrap();
    let store = Lagging::new(world.memory.clone()).await;
    let knowing = world.replica_on(store.clone());
    assert_eq!(segments_seen(&knowing, &to[0]).await.len(), 1);
    // Accepted long before what is known, put only now.
    world.deliver(&delivery(5, &to, location("late", 0, 1))).await.unwrap();
    assert_eq!(segments_seen(&knowing, &to[0]).await, ["late", "alone-3600000"]);
    store.catch_up().await;
    world.deliver(&delivery(6, &to, location("later", 0, 1))).await.unwrap();
    store.catch_up().await;
    assert_eq!(segments_seen(&knowing, &to[0]).await, ["late", "later", "alone-3600000"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_fresh_works_at_once() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    world.add_user("old@example.org").await;
    let store = Lagging::new(world.memory.clone()).await;
    let replica = world.replica_on(store);
    let secret = |text: &str| text.to_owned().into();
    // An account, a password and a domain that the lagging replica does not know.
    world.metadata.add_user(&new_user("new@example.org")).await.unwrap();
    replica.authenticate("new@example.org", &secret("secret")).await.unwrap();
    replica.authenticate("old@example.org", &secret("secret")).await.unwrap();
    world.metadata.set_password(&"old@example.org".parse().unwrap(), &secret("changed")).await.unwrap();
    replica.authenticate("old@example.org", &secret("changed")).await.unwrap();
    assert!(replica.authenticate("old@example.org", &secret("neither")).await.is_err());
    world.add_domain("example.net", None).await;
    world.add_user("ann@example.net").await;
    let resolution = replica.resolve("ann@example.net", 0).await.unwrap();
    assert!(matches!(resolution, puro_api::model::Resolution::Targets(_)), "{resolution:?}");
}

//! The unit budgets of the data model, from what DynamoDB itself says that the mail logic's calls cost; and the meter,
//! by which the same budgets are asserted without a server, says the same.

use std::sync::Arc;

use puro_api::model::{Alias, Domain, Resolution};
use puro_metadata::{
    Metadata, Snapshot,
    store::{
        dynamodb::Consumed,
        metered::{MeteredStore, Units, Usage},
    },
};
use puro_stand_ins::FaultProxy;
use puro_types::{Location, MailboxId};

use crate::{
    rig::{fresh, fresh_behind},
    world::{MINUTE_MS, World, delivery, location, message, new_user},
};

/// The mail logic on DynamoDB, with both meters.
struct Town {
    world: World,
    store: Arc<MeteredStore>,
    consumed: Consumed,
    metadata: Arc<Metadata>,
    mailboxes: Vec<MailboxId>,
}

impl Town {
    /// Users whose domain is cached, as on any busy system.
    async fn of(users: usize) -> Self {
        let store = fresh().await.store;
        let consumed = store.consumed();
        let store = Arc::new(MeteredStore::new(Arc::new(store)));
        let world = World::new();
        let metadata = world.replica_on(store.clone());
        let domain = Domain { name: "example.org".parse().unwrap(), catch_all: None };
        metadata.add_domain(&domain).await.unwrap();
        let mut mailboxes = Vec::new();
        for number in 0..users {
            let user = new_user(&format!("user-{number}@example.org"));
            mailboxes.push(metadata.add_user(&user).await.unwrap().mailbox);
        }
        metadata.resolve("user-0@example.org", 0).await.unwrap();
        Self { world, store, consumed, metadata, mailboxes }
    }

    /// Returns what a piece of work cost by DynamoDB's figures, after a look that ours are the same.
    async fn spent<T>(&self, work: impl Future<Output = T>) -> (Units, Usage) {
        let (before, ours) = (self.consumed.units(), self.store.units());
        work.await;
        let usage = self.consumed.units().since(&before);
        assert_eq!(self.store.units().since(&ours), usage, "left: our meter, right: DynamoDB");
        (usage.total(), usage)
    }

    async fn deliver(&self, number: u64) {
        self.metadata.deliver(&delivery(number, &self.mailboxes[..1], real(number))).await.unwrap();
    }
}

/// A location with names and numbers as long as they are in life.
fn real(number: u64) -> Location {
    let mut location = location("7f/0ABCDEFGHIJKLMNOPQRSTUV", u32::try_from(number % 40).unwrap(), 40);
    location.offset = 1_234_567 + number;
    location.header.checksum = 0xDEAD_BEEF;
    location.body.checksum = 0xFEED_F00D;
    location.body.length = 123_456;
    location
}

#[tokio::test]
async fn a_delivery_costs_two_writes_a_recipient_and_one_and_a_half_reads() {
    let town = Town::of(3).await;
    for recipients in 1..=3 {
        for number in 0..recipients {
            let (units, usage) = town
                .spent(async {
                    let address = format!("user-{number}@example.org");
                    let resolution = town.metadata.resolve(&address, 10_000).await;
                    assert!(matches!(resolution, Ok(Resolution::Targets(_))));
                })
                .await;
            assert!(units.reads() <= if number == 0 { 1.5 } else { 0.5 }, "{usage:?}");
            assert_eq!(units.writes, 0);
        }
        let number = recipients as u64;
        let delivery = delivery(number, &town.mailboxes[..recipients], real(number));
        let (units, usage) = town.spent(town.metadata.deliver(&delivery)).await;
        assert_eq!(units.writes, 2 * number, "{usage:?}");
        assert_eq!(units.read_halves, 0, "{usage:?}");
    }
}

#[tokio::test]
async fn a_poll_with_nothing_new_costs_no_write_and_one_and_a_half_reads() {
    let town = Town::of(1).await;
    for number in 0..20 {
        town.deliver(number).await;
    }
    let login = async |known: u64| {
        let password = "secret".to_owned().into();
        let account = town.metadata.authenticate("user-0@example.org", &password).await.unwrap();
        match town.metadata.list(&account.mailbox, known).await.unwrap() {
            Snapshot::Current(listing) => listing.version,
            Snapshot::Unchanged { version } => version,
        }
    };
    let version = login(0).await;
    for known in [version, 0] {
        let (units, usage) = town.spent(login(known)).await;
        assert_eq!(units.writes, 0, "{usage:?}");
        assert!(units.reads() > 0.0 && units.reads() <= 1.5, "{usage:?}");
    }
}

#[tokio::test]
async fn a_changed_listing_costs_half_a_read_for_sixteen_messages() {
    let town = Town::of(1).await;
    for number in 0..96 {
        town.deliver(number * MINUTE_MS).await;
    }
    let replica = town.world.replica_on(town.store.clone());
    let (units, usage) = town.spent(replica.list(&town.mailboxes[0], 0)).await;
    // One for the folder; the rest for the messages.
    assert!(units.reads() <= 1.0 + 0.5 * 96.0 / 16.0, "{usage:?}");
    assert!(units.reads() > 1.0 && units.writes == 0, "{usage:?}");
    town.deliver(96 * MINUTE_MS).await;
    let (units, usage) = town.spent(replica.list(&town.mailboxes[0], 0)).await;
    assert!(units.reads() <= 1.5, "only what came is read: {usage:?}");
}

#[tokio::test]
async fn a_quit_costs_one_write_a_message_and_two() {
    let town = Town::of(1).await;
    let mut next = 0;
    for count in [1, 41, 60] {
        let mut ids = Vec::new();
        for _ in 0..count {
            town.deliver(next).await;
            ids.push(message(&delivery(next, &town.mailboxes, real(next)), &town.mailboxes[0]));
            next += 1;
        }
        town.metadata.list(&town.mailboxes[0], 0).await.unwrap();
        let (units, usage) = town.spent(town.metadata.remove(&town.mailboxes[0], &ids)).await;
        assert_eq!(units.writes, count + 2, "{count} messages: {usage:?}");
        assert_eq!(units.read_halves, 0, "{usage:?}");
    }
}

#[tokio::test]
async fn the_targets_of_an_alias_are_read_with_one_request() {
    let proxy = FaultProxy::before_dynamodb();
    let (_, behind) = fresh_behind(proxy.endpoint()).await;
    let metadata = World::new().replica_on(Arc::new(behind.store));
    let domain = Domain { name: "example.org".parse().unwrap(), catch_all: None };
    metadata.add_domain(&domain).await.unwrap();
    let mut targets = Vec::new();
    for number in 0..12 {
        let user = new_user(&format!("user-{number}@example.org"));
        metadata.add_user(&user).await.unwrap();
        targets.push(user.email);
    }
    let email = "all@example.org".parse().unwrap();
    metadata.add_alias(&Alias { email, targets }).await.unwrap();
    metadata.resolve("user-0@example.org", 0).await.unwrap();
    proxy.forget_counts();
    let resolution = metadata.resolve("all@example.org", 10_000).await.unwrap();
    assert!(matches!(resolution, Resolution::Targets(_)), "{resolution:?}");
    let requests = [("BatchGetItem".to_owned(), 1), ("GetItem".to_owned(), 1)];
    assert_eq!(proxy.requests(), requests.into());
}

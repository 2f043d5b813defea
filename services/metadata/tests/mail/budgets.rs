//! The unit budgets of the data model, counted as DynamoDB would bill them.

use puro_api::model::Resolution;
use puro_metadata::{
    Snapshot,
    store::metered::{Units, Usage},
};
use puro_types::MailboxId;

use crate::world::{MINUTE_MS, World, delivery, location, message};

async fn spent<T>(world: &World, work: impl Future<Output = T>) -> (Units, Usage) {
    let before = world.metered.units();
    work.await;
    let usage = world.metered.units().since(&before);
    (usage.total(), usage)
}

/// A world with users whose domain is cached, as on any busy system.
async fn town(users: usize) -> (World, Vec<MailboxId>) {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let mut mailboxes = Vec::new();
    for number in 0..users {
        mailboxes.push(world.add_user(&format!("user-{number}@example.org")).await.mailbox);
    }
    world.metadata.resolve("user-0@example.org", 0).await.unwrap();
    (world, mailboxes)
}

/// A location with names and numbers as long as they are in life.
fn real(number: u64) -> puro_types::Location {
    let mut location = location("7f/0ABCDEFGHIJKLMNOPQRSTUV", u32::try_from(number % 40).unwrap(), 40);
    location.offset = 1_234_567 + number;
    location.header.checksum = 0xDEAD_BEEF;
    location.body.checksum = 0xFEED_F00D;
    location.body.length = 123_456;
    location
}

#[tokio::test]
async fn a_delivery_costs_two_writes_a_recipient_and_one_and_a_half_reads() {
    let (world, mailboxes) = town(3).await;
    for recipients in 1..=3 {
        let mut resolved = Units::default();
        for number in 0..recipients {
            let (units, _) = spent(&world, async {
                let resolution = world.metadata.resolve(&format!("user-{number}@example.org"), 10_000).await;
                assert!(matches!(resolution, Ok(Resolution::Targets(_))));
            })
            .await;
            assert!(units.reads() <= if number == 0 { 1.5 } else { 0.5 }, "{units:?}");
            resolved = resolved + units;
        }
        assert_eq!(resolved.writes, 0);
        let number = recipients as u64;
        let delivery = delivery(number, &mailboxes[..recipients], real(number));
        let (units, usage) = spent(&world, world.metadata.deliver(&delivery)).await;
        assert!(units.writes <= 2 * number, "{usage:?}");
        assert_eq!(units.read_halves, 0, "{usage:?}");
    }
}

#[tokio::test]
async fn a_poll_with_nothing_new_costs_no_write_and_one_and_a_half_reads() {
    let (world, mailboxes) = town(1).await;
    for number in 0..50 {
        world.deliver(&delivery(number, &mailboxes, real(number))).await.unwrap();
    }
    let login = async |known: u64| {
        let password = "secret".to_owned().into();
        let account = world.metadata.authenticate("user-0@example.org", &password).await.unwrap();
        match world.metadata.list(&account.mailbox, known).await.unwrap() {
            Snapshot::Current(listing) => listing.version,
            Snapshot::Unchanged { version } => version,
        }
    };
    let version = login(0).await;
    // Whether the front end remembers the listing or only this replica does.
    for known in [version, 0] {
        let (units, usage) = spent(&world, login(known)).await;
        assert_eq!(units.writes, 0, "{usage:?}");
        assert!(units.reads() <= 1.5, "{usage:?}");
    }
}

#[tokio::test]
async fn a_changed_listing_costs_half_a_read_for_sixteen_messages() {
    let (world, mailboxes) = town(1).await;
    let fresh_cost = async || {
        let fresh = world.replica();
        spent(&world, fresh.list(&mailboxes[0], 0)).await
    };
    for number in 0..160 {
        world.deliver(&delivery(number * MINUTE_MS, &mailboxes, real(number))).await.unwrap();
    }
    let (units, usage) = fresh_cost().await;
    // One for the folder; the rest for the messages.
    assert!(units.reads() <= 1.0 + 0.5 * 160.0 / 16.0, "{usage:?}");
    assert_eq!(units.writes, 0);
    // A replica that knows the listing reads only what came.
    world.list(&mailboxes[0]).await.unwrap();
    world.deliver(&delivery(160 * MINUTE_MS, &mailboxes, real(160))).await.unwrap();
    let (units, usage) = spent(&world, world.list(&mailboxes[0])).await;
    assert!(units.reads() <= 1.5, "{usage:?}");
}

#[tokio::test]
async fn a_quit_costs_one_write_a_message_and_two() {
    let (world, mailboxes) = town(1).await;
    let mut next = 0;
    for count in [1, 40, 41, 200] {
        let mut ids = Vec::new();
        for _ in 0..count {
            let delivery = delivery(next, &mailboxes, real(next));
            world.deliver(&delivery).await.unwrap();
            ids.push(message(&delivery, &mailboxes[0]));
            next += 1;
        }
        world.list(&mailboxes[0]).await.unwrap();
        let (units, usage) = spent(&world, world.metadata.remove(&mailboxes[0], &ids)).await;
        assert!(units.writes <= count + 2, "{count} messages: {usage:?}");
        assert_eq!(units.read_halves, 0, "{usage:?}");
        // The replica that did it need not read the mailbox again to know it.
        let (units, usage) = spent(&world, world.list(&mailboxes[0])).await;
        assert!(units.reads() <= 1.0, "{usage:?}");
    }
}

//! Deliveries that go well, and those that wait in the queue.

use puro_api::model::Delivered;
use puro_metadata::{
    MetadataError, Snapshot,
    store::{
        Consistency, ItemStore as _, Table, Value,
        faulty::{Calls, Fault, FaultPlan},
    },
};

use crate::world::{DAY_MS, MINUTE_MS, START_MS, World, alone, delivery, location, mailbox, message};

#[tokio::test(start_paused = true)]
async fn each_recipient_gets_the_message_once() {
    let world = World::new();
    let boxes = [mailbox(3), mailbox(1), mailbox(2), mailbox(1)];
    let delivery = alone(1, &boxes);
    for _ in 0..2 {
        let delivered = world.deliver(&delivery).await.unwrap();
        assert_eq!(delivered, Delivered { delivered: 3, queued: 0 });
    }
    for mailbox in &boxes {
        let listing = world.list(mailbox).await.unwrap();
        assert_eq!(listing.messages.len(), 1);
        assert_eq!(listing.messages[0].id, message(&delivery, mailbox));
        assert_eq!(listing.messages[0].location, delivery.location);
        assert_eq!(listing.messages[0].size_bytes, 1_000);
    }
}

#[tokio::test(start_paused = true)]
async fn every_delivery_changes_the_version() {
    let world = World::new();
    let to = mailbox(1);
    let mut last = 0;
    for number in 1..=5 {
        world.deliver(&alone(number, std::slice::from_ref(&to))).await.unwrap();
        let listing = world.list(&to).await.unwrap();
        assert!(listing.version > last);
        last = listing.version;
        let again = world.metadata.list(&to, last).await.unwrap();
        assert_eq!(again, Snapshot::Unchanged { version: last });
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_refused() {
    let world = World::new();
    let to = [mailbox(1)];
    let mut none = alone(1, &to);
    none.mailboxes.clear();
    let mut beyond = alone(1, &to);
    beyond.location.offset = u64::MAX;
    let mut nameless = alone(1, &to);
    nameless.location.object_name.clear();
    let mut long = alone(1, &to);
    long.location.object_name = "x".repeat(puro_metadata::OBJECT_NAME_MAX + 1);
    let mut slot = alone(1, &to);
    slot.location.slot = 1;
    for wrong in [none, beyond, nameless, long, slot] {
        let answer = world.deliver(&wrong).await;
        assert!(matches!(answer, Err(MetadataError::Invalid(_))), "{wrong:?}");
    }
    assert!(world.items(Table::MetaMail).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_cannot_be_put_waits_in_the_queue() {
    let world = World::new();
    let to = [mailbox(1)];
    // All attempts at the item fail; the queue takes it.
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::Before));
    let delivered = world.deliver(&alone(1, &to)).await.unwrap();
    assert_eq!(delivered, Delivered { delivered: 0, queued: 1 });
    assert!(world.ids(&to[0]).await.is_empty());
    world.pass(MINUTE_MS, 1_000).await;
    assert_eq!(world.ids(&to[0]).await.len(), 1);
    assert!(world.queue().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_copy_whose_bump_fails_is_announced_by_the_queue() {
    let world = World::new();
    let to = [mailbox(1)];
    world.deliver(&alone(1, &to)).await.unwrap();
    let known = world.list(&to[0]).await.unwrap();
    // The item is put, all attempts at the bump fail.
    world.faulty.set_plan(FaultPlan::during(1..5, Calls::Writes, Fault::Before));
    let delivered = world.deliver(&alone(2, &to)).await.unwrap();
    assert_eq!(delivered, Delivered { delivered: 1, queued: 0 });
    let unannounced = world.metadata.list(&to[0], known.version).await.unwrap();
    assert!(matches!(unannounced, Snapshot::Unchanged { .. }));
    world.pass(MINUTE_MS, 1_000).await;
    let announced = world.metadata.list(&to[0], known.version).await.unwrap();
    let Snapshot::Current(listing) = announced else { panic!("the message is hidden for ever") };
    assert_eq!(listing.messages.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_put_before_a_crash_shows_at_the_next_bump() {
    let mut world = World::new();
    let to = [mailbox(1)];
    world.faulty.set_plan(FaultPlan::during(1..1_000, Calls::Writes, Fault::Before));
    assert!(world.deliver(&alone(1, &to)).await.is_err(), "no 250 without a bump");
    world.heal();
    world.restart();
    // The sender comes again with a new transaction.
    world.deliver(&alone(2, &to)).await.unwrap();
    assert_eq!(world.ids(&to[0]).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_late_retry_does_not_bring_a_deleted_message_back() {
    let world = World::new();
    let to = [mailbox(1)];
    let delivery = alone(1, &to);
    world.deliver(&delivery).await.unwrap();
    world.metadata.remove(&to[0], &[message(&delivery, &to[0])]).await.unwrap();
    world.pass(DAY_MS - MINUTE_MS, 60 * MINUTE_MS).await;
    let before = world.items(Table::Folder).await;
    world.deliver(&delivery).await.unwrap();
    assert!(world.ids(&to[0]).await.is_empty());
    assert_eq!(world.items(Table::Folder).await, before, "nothing was counted");
}

#[tokio::test(start_paused = true)]
async fn counters_are_right_and_doubtful_ones_are_repaired() {
    let world = World::new();
    let to = [mailbox(1)];
    let key = puro_metadata::store::Key { partition: to[0].to_string(), sort: "INBOX".to_owned() };
    let counters = async || {
        let item = world.memory.get(Table::Folder, &key, Consistency::Strong).await.unwrap().unwrap();
        let number = |name: &str| match item.get(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        };
        (number("messages"), number("bytes"), number("drift"))
    };
    world.deliver(&alone(1, &to)).await.unwrap();
    assert_eq!(counters().await, (1, 1_000, 0));
    // The answer to the bump is lost: whether it counted is not known, and it must not count twice.
    world.faulty.set_plan(FaultPlan::nth(1, Calls::Writes, Fault::AfterUnknown));
    world.deliver(&alone(2, &to)).await.unwrap();
    assert_eq!(counters().await, (2, 2_000, 1));
    world.faulty.set_plan(FaultPlan::nth(1, Calls::Writes, Fault::BeforeUnknown));
    world.deliver(&alone(3, &to)).await.unwrap();
    assert_eq!(counters().await, (2, 2_000, 1));
    world.heal();
    assert_eq!(world.ids(&to[0]).await.len(), 3);
    world.clock.advance_ms(2 * MINUTE_MS);
    let fresh = world.replica();
    fresh.list(&to[0], 0).await.unwrap();
    assert_eq!(counters().await, (3, 3_000, 0));
}

#[tokio::test(start_paused = true)]
async fn messages_are_listed_in_the_order_of_their_acceptance() {
    let world = World::new();
    let to = [mailbox(1)];
    for number in [500, 2, 900, 1] {
        let mut late = delivery(number, &to, location(&format!("s-{number}"), 0, 1));
        late.accepted_ms = START_MS + number * 10 * MINUTE_MS;
        world.deliver(&late).await.unwrap();
        // A message that is older than all that are known must not be missed.
        world.list(&to[0]).await.unwrap();
    }
    let listing = world.list(&to[0]).await.unwrap();
    let names: Vec<&str> = listing.messages.iter().map(|at| at.location.object_name.as_str()).collect();
    assert_eq!(names, ["s-1", "s-2", "s-500", "s-900"]);
}

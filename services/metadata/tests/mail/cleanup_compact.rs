//! Mostly dead segments: what lives in them moves, nothing is lost on the way, and the rest goes.

use std::{collections::BTreeSet, sync::Arc};

use puro_api::model::Delivery;
use puro_metadata::{
    Metadata,
    store::{
        Condition, Table, Update, Value,
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::{Location, MailboxId, MessageId};

use crate::{
    audit::audit,
    ledger::Ledger,
    world::{DAY_MS, MINUTE_MS, World, mailbox, message},
};

pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;

/// A segment of six messages to three mailboxes, of which so much is deleted that a part of two lives.
pub(crate) struct Thin {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) segment: String,
}

pub(crate) async fn thin(world: &World, ledger: &mut Ledger) -> Thin {
    let [one, two, three] = [1, 2, 3].map(mailbox);
    let deliveries = world.store(&[
        (1, std::slice::from_ref(&one)),
        (2, &[one.clone(), two.clone(), three.clone()]),
        (3, std::slice::from_ref(&two)),
        (4, &[one.clone(), three.clone()]),
        (5, std::slice::from_ref(&three)),
        (6, std::slice::from_ref(&one)),
    ]);
    for delivery in &deliveries {
        ledger.deliver(world, delivery).await.unwrap();
    }
    // Of the second one owner goes, of the fourth both; the last stays whole.
    for (number, at) in [(0, &one), (1, &two), (2, &two), (3, &one), (3, &three), (4, &three)] {
        ledger.remove(world, at, &[message(&deliveries[number], at)]).await.unwrap();
    }
    let segment = deliveries[0].location.object_name.clone();
    Thin { deliveries, segment }
}

pub(crate) async fn places(world: &World, mailbox: &MailboxId) -> Vec<Location> {
    let listing = world.list(mailbox).await.unwrap();
    listing.messages.iter().map(|message| message.location.clone()).collect()
}

/// Lets time pass until a compaction is over.
pub(crate) async fn pass_compaction(world: &World) {
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    world.pass(6 * DAY_MS, DAY_MS / 4).await;
}

#[tokio::test(start_paused = true)]
async fn what_lives_moves_and_the_segment_goes_a_day_later() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let Thin { deliveries, segment } = thin(&world, &mut ledger).await;
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    let before = world.list(&mailbox(1)).await.unwrap();
    assert!(before.messages.iter().all(|message| message.location.object_name == segment));
    world.pass(DAY_MS, HOUR_MS).await;
    let after = world.list(&mailbox(1)).await.unwrap();
    let ids = |of: &[puro_api::model::Message]| of.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&after.messages), ids(&before.messages));
    assert!(after.version > before.version, "a cached listing is not given any more");
    let copy = after.messages[0].location.object_name.clone();
    assert_ne!(copy, segment);
    for place in [places(&world, &mailbox(1)).await, places(&world, &mailbox(3)).await].concat() {
        assert_eq!((place.object_name.as_str(), place.slots), (copy.as_str(), 2));
        assert!(world.segments.holds(&place));
    }
    // Sessions with old places go on reading.
    assert!(before.messages.iter().all(|message| world.segments.holds(&message.location)));
    world.pass(DAY_MS - 2 * HOUR_MS, HOUR_MS).await;
    assert!(!world.segments.is_deleted(&segment));
    world.pass(4 * HOUR_MS, HOUR_MS).await;
    assert!(world.segments.is_deleted(&segment));
    ledger.check(&world, "compacted").await;
    // A listing is as cheap as before: the counters agree with the new places.
    let units = world.metered.units();
    world.replica().list(&mailbox(1), 0).await.unwrap();
    assert!(world.metered.units().since(&units).total().reads() <= 1.5);

    // The copy is a segment like any other: its last owner takes it along, and all that is known of it.
    for (number, at) in [(1, mailbox(1)), (1, mailbox(3)), (5, mailbox(1))] {
        assert!(!world.segments.is_deleted(&copy));
        ledger.remove(&world, &at, &[message(&deliveries[number], &at)]).await.unwrap();
        world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    }
    assert!(world.segments.is_deleted(&copy));
    pass_compaction(&world).await;
    ledger.check_space(&world, "all gone").await;
}

#[tokio::test(start_paused = true)]
async fn half_dead_is_not_enough() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let to = [mailbox(1)];
    let deliveries = world.store(&[(1, &to), (2, &to), (3, &to), (4, &to)]);
    for delivery in &deliveries {
        ledger.deliver(&world, delivery).await.unwrap();
    }
    let gone: Vec<MessageId> = deliveries[..2].iter().map(|one| message(one, &to[0])).collect();
    ledger.remove(&world, &to[0], &gone).await.unwrap();
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    pass_compaction(&world).await;
    assert_eq!(world.segments.names(), BTreeSet::from([deliveries[0].location.object_name.clone()]));
    ledger.remove(&world, &to[0], &[message(&deliveries[2], &to[0])]).await.unwrap();
    pass_compaction(&world).await;
    let place = places(&world, &to[0]).await.remove(0);
    assert_eq!(world.segments.names(), BTreeSet::from([place.object_name.clone()]));
    assert_eq!(place.slots, 1);
    ledger.check(&world, "one lives").await;
    ledger.check_space(&world, "one lives").await;
}

#[tokio::test(start_paused = true)]
async fn without_good_labels_nothing_is_touched() {
    for spoil in 0..3 {
        let world = World::new();
        let mut ledger = Ledger::default();
        let [one, two] = [1, 2].map(mailbox);
        let [ones, both] = [vec![one.clone()], vec![one.clone(), two.clone()]];
        // The label of the second message is missing, or names fewer or others than have it.
        let labels = match spoil {
            0 => world.segments.put(vec![label(1, &ones), bytes::Bytes::new(), label(3, &ones)]),
            1 => world.segments.put(vec![label(1, &ones), label(2, &ones), label(3, &ones)]),
            _ => world.segments.put(vec![label(1, &ones), label(2, &both), label(3, &ones)]),
        };
        let to = |number| if number == 2 && spoil < 2 { &both } else { &ones };
        let deliveries: Vec<Delivery> = (1..)
            .zip(labels)
            .map(|(number, place)| crate::world::delivery(number, to(number), place))
            .collect();
        for delivery in &deliveries {
            ledger.deliver(&world, delivery).await.unwrap();
        }
        for number in [0, 2] {
            ledger.remove(&world, &one, &[message(&deliveries[number], &one)]).await.unwrap();
        }
        let names = world.segments.names();
        pass_compaction(&world).await;
        assert_eq!(world.segments.names(), names, "{spoil}");
        ledger.check(&world, "not compacted").await;
        assert!(world.queue().await.is_empty(), "{spoil}");
    }
}

fn label(number: u64, mailboxes: &[MailboxId]) -> bytes::Bytes {
    let accepted_ms = crate::world::START_MS + number;
    puro_api::model::Owners::of_delivery(&crate::world::transaction(number), accepted_ms, mailboxes).label()
}

/// Takes the leases of all deliveries in the queue, as a worker does that then stands still; or lets go of them.
async fn block_deliveries(world: &World, blocked: bool) {
    let until = if blocked { 1 << 42 } else { 0 };
    for (key, item) in world.queue().await {
        if item.get("kind") == Some(&Value::Text("deliver".to_owned())) {
            let set = vec![("lease_expires".to_owned(), Value::Number(until))];
            let update = Update { set, ..Update::default() };
            world.base.update(Table::Queue, key, update, Condition::default()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_workers_do_it_once() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let thin = thin(&world, &mut ledger).await;
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    let others: Vec<Arc<Metadata>> = (0..3).map(|_| world.replica()).collect();
    for _ in 0..40 {
        world.clock.advance_ms(DAY_MS / 8);
        // At the same time, as far as one thread goes.
        let rounds = others.iter().map(|worker| worker.work_once());
        futures_util::future::join_all(rounds).await;
        ledger.check_safety(&world, "many workers").await;
    }
    assert!(world.segments.is_deleted(&thin.segment));
    ledger.check(&world, "many workers").await;
    ledger.check_space(&world, "many workers").await;
}

#[tokio::test(start_paused = true)]
async fn a_delivery_that_waits_keeps_its_segment() {
    let mut world = World::new();
    let mut ledger = Ledger::default();
    let [one, two] = [1, 2].map(mailbox);
    let deliveries = world.store(&[
        (1, std::slice::from_ref(&one)),
        (2, std::slice::from_ref(&one)),
        (3, std::slice::from_ref(&two)),
    ]);
    for delivery in &deliveries[..2] {
        ledger.deliver(&world, delivery).await.unwrap();
        ledger.remove(&world, &one, &[message(delivery, &one)]).await.unwrap();
    }
    // The third is acknowledged, and cannot be put for three days.
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::Before));
    assert_eq!(ledger.deliver(&world, &deliveries[2]).await, Ok(()));
    world.faulty.set_plan(FaultPlan::none());
    block_deliveries(&world, true).await;
    world.pass(3 * DAY_MS, HOUR_MS).await;
    assert!(world.segments.holds(&deliveries[2].location), "the bytes of an acknowledged message");
    let (found, _) = audit(&world.metadata, true).await;
    assert_eq!(found, [], "what waits is no orphan");
    block_deliveries(&world, false).await;
    world.restart();
    pass_compaction(&world).await;
    ledger.check(&world, "it came").await;
    assert_eq!(places(&world, &two).await.len(), 1);
    ledger.check_space(&world, "it came").await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_deleted_does_not_come_back_days_later() {
    let mut world = World::new();
    let mut ledger = Ledger::default();
    let to = mailbox(1);
    let delivery = world.store(&[(1, std::slice::from_ref(&to))]).remove(0);
    // Put, but nobody knows: it goes to the queue as well, and the queue stands still.
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::AfterUnknown));
    ledger.deliver(&world, &delivery).await.unwrap();
    world.faulty.set_plan(FaultPlan::none());
    block_deliveries(&world, true).await;
    ledger.remove(&world, &to, &[message(&delivery, &to)]).await.unwrap();
    world.pass(4 * DAY_MS, HOUR_MS).await;
    block_deliveries(&world, false).await;
    world.restart();
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    ledger.check(&world, "the queue moves again").await;
    assert_eq!(places(&world, &to).await, []);
    pass_compaction(&world).await;
    ledger.check_space(&world, "all gone").await;
}

#[tokio::test(start_paused = true)]
async fn what_a_compaction_costs() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let to = mailbox(1);
    let numbers: Vec<u64> = (1..=20).collect();
    let messages: Vec<_> = numbers.iter().map(|number| (*number, std::slice::from_ref(&to))).collect();
    let deliveries = world.store(&messages);
    for delivery in &deliveries {
        ledger.deliver(&world, delivery).await.unwrap();
    }
    let gone: Vec<MessageId> = deliveries[..11].iter().map(|one| message(one, &to)).collect();
    ledger.remove(&world, &to, &gone).await.unwrap();
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    let before = world.metered.units();
    // Nine owners live, in one mailbox. Its tombstones go as well, and the rounds over the queue are not counted.
    for _ in 0..40 {
        world.clock.advance_ms(3 * HOUR_MS);
        world.metadata.work_once().await;
    }
    let used = world.metered.units().since(&before);
    let tombstones = 11 + 3;
    let (live, mailboxes) = (9, 1);
    let writes = used.total().writes - tombstones;
    assert!(writes <= live + mailboxes + 14, "{used:?}");
    assert!(used.table(Table::MetaMail).reads() <= 20.0 + 3.0 * 9.0 + 3.0, "{used:?}");
    assert_eq!(places(&world, &to).await.len(), 9);
}

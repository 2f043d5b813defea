//! Listings and removals.

use puro_metadata::{
    MetadataError, Snapshot,
    store::{
        Table,
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::MailboxId;

use crate::world::{MINUTE_MS, World, alone, mailbox, message};

#[tokio::test(start_paused = true)]
async fn an_empty_mailbox_is_empty_and_a_failure_is_not() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let user = world.add_user("ann@example.org").await;
    let listing = world.list(&user.mailbox).await.unwrap();
    assert!(listing.messages.is_empty() && listing.version > 0);
    world.deliver(&alone(1, std::slice::from_ref(&user.mailbox))).await.unwrap();
    for failing in 0..3 {
        let fresh = world.replica();
        world.faulty.set_plan(FaultPlan::during(failing..100, Calls::Reads, Fault::Before));
        match fresh.list(&user.mailbox, 0).await {
            Err(MetadataError::Unavailable(_)) => assert!(failing < 2),
            Ok(Snapshot::Current(listing)) => assert_eq!(listing.messages.len(), 1),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_the_named_messages_go() {
    let world = World::new();
    let to = mailbox(1);
    let mut ids = Vec::new();
    for number in 0..120 {
        let delivery = alone(number, std::slice::from_ref(&to));
        world.deliver(&delivery).await.unwrap();
        ids.push(message(&delivery, &to));
    }
    let version = world.list(&to).await.unwrap().version;
    // More than are named in the queue item, and not side by side.
    let (gone, kept): (Vec<_>, Vec<_>) = ids.iter().cloned().enumerate().partition(|(at, _)| at % 2 == 0);
    let names = |list: Vec<(usize, puro_types::MessageId)>| -> Vec<_> {
        list.into_iter().map(|(_, id)| id).collect()
    };
    let (gone, kept) = (names(gone), names(kept));
    assert_eq!(world.metadata.remove(&to, &gone).await.unwrap(), 60);
    assert_eq!(world.ids(&to).await, kept);
    assert!(world.list(&to).await.unwrap().version > version);
    assert_eq!(world.metadata.remove(&to, &gone).await.unwrap(), 0, "again");
    world.pass_all().await;
    assert_eq!(world.ids(&to).await, kept);
    assert_eq!(world.segments.deleted().len(), 60);
    assert_eq!(world.items(Table::MetaMail).await.len(), 60);
    assert!(world.queue().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn removing_nothing_writes_nothing() {
    let world = World::new();
    assert_eq!(world.metadata.remove(&mailbox(1), &[]).await.unwrap(), 0);
    assert_eq!(world.faulty.calls(Calls::Any), 0);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_stays_readable_for_the_grace_period() {
    let world = World::new();
    let to = [mailbox(1)];
    let delivery = alone(1, &to);
    world.deliver(&delivery).await.unwrap();
    world.metadata.remove(&to[0], &[message(&delivery, &to[0])]).await.unwrap();
    world.clock.advance_ms(15 * MINUTE_MS - 1);
    world.metadata.work_once().await;
    assert!(world.segments.deleted().is_empty());
    world.clock.advance_ms(1);
    world.metadata.work_once().await;
    assert!(world.segments.is_deleted("alone-1"));
}

#[tokio::test(start_paused = true)]
async fn replicas_see_one_anothers_changes() {
    let world = World::new();
    let other = world.replica();
    let to = mailbox(1);
    let seen =
        async |replica: &puro_metadata::Metadata, to: &MailboxId| match replica.list(to, 0).await.unwrap() {
            Snapshot::Current(listing) => listing.messages.len(),
            Snapshot::Unchanged { .. } => panic!("nothing was known"),
        };
    let deliveries: Vec<_> = (0..4).map(|number| alone(number, std::slice::from_ref(&to))).collect();
    for (at, delivery) in deliveries.iter().enumerate() {
        let replica = if at % 2 == 0 { &world.metadata } else { &other };
        replica.deliver(delivery).await.unwrap();
        assert_eq!(seen(&world.metadata, &to).await, at + 1);
        assert_eq!(seen(&other, &to).await, at + 1);
    }
    // One goes here and one comes there: the count is the same, the messages are not.
    other.remove(&to, &[message(&deliveries[0], &to)]).await.unwrap();
    world.metadata.deliver(&alone(9, std::slice::from_ref(&to))).await.unwrap();
    assert_eq!(seen(&world.metadata, &to).await, 4);
    let Snapshot::Current(listing) = world.metadata.list(&to, 0).await.unwrap() else { panic!() };
    assert!(listing.messages.iter().all(|at| at.id != message(&deliveries[0], &to)));
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_was_not_announced_is_announced_before_its_bytes_go() {
    let world = World::new();
    let to = [mailbox(1)];
    let delivery = alone(1, &to);
    world.deliver(&delivery).await.unwrap();
    let known = world.list(&to[0]).await.unwrap().version;
    // The job and the tombstone are written, the bump never.
    world.faulty.set_plan(FaultPlan::during(2..1_000, Calls::Writes, Fault::Before));
    let removed = world.metadata.remove(&to[0], &[message(&delivery, &to[0])]).await;
    assert!(removed.is_err(), "-ERR unless everything was done");
    world.heal();
    let listing = world.metadata.list(&to[0], known).await.unwrap();
    assert!(matches!(listing, Snapshot::Unchanged { .. }), "front ends hold the old listing still");
    world.clock.advance_ms(15 * MINUTE_MS);
    world.metadata.work_once().await;
    assert!(world.segments.deleted().is_empty(), "sessions with the old listing may have begun just now");
    let listing = world.metadata.list(&to[0], known).await.unwrap();
    assert!(matches!(listing, Snapshot::Current(_)), "announced");
    world.clock.advance_ms(15 * MINUTE_MS);
    world.metadata.work_once().await;
    assert!(world.segments.is_deleted("alone-1"));
}

#[tokio::test(start_paused = true)]
async fn each_removal_waits_for_its_own_time() {
    let world = World::new();
    let to = mailbox(1);
    let deliveries: Vec<_> = (0..90).map(|number| alone(number, std::slice::from_ref(&to))).collect();
    for delivery in &deliveries {
        world.deliver(delivery).await.unwrap();
    }
    // So many that the job names a range, in which the message that goes later lies too.
    let early: Vec<_> = deliveries.iter().step_by(2).map(|delivery| message(delivery, &to)).collect();
    world.metadata.remove(&to, &early).await.unwrap();
    world.clock.advance_ms(10 * MINUTE_MS);
    world.metadata.remove(&to, &[message(&deliveries[45], &to)]).await.unwrap();
    world.clock.advance_ms(5 * MINUTE_MS);
    world.metadata.work_once().await;
    assert_eq!(world.segments.deleted().len(), 45);
    assert!(!world.segments.is_deleted("alone-45"), "somebody may be reading it");
    world.clock.advance_ms(10 * MINUTE_MS);
    world.metadata.work_once().await;
    assert!(world.segments.is_deleted("alone-45"));
}

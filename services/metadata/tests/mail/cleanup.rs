//! What the worker frees, and what it must not.

use std::sync::Arc;

use puro_metadata::store::{
    Table,
    faulty::{Calls, Fault, FaultPlan},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Ledger,
    world::{DAY_MS, MINUTE_MS, World, alone, delivery, location, mailbox, message},
};

#[tokio::test(start_paused = true)]
async fn a_segment_goes_with_the_last_owner_of_its_last_slot() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let boxes = [mailbox(1), mailbox(2), mailbox(3)];
    let deliveries = [
        delivery(1, &boxes, location("shared", 0, 3)),
        delivery(2, &boxes[..1], location("shared", 1, 3)),
        delivery(3, &boxes[1..], location("shared", 2, 3)),
    ];
    let mut owners = Vec::new();
    for delivery in &deliveries {
        ledger.deliver(&world, delivery).await.unwrap();
        owners.extend(delivery.mailboxes.iter().map(|at| (at.clone(), message(delivery, at))));
    }
    // In an order that takes slots and mailboxes by turns.
    owners.sort_by_key(|(_, id)| id.as_str().chars().rev().collect::<String>());
    while let Some((mailbox, id)) = owners.pop() {
        assert!(!world.segments.is_deleted("shared"), "{} owners are left", owners.len() + 1);
        ledger.remove(&world, &mailbox, &[id]).await.unwrap();
        world.pass(40 * MINUTE_MS, 5 * MINUTE_MS).await;
        ledger.check(&world, "one owner less").await;
    }
    assert!(world.segments.is_deleted("shared"));
    world.pass_all().await;
    ledger.check_space(&world, "all gone").await;
}

#[tokio::test(start_paused = true)]
async fn a_copy_in_the_queue_is_an_owner() {
    let world = World::new();
    let boxes = [mailbox(1), mailbox(2)];
    let mut ledger = Ledger::default();
    let delivery = alone(1, &boxes);
    // One of the two copies waits in the queue, and its retries fail for longer than the grace period.
    world.faulty.set_plan(FaultPlan::nth(0, Calls::Writes, Fault::Before));
    ledger.deliver(&world, &delivery).await.unwrap();
    world.heal();
    let there = boxes.iter().find(|at| **at == boxes[0]).unwrap();
    world.faulty.set_plan(FaultPlan::none());
    ledger.remove(&world, there, &[message(&delivery, there)]).await.unwrap();
    world.pass_all().await;
    ledger.check(&world, "the other owner has it").await;
    assert!(!world.segments.is_deleted("alone-1"));
    ledger.remove(&world, &boxes[1], &[message(&delivery, &boxes[1])]).await.unwrap();
    world.pass_all().await;
    ledger.check_space(&world, "both gone").await;
}

#[tokio::test(start_paused = true)]
async fn segments_that_cannot_be_deleted_are_tried_again() {
    let world = World::new();
    let to = [mailbox(1)];
    let mut ledger = Ledger::default();
    let delivery = alone(1, &to);
    ledger.deliver(&world, &delivery).await.unwrap();
    ledger.remove(&world, &to[0], &[message(&delivery, &to[0])]).await.unwrap();
    world.segments.set_down(true);
    world.pass(2 * DAY_MS, 60 * MINUTE_MS).await;
    assert!(!world.segments.is_deleted("alone-1"));
    assert_eq!(world.queue().await.len(), 1, "one job, not many");
    assert_eq!(world.items(Table::MetaMail).await.len(), 1, "the tombstone knows where the bytes are");
    world.heal();
    world.pass_all().await;
    ledger.check_space(&world, "up again").await;
}

#[tokio::test(start_paused = true)]
async fn two_workers_do_not_do_one_job_at_once() {
    let world = World::new();
    let to = [mailbox(1)];
    let delivery = alone(1, &to);
    world.deliver(&delivery).await.unwrap();
    world.metadata.remove(&to[0], &[message(&delivery, &to[0])]).await.unwrap();
    world.clock.advance_ms(15 * MINUTE_MS);
    // The job is leased and its worker dies: nobody has it until the lease runs out.
    world.faulty.set_plan(FaultPlan::during(1..1_000, Calls::Writes, Fault::Before));
    world.segments.set_down(true);
    world.metadata.work_once().await;
    world.heal();
    let other = world.replica();
    assert_eq!(other.work_once().await.done, 0);
    world.clock.advance_ms(5 * MINUTE_MS);
    assert_eq!(other.work_once().await.done, 1);
    assert!(world.segments.is_deleted("alone-1"));
}

#[tokio::test(start_paused = true)]
async fn a_removed_mailbox_is_emptied_and_the_address_is_free() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let (ann, bob) = (world.add_user("ann@example.org").await, world.add_user("bob@example.org").await);
    let both = alone(1, &[ann.mailbox.clone(), bob.mailbox.clone()]);
    let anns = alone(2, std::slice::from_ref(&ann.mailbox));
    world.deliver(&both).await.unwrap();
    world.deliver(&anns).await.unwrap();
    world.metadata.remove_user(&ann.email).await.unwrap();
    let again = world.add_user("ann@example.org").await;
    assert_ne!(again.mailbox, ann.mailbox, "a mailbox id never comes back");
    world.pass_all().await;
    assert!(world.segments.is_deleted("alone-2"));
    assert!(!world.segments.is_deleted("alone-1"), "bob has it");
    assert_eq!(world.ids(&bob.mailbox).await.len(), 1);
    assert!(world.ids(&again.mailbox).await.is_empty());
    assert!(world.metadata.list(&ann.mailbox, 0).await.is_err());
    world.pass(32 * DAY_MS, DAY_MS).await;
    let left = world.items(Table::Folder).await;
    assert!(left.iter().all(|(key, _)| key.partition != ann.mailbox.as_str()), "{left:?}");
    assert!(world.queue().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn mail_of_an_account_whose_removal_failed_stays() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let ann = world.add_user("ann@example.org").await;
    world.deliver(&alone(1, std::slice::from_ref(&ann.mailbox))).await.unwrap();
    // The job is put; the account cannot be deleted.
    world.faulty.set_plan(FaultPlan::during(1..1_000, Calls::Writes, Fault::Before));
    assert!(world.metadata.remove_user(&ann.email).await.is_err());
    world.heal();
    world.pass_all().await;
    assert_eq!(world.ids(&ann.mailbox).await.len(), 1);
    assert!(world.segments.deleted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queued_delivery_to_a_removed_mailbox_is_dropped_and_its_bytes_freed() {
    let world = World::new();
    world.add_domain("example.org", None).await;
    let ann = world.add_user("ann@example.org").await;
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::Before));
    let delivered = world.deliver(&alone(1, std::slice::from_ref(&ann.mailbox))).await.unwrap();
    assert_eq!(delivered.queued, 1);
    world.heal();
    world.metadata.remove_user(&ann.email).await.unwrap();
    // The retry comes up only after the mailbox was given up.
    world.clock.advance_ms(16 * MINUTE_MS);
    for _ in 0..3 {
        world.metadata.work_once().await;
    }
    world.pass_all().await;
    assert!(world.segments.is_deleted("alone-1"));
    assert!(world.items(Table::MetaMail).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_worker_runs_by_itself_until_it_is_told_to_stop() {
    let world = World::new();
    let to = [mailbox(1)];
    let delivery = alone(1, &to);
    world.deliver(&delivery).await.unwrap();
    world.metadata.remove(&to[0], &[message(&delivery, &to[0])]).await.unwrap();
    let cancel = CancellationToken::new();
    let worker = tokio::spawn({
        let (metadata, cancel) = (Arc::clone(&world.metadata), cancel.clone());
        async move { metadata.run_worker(cancel).await }
    });
    world.clock.advance_ms(16 * MINUTE_MS);
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !world.segments.is_deleted("alone-1") {
            tokio::task::yield_now().await;
            tokio::time::advance(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    cancel.cancel();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_a_dead_segment_stays_for_those_that_come_late() {
    let world = World::new();
    let boxes = [mailbox(1), mailbox(2)];
    let delivery = alone(1, &boxes);
    world.deliver(&delivery).await.unwrap();
    world.metadata.remove(&boxes[0], &[message(&delivery, &boxes[0])]).await.unwrap();
    world.pass(DAY_MS - 12 * MINUTE_MS, MINUTE_MS).await;
    world.metadata.remove(&boxes[1], &[message(&delivery, &boxes[1])]).await.unwrap();
    // The last bytes go just before the tombstones of the first removal do.
    world.pass(30 * MINUTE_MS, MINUTE_MS).await;
    assert!(world.segments.is_deleted("alone-1"));
    assert_eq!(world.items(Table::MetaMail).await.len(), 1);
    // The second removal's worker might have died meanwhile: its repeat must find the set complete.
    assert_eq!(world.items(Table::Segment).await.len(), 1);
    world.pass_all().await;
    assert!(world.items(Table::Segment).await.is_empty());
}

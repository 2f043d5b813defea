//! A compaction whose worker dies at every call, with mail that dies meanwhile, and with what must never happen.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use puro_api::model::AuditKind;
use puro_metadata::{
    ManualClock, Metadata,
    store::{
        Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update, Value,
        faulty::{Calls, Fault, FaultPlan},
    },
};
use puro_types::{MailboxId, MessageId};

use crate::{
    audit::audit,
    cleanup_compact::{HOUR_MS, Thin, pass_compaction, places, thin},
    ledger::Ledger,
    world::{DAY_MS, MINUTE_MS, World, mailbox, message},
};

/// Lets a compaction go on until the rounds of work that are its first, copying and moving, its second, deleting, or its
/// third, forgetting.
async fn up_to(world: &World, round: usize) {
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    for (at, wait_ms) in [DAY_MS, DAY_MS + MINUTE_MS, 2 * DAY_MS + MINUTE_MS][..=round].iter().enumerate() {
        world.clock.advance_ms(*wait_ms);
        if at < round {
            world.metadata.work_once().await;
        }
    }
}

/// The worker died: another takes over, finishes, and an audit takes what was left.
async fn finish(world: &mut World, ledger: &Ledger, thin: &Thin, context: &str) {
    world.heal();
    ledger.check_safety(world, context).await;
    world.restart();
    ledger.check_safety(world, context).await;
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    ledger.check(world, context).await;
    pass_compaction(world).await;
    ledger.check(world, context).await;
    assert!(world.segments.is_deleted(&thin.segment), "{context}: not compacted");
    assert!(world.queue().await.is_empty(), "{context}: {:?}", world.queue().await);
    let (found, _) = audit(&world.metadata, true).await;
    for finding in &found {
        let is_left_over = matches!(finding.kind, AuditKind::Orphan | AuditKind::LeftBehind);
        assert!(is_left_over && finding.repaired, "{context}: {finding:?}");
    }
    let (found, _) = audit(&world.metadata, true).await;
    assert_eq!(found, [], "{context}");
    ledger.check(world, context).await;
    let mut live = BTreeSet::new();
    for mailbox in ledger.mailboxes() {
        live.extend(places(world, mailbox).await.into_iter().map(|place| place.object_name));
    }
    assert_eq!(world.segments.names(), live, "{context}: left");
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_die_at_every_call() {
    let mut trials = 0;
    for round in 0..3 {
        for (calls, faults) in [(Calls::Writes, &Fault::ALL[..]), (Calls::Reads, &Fault::ALL[..1])] {
            for fault in faults {
                for count in [1, 4, 1_000_000] {
                    for first in 0.. {
                        trials += 1;
                        let context = format!("round {round}, {calls:?} {fault:?} from {first}, {count}");
                        let mut world = World::new();
                        let mut ledger = Ledger::default();
                        let thin = thin(&world, &mut ledger).await;
                        up_to(&world, round).await;
                        world.faulty.set_plan(FaultPlan::during(first..first + count, calls, *fault));
                        world.metadata.work_once().await;
                        let injected = world.faulty.injected() > 0;
                        finish(&mut world, &ledger, &thin, &context).await;
                        if !injected {
                            break;
                        }
                    }
                }
            }
        }
    }
    assert!(trials > 100, "the plans did not fire: {trials}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_may_die_at_every_call_of_the_blob_service() {
    let mut trials = 0;
    for round in 0..3 {
        for after in [false, true] {
            for call in 0.. {
                let context = format!("round {round}, call {call}, after: {after}");
                let mut world = World::new();
                let mut ledger = Ledger::default();
                let thin = thin(&world, &mut ledger).await;
                up_to(&world, round).await;
                world.segments.fail(call, after);
                world.metadata.work_once().await;
                let has_failed = world.segments.has_failed();
                trials += u32::from(has_failed);
                finish(&mut world, &ledger, &thin, &context).await;
                if !has_failed {
                    break;
                }
            }
        }
    }
    assert_eq!(trials, 4, "copying and deleting, each before and after");
}

#[tokio::test(start_paused = true)]
async fn mail_that_dies_between_two_writes_is_not_moved_and_not_kept() {
    let mut trials = 0;
    for round in 0..3 {
        for whole in [false, true] {
            for first in 0.. {
                let context = format!("round {round}, write {first}, all of it: {whole}");
                let mut world = World::new();
                let mut ledger = Ledger::default();
                let thin = thin(&world, &mut ledger).await;
                up_to(&world, round).await;
                world.faulty.set_plan(FaultPlan::during(first..u64::MAX, Calls::Writes, Fault::Before));
                world.metadata.work_once().await;
                let injected = world.faulty.injected() > 0;
                world.heal();
                let gone: &[(usize, u8)] = if whole { &[(1, 1), (1, 3), (5, 1)] } else { &[(1, 3), (5, 1)] };
                for (number, at) in gone {
                    let at = mailbox(*at);
                    ledger.remove(&world, &at, &[message(&thin.deliveries[*number], &at)]).await.unwrap();
                }
                finish(&mut world, &ledger, &thin, &context).await;
                let left = places(&world, &mailbox(1)).await.len() + places(&world, &mailbox(3)).await.len();
                assert_eq!(left, if whole { 0 } else { 1 }, "{context}");
                if !injected {
                    break;
                }
                trials += 1;
            }
        }
    }
    assert!(trials > 20, "the plans did not fire: {trials}");
}

/// What happens once, at the worst moment.
#[derive(Debug)]
enum Intrusion {
    /// Just before the first message is moved somebody else deletes one.
    Removal(Arc<Metadata>, MailboxId, MessageId),
    /// The worker stands still for so many milliseconds after it has read a folder.
    Pause(Arc<ManualClock>, u64),
}

/// A store at which something else happens.
#[derive(Debug)]
struct Intruded {
    inner: Arc<dyn ItemStore>,
    other: Mutex<Option<Intrusion>>,
}

impl Intruded {
    /// Returns what is to happen, if this is the moment, once.
    fn take(&self, is_moment: impl Fn(&Intrusion) -> bool) -> Option<Intrusion> {
        self.other.lock().unwrap().take_if(|intrusion| is_moment(intrusion))
    }
}

#[async_trait::async_trait]
impl ItemStore for Intruded {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        let item = self.inner.get(table, key, consistency).await;
        let is_moment = |other: &Intrusion| matches!(other, Intrusion::Pause(..)) && table == Table::Folder;
        if let Some(Intrusion::Pause(clock, ms)) = self.take(is_moment) {
            clock.advance_ms(ms);
        }
        item
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        self.inner.query(query).await
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        self.inner.scan(table, after, limit).await
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.inner.put(table, key, item, condition).await
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        let is_move = update.set.iter().any(|(name, _)| name == "object_name");
        let is_moment = |other: &Intrusion| matches!(other, Intrusion::Removal(..)) && is_move;
        if let Some(Intrusion::Removal(other, mailbox, message)) = self.take(is_moment) {
            other.remove(&mailbox, std::slice::from_ref(&message)).await.unwrap();
        }
        self.inner.update(table, key, update, condition).await
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.inner.delete(table, key, condition).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_dies_while_it_is_moved_stays_dead_in_the_old_place() {
    for (number, at) in [(1, 1), (1, 3), (5, 1)] {
        let mut world = World::new();
        let mut ledger = Ledger::default();
        let thin = thin(&world, &mut ledger).await;
        up_to(&world, 0).await;
        let (at, message) = (mailbox(at), message(&thin.deliveries[number], &mailbox(at)));
        let removal = Intrusion::Removal(world.metadata.clone(), at.clone(), message.clone());
        let other = Mutex::new(Some(removal));
        let store = Arc::new(Intruded { inner: world.base.clone(), other });
        world.replica_on(store.clone()).work_once().await;
        assert!(store.other.lock().unwrap().is_none(), "nobody came in between");
        // As a second session that deletes it, too.
        ledger.remove(&world, &at, &[message]).await.unwrap();
        finish(&mut world, &ledger, &thin, &format!("{number} {at}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stood_still_for_days_delivers_nothing() {
    let mut world = World::new();
    let mut ledger = Ledger::default();
    let to = mailbox(1);
    let delivery = world.store(&[(1, std::slice::from_ref(&to))]).remove(0);
    world.faulty.set_plan(FaultPlan::during(0..4, Calls::Writes, Fault::Before));
    ledger.deliver(&world, &delivery).await.unwrap();
    world.faulty.set_plan(FaultPlan::none());
    world.clock.advance_ms(MINUTE_MS);
    // It has the lease and is about to put the message when its machine is suspended.
    let pause = Intrusion::Pause(world.clock.clone(), 3 * DAY_MS);
    let store = Arc::new(Intruded { inner: world.base.clone(), other: Mutex::new(Some(pause)) });
    world.replica_on(store.clone()).work_once().await;
    assert!(store.other.lock().unwrap().is_none(), "it was not suspended");
    assert_eq!(places(&world, &to).await, [], "others may have done it, and more, since");
    world.restart();
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    ledger.check(&world, "another worker has it").await;
    assert_eq!(places(&world, &to).await.len(), 1);
}

/// Puts a job of a compaction that is to delete the segment next.
async fn put_job_to_delete(world: &World, segment: &str) {
    let due = world.clock_ms() + crate::world::START_MS;
    let key = Key { partition: "00".to_owned(), sort: format!("{due:015}#stray") };
    let text = |value: &str| Value::Text(value.to_owned());
    let item = Item::from([
        ("kind".to_owned(), text("compact")),
        ("object_name".to_owned(), text(segment)),
        ("step".to_owned(), text("delete")),
        ("folder".to_owned(), text(mailbox(0).as_str())),
        ("created".to_owned(), Value::Number(1)),
    ]);
    world.base.put(Table::Queue, key, item, Condition::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_job_deletes_what_somebody_owns() {
    let world = World::new();
    let mut ledger = Ledger::default();
    let thin = thin(&world, &mut ledger).await;
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    put_job_to_delete(&world, &thin.segment).await;
    assert!(world.metadata.work_once().await.done > 0);
    assert!(!world.segments.is_deleted(&thin.segment));
    ledger.check(&world, "a stray job").await;
    pass_compaction(&world).await;
    pass_compaction(&world).await;
    ledger.check(&world, "and the right one").await;
    ledger.check_space(&world, "and the right one").await;

    // All its owners are dead, one of them since a minute: a session may still read it.
    let world = World::new();
    let mut ledger = Ledger::default();
    let to = mailbox(1);
    let deliveries = world.store(&[(1, std::slice::from_ref(&to)), (2, std::slice::from_ref(&to))]);
    for delivery in &deliveries {
        ledger.deliver(&world, delivery).await.unwrap();
    }
    ledger.remove(&world, &to, &[message(&deliveries[0], &to)]).await.unwrap();
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    ledger.remove(&world, &to, &[message(&deliveries[1], &to)]).await.unwrap();
    world.clock.advance_ms(MINUTE_MS);
    let segment = &deliveries[0].location.object_name;
    put_job_to_delete(&world, segment).await;
    world.metadata.work_once().await;
    assert!(!world.segments.is_deleted(segment));
    world.pass(HOUR_MS, 5 * MINUTE_MS).await;
    assert!(world.segments.is_deleted(segment));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_the_audit_took_is_made_anew() {
    let mut world = World::new();
    let mut ledger = Ledger::default();
    let thin = thin(&world, &mut ledger).await;
    up_to(&world, 0).await;
    // The job is there for the next step, and the worker dies.
    let mut writes = 0;
    loop {
        world.faulty.set_plan(FaultPlan::during(writes..u64::MAX, Calls::Writes, Fault::Before));
        world.metadata.work_once().await;
        let is_copied = world.queue().await.iter().any(|(_, item)| item.contains_key("copy"));
        world.heal();
        if is_copied {
            break;
        }
        world.clock.advance_ms(6 * MINUTE_MS);
        writes += 1;
    }
    world.clock.advance_ms(2 * DAY_MS);
    let (found, summary) = audit(&world.metadata, true).await;
    assert!(summary.orphans >= 1 && summary.orphans == summary.repaired, "{found:?}");
    assert!(found.iter().all(|finding| finding.object_name != thin.segment), "{found:?}");
    finish(&mut world, &ledger, &thin, "without its copy").await;
}

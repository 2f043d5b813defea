//! What a bad minute of DynamoDB looks like from above the store: nothing is applied twice, nothing that was applied is
//! called refused, and what surely did not happen is told from what perhaps did.

use std::{collections::BTreeSet, future::ready, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use puro_api::model::Domain;
use puro_metadata::{
    Metadata, Snapshot,
    store::{
        Check, Condition, Consistency, Item, ItemStore, Query, StoreError, Table, dynamodb::DynamoStore,
    },
};
use puro_stand_ins::{Fault, FaultProxy, Plan, Rule};
use puro_types::{MailboxId, MessageId};

use crate::{
    rig::{add, always, fresh_behind, key, number},
    world::{MINUTE_MS, World, alone, message, new_user},
};

/// A store behind a proxy, and the same one without.
struct Behind {
    proxy: FaultProxy,
    straight: DynamoStore,
    store: DynamoStore,
}

async fn behind() -> Behind {
    let proxy = FaultProxy::before_dynamodb();
    let (straight, behind) = fresh_behind(proxy.endpoint()).await;
    Behind { proxy, straight: straight.store, store: behind.store }
}

impl Behind {
    async fn there(&self, name: &str) -> Option<Item> {
        self.straight.get(Table::Folder, &key(name, "x"), Consistency::Strong).await.unwrap()
    }

    async fn put_if_absent(&self, name: &str) -> Result<(), StoreError> {
        let absent = Condition(vec![Check::Absent]);
        self.store.put(Table::Folder, key(name, "x"), number("n", 1), absent).await
    }
}

/// Faults after which nobody can know, and whether the write was made.
const FATES: [(Fault, bool); 5] = [
    (Fault::ResetBefore, false),
    (Fault::ResetAfter, true),
    (Fault::ErrorBefore, false),
    (Fault::ErrorAfter, true),
    (Fault::CutAnswer, true),
];

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_sent_once_and_its_outcome_is_unknown() {
    let rig = behind().await;
    for (n, (fault, made)) in (0..).zip(FATES) {
        let name = format!("put-{n}");
        rig.proxy.set(Rule::new(fault).on(&["PutItem"]).at_most(1));
        let before = rig.proxy.requests_of("PutItem");
        let outcome = rig.put_if_absent(&name).await;
        assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{fault:?}: {outcome:?}");
        assert_eq!(rig.proxy.requests_of("PutItem") - before, 1, "{fault:?}: it is not repeated");
        assert_eq!(rig.there(&name).await.is_some(), made, "{fault:?}");
        // The caller's own repeat is told the truth.
        let again = rig.put_if_absent(&name).await;
        match made {
            true => assert_eq!(again, Err(StoreError::ConditionFailed(Some(number("n", 1)))), "{fault:?}"),
            false => assert_eq!(again, Ok(()), "{fault:?}"),
        }
    }
}

#[tokio::test]
async fn an_addition_is_never_made_twice() {
    let rig = behind().await;
    for (n, (fault, made)) in (0..).zip(FATES) {
        let place = key(&format!("add-{n}"), "x");
        rig.proxy.set(Rule::new(fault).on(&["UpdateItem"]).at_most(1));
        let outcome = rig.store.update(Table::Folder, place.clone(), add("n", 1), always()).await;
        assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{fault:?}: {outcome:?}");
        let expected = made.then(|| number("n", 1));
        assert_eq!(rig.there(&place.partition).await, expected, "{fault:?}");
    }
}

#[tokio::test]
async fn what_dynamodb_refuses_for_now_is_repeated_a_little_and_changes_nothing() {
    let rig = behind().await;
    rig.proxy.set(Rule::new(Fault::Throttle).on(&["UpdateItem"]).at_most(2));
    let place = key("throttled", "x");
    let outcome = rig.store.update(Table::Folder, place.clone(), add("n", 1), always()).await;
    assert_eq!(outcome, Ok(number("n", 1)));
    assert_eq!(rig.proxy.requests_of("UpdateItem"), 3);
    rig.proxy.set(Fault::Throttle);
    let outcome = rig.store.update(Table::Folder, place, add("n", 1), always()).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert_eq!(rig.there("throttled").await, Some(number("n", 1)));
    assert!(!rig.store.gate().counts().is_down, "busy is not down");
}

#[tokio::test]
async fn a_read_is_repeated_and_a_failure_is_never_emptiness() {
    let rig = behind().await;
    let place = key("read", "x");
    rig.straight.put(Table::Folder, place.clone(), number("n", 1), always()).await.unwrap();
    let query = Query {
        table: Table::Folder,
        partition: "read".into(),
        after: String::new(),
        before: None,
        limit: 0,
        consistency: Consistency::Strong,
    };
    for fault in [Fault::ResetAfter, Fault::ErrorBefore, Fault::CutAnswer, Fault::Throttle] {
        rig.proxy.set(Rule::new(fault).at_most(1));
        let found = rig.store.get(Table::Folder, &place, Consistency::Strong).await;
        assert_eq!(found, Ok(Some(number("n", 1))), "{fault:?}");
        rig.proxy.set(fault);
        let answers = [
            rig.store.get(Table::Folder, &place, Consistency::Strong).await.map(drop),
            rig.store
                .get_many(Table::Folder, std::slice::from_ref(&place), Consistency::Strong)
                .await
                .map(drop),
            rig.store.query(&query).await.map(drop),
            rig.store.scan(Table::Folder, None, 0).await.map(drop),
        ];
        for answer in answers {
            assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{fault:?}: {answer:?}");
        }
        rig.proxy.clear();
    }
}

#[tokio::test]
async fn a_store_that_takes_too_long_leaves_the_outcome_unknown() {
    let rig = behind().await;
    rig.proxy.set(Rule::new(Fault::Delay(Duration::from_secs(3))).on(&["PutItem"]));
    let outcome = rig.put_if_absent("slow").await;
    assert!(matches!(outcome, Err(StoreError::OutcomeUnknown(_))), "{outcome:?}");
    assert_eq!(rig.proxy.requests_of("PutItem"), 1);
}

#[tokio::test]
async fn a_store_that_is_gone_is_left_alone_and_found_again() {
    let rig = behind().await;
    rig.proxy.take_down();
    // Nothing listens: nothing was sent, however often it was tried.
    let outcome = rig.put_if_absent("gone").await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    while !rig.store.gate().counts().is_down {
        assert!(rig.put_if_absent("gone").await.is_err());
    }
    let refused = rig.store.gate().counts().refused;
    let outcome = rig.put_if_absent("gone").await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    assert!(rig.store.gate().counts().refused > refused, "the gate answers, not the network");
    rig.proxy.bring_up();
    // It is tried again after two seconds at the latest.
    let patience = tokio::time::timeout(Duration::from_secs(10), async {
        while rig.put_if_absent("back").await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    patience.await.unwrap();
    assert!(!rig.store.gate().counts().is_down);
    assert_eq!(rig.there("gone").await, None);
}

#[tokio::test]
async fn a_slow_store_gathers_no_more_than_may_wait() {
    let proxy = FaultProxy::before_dynamodb();
    let mut settings = crate::rig::settings();
    settings.dynamodb.max_connections = 2;
    let source = crate::rig::source(Some(proxy.endpoint()));
    let connected = puro_metadata::setup::connect(&settings, &source).await.unwrap();
    proxy.set(Fault::Delay(Duration::from_millis(300)));
    let store = Arc::new(connected.store);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let store = store.clone();
        calls.spawn(async move { store.get(Table::Folder, &key("a", "x"), Consistency::Strong).await });
    }
    while store.gate().counts().refused == 0 {
        tokio::task::yield_now().await;
    }
    let counts = store.gate().counts();
    assert!(counts.in_flight <= 2 && counts.waiting <= 16, "{counts:?}");
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    assert!(store.gate().counts().refused >= 80, "{:?}", store.gate().counts());
}

/// A bad day: every fourth request meets a fault of some kind. What was acknowledged is there once, whatever was
/// repeated; what was removed stays away; and when the day is over all goes on without a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mail_outlives_a_bad_day() {
    const DELIVERIES: u64 = 120;
    let rig = behind().await;
    let world = World::new();
    let (straight, behind) = (Arc::new(rig.straight), Arc::new(rig.store));
    let (sure, metadata) = (world.replica_on(straight.clone()), world.replica_on(behind));
    let domain = Domain { name: "example.org".parse().unwrap(), catch_all: None };
    sure.add_domain(&domain).await.unwrap();
    let mailbox = sure.add_user(&new_user("ann@example.org")).await.unwrap().mailbox;

    rig.proxy.set(Plan::mixture(20_261_123, 250));
    let work = stream::iter(0..DELIVERIES).map(|number| {
        let (metadata, delivery) = (metadata.clone(), alone(number, std::slice::from_ref(&mailbox)));
        async move {
            metadata.deliver(&delivery).await.is_ok().then(|| message(&delivery, &delivery.mailboxes[0]))
        }
    });
    let acknowledged: BTreeSet<MessageId> = work.buffer_unordered(16).filter_map(ready).collect().await;
    assert!(acknowledged.len() > 40, "{} were acknowledged", acknowledged.len());
    assert!(rig.proxy.faults() > 30, "{} faults", rig.proxy.faults());

    rig.proxy.clear();
    // What waits in the queue is due within minutes.
    for _ in 0..10 {
        world.clock.advance_ms(MINUTE_MS);
        while metadata.work_once().await.done > 0 {}
    }
    let listed = ids(&sure, &mailbox).await;
    let once: BTreeSet<MessageId> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "none twice");
    assert!(acknowledged.is_subset(&once), "none is missing");
    assert_eq!(ids(&metadata, &mailbox).await, listed, "the replica that saw it all says the same");

    rig.proxy.set(Plan::mixture(7, 250));
    let mut removed = BTreeSet::new();
    for chunk in listed.chunks(10) {
        if metadata.remove(&mailbox, chunk).await.is_ok() {
            removed.extend(chunk.iter().cloned());
        }
    }
    assert!(!removed.is_empty(), "something was removed");
    rig.proxy.clear();
    let left = ids(&sure, &mailbox).await;
    assert!(left.iter().all(|id| !removed.contains(id)), "what was removed is gone");
    metadata.remove(&mailbox, &listed).await.unwrap();
    assert_eq!(ids(&sure, &mailbox).await, []);
    // A retry of any delivery finds the tombstone.
    for number in 0..DELIVERIES {
        metadata.deliver(&alone(number, std::slice::from_ref(&mailbox))).await.unwrap();
    }
    let back: BTreeSet<MessageId> = ids(&sure, &mailbox).await.into_iter().collect();
    assert!(back.is_disjoint(&once), "nothing that was removed is back");
}

async fn ids(metadata: &Metadata, mailbox: &MailboxId) -> Vec<MessageId> {
    match metadata.list(mailbox, 0).await.unwrap() {
        Snapshot::Current(listing) => listing.messages.iter().map(|message| message.id.clone()).collect(),
        Snapshot::Unchanged { .. } => panic!("unchanged, but nothing was known"),
    }
}

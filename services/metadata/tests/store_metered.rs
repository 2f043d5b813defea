//! The meter counts as DynamoDB bills.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::sync::{Arc, Mutex};

use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Query, StoreError, Table, Update, Value,
    counted::CountedStore,
    faulty::{Calls, Fault, FaultPlan, FaultyStore},
    memory::MemoryStore,
    metered::{MeteredStore, Units, Verb},
    size,
};

fn store() -> MeteredStore {
    MeteredStore::new(Arc::new(MemoryStore::new()))
}

fn key(sort: &str) -> Key {
    Key { partition: "p".into(), sort: sort.into() }
}

/// An item of exactly so many octets, names and key included.
fn sized(sort: &str, bytes: usize) -> Item {
    let empty = Item::from([("o".to_owned(), Value::Octets(Vec::new().into()))]);
    let bare = size::item_bytes(Table::MetaMail, &key(sort), &empty);
    Item::from([("o".to_owned(), Value::Octets(vec![0; bytes - bare].into()))])
}

async fn put(store: &MeteredStore, sort: &str, bytes: usize) {
    store.put(Table::MetaMail, key(sort), sized(sort, bytes), Condition::default()).await.unwrap();
}

#[tokio::test]
async fn a_write_costs_a_unit_for_each_kb_of_the_larger_item() {
    let store = store();
    let mut before = store.units();
    let mut cost = || {
        let now = store.units();
        let cost = now.since(&before).total();
        before = now;
        (cost.calls, cost.writes, cost.read_halves)
    };
    put(&store, "m", 100).await;
    assert_eq!(cost(), (1, 1, 0));
    put(&store, "m", 1024).await;
    assert_eq!(cost(), (1, 1, 0));
    put(&store, "m", 1025).await;
    assert_eq!(cost(), (1, 2, 0));
    put(&store, "m", 3000).await;
    assert_eq!(cost(), (1, 3, 0));
    put(&store, "m", 100).await;
    assert_eq!(cost(), (1, 3, 0), "the item before was larger");

    let grow = Update { set: vec![("o".into(), sized("m", 2000)["o"].clone())], ..Update::default() };
    store.update(Table::MetaMail, key("m"), grow, Condition::default()).await.unwrap();
    assert_eq!(cost(), (1, 2, 0));
    let shrink = Update { remove: vec!["o".into()], ..Update::default() };
    store.update(Table::MetaMail, key("m"), shrink, Condition::default()).await.unwrap();
    assert_eq!(cost(), (1, 2, 0));
    put(&store, "m", 5000).await;
    assert_eq!(cost(), (1, 5, 0));
    store.delete(Table::MetaMail, key("m"), Condition::default()).await.unwrap();
    assert_eq!(cost(), (1, 5, 0));
    store.delete(Table::MetaMail, key("m"), Condition::default()).await.unwrap();
    assert_eq!(cost(), (1, 1, 0), "even nothing costs one");
}

#[tokio::test]
async fn a_failed_condition_is_billed() {
    let store = store();
    put(&store, "m", 1500).await;
    let before = store.units();
    let absent = || Condition(vec![Check::Absent]);
    let refused = store.put(Table::MetaMail, key("m"), sized("m", 100), absent()).await;
    assert!(matches!(refused, Err(StoreError::ConditionFailed(Some(_)))));
    assert_eq!(store.units().since(&before).verb(Verb::Put).writes, 2, "the item that is there counts");
    let before = store.units();
    let _ = store.put(Table::MetaMail, key("m"), sized("m", 4000), absent()).await;
    assert_eq!(store.units().since(&before).total().writes, 4, "or the one that was to be");
    let before = store.units();
    let exists = Condition(vec![Check::Exists]);
    let _ = store.update(Table::MetaMail, key("none"), Update::default(), exists).await;
    assert_eq!(store.units().since(&before).verb(Verb::Update).writes, 1);
}

#[tokio::test]
async fn a_read_costs_a_unit_for_each_4_kb_and_half_when_eventual() {
    let store = store();
    for (name, bytes) in [("a", 100), ("b", 4096), ("c", 4097)] {
        put(&store, name, bytes).await;
    }
    let cases = [("a", 2, 1), ("b", 2, 1), ("c", 4, 2), ("none", 2, 1)];
    for (name, strong, eventual) in cases {
        for (consistency, halves) in [(Consistency::Strong, strong), (Consistency::Eventual, eventual)] {
            let before = store.units();
            store.get(Table::MetaMail, &key(name), consistency).await.unwrap();
            let cost = store.units().since(&before);
            assert_eq!(cost.table(Table::MetaMail).read_halves, halves, "{name} {consistency:?}");
            assert_eq!(cost.table(Table::User), Units::default());
        }
    }
}

#[tokio::test]
async fn a_page_is_rounded_up_once() {
    let store = store();
    for n in 0..10 {
        put(&store, &format!("{n}"), 1000).await;
    }
    let query = |consistency, limit| Query {
        table: Table::MetaMail,
        partition: "p".into(),
        after: String::new(),
        before: None,
        limit,
        consistency,
    };
    for (consistency, limit, halves) in [
        (Consistency::Strong, 0, 6),
        (Consistency::Eventual, 0, 3),
        (Consistency::Eventual, 4, 1),
        (Consistency::Eventual, 5, 2),
    ] {
        let before = store.units();
        store.query(&query(consistency, limit)).await.unwrap();
        assert_eq!(
            store.units().since(&before).verb(Verb::Query).read_halves,
            halves,
            "{consistency:?} {limit}"
        );
    }
    let before = store.units();
    store.query(&Query { partition: "empty".into(), ..query(Consistency::Eventual, 0) }).await.unwrap();
    store.scan(Table::MetaMail, None, 0).await.unwrap();
    let cost = store.units().since(&before);
    assert_eq!((cost.verb(Verb::Query).read_halves, cost.verb(Verb::Scan).read_halves), (1, 3));
    assert!((cost.total().reads() - 2.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn a_lost_answer_is_billed_and_a_refusal_is_not() {
    let faulty =
        |fault| FaultyStore::new(Arc::new(MemoryStore::new()), FaultPlan::nth(0, Calls::Writes, fault));
    for (fault, writes) in [(Fault::Before, 0), (Fault::AfterUnknown, 3)] {
        let store = MeteredStore::new(Arc::new(faulty(fault)));
        let result = store.put(Table::MetaMail, key("m"), sized("m", 2500), Condition::default()).await;
        assert!(result.is_err());
        assert_eq!(store.units().total().writes, writes, "{fault:?}");
    }
}

#[tokio::test]
async fn a_hook_hears_of_every_call() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = {
        let heard = Arc::clone(&heard);
        Arc::new(move |table, verb, units: Units| heard.lock().unwrap().push((table, verb, units)))
    };
    let store = MeteredStore::with_hook(Arc::new(MemoryStore::new()), hook);
    put(&store, "m", 2000).await;
    store.get(Table::MetaMail, &key("m"), Consistency::Strong).await.unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(
        *heard,
        [
            (Table::MetaMail, Verb::Put, Units { calls: 1, writes: 2, read_halves: 0 }),
            (Table::MetaMail, Verb::Get, Units { calls: 1, writes: 0, read_halves: 2 }),
        ]
    );
}

/// What production counts is what the meter counts, as long as items neither shrink nor take more than a KB.
#[tokio::test]
async fn rough_counts_are_exact_for_small_items() {
    let metered = Arc::new(store());
    let counted = CountedStore::new(metered.clone());
    let counts = counted.counts();
    for number in 0..100 {
        let sort = format!("m{number:02}");
        let mail = sized(&sort, 900);
        counted.put(Table::MetaMail, key(&sort), mail, Condition::default()).await.unwrap();
    }
    let again =
        counted.put(Table::MetaMail, key("m00"), sized("m00", 900), Condition(vec![Check::Absent])).await;
    assert!(matches!(again, Err(StoreError::ConditionFailed(Some(_)))), "{again:?}");
    let bump = Update { add: vec![("n".into(), 1)], ..Update::default() };
    let folder = Key { partition: "p".into(), sort: "INBOX".into() };
    counted.update(Table::Folder, folder.clone(), bump, Condition::default()).await.unwrap();
    counted.get(Table::Folder, &folder, Consistency::Strong).await.unwrap();
    counted.get(Table::Folder, &folder, Consistency::Eventual).await.unwrap();
    let query = Query {
        table: Table::MetaMail,
        partition: "p".into(),
        after: String::new(),
        before: None,
        limit: 0,
        consistency: Consistency::Eventual,
    };
    counted.query(&query).await.unwrap();
    counted.scan(Table::MetaMail, None, 10).await.unwrap();
    counted.delete(Table::MetaMail, key("m00"), Condition::default()).await.unwrap();
    let mut used = 0;
    for (table, read_halves, writes) in counts.iter() {
        let exact = metered.units().table(table);
        assert_eq!((read_halves, writes), (exact.read_halves, exact.writes), "{table:?}");
        used += read_halves + writes;
    }
    // 103 writes, a strong and an eventual read, 90 KB and 9 KB in pages.
    assert_eq!(used, 103 + 2 + 1 + 22 + 3);
}

#[tokio::test]
async fn what_never_reached_the_table_is_not_counted() {
    let plan = FaultPlan::during(0..2, Calls::Writes, Fault::Before);
    let counted = CountedStore::new(Arc::new(FaultyStore::new(Arc::new(MemoryStore::new()), plan)));
    let counts = counted.counts();
    let written = || counts.iter().map(|(_, _, writes)| writes).sum::<u64>();
    let large = || sized("m", 2_000);
    counted.put(Table::MetaMail, key("m"), large(), Condition::default()).await.unwrap_err();
    counted.delete(Table::MetaMail, key("m"), Condition::default()).await.unwrap_err();
    assert_eq!(written(), 0);
    counted.put(Table::MetaMail, key("m"), large(), Condition::default()).await.unwrap();
    assert_eq!(written(), 2);
}

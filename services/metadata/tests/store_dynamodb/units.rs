//! The meter counts what DynamoDB says that it bills.

use std::sync::Arc;

use proptest::prelude::*;
use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Query, StoreError, Table, Update, Value,
    dynamodb::Consumed, metered::MeteredStore, metered::Usage, size,
};

use crate::rig::{add, always, fresh, key};

/// A store of which both know what it used.
async fn both() -> (MeteredStore, Consumed) {
    let store = fresh().await.store;
    let consumed = store.consumed();
    (MeteredStore::new(Arc::new(store)), consumed)
}

#[track_caller]
fn agree(metered: &MeteredStore, consumed: &Consumed) -> Usage {
    let ours = metered.units().since(&Usage::default());
    assert_eq!(ours, consumed.units(), "left: our meter, right: DynamoDB");
    ours
}

fn m(sort: &str) -> Key {
    key("p", sort)
}

/// An item of exactly so many octets, names and key included.
fn sized(sort: &str, bytes: usize) -> Item {
    let empty = Item::from([("o".to_owned(), Value::Octets(Vec::new().into()))]);
    let bare = size::item_bytes(Table::MetaMail, &m(sort), &empty);
    Item::from([("o".to_owned(), Value::Octets(vec![0; bytes - bare].into()))])
}

#[tokio::test]
async fn writes_cost_what_the_larger_item_costs() {
    let (store, consumed) = both().await;
    let mut spent = 0;
    let mut cost = || {
        let now = agree(&store, &consumed).total().writes;
        std::mem::replace(&mut spent, now).abs_diff(now)
    };
    for (bytes, units) in [(100, 1), (1024, 1), (1025, 2), (3000, 3), (100, 3), (1024, 1)] {
        store.put(Table::MetaMail, m("m"), sized("m", bytes), always()).await.unwrap();
        assert_eq!(cost(), units, "{bytes} octets");
    }
    let grow = Update { set: vec![("o".into(), sized("m", 2000)["o"].clone())], ..Update::default() };
    store.update(Table::MetaMail, m("m"), grow, always()).await.unwrap();
    assert_eq!(cost(), 2);
    let shrink = Update { remove: vec!["o".into()], ..Update::default() };
    store.update(Table::MetaMail, m("m"), shrink, always()).await.unwrap();
    assert_eq!(cost(), 2);
    store.update(Table::Folder, m("f"), add("n", 1), always()).await.unwrap();
    assert_eq!(cost(), 1);
    store.put(Table::MetaMail, m("m"), sized("m", 5000), always()).await.unwrap();
    store.delete(Table::MetaMail, m("m"), always()).await.unwrap();
    store.delete(Table::MetaMail, m("m"), always()).await.unwrap();
    assert_eq!(cost(), 5 + 5 + 1, "even nothing costs one");
}

#[tokio::test]
async fn a_refused_condition_is_billed_as_the_guide_says() {
    let (store, consumed) = both().await;
    store.put(Table::MetaMail, m("m"), sized("m", 1500), always()).await.unwrap();
    for (bytes, units) in [(100, 2), (4000, 4)] {
        let before = consumed.units();
        let absent = Condition(vec![Check::Absent]);
        let refused = store.put(Table::MetaMail, m("m"), sized("m", bytes), absent).await;
        assert!(matches!(refused, Err(StoreError::ConditionFailed(Some(_)))), "{refused:?}");
        agree(&store, &consumed);
        assert_eq!(consumed.units().since(&before).total().writes, units);
    }
}

#[tokio::test]
async fn reads_cost_by_4_kb_and_a_page_is_rounded_once() {
    let (store, consumed) = both().await;
    for (name, bytes) in [("a", 100), ("b", 4096), ("c", 4097), ("d", 1000), ("e", 1000)] {
        store.put(Table::MetaMail, m(name), sized(name, bytes), always()).await.unwrap();
    }
    for consistency in [Consistency::Strong, Consistency::Eventual] {
        for name in ["a", "b", "c", "none"] {
            store.get(Table::MetaMail, &m(name), consistency).await.unwrap();
            agree(&store, &consumed);
        }
        // One that is not there costs half a unit or one in a batch too, but DynamoDB Local does not say so.
        let keys = ["a", "c", "d", "a"].map(m);
        store.get_many(Table::MetaMail, &keys, consistency).await.unwrap();
        agree(&store, &consumed);
        // A page without items costs the least there is; DynamoDB Local says that it is for nothing.
        for (limit, before) in [(0, Some("e")), (1, None), (2, Some("c")), (3, None)] {
            let query = Query {
                table: Table::MetaMail,
                partition: "p".into(),
                after: String::new(),
                before: before.map(str::to_owned),
                limit,
                consistency,
            };
            store.query(&query).await.unwrap();
            agree(&store, &consumed);
        }
    }
    store.scan(Table::MetaMail, None, 0).await.unwrap();
    store.scan(Table::MetaMail, None, 3).await.unwrap();
    let used = agree(&store, &consumed);
    assert!(used.total().reads() > 20.0, "{used:?}");
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Number),
        (0i64..20, 0u32..18).prop_map(|(head, zeroes)| Value::Number(head * 10i64.pow(zeroes.min(17)))),
        "[a-zé]{0,40}".prop_map(Value::Text),
        prop::collection::btree_set("[a-z]{1,9}", 1..4).prop_map(Value::Set),
        (900usize..1100).prop_map(|length| Value::Octets(vec![7; length].into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 40, ..ProptestConfig::default() })]

    /// Our rule of an item's size, and so of its price, is DynamoDB's: items around the steps of the price tell.
    #[test]
    fn sizes_are_counted_alike(
        items in prop::collection::vec(prop::collection::btree_map("[a-z]{1,12}", value(), 1..6), 20..40),
        edge in 0usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (store, consumed) = both().await;
            for (n, mut item) in items.into_iter().enumerate() {
                let key = m(&format!("{n}"));
                // Filled up to just below, at and above a step, so that one octet counted wrong shows.
                item.insert("pad".to_owned(), Value::Text(String::new()));
                let bytes = size::item_bytes(Table::MetaMail, &key, &item);
                let pad = bytes.next_multiple_of(1024) - bytes + edge.saturating_sub(1);
                let pad = if edge == 0 { pad.saturating_sub(1) } else { pad };
                item.insert("pad".to_owned(), Value::Text("x".repeat(pad)));
                store.put(Table::MetaMail, key.clone(), item, always()).await.unwrap();
                let (ours, theirs) = (store.units().total(), consumed.units().total());
                prop_assert_eq!(ours, theirs, "after {:?}", key);
            }
            Ok(())
        })?;
    }
}

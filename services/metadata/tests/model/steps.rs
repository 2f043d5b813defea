//! Random operations on a store, and what they say.

use std::collections::BTreeSet;

use proptest::prelude::*;
use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Query, Table, Update, Value,
};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Put(Table, Key, Item, Condition),
    Update(Table, Key, Update, Condition),
    Delete(Table, Key, Condition),
    Get(Table, Key),
    Query(Query),
    Scan(Table, usize),
    Restart,
}

const PARTITIONS: [&str; 4] = ["a", "a\0", "aa", "é"];
const SORTS: [&str; 5] = ["\0", "a", "a\0", "b", "\u{10ffff}"];
const NAMES: [&str; 4] = ["w", "x", "y", "z"];

fn pick<const N: usize>(from: [&'static str; N]) -> impl Strategy<Value = String> + Clone {
    prop::sample::select(from.to_vec()).prop_map(str::to_owned)
}

fn place() -> impl Strategy<Value = (Table, Key)> {
    (prop::sample::select(vec![Table::MetaMail, Table::Folder, Table::User]), pick(PARTITIONS), pick(SORTS))
        .prop_map(|(table, partition, sort)| {
            let sort = if table.sort_attribute().is_some() { sort } else { String::new() };
            (table, Key { partition, sort })
        })
}

fn set() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(pick([" ", "a", "b", "é"]), 1..3)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prop_oneof![-2i64..3, Just(i64::MAX), Just(i64::MIN)].prop_map(Value::Number),
        2 => pick(["", "t", "\0"]).prop_map(Value::Text),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(|octets| Value::Octets(octets.into())),
        2 => set().prop_map(Value::Set),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let check = prop_oneof![
        Just(Check::Exists),
        Just(Check::Absent),
        (pick(NAMES), value()).prop_map(|(name, value)| Check::Equals(name, value)),
        pick(NAMES).prop_map(Check::Lacks),
        (pick(NAMES), -2i64..3).prop_map(|(name, bound)| Check::Less(name, bound)),
    ];
    prop_oneof![2 => Just(Condition::default()), 1 => prop::collection::vec(check, 1..3).prop_map(Condition)]
}

fn update() -> impl Strategy<Value = Update> {
    (
        prop::collection::vec((pick(NAMES), value()), 0..2),
        prop::collection::vec((pick(NAMES), -2i64..3), 0..2),
        prop::collection::vec((pick(NAMES), set()), 0..2),
        prop::collection::vec(pick(NAMES), 0..2),
    )
        .prop_map(|(set, add, insert, remove)| Update { set, add, insert, remove })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let item = prop::collection::btree_map(pick(NAMES), value(), 0..4);
    let query = (
        prop::sample::select(vec![Table::MetaMail, Table::Folder]),
        pick(PARTITIONS),
        prop_oneof![Just(String::new()), pick(SORTS)],
        prop::option::of(pick(SORTS)),
        0usize..4,
    )
        .prop_map(|(table, partition, after, before, limit)| Query {
            table,
            partition,
            after,
            before,
            limit,
            consistency: Consistency::Strong,
        });
    prop_oneof![
        6 => (place(), item, condition()).prop_map(|((t, k), item, c)| Step::Put(t, k, item, c)),
        8 => (place(), update(), condition()).prop_map(|((t, k), u, c)| Step::Update(t, k, u, c)),
        3 => (place(), condition()).prop_map(|((t, k), c)| Step::Delete(t, k, c)),
        2 => place().prop_map(|(t, k)| Step::Get(t, k)),
        4 => query.prop_map(Step::Query),
        1 => (prop::sample::select(Table::ALL.to_vec()), 0usize..4).prop_map(|(t, n)| Step::Scan(t, n)),
        1 => Just(Step::Restart),
    ]
}

/// Returns what a step says, as text; a restart says nothing.
pub(crate) async fn take(store: &dyn ItemStore, step: Step) -> String {
    match step {
        Step::Put(table, key, item, condition) => {
            format!("{:?}", store.put(table, key, item, condition).await)
        }
        Step::Update(table, key, update, condition) => {
            format!("{:?}", store.update(table, key, update, condition).await)
        }
        Step::Delete(table, key, condition) => format!("{:?}", store.delete(table, key, condition).await),
        Step::Get(table, key) => format!("{:?}", store.get(table, &key, Consistency::Strong).await),
        Step::Query(query) => format!("{:?}", store.query(&query).await),
        Step::Scan(table, limit) => everything(store, table, limit).await,
        Step::Restart => String::new(),
    }
}

/// Returns a table's items in the order of their keys, since a scan's order is the store's own.
pub(crate) async fn everything(store: &dyn ItemStore, table: Table, limit: usize) -> String {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan(table, after.as_ref(), limit).await.unwrap();
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    format!("{items:?}")
}

//! Random operations do the same on the memory store and on the embedded one, restarts included.

#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::{collections::BTreeSet, sync::Arc};

use proptest::prelude::*;
use puro_metadata::store::{
    Check, Condition, Consistency, Item, ItemStore, Key, Query, Table, Update, Value,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};

#[derive(Debug, Clone)]
enum Step {
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
    prop::collection::btree_set(pick(["", "a", "b", "é"]), 1..3)
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

fn step() -> impl Strategy<Value = Step> {
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
async fn take(store: &dyn ItemStore, step: Step) -> String {
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
async fn everything(store: &dyn ItemStore, table: Table, limit: usize) -> String {
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

fn open(folder: &std::path::Path) -> EmbeddedStore {
    EmbeddedStore::open(folder, EmbeddedOptions::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn embedded_does_what_memory_does(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new();
            let mut embedded = open(folder.path());
            for step in steps {
                if matches!(step, Step::Restart) {
                    drop(embedded);
                    embedded = open(folder.path());
                }
                let expected = take(&memory, step.clone()).await;
                prop_assert_eq!(take(&embedded, step.clone()).await, expected, "after {:?}", step);
            }
            drop(embedded);
            let embedded = open(folder.path());
            for table in Table::ALL {
                let expected = everything(&memory, table, 0).await;
                prop_assert_eq!(everything(&embedded, table, 0).await, expected);
            }
            Ok(())
        })?;
    }

    /// Writes that wait together are decided in one group, each seeing the ones before it.
    #[test]
    fn a_group_does_what_one_by_one_does(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let memory = MemoryStore::new();
            let embedded = Arc::new(open(folder.path()));
            let is_write = |step: &Step| matches!(step, Step::Put(..) | Step::Update(..) | Step::Delete(..));
            let mut tasks = Vec::new();
            // On one thread, tasks start in the order in which they were spawned.
            for step in steps.into_iter().filter(is_write) {
                let expected = take(&memory, step.clone()).await;
                let store = Arc::clone(&embedded);
                let task = tokio::spawn(async move { take(store.as_ref(), step).await });
                tasks.push((task, expected));
            }
            for (task, expected) in tasks {
                prop_assert_eq!(task.await.unwrap(), expected);
            }
            for table in Table::ALL {
                let expected = everything(&memory, table, 0).await;
                prop_assert_eq!(everything(embedded.as_ref(), table, 0).await, expected);
            }
            Ok(())
        })?;
    }
}

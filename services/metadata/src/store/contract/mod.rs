//! What every [`ItemStore`] must do, as one suite for all adapters, wrappers and clients. Test code: a check panics
//! where a store breaks the contract.
//!
//! Each check has partitions of its own, so that the suite may run on a store that holds other items; a second run
//! needs a store without the first one's items.

// This is test code that several test crates call.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a broken contract panics")]

mod concurrency;
mod conditions;
mod limits;
mod pages;
mod updates;

use std::{collections::BTreeSet, sync::Arc};

use super::{Check, Condition, Consistency, Item, ItemStore, Key, Query, StoreError, Table, Value};

/// Runs every check, one after the other.
///
/// # Panics
/// Where the store breaks the contract.
pub async fn suite(store: Arc<dyn ItemStore>) {
    let one = store.as_ref();
    conditions::suite(one).await;
    updates::suite(one).await;
    pages::suite(one).await;
    limits::suite(one).await;
    concurrency::suite(store).await;
}

fn key(partition: &str, sort: &str) -> Key {
    Key { partition: partition.into(), sort: sort.into() }
}

fn item<const N: usize>(attributes: [(&str, Value); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

fn set<const N: usize>(members: [&str; N]) -> BTreeSet<String> {
    members.map(str::to_owned).into()
}

fn when(check: Check) -> Condition {
    Condition(vec![check])
}

fn always() -> Condition {
    Condition::default()
}

async fn read(store: &dyn ItemStore, table: Table, key: &Key) -> Option<Item> {
    store.get(table, key, Consistency::Strong).await.unwrap()
}

/// Asserts that a write was refused by its condition and told what is there.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, current: Option<Item>) {
    assert_eq!(result.expect_err("the condition does not hold"), StoreError::ConditionFailed(current));
}

/// Asserts that a request was refused as our own mistake.
#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.expect_err("the request is not valid");
    assert!(matches!(error, StoreError::Internal(_)), "{error:?}");
}

fn all_of(table: Table, partition: &str) -> Query {
    Query {
        table,
        partition: partition.into(),
        after: String::new(),
        before: None,
        limit: 0,
        consistency: Consistency::Strong,
    }
}

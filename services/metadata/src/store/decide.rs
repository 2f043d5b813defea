//! What a write does to an item, decided without I/O: the part that the memory and the embedded store share.
//!
//! Requests that DynamoDB would refuse as invalid are refused here too, so that a test on the memory store finds them.

use std::collections::BTreeSet;

use super::{Check, Condition, Item, Key, Query, StoreError, Table, Update, Value, size};

/// The longest partition key in octets (a DynamoDB limit).
const MAX_PARTITION_BYTES: usize = 2048;
/// The longest sort key in octets (a DynamoDB limit).
const MAX_SORT_BYTES: usize = 1024;

/// A write to one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Put(Item),
    Update(Update),
    Delete,
}

/// Refuses a key that the table cannot have.
pub(super) fn check_key(table: Table, key: &Key) -> Result<(), StoreError> {
    check_partition(table, &key.partition)?;
    match table.sort_attribute() {
        Some(name) if key.sort.is_empty() => Err(invalid(table, format!("the sort key `{name}` is empty"))),
        None if !key.sort.is_empty() => Err(invalid(table, "the table has no sort key".into())),
        _ if key.sort.len() > MAX_SORT_BYTES => Err(invalid(table, "the sort key is too long".into())),
        _ => Ok(()),
    }
}

/// Refuses a query that no item could answer.
pub(super) fn check_query(query: &Query) -> Result<(), StoreError> {
    check_partition(query.table, &query.partition)
}

/// Refuses what can be seen to be wrong without the item.
pub(super) fn check_write(table: Table, key: &Key, change: &Change) -> Result<(), StoreError> {
    check_key(table, key)?;
    match change {
        Change::Put(item) => check_item(table, key, item),
        Change::Update(update) => check_update(table, update),
        Change::Delete => Ok(()),
    }
}

/// Returns the item as the write leaves it (`None`: absent).
///
/// # Errors
/// `ConditionFailed` with the item as it is; `Internal` where the result would not be a valid item.
pub(super) fn decide(
    table: Table,
    key: &Key,
    current: Option<&Item>,
    condition: &Condition,
    change: Change,
) -> Result<Option<Item>, StoreError> {
    if !condition.0.iter().all(|check| holds(check, current)) {
        return Err(StoreError::ConditionFailed(current.cloned()));
    }
    match change {
        Change::Put(item) => Ok(Some(item)),
        Change::Delete => Ok(None),
        Change::Update(update) => {
            let mut item = current.cloned().unwrap_or_default();
            apply(table, &mut item, update)?;
            check_item(table, key, &item)?;
            Ok(Some(item))
        }
    }
}

fn check_partition(table: Table, partition: &str) -> Result<(), StoreError> {
    match partition.len() {
        0 => Err(invalid(table, "the partition key is empty".into())),
        1..=MAX_PARTITION_BYTES => Ok(()),
        _ => Err(invalid(table, "the partition key is too long".into())),
    }
}

fn check_item(table: Table, key: &Key, item: &Item) -> Result<(), StoreError> {
    for (name, value) in item {
        check_name(table, name)?;
        if let Value::Set(members) = value {
            check_set(table, name, members)?;
        }
    }
    let bytes = size::item_bytes(table, key, item);
    if bytes > size::MAX_ITEM_BYTES {
        return Err(invalid(table, format!("an item of {bytes} octets is over the limit of 400 KB")));
    }
    Ok(())
}

fn check_update(table: Table, update: &Update) -> Result<(), StoreError> {
    let set = update.set.iter().map(|(name, _)| name);
    let add = update.add.iter().map(|(name, _)| name);
    let insert = update.insert.iter().map(|(name, _)| name);
    let mut seen = BTreeSet::new();
    for name in set.chain(add).chain(insert).chain(&update.remove) {
        check_name(table, name)?;
        if !seen.insert(name) {
            return Err(invalid(table, format!("`{name}` is changed twice in one update")));
        }
    }
    for (name, value) in &update.set {
        if let Value::Set(members) = value {
            check_set(table, name, members)?;
        }
    }
    update.insert.iter().try_for_each(|(name, members)| check_set(table, name, members))
}

fn check_name(table: Table, name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(invalid(table, "an attribute has no name".into()));
    }
    if name == table.partition_attribute() || Some(name) == table.sort_attribute() {
        return Err(invalid(table, format!("`{name}` belongs to the key")));
    }
    Ok(())
}

fn check_set(table: Table, name: &str, members: &BTreeSet<String>) -> Result<(), StoreError> {
    if members.is_empty() {
        return Err(invalid(table, format!("the set `{name}` is empty")));
    }
    if members.contains("") {
        return Err(invalid(table, format!("the set `{name}` has an empty member")));
    }
    Ok(())
}

fn holds(check: &Check, current: Option<&Item>) -> bool {
    let attribute = |name: &str| current.and_then(|item| item.get(name));
    match check {
        Check::Exists => current.is_some(),
        Check::Absent => current.is_none(),
        Check::Equals(name, value) => attribute(name) == Some(value),
        Check::Lacks(name) => attribute(name).is_none(),
        Check::Less(name, bound) => matches!(attribute(name), Some(Value::Number(n)) if n < bound),
    }
}

fn apply(table: Table, item: &mut Item, update: Update) -> Result<(), StoreError> {
    for name in &update.remove {
        item.remove(name);
    }
    for (name, amount) in update.add {
        let value = item.entry(name.clone()).or_insert(Value::Number(0));
        let Value::Number(number) = value else {
            return Err(invalid(table, format!("`{name}` is not a number")));
        };
        *number = number
            .checked_add(amount)
            .ok_or_else(|| invalid(table, format!("`{name}` would be beyond 64 bits")))?;
    }
    for (name, members) in update.insert {
        let value = item.entry(name.clone()).or_insert_with(|| Value::Set(BTreeSet::new()));
        let Value::Set(set) = value else {
            return Err(invalid(table, format!("`{name}` is not a set")));
        };
        set.extend(members);
    }
    item.extend(update.set);
    Ok(())
}

fn invalid(table: Table, why: String) -> StoreError {
    StoreError::Internal(format!("table {}: {why}", table.name()))
}

//! Where items are kept: the smallest set of verbs that DynamoDB and an ordered embedded engine both do well.
//!
//! Every write touches ONE item, on a condition. Nothing else is atomic: the mail logic above is written so that any
//! two writes may be torn apart by a crash.

#[doc(hidden)]
pub mod contract;
pub mod counted;
mod decide;
pub mod dynamodb;
pub mod embedded;
pub mod faulty;
pub mod memory;
pub mod metered;
mod page;
pub mod size;
mod table;

use std::{collections::BTreeMap, collections::BTreeSet, fmt};

use async_trait::async_trait;
use bytes::Bytes;

pub use self::table::TTL;

/// The tables, with the key attributes of `data-model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `email`.
    User,
    /// `mailbox` + `name`.
    Folder,
    /// `folder` + `message`.
    MetaMail,
    /// `name`.
    Config,
    /// `domain`.
    Domain,
    /// `shard` + `due`.
    Queue,
    /// `object_name`.
    Segment,
}

/// The primary key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The partition key.
    pub partition: String,
    /// The sort key; empty for tables that have none.
    pub sort: String,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
    /// Octets.
    Octets(Bytes),
    /// A set of texts: never empty, and no member is (DynamoDB takes neither).
    Set(BTreeSet<String>),
}

/// An item: its attributes by name, the key attributes not among them.
pub type Item = BTreeMap<String, Value>;

/// A condition on the item as it is; all checks must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition(pub Vec<Check>);

/// One check of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The item exists.
    Exists,
    /// There is no such item.
    Absent,
    /// The attribute has this value.
    Equals(String, Value),
    /// The item lacks the attribute (or does not exist).
    Lacks(String),
    /// The attribute is a number less than this.
    Less(String, i64),
}

/// Changes to one item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// Attributes to set.
    pub set: Vec<(String, Value)>,
    /// Numbers to add to attributes (absent counts as 0).
    pub add: Vec<(String, i64)>,
    /// Members to add to sets (absent counts as empty).
    pub insert: Vec<(String, BTreeSet<String>)>,
    /// Attributes to remove.
    pub remove: Vec<String>,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write that was answered before.
    Strong,
    /// May lag a little; half the price.
    Eventual,
}

/// What to read of one partition, in the order of the sort key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// The table.
    pub table: Table,
    /// The partition key.
    pub partition: String,
    /// Sort keys after this one only (exclusive); where a page ended, or empty.
    pub after: String,
    /// Sort keys before this one only (exclusive), if given.
    pub before: Option<String>,
    /// Items in a page at most; 0 for the store's choice (1 MB at most).
    pub limit: usize,
    /// How fresh.
    pub consistency: Consistency,
}

/// A page of items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and attributes, in key order (a scan's order is the store's own).
    pub items: Vec<(Key, Item)>,
    /// Where to go on; `None` after the last page.
    pub next: Option<Key>,
}

/// Why a verb failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The condition did not hold; nothing was changed. Carries the item as it was, if there was one.
    #[error("the condition does not hold")]
    ConditionFailed(Option<Item>),
    /// The store cannot answer now (throttled, unreachable, disk full, read-only); nothing was changed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The write may or may not have been applied. Read, or repeat where the verb is idempotent.
    #[error("the outcome of the write is unknown: {0}")]
    OutcomeUnknown(String),
    /// The stored item cannot be understood, or a value is beyond a limit: our own bug or damage.
    #[error("internal: {0}")]
    Internal(String),
}

/// A call of [`ItemStore::put`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutCall {
    /// The table.
    pub table: Table,
    /// The item's key.
    pub key: Key,
    /// The item.
    pub item: Item,
    /// What must hold of the item as it was.
    pub condition: Condition,
}

/// A call of [`ItemStore::update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateCall {
    /// The table.
    pub table: Table,
    /// The item's key.
    pub key: Key,
    /// The changes.
    pub update: Update,
    /// What must hold of the item as it was.
    pub condition: Condition,
}

/// A store of items.
///
/// All verbs are cancel-safe in this sense: a dropped future leaves the store consistent, the write applied or not.
#[async_trait]
pub trait ItemStore: Send + Sync + fmt::Debug + 'static {
    /// Returns the kind of store, for people: `memory`, `embedded`, `dynamodb`.
    fn kind(&self) -> &'static str;

    /// Returns an item.
    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError>;

    /// Returns items of one table, each at the place of its key, `None` for one that is not there. Each is as fresh as
    /// asked; together they are no snapshot.
    async fn get_many(
        &self,
        table: Table,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            found.push(self.get(table, key, consistency).await?);
        }
        Ok(found)
    }

    /// Returns a page of one partition.
    async fn query(&self, query: &Query) -> Result<Page, StoreError>;

    /// Returns a page of a whole table, in the store's own order, eventually consistent. For operators and audits.
    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError>;

    /// Puts an item in place of whatever was there, if the condition holds. Durable once answered.
    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError>;

    /// Changes an item (made if absent, unless the condition says otherwise) and returns it as it is now. A repeat
    /// applies `add` twice. Durable once answered.
    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError>;

    /// Puts an item and then, where that was answered with success, changes another: two calls of their own, made for
    /// one trip's wait where the store can. Not atomic: a crash may leave the first without the second, and never the
    /// second without the first.
    ///
    /// # Errors
    /// The outer result is that of the put; where it is an error the update was not made. The inner is the update's.
    async fn put_then_update(
        &self,
        put: PutCall,
        update: UpdateCall,
    ) -> Result<Result<Item, StoreError>, StoreError> {
        self.put(put.table, put.key, put.item, put.condition).await?;
        Ok(self.update(update.table, update.key, update.update, update.condition).await)
    }

    /// Deletes an item if the condition holds; an absent one counts as deleted. Durable once answered.
    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError>;
}

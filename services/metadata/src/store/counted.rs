//! Counts request units in production, cheaply: from the item or the page at hand, by table.
//!
//! What DynamoDB would bill is known only roughly from here: a write that replaces or deletes an item is billed for the
//! larger of before and after, and what was there before is not at hand. Items of the mail tables stay under one unit,
//! so for them it makes no difference. [`super::metered`] counts exactly, and remembers the size of every item for that:
//! it is for tests.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;

use super::{
    Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update,
    size::{item_bytes, read_halves, write_units},
};

/// What a table has used.
#[derive(Debug, Default)]
struct Counts {
    read_halves: AtomicU64,
    writes: AtomicU64,
}

/// The counters of a [`CountedStore`], which go on counting; clones read the same.
#[derive(Debug, Clone)]
pub struct UnitCounts(Arc<BTreeMap<Table, Counts>>);

impl UnitCounts {
    /// Returns each table with the halves of read units and the write units used so far.
    pub fn iter(&self) -> impl Iterator<Item = (Table, u64, u64)> + '_ {
        let loaded = |(table, counts): (&Table, &Counts)| {
            (*table, counts.read_halves.load(Relaxed), counts.writes.load(Relaxed))
        };
        self.0.iter().map(loaded)
    }

    fn read(&self, table: Table, consistency: Consistency, bytes: usize) {
        if let Some(counts) = self.0.get(&table) {
            counts.read_halves.fetch_add(read_halves(bytes, consistency), Relaxed);
        }
    }

    fn write(&self, table: Table, bytes: usize) {
        if let Some(counts) = self.0.get(&table) {
            counts.writes.fetch_add(write_units(bytes), Relaxed);
        }
    }

    /// Counts a write that failed: nothing where it never reached the table.
    fn failed_write(&self, table: Table, key: &Key, bytes: usize, error: &StoreError) {
        match error {
            StoreError::ConditionFailed(found) => {
                let found = found.as_ref().map_or(0, |item| item_bytes(table, key, item));
                self.write(table, bytes.max(found));
            }
            // It may have been applied.
            StoreError::OutcomeUnknown(_) => self.write(table, bytes),
            StoreError::Unavailable(_) | StoreError::Internal(_) => {}
        }
    }
}

/// A store whose units are counted.
#[derive(Debug)]
pub struct CountedStore {
    inner: Arc<dyn ItemStore>,
    counts: UnitCounts,
}

impl CountedStore {
    /// Counts what a store is asked for.
    #[must_use]
    pub fn new(inner: Arc<dyn ItemStore>) -> Self {
        let tables = Table::ALL.map(|table| (table, Counts::default()));
        Self { inner, counts: UnitCounts(Arc::new(tables.into())) }
    }

    /// Returns the counters.
    #[must_use]
    pub fn counts(&self) -> UnitCounts {
        self.counts.clone()
    }

    fn count_page(&self, table: Table, consistency: Consistency, page: &Page) {
        let bytes = page.items.iter().map(|(key, item)| item_bytes(table, key, item)).sum();
        self.counts.read(table, consistency, bytes);
    }
}

#[async_trait]
impl ItemStore for CountedStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        let found = self.inner.get(table, key, consistency).await?;
        let bytes = found.as_ref().map_or(0, |item| item_bytes(table, key, item));
        self.counts.read(table, consistency, bytes);
        Ok(found)
    }

    async fn get_many(
        &self,
        table: Table,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        let found = self.inner.get_many(table, keys, consistency).await?;
        // The same key twice is read once.
        let read: BTreeMap<&Key, &Option<Item>> = keys.iter().zip(&found).collect();
        for (key, item) in read {
            let bytes = item.as_ref().map_or(0, |item| item_bytes(table, key, item));
            self.counts.read(table, consistency, bytes);
        }
        Ok(found)
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let page = self.inner.query(query).await?;
        self.count_page(query.table, query.consistency, &page);
        Ok(page)
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let page = self.inner.scan(table, after, limit).await?;
        self.count_page(table, Consistency::Eventual, &page);
        Ok(page)
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        let bytes = item_bytes(table, &key, &item);
        match self.inner.put(table, key.clone(), item, condition).await {
            Ok(()) => self.counts.write(table, bytes),
            Err(error) => {
                self.counts.failed_write(table, &key, bytes, &error);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        let result = self.inner.update(table, key.clone(), update, condition).await;
        match &result {
            Ok(item) => self.counts.write(table, item_bytes(table, &key, item)),
            Err(error) => self.counts.failed_write(table, &key, 0, error),
        }
        result
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        let result = self.inner.delete(table, key.clone(), condition).await;
        match &result {
            Ok(()) => self.counts.write(table, 0),
            Err(error) => self.counts.failed_write(table, &key, 0, error),
        }
        result
    }
}

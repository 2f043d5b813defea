//! The reference: items in a `BTreeMap`, gone with the process. For tests and simulation.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update,
    decide::{self, Change},
    page::Filling,
};

/// A store in memory. Every verb finishes without waiting; both consistencies are strong.
#[derive(Debug, Default)]
pub struct MemoryStore {
    items: Mutex<BTreeMap<(Table, Key), Item>>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn write(
        &self,
        table: Table,
        key: Key,
        condition: &Condition,
        change: Change,
    ) -> Result<Option<Item>, StoreError> {
        decide::check_write(table, &key, &change)?;
        let mut items = self.lock();
        let place = (table, key);
        let after = decide::decide(table, &place.1, items.get(&place), condition, change)?;
        match &after {
            Some(item) => items.insert(place, item.clone()),
            None => items.remove(&place),
        };
        Ok(after)
    }

    fn page(
        &self,
        table: Table,
        start: Bound<(Table, Key)>,
        limit: usize,
        within: impl Fn(&Key) -> bool,
    ) -> Page {
        let items = self.lock();
        let mut filling = Filling::new(table, limit);
        for ((at, key), item) in items.range((start, Bound::Unbounded)) {
            if *at != table || !within(key) || !filling.push(key.clone(), item.clone()) {
                break;
            }
        }
        filling.finish()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Table, Key), Item>> {
        // No code that holds the lock can panic half-way through a change.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ItemStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        _consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        decide::check_key(table, key)?;
        Ok(self.lock().get(&(table, key.clone())).cloned())
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        decide::check_query(query)?;
        let place =
            |sort: &str| (query.table, Key { partition: query.partition.clone(), sort: sort.to_owned() });
        let start = match query.after.as_str() {
            "" => Bound::Included(place("")),
            after => Bound::Excluded(place(after)),
        };
        let within = |key: &Key| {
            key.partition == query.partition
                && query.before.as_deref().is_none_or(|before| key.sort.as_str() < before)
        };
        Ok(self.page(query.table, start, query.limit, within))
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let start = match after {
            None => Bound::Included((table, Key { partition: String::new(), sort: String::new() })),
            Some(key) => Bound::Excluded((table, key.clone())),
        };
        Ok(self.page(table, start, limit, |_| true))
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.write(table, key, &condition, Change::Put(item)).map(|_| ())
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        self.write(table, key, &condition, Change::Update(update)).map(Option::unwrap_or_default)
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.write(table, key, &condition, Change::Delete).map(|_| ())
    }
}

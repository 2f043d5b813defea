//! Counts the request units that DynamoDB would bill, on any store.
//!
//! Source: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations" and "Provisioned capacity mode".
//! * A write costs one unit for each KB (rounded up) of the larger of the item before and after it, at least one; a
//!   failed condition costs the same.
//! * A strong read costs one unit for each 4 KB (rounded up), at least one; an eventual one half of that. A query or
//!   scan is billed for the sum of its page, rounded up once.
//!
//! What an item was like before a write is remembered from the wrapper's own traffic: an item that was there already
//! when the wrapper was made counts with its new size until it has been seen. Memory grows with the number of items:
//! this is for tests and for measuring, not for a large store in production, where [`super::counted`] counts roughly.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::{Add, Sub},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update,
    decide::{self, Change},
    size,
};

/// A verb of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// [`ItemStore::get`].
    Get,
    /// [`ItemStore::query`].
    Query,
    /// [`ItemStore::scan`].
    Scan,
    /// [`ItemStore::put`].
    Put,
    /// [`ItemStore::update`].
    Update,
    /// [`ItemStore::delete`].
    Delete,
}

impl Verb {
    /// Says whether the verb is billed in write units.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Put | Self::Update | Self::Delete)
    }
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Units {
    /// Calls that were billed.
    pub calls: u64,
    /// Write request units.
    pub writes: u64,
    /// Halves of read request units: an eventual read of 4 KB is one half.
    pub read_halves: u64,
}

impl Units {
    /// Returns the read request units.
    #[must_use]
    pub fn reads(self) -> f64 {
        // Exact up to 2^53 halves.
        #[allow(clippy::cast_precision_loss)]
        let halves = self.read_halves as f64;
        halves / 2.0
    }
}

impl Add for Units {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            calls: self.calls + more.calls,
            writes: self.writes + more.writes,
            read_halves: self.read_halves + more.read_halves,
        }
    }
}

impl Sub for Units {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(less.calls),
            writes: self.writes.saturating_sub(less.writes),
            read_halves: self.read_halves.saturating_sub(less.read_halves),
        }
    }
}

/// What was used, by table and verb: a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage(BTreeMap<(Table, Verb), Units>);

impl Usage {
    /// Returns the sum.
    #[must_use]
    pub fn total(&self) -> Units {
        self.sum(|_, _| true)
    }

    /// Returns the sum of a table.
    #[must_use]
    pub fn table(&self, table: Table) -> Units {
        self.sum(|at, _| at == table)
    }

    /// Returns the sum of a verb.
    #[must_use]
    pub fn verb(&self, verb: Verb) -> Units {
        self.sum(|_, by| by == verb)
    }

    /// Returns what was used since an earlier snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let rest = |(place, units): (&(Table, Verb), &Units)| {
            let units = *units - earlier.0.get(place).copied().unwrap_or_default();
            (units != Units::default()).then_some((*place, units))
        };
        Self(self.0.iter().filter_map(rest).collect())
    }

    /// Returns what was used, place by place.
    pub fn iter(&self) -> impl Iterator<Item = (Table, Verb, Units)> + '_ {
        self.0.iter().map(|((table, verb), units)| (*table, *verb, *units))
    }

    fn sum(&self, wanted: impl Fn(Table, Verb) -> bool) -> Units {
        let wanted = self.iter().filter(|(table, verb, _)| wanted(*table, *verb));
        wanted.fold(Units::default(), |sum, (_, _, units)| sum + units)
    }
}

impl FromIterator<(Table, Verb, Units)> for Usage {
    /// Collects what was used, leaving out places where nothing was.
    fn from_iter<I: IntoIterator<Item = (Table, Verb, Units)>>(places: I) -> Self {
        let used = places.into_iter().filter(|(_, _, units)| *units != Units::default());
        Self(used.map(|(table, verb, units)| ((table, verb), units)).collect())
    }
}

/// Is told of every billed call, for metrics.
pub type Hook = Arc<dyn Fn(Table, Verb, Units) + Send + Sync>;

/// A store with a meter.
pub struct MeteredStore {
    inner: Arc<dyn ItemStore>,
    hook: Option<Hook>,
    meter: Mutex<Meter>,
}

#[derive(Debug, Default)]
struct Meter {
    usage: Usage,
    bytes: HashMap<(Table, Key), usize>,
}

impl MeteredStore {
    /// Puts a meter on a store.
    #[must_use]
    pub fn new(inner: Arc<dyn ItemStore>) -> Self {
        Self { inner, hook: None, meter: Mutex::default() }
    }

    /// Puts a meter on a store that also tells a hook.
    #[must_use]
    pub fn with_hook(inner: Arc<dyn ItemStore>, hook: Hook) -> Self {
        Self { hook: Some(hook), ..Self::new(inner) }
    }

    /// Returns what was used until now. Two of these make a difference: [`Usage::since`].
    #[must_use]
    pub fn units(&self) -> Usage {
        self.meter().usage.clone()
    }

    fn meter(&self) -> MutexGuard<'_, Meter> {
        // A number too few after a panic elsewhere harms nobody.
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bill(&self, table: Table, verb: Verb, units: Units) {
        let mut meter = self.meter();
        let place = meter.usage.0.entry((table, verb)).or_default();
        *place = *place + units;
        drop(meter);
        if let Some(hook) = &self.hook {
            hook(table, verb, units);
        }
    }

    fn bill_read(&self, table: Table, verb: Verb, consistency: Consistency, bytes: usize) {
        let read_halves = size::read_halves(bytes, consistency);
        self.bill(table, verb, Units { calls: 1, writes: 0, read_halves });
    }

    fn bill_page(&self, table: Table, verb: Verb, consistency: Consistency, page: &Page) {
        let bytes = page.items.iter().map(|(key, item)| size::item_bytes(table, key, item)).sum();
        self.bill_read(table, verb, consistency, bytes);
        let mut meter = self.meter();
        for (key, item) in &page.items {
            meter.bytes.insert((table, key.clone()), size::item_bytes(table, key, item));
        }
    }

    /// Bills a write that leaves `after` (`None`: nothing), or that its condition refused.
    fn bill_write(&self, table: Table, verb: Verb, key: Key, after: Option<usize>, applied: bool) {
        let place = (table, key);
        let before = {
            let mut meter = self.meter();
            match after {
                _ if !applied => meter.bytes.get(&place).copied(),
                Some(bytes) => meter.bytes.insert(place, bytes),
                None => meter.bytes.remove(&place),
            }
        };
        let writes = size::write_units(before.unwrap_or(0).max(after.unwrap_or(0)));
        self.bill(table, verb, Units { calls: 1, writes, read_halves: 0 });
    }

    /// Bills a write that the store did not accept: nothing where it never reached the table.
    fn bill_failure(&self, table: Table, verb: Verb, key: Key, change: Change, error: &StoreError) {
        match error {
            StoreError::ConditionFailed(current) => {
                let before = current.as_ref().map(|item| size::item_bytes(table, &key, item));
                if let Some(bytes) = before {
                    self.meter().bytes.insert((table, key.clone()), bytes);
                }
                let wanted = decide::decide(table, &key, current.as_ref(), &Condition::default(), change);
                let wanted = wanted.ok().flatten().map(|item| size::item_bytes(table, &key, &item));
                self.bill_write(table, verb, key, wanted, false);
            }
            // It may have been applied: then it was billed.
            StoreError::OutcomeUnknown(_) => {
                let bytes = match change {
                    Change::Put(item) => Some(size::item_bytes(table, &key, &item)),
                    Change::Update(_) | Change::Delete => None,
                };
                self.bill_write(table, verb, key, bytes, false);
            }
            StoreError::Unavailable(_) | StoreError::Internal(_) => {}
        }
    }
}

impl fmt::Debug for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemStore for MeteredStore {
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
        let bytes = found.as_ref().map(|item| size::item_bytes(table, key, item));
        if let Some(bytes) = bytes {
            self.meter().bytes.insert((table, key.clone()), bytes);
        }
        self.bill_read(table, Verb::Get, consistency, bytes.unwrap_or(0));
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
            let bytes = item.as_ref().map(|item| size::item_bytes(table, key, item));
            if let Some(bytes) = bytes {
                self.meter().bytes.insert((table, key.clone()), bytes);
            }
            self.bill_read(table, Verb::Get, consistency, bytes.unwrap_or(0));
        }
        Ok(found)
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        let page = self.inner.query(query).await?;
        self.bill_page(query.table, Verb::Query, query.consistency, &page);
        Ok(page)
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let page = self.inner.scan(table, after, limit).await?;
        self.bill_page(table, Verb::Scan, Consistency::Eventual, &page);
        Ok(page)
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        let result = self.inner.put(table, key.clone(), item.clone(), condition).await;
        match &result {
            Ok(()) => {
                let bytes = size::item_bytes(table, &key, &item);
                self.bill_write(table, Verb::Put, key, Some(bytes), true);
            }
            Err(error) => self.bill_failure(table, Verb::Put, key, Change::Put(item), error),
        }
        result
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        let result = self.inner.update(table, key.clone(), update.clone(), condition).await;
        match &result {
            Ok(item) => {
                let bytes = size::item_bytes(table, &key, item);
                self.bill_write(table, Verb::Update, key, Some(bytes), true);
            }
            Err(error) => self.bill_failure(table, Verb::Update, key, Change::Update(update), error),
        }
        result
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        let result = self.inner.delete(table, key.clone(), condition).await;
        match &result {
            Ok(()) => self.bill_write(table, Verb::Delete, key, None, true),
            Err(error) => self.bill_failure(table, Verb::Delete, key, Change::Delete, error),
        }
        result
    }
}

//! The store on Amazon DynamoDB: one table of DynamoDB for each of ours.
//!
//! Each verb is one request, a page of a query one page. Reads are repeated by the SDK; a write only where it is sure
//! that nothing was changed ([`puro_aws`] says why), and everything else that may have been applied comes back as
//! [`StoreError::OutcomeUnknown`]: so a failed condition is never the echo of the caller's own write, and no addition
//! counts twice unless the caller repeats it. Requests that could never succeed are refused here, without asking.
//!
//! A gate bounds how much runs and waits, and leaves a store alone that is down.

mod batch;
mod consumed;
mod expression;
mod failure;
mod tables;
mod value;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    config::Config,
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{ReturnConsumedCapacity, ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use puro_aws::{BreakerLimits, Deadlines, Gate, GateLimits, SdkConfig, UntouchedOnly};

pub use self::{
    consumed::Consumed,
    tables::{Billing, Names, Switch, Table as LiveTable, TableError, Tables},
};
use self::{
    expression::Placeholders,
    failure::{Failed, call},
    value::{Attributes, item_attributes, key_attributes, read_item, read_key},
};
use super::{
    Condition, Consistency, Item, ItemStore, Key, Page, Query, StoreError, Table, Update,
    decide::{self, Change},
    metered::Verb,
    size::{item_bytes, write_units},
};

/// How long a call may take: within the patience of a write of the mail logic, and far beyond what DynamoDB takes.
pub const DEADLINES: Deadlines = Deadlines {
    connect: Duration::from_secs(1),
    attempt: Some(Duration::from_secs(2)),
    operation: Some(Duration::from_secs(4)),
    attempts: 3,
};

/// Calls that wait, for each that runs.
const WAITING_PER_CALL: usize = 8;

/// The store. Clones of its parts ([`DynamoStore::consumed`], [`DynamoStore::gate`]) go on seeing what it does.
pub struct DynamoStore {
    /// Repeats whatever may be repeated.
    reads: Client,
    /// Repeats only what surely changed nothing.
    writes: Client,
    tables: Tables,
    names: Names,
    gate: Arc<Gate>,
    consumed: Consumed,
}

impl DynamoStore {
    /// Makes the store. Nothing is asked: [`Tables::check`] tells whether the tables are there. At most `connections`
    /// calls run at once, each on a connection of its own.
    #[must_use]
    pub fn new(config: &SdkConfig, names: Names, connections: usize) -> Self {
        let careful = Config::from(config).to_builder().retry_classifier(UntouchedOnly).build();
        let limits = GateLimits {
            in_flight: connections,
            waiting: connections.saturating_mul(WAITING_PER_CALL),
            patience: Duration::from_secs(1),
            slow: Duration::from_secs(3),
            breaker: BreakerLimits::default(),
        };
        Self {
            reads: Client::new(config),
            writes: Client::from_conf(careful),
            tables: Tables::new(config, names.clone()),
            names,
            gate: Gate::new("DynamoDB", limits),
            consumed: Consumed::new(),
        }
    }

    /// Returns what DynamoDB says that this store's calls cost.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.consumed.clone()
    }

    /// Returns the gate in front of the calls.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    /// Returns the way to the tables themselves.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.tables.clone()
    }

    /// Reads why a write failed, counts what it cost, and returns the error.
    ///
    /// `refused` says whether DynamoDB's answer is that the condition failed, and with which item.
    fn failed_write<E>(
        &self,
        verb: Verb,
        (table, key): (Table, &Key),
        change: Change,
        failed: Failed<E>,
        refused: impl FnOnce(&E) -> Option<Option<&Attributes>>,
    ) -> StoreError {
        let Some(current) = failed.service_error().and_then(refused) else { return failed.of_write() };
        let current = match current.cloned().map(|item| read_item(table, item)).transpose() {
            Ok(current) => current,
            Err(error) => return error,
        };
        let before = current.as_ref().map_or(0, |item| item_bytes(table, key, item));
        let wanted = decide::decide(table, key, current.as_ref(), &Condition::default(), change);
        let wanted = wanted.ok().flatten().map_or(0, |item| item_bytes(table, key, &item));
        self.consumed.add_refused(table, verb, write_units(before.max(wanted)));
        StoreError::ConditionFailed(current)
    }

    /// Reads pages of a query or a scan, which say the same in different types.
    fn page(
        table: Table,
        items: Option<Vec<Attributes>>,
        last: Option<Attributes>,
    ) -> Result<Page, StoreError> {
        let item = |attributes: Attributes| {
            let key = read_key(table, &attributes)?;
            Ok((key, read_item(table, attributes)?))
        };
        let items = items.unwrap_or_default().into_iter().map(item).collect::<Result<_, StoreError>>()?;
        let next = last.filter(|key| !key.is_empty()).map(|key| read_key(table, &key)).transpose()?;
        Ok(Page { items, next })
    }
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore").field("names", &self.names).finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemStore for DynamoStore {
    fn kind(&self) -> &'static str {
        "dynamodb"
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        decide::check_key(table, key)?;
        let request = self
            .reads
            .get_item()
            .table_name(self.names.of(table))
            .set_key(Some(key_attributes(table, key)))
            .consistent_read(is_strong(consistency))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let found = call(&self.gate, request.send()).await.map_err(Failed::of_read)?;
        self.consumed.add(table, Verb::Get, 1, found.consumed_capacity.as_ref());
        found.item.map(|item| read_item(table, item)).transpose()
    }

    async fn get_many(
        &self,
        table: Table,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.batch_get(table, keys, consistency).await
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        decide::check_query(query)?;
        let table = query.table;
        let Some(bounds) = Bounds::of(query) else { return Ok(Page::default()) };
        let mut places = Placeholders::default();
        let partition = query.partition.clone();
        let name = places.name(table.partition_attribute());
        let mut wanted =
            format!("{name} = {}", places.value(value::attribute(super::Value::Text(partition))));
        if let (Some(before), Some(name)) = (bounds.before, table.sort_attribute()) {
            let name = places.name(name);
            let before = places.value(value::attribute(super::Value::Text(before)));
            wanted.push_str(&format!(" AND {name} < {before}"));
        }
        let request = self
            .reads
            .query()
            .table_name(self.names.of(table))
            .key_condition_expression(wanted)
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.into_values())
            .set_exclusive_start_key(bounds.after.map(|key| key_attributes(table, &key)))
            .set_limit(request_limit(query.limit))
            .consistent_read(is_strong(query.consistency))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let page = call(&self.gate, request.send()).await.map_err(Failed::of_read)?;
        self.consumed.add(table, Verb::Query, 1, page.consumed_capacity.as_ref());
        Self::page(table, page.items, page.last_evaluated_key)
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let request = self
            .reads
            .scan()
            .table_name(self.names.of(table))
            .set_exclusive_start_key(after.map(|key| key_attributes(table, key)))
            .set_limit(request_limit(limit))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let page = call(&self.gate, request.send()).await.map_err(Failed::of_read)?;
        self.consumed.add(table, Verb::Scan, 1, page.consumed_capacity.as_ref());
        Self::page(table, page.items, page.last_evaluated_key)
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        let change = Change::Put(item.clone());
        decide::check_write(table, &key, &change)?;
        let mut places = Placeholders::default();
        let condition = expression::condition(table, condition, &mut places);
        let request = self
            .writes
            .put_item()
            .table_name(self.names.of(table))
            .set_item(Some(item_attributes(table, &key, item)))
            .set_condition_expression(condition)
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.into_values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match call(&self.gate, request.send()).await {
            Ok(done) => {
                self.consumed.add(table, Verb::Put, 1, done.consumed_capacity.as_ref());
                Ok(())
            }
            Err(failed) => {
                Err(self.failed_write(Verb::Put, (table, &key), change, failed, |error| match error {
                    PutItemError::ConditionalCheckFailedException(refusal) => Some(refusal.item()),
                    _ => None,
                }))
            }
        }
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        let change = Change::Update(update.clone());
        decide::check_write(table, &key, &change)?;
        let mut places = Placeholders::default();
        let guarded = expression::update_condition(table, condition.clone(), &update, &mut places);
        let request = self
            .writes
            .update_item()
            .table_name(self.names.of(table))
            .set_key(Some(key_attributes(table, &key)))
            .set_update_expression(expression::update(update, &mut places))
            .set_condition_expression(guarded)
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.into_values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match call(&self.gate, request.send()).await {
            Ok(done) => {
                self.consumed.add(table, Verb::Update, 1, done.consumed_capacity.as_ref());
                read_item(table, done.attributes.unwrap_or_default())
            }
            Err(failed) => {
                let error =
                    self.failed_write(
                        Verb::Update,
                        (table, &key),
                        change.clone(),
                        failed,
                        |error| match error {
                            UpdateItemError::ConditionalCheckFailedException(refusal) => Some(refusal.item()),
                            _ => None,
                        },
                    );
                Err(without_guard(error, table, &key, &condition, change))
            }
        }
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        decide::check_write(table, &key, &Change::Delete)?;
        let mut places = Placeholders::default();
        let condition = expression::condition(table, condition, &mut places);
        let request = self
            .writes
            .delete_item()
            .table_name(self.names.of(table))
            .set_key(Some(key_attributes(table, &key)))
            .set_condition_expression(condition)
            .set_expression_attribute_names(places.names())
            .set_expression_attribute_values(places.into_values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        match call(&self.gate, request.send()).await {
            Ok(done) => {
                self.consumed.add(table, Verb::Delete, 1, done.consumed_capacity.as_ref());
                Ok(())
            }
            Err(failed) => Err(self.failed_write(
                Verb::Delete,
                (table, &key),
                Change::Delete,
                failed,
                |error| match error {
                    DeleteItemError::ConditionalCheckFailedException(refusal) => Some(refusal.item()),
                    _ => None,
                },
            )),
        }
    }
}

/// Tells the caller's condition from the guard that keeps additions within 64 bits: where the first holds, it was the
/// second, and the error is the one that the addition deserves.
fn without_guard(
    error: StoreError,
    table: Table,
    key: &Key,
    condition: &Condition,
    change: Change,
) -> StoreError {
    let StoreError::ConditionFailed(Some(current)) = &error else { return error };
    match decide::decide(table, key, Some(current), condition, change) {
        Err(refused) => refused,
        // It holds on this item, so it cannot be this item that it was tried on; the answer stands.
        Ok(_) => error,
    }
}

/// What of a partition a query asks for, without what DynamoDB would refuse to be asked.
struct Bounds {
    after: Option<Key>,
    before: Option<String>,
}

impl Bounds {
    /// Returns the bounds; `None` where nothing lies between them.
    fn of(query: &Query) -> Option<Self> {
        let has_sort = query.table.sort_attribute().is_some();
        // A table without sort key has one item a partition, whose sort key is empty.
        if !has_sort && !query.after.is_empty() {
            return None;
        }
        if let Some(before) = &query.before
            && (before.is_empty() || *before <= query.after)
        {
            return None;
        }
        let start = || Key { partition: query.partition.clone(), sort: query.after.clone() };
        Some(Self {
            after: (!query.after.is_empty()).then(start),
            before: query.before.clone().filter(|_| has_sort),
        })
    }
}

const fn is_strong(consistency: Consistency) -> bool {
    matches!(consistency, Consistency::Strong)
}

fn request_limit(limit: usize) -> Option<i32> {
    (limit > 0).then(|| i32::try_from(limit).unwrap_or(i32::MAX))
}

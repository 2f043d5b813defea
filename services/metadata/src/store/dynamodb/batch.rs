//! Reads of several items at once.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnConsumedCapacity};
use tokio::time::Instant;

use super::{
    super::{Consistency, Item, Key, StoreError, Table, decide, metered::Verb},
    DEADLINES, DynamoStore,
    failure::{Failed, call},
    is_strong,
    value::{Attributes, key_attributes, read_item, read_key},
};

/// Keys of one request at most (a DynamoDB limit).
const KEYS_MAX: usize = 100;
/// Pause before what was left out is asked for again; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How long it is gone on asking for what is left out.
const PATIENCE: Duration = match DEADLINES.operation {
    Some(operation) => operation,
    None => Duration::from_secs(4),
};

impl DynamoStore {
    /// Reads items, each at the place of its key.
    pub(super) async fn batch_get(
        &self,
        table: Table,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Option<Item>>, StoreError> {
        keys.iter().try_for_each(|key| decide::check_key(table, key))?;
        // The same key twice in a request is refused.
        let unique: BTreeSet<&Key> = keys.iter().collect();
        let unique: Vec<&Key> = unique.into_iter().collect();
        let mut found = HashMap::new();
        for chunk in unique.chunks(KEYS_MAX) {
            self.get_chunk(table, chunk, consistency, &mut found).await?;
        }
        Ok(keys.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn get_chunk(
        &self,
        table: Table,
        keys: &[&Key],
        consistency: Consistency,
        found: &mut HashMap<Key, Item>,
    ) -> Result<(), StoreError> {
        let mut pending: Vec<Attributes> = keys.iter().map(|key| key_attributes(table, key)).collect();
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut calls = keys.len() as u64;
        loop {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(pending))
                .consistent_read(is_strong(consistency))
                .build()
                .map_err(|error| StoreError::Internal(format!("DynamoDB: {error}")))?;
            let request = self
                .reads
                .batch_get_item()
                .request_items(self.names.of(table), wanted)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let answer = call(&self.gate, request.send()).await.map_err(Failed::of_read)?;
            let capacity = answer.consumed_capacity.as_deref().and_then(<[_]>::first);
            // Each item is billed as a read of its own.
            self.consumed.add(table, Verb::Get, std::mem::take(&mut calls), capacity);
            for attributes in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                found.insert(read_key(table, &attributes)?, read_item(table, attributes)?);
            }
            // What is left out is not absent: the table was too busy, or the answer too large.
            let left = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, keys)| keys.keys);
            pending = left.collect();
            if pending.is_empty() {
                return Ok(());
            }
            if Instant::now() + pause >= deadline {
                return Err(StoreError::Unavailable("DynamoDB: a batch was left unfinished".to_owned()));
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

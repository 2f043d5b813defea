//! Segments in an S3 bucket: one object each, under a random name that is put once and never again.
//!
//! Amazon's S3, or a store that speaks its language: nothing here rests on what only Amazon's has. `If-None-Match` guards
//! a name where it is understood; that no name is drawn twice guards it everywhere.

mod bucket;
mod connect;
mod failed;
mod name;
mod reading;
mod requests;
mod setup;
mod tasks;
mod writer;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use puro_aws::Gate;

use self::{
    bucket::{Bucket, DELETES_MAX},
    connect::connect,
    name::Name,
    writer::Writer,
};
pub use self::{
    connect::S3Config,
    requests::{RequestCounts, RequestKind, Requests},
    setup::{BucketProperties, BucketStatus, Encryption, Told, bucket_status, init_bucket},
};
use super::{SegmentPage, SegmentStore, SegmentWriter, StoreError, Written};
use crate::setup::SetupError;

/// A store of segments in a bucket; clones share everything.
#[derive(Debug, Clone)]
pub struct S3Store {
    bucket: Arc<Bucket>,
    gate: Arc<Gate>,
    requests: Requests,
}

impl S3Store {
    /// Opens the store. The bucket must be there, but nothing else is asked of it.
    ///
    /// # Errors
    /// [`SetupError::Missing`]: there is no such bucket; else why it cannot be used.
    pub async fn open(config: S3Config) -> Result<Self, SetupError> {
        let connection = connect(&config).await?;
        let gate = Gate::new("S3", config.gate);
        let bucket = Arc::new(Bucket::new(connection.client, config, gate.clone()));
        bucket.check().await?;
        Ok(Self { bucket, gate, requests: connection.requests })
    }

    /// Returns what reads the counters of requests.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    /// Returns the gate in front of the bucket.
    #[must_use]
    pub fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    /// Returns how many large segments are begun in the bucket and not ended, by this process or another, up to 1,000.
    ///
    /// # Errors
    /// The store's.
    pub async fn unfinished_uploads(&self) -> Result<usize, StoreError> {
        self.bucket.uploads().await
    }

    /// Waits for what dropped writers left to be thrown away, and has it tried once more at most: for the end of a process.
    pub async fn end(&self) {
        self.bucket.tasks().end().await;
    }
}

#[async_trait]
impl SegmentStore for S3Store {
    fn kind(&self) -> &'static str {
        "s3"
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        let name = Name::draw()?;
        self.bucket.put(&name, joined(pieces)).await?;
        Ok(self.bucket.written(&name))
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        Ok(Box::new(Writer::begin(self.bucket.clone()).await?))
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        reading::read(self.bucket.clone(), Name::parse(object_name)?, range).await
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        // Each once: two deletions of one key at a time are more than every S3-compatible store bears (RGW 16 crashes).
        let names: BTreeSet<Name> =
            object_names.iter().map(|name| Name::parse(name)).collect::<Result<_, _>>()?;
        let names: Vec<Name> = names.into_iter().collect();
        for names in names.chunks(DELETES_MAX) {
            self.bucket.delete(names).await?;
        }
        Ok(())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        let after = after.map(Name::parse).transpose()?;
        self.bucket.list(after.as_ref(), limit).await
    }
}

/// Joins pieces; one alone is not copied.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    pieces.retain(|piece| !piece.is_empty());
    match pieces.len() {
        0 | 1 => pieces.pop().unwrap_or_default(),
        _ => pieces.concat().into(),
    }
}

//! Where segments are kept: immutable runs of octets with a name that the store chooses and never gives again.

#[cfg(test)]
pub(crate) mod contract;
mod disk;
mod faulty;
mod memory;
mod metered;
mod s3;

use std::{
    fmt,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

pub use self::{
    disk::{DiskConfig, DiskStore, OpenError},
    faulty::{Fault, Faults, Faulty},
    memory::MemoryStore,
    metered::{Counts, Meter, Metered},
    s3::{
        BucketProperties, BucketStatus, Encryption, RequestCounts, RequestKind, Requests, S3Config, S3Store,
        Told, bucket_status, init_bucket,
    },
};

/// Octets that one chunk of a read may have.
pub const CHUNK_MAX: usize = 64 * 1024;

/// Why a verb failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such segment, or the range lies beyond its end: for a location from a live item this is data loss.
    #[error("no such segment: {0}")]
    NotFound(String),
    /// The name is not one that this store gives.
    #[error("not a segment name: {0}")]
    InvalidName(String),
    /// The store cannot answer now (unreachable, slow down, disk full, read-only). A write left nothing that a
    /// reader could see.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The write may have been applied under a name that nobody knows: at worst an orphan.
    #[error("the outcome of the write is unknown: {0}")]
    OutcomeUnknown(String),
    /// Damage, or our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

/// Where a segment was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The bucket, or empty.
    pub bucket: String,
    /// The segment's name.
    pub object_name: String,
}

/// What the store knows of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The segment's name.
    pub object_name: String,
    /// Octets.
    pub size_bytes: u64,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
}

/// A page of segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentPage {
    /// The segments, in the store's own order.
    pub segments: Vec<SegmentInfo>,
    /// Where to go on; `None` after the last page.
    pub next: Option<String>,
}

/// A large segment being written piece by piece. Dropping it without `finish` leaves nothing behind.
#[async_trait]
pub trait SegmentWriter: Send {
    /// Appends octets.
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError>;
    /// Makes the segment durable and visible.
    async fn finish(self: Box<Self>) -> Result<Written, StoreError>;
}

/// A store of segments.
#[async_trait]
pub trait SegmentStore: Send + Sync + fmt::Debug + 'static {
    /// Returns the kind of store, for people: `memory`, `disk`, `s3`.
    fn kind(&self) -> &'static str;

    /// Writes a whole segment given in pieces, at most 8 MB together. Durable and readable once answered.
    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError>;

    /// Begins a segment of any size, whose length is not known yet.
    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError>;

    /// Reads a range of a segment as chunks of at most 64 KiB; the total is exactly the range or the stream ends
    /// with an error.
    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError>;

    /// Deletes segments; absent ones count as deleted. Durability may lag: a crash may bring one back, as an orphan.
    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError>;

    /// Lists segments, a page at a time, in the store's own order.
    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError>;
}

/// Cuts octets into chunks as [`SegmentStore::read`] promises them.
pub(crate) fn chunks(mut octets: Bytes) -> impl Iterator<Item = Bytes> + Send {
    std::iter::from_fn(move || {
        let chunk = octets.split_to(octets.len().min(CHUNK_MAX));
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Milliseconds since the Unix epoch: for people and for the audit, no order rests on it.
pub(crate) fn now_ms() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

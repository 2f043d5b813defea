//! Counts what a store is asked for, in the requests that S3 would bill.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};

use super::{SegmentPage, SegmentStore, SegmentWriter, StoreError, Written};

/// What was asked for until now; failed requests count too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments put, whole ones and streamed ones.
    pub puts: u64,
    /// Octets of segments put.
    pub put_bytes: u64,
    /// Reads.
    pub gets: u64,
    /// Octets read.
    pub get_bytes: u64,
    /// Delete requests, of one or more segments.
    pub deletes: u64,
    /// Pages listed.
    pub lists: u64,
}

/// Reads the counters of a [`Metered`] store; clones read the same.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    deletes: AtomicU64,
    lists: AtomicU64,
}

impl Meter {
    /// Returns the counts at this moment.
    pub fn counts(&self) -> Counts {
        let Counters { puts, put_bytes, gets, get_bytes, deletes, lists } = &*self.0;
        Counts {
            puts: puts.load(Relaxed),
            put_bytes: put_bytes.load(Relaxed),
            gets: gets.load(Relaxed),
            get_bytes: get_bytes.load(Relaxed),
            deletes: deletes.load(Relaxed),
            lists: lists.load(Relaxed),
        }
    }
}

/// A store that counts.
#[derive(Debug)]
pub struct Metered<S: ?Sized> {
    meter: Meter,
    inner: Arc<S>,
}

impl<S: SegmentStore + ?Sized> Metered<S> {
    /// Wraps a store.
    pub fn new(inner: Arc<S>) -> Self {
        Self { meter: Meter::default(), inner }
    }

    /// Returns what reads the counters.
    pub fn meter(&self) -> Meter {
        self.meter.clone()
    }
}

#[async_trait]
impl<S: SegmentStore + ?Sized> SegmentStore for Metered<S> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        let octets: usize = pieces.iter().map(Bytes::len).sum();
        self.meter.0.puts.fetch_add(1, Relaxed);
        self.meter.0.put_bytes.fetch_add(octets as u64, Relaxed);
        self.inner.put(pieces).await
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        self.meter.0.puts.fetch_add(1, Relaxed);
        let inner = self.inner.begin().await?;
        Ok(Box::new(MeteredWriter { meter: self.meter.clone(), inner }))
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        self.meter.0.gets.fetch_add(1, Relaxed);
        let meter = self.meter.clone();
        let count = move |chunk: &Result<Bytes, StoreError>| {
            let octets = chunk.as_ref().map_or(0, Bytes::len);
            meter.0.get_bytes.fetch_add(octets as u64, Relaxed);
        };
        Ok(self.inner.read(object_name, range).await?.inspect(count).boxed())
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        self.meter.0.deletes.fetch_add(1, Relaxed);
        self.inner.delete(object_names).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        self.meter.0.lists.fetch_add(1, Relaxed);
        self.inner.list(after, limit).await
    }
}

struct MeteredWriter {
    meter: Meter,
    inner: Box<dyn SegmentWriter>,
}

#[async_trait]
impl SegmentWriter for MeteredWriter {
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        self.meter.0.put_bytes.fetch_add(octets.len() as u64, Relaxed);
        self.inner.write(octets).await
    }

    async fn finish(self: Box<Self>) -> Result<Written, StoreError> {
        self.inner.finish().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, contract};

    #[tokio::test]
    async fn contract() {
        let store = MemoryStore::new();
        contract::run(Box::new(move || Arc::new(Metered::new(Arc::new(store.clone()))))).await;
    }

    #[tokio::test]
    async fn every_request_is_counted_once() {
        let store = Metered::new(Arc::new(MemoryStore::new()));
        let name = store.put(vec![Bytes::from_static(b"12345")]).await.unwrap().object_name;
        let mut writer = store.begin().await.unwrap();
        writer.write(Bytes::from_static(b"123")).await.unwrap();
        writer.finish().await.unwrap();
        let chunks: Vec<_> = store.read(&name, 1..5).await.unwrap().collect().await;
        assert_eq!(chunks, [Ok(Bytes::from_static(b"2345"))]);
        store.list(None, 10).await.unwrap();
        store.delete(&[name]).await.unwrap();
        let expected = Counts { puts: 2, put_bytes: 8, gets: 1, get_bytes: 4, deletes: 1, lists: 1 };
        assert_eq!(store.meter().counts(), expected);
    }
}

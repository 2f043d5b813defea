//! Segments in memory, for tests and trials.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};

use super::{SegmentInfo, SegmentPage, SegmentStore, SegmentWriter, StoreError, Written, chunks, now_ms};

/// A store that forgets everything when it is dropped; clones share their segments.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    segments: Arc<Mutex<Segments>>,
}

#[derive(Debug, Default)]
struct Segments {
    next: u64,
    all: BTreeMap<String, Segment>,
}

#[derive(Debug)]
struct Segment {
    octets: Bytes,
    created_ms: u64,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, pieces: &[Bytes]) -> Written {
        let octets = Bytes::from(pieces.concat());
        let mut segments = self.segments();
        let object_name = format!("m{:016x}", segments.next);
        segments.next += 1;
        segments.all.insert(object_name.clone(), Segment { octets, created_ms: now_ms() });
        Written { bucket: String::new(), object_name }
    }
}

fn check(name: &str) -> Result<(), StoreError> {
    let digits = name.strip_prefix('m').filter(|digits| digits.len() == 16);
    match digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit())) {
        true => Ok(()),
        false => Err(StoreError::InvalidName(name.chars().take(64).collect())),
    }
}

#[async_trait]
impl SegmentStore for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        Ok(self.add(&pieces))
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        Ok(Box::new(MemoryWriter { store: self.clone(), pieces: Vec::new() }))
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        check(object_name)?;
        let not_found = || StoreError::NotFound(object_name.to_owned());
        let octets = self.segments().all.get(object_name).ok_or_else(not_found)?.octets.clone();
        let (Ok(start), Ok(end)) = (usize::try_from(range.start), usize::try_from(range.end)) else {
            return Err(not_found());
        };
        if start > end || end > octets.len() {
            return Err(not_found());
        }
        Ok(stream::iter(chunks(octets.slice(start..end)).map(Ok)).boxed())
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        object_names.iter().try_for_each(|name| check(name))?;
        let mut segments = self.segments();
        for name in object_names {
            segments.all.remove(name);
        }
        Ok(())
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        after.map_or(Ok(()), check)?;
        let limit = limit.max(1);
        let segments = self.segments();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = segments.all.range::<str, _>((from, Bound::Unbounded)).take(limit);
        let page: Vec<_> = page
            .map(|(name, segment)| SegmentInfo {
                object_name: name.clone(),
                size_bytes: segment.octets.len() as u64,
                created_ms: segment.created_ms,
            })
            .collect();
        let next = page.last().filter(|_| page.len() == limit).map(|last| last.object_name.clone());
        Ok(SegmentPage { segments: page, next })
    }
}

#[derive(Debug)]
struct MemoryWriter {
    store: MemoryStore,
    pieces: Vec<Bytes>,
}

#[async_trait]
impl SegmentWriter for MemoryWriter {
    async fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        self.pieces.push(octets);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Written, StoreError> {
        Ok(self.store.add(&self.pieces))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[tokio::test]
    async fn contract() {
        let store = MemoryStore::new();
        contract::run(Box::new(move || Arc::new(store.clone()))).await;
    }
}

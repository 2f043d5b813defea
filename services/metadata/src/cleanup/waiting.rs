//! Deliveries that wait in the queue: owners of bytes that no message shows yet.
//!
//! A delivery whose first write was answered by nobody may have been seen, and deleted, before the queue comes to it. The
//! tombstone is what keeps it from bringing the message back, so tombstones stay while any delivery waits that is as old
//! as they are: the queue keeps an acknowledged message for as long as it takes, and so do they.
//!
//! Waiting deliveries are never due later than the longest pause from now (see `queue`), and one that is put off is there
//! under its new time before it goes from the old. So one walk over what is due until a little later than that,
//! in the order of the times and by strong reads, misses none. The walk is remembered for some minutes: whoever asks, asks
//! about deliveries that began long before it.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError},
};

use crate::{
    Metadata,
    queue::LONGEST_PAUSE_MS,
    schema::{Job, JobKind, SHARDS, due_until, shard_name},
    store::{Consistency, Query, StoreError, Table},
};

/// How long a walk over the queue is remembered. What it is asked about is hours older.
const REMEMBERED_MS: u64 = 10 * 60 * 1000;
/// How much further than the longest pause the walk goes: for clocks that differ, and for the time that it takes.
const MARGIN_MS: u64 = 30 * 60 * 1000;
/// Segments that are remembered by name; where more wait, all count as waiting.
const NAMES_MAX: usize = 100_000;

/// What waits.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    taken_ms: u64,
    oldest_ms: Option<u64>,
    /// The segments that the bytes are in.
    objects: HashSet<String>,
    /// There are more than are known by name, or an item cannot be understood.
    unsure: bool,
}

impl Waiting {
    /// Says whether a delivery waits, or may wait, whose bytes are in this segment.
    pub(crate) fn has(&self, object_name: &str) -> bool {
        self.unsure || self.objects.contains(object_name)
    }

    /// Says whether a delivery waits that was put into the queue before `ms`.
    pub(crate) fn has_before(&self, ms: u64) -> bool {
        self.oldest_ms.is_some_and(|oldest| oldest < ms)
    }
}

impl Metadata {
    /// Returns the deliveries that wait, as they were a few minutes ago at the earliest. Costs a read unit a shard and one
    /// for each 4 KB of jobs that are due within the hour, at most every ten minutes.
    pub(crate) async fn waiting(&self) -> Result<Arc<Waiting>, StoreError> {
        let now_ms = self.clock.now_ms();
        let remembered = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waiting) = remembered
            && waiting.taken_ms <= now_ms
            && now_ms - waiting.taken_ms < REMEMBERED_MS
        {
            return Ok(waiting);
        }
        let mut waiting = Waiting { taken_ms: now_ms, ..Waiting::default() };
        for shard in 0..SHARDS {
            self.walk_shard(&shard_name(shard), now_ms, &mut waiting).await?;
        }
        let waiting = Arc::new(waiting);
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&waiting));
        Ok(waiting)
    }

    async fn walk_shard(&self, shard: &str, now_ms: u64, waiting: &mut Waiting) -> Result<(), StoreError> {
        let mut after = String::new();
        loop {
            let query = Query {
                table: Table::Queue,
                partition: shard.to_owned(),
                after,
                before: Some(due_until(now_ms.saturating_add(LONGEST_PAUSE_MS + MARGIN_MS))),
                limit: 0,
                consistency: Consistency::Strong,
            };
            let page = self.store.query(&query).await?;
            for (key, item) in &page.items {
                match Job::from_item(key, item) {
                    Ok(Job { created_ms, kind: JobKind::Deliver { mail, .. }, .. }) => {
                        waiting.oldest_ms =
                            Some(waiting.oldest_ms.map_or(created_ms, |ms| ms.min(created_ms)));
                        waiting.unsure |= waiting.objects.len() >= NAMES_MAX;
                        if !waiting.unsure {
                            waiting.objects.insert(mail.location.object_name);
                        }
                    }
                    Ok(_) => {}
                    Err(_) => waiting.unsure = true,
                }
            }
            match page.next {
                Some(next) => after = next.sort,
                None => return Ok(()),
            }
        }
    }
}

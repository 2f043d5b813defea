//! The queue: jobs are put, leased with a fence, put off or finished.
//!
//! A lease is one conditional update of the item; whoever moved the fence last owns the job until the lease expires. A
//! worker that was slow finds the fence moved and leaves the job alone; since every job may be done twice, that is for
//! economy, not for safety.

use std::time::Duration;

use crate::{
    Metadata, MetadataError,
    retry::{Patience, persist},
    schema::{Job, Lease, due_of, job_attribute as attribute, number, text},
    store::{Check, Condition, Consistency, Item, Key, Query, StoreError, Table, Update},
};

/// Pause before a failed job is tried again: it doubles up to the longest.
const FIRST_PAUSE_MS: u64 = 5_000;
pub(crate) const LONGEST_PAUSE_MS: u64 = 15 * 60 * 1000;
/// Jobs read at once.
const BATCH: usize = 64;

/// A job that this worker holds.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) job: Job,
    key: Key,
    fence: u64,
    /// When another worker may take it, unless it is renewed; milliseconds since the Unix epoch.
    pub(crate) until_ms: u64,
}

impl Metadata {
    /// Puts a job that is due at `due_ms`, durably. Putting it again under the same time changes nothing.
    pub(crate) async fn enqueue(&self, job: &Job, due_ms: u64, patience: Patience) -> Result<(), StoreError> {
        let (key, item) = (job.key(due_ms), job.to_item());
        let put = persist(patience, self.random.as_ref(), |_| {
            // Not over an item that is there: it may be leased.
            let condition = Condition(vec![Check::Absent]);
            self.store.put(Table::Queue, key.clone(), item.clone(), condition)
        });
        match put.await {
            Ok(()) | Err(StoreError::ConditionFailed(_)) => {
                self.worker.due(due_ms);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the keys and items of a shard that are due, the oldest first, at most 64.
    pub(crate) async fn due(&self, shard: &str, after: &str) -> Result<Vec<(Key, Item)>, StoreError> {
        let query = Query {
            table: Table::Queue,
            partition: shard.to_owned(),
            after: after.to_owned(),
            before: Some(crate::schema::due_until(self.clock.now_ms())),
            limit: BATCH,
            consistency: Consistency::Eventual,
        };
        Ok(self.store.query(&query).await?.items)
    }

    /// Takes the lease of a due item; `None` where another worker has it or has finished it.
    pub(crate) async fn lease(&self, key: Key, item: &Item) -> Result<Option<Leased>, StoreError> {
        let job = Job::from_item(&key, item)?;
        let lease = Lease::from_item(item)?;
        if lease.expires_ms > self.clock.now_ms() {
            return Ok(None);
        }
        let unmoved = match lease.fence {
            0 => Check::Lacks(attribute::LEASE_FENCE.to_owned()),
            fence => fence_is(fence),
        };
        let until_ms = self.clock.now_ms().saturating_add(crate::ms(self.config.lease));
        let mut update = lease_until(until_ms);
        update.set.push((attribute::LEASE_WORKER.to_owned(), text(&self.config.worker)));
        update.add.push((attribute::LEASE_FENCE.to_owned(), 1));
        let condition = Condition(vec![Check::Exists, unmoved]);
        match self.store.update(Table::Queue, key.clone(), update, condition).await {
            Ok(_) => Ok(Some(Leased { job, key, fence: lease.fence + 1, until_ms })),
            Err(StoreError::ConditionFailed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a lease last from now on; false where it was lost.
    pub(crate) async fn renew(&self, leased: &Leased) -> Result<bool, StoreError> {
        let condition = Condition(vec![fence_is(leased.fence)]);
        let until = lease_until(self.clock.now_ms().saturating_add(crate::ms(self.config.lease)));
        match self.store.update(Table::Queue, leased.key.clone(), until, condition).await {
            Ok(_) => Ok(true),
            Err(StoreError::ConditionFailed(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a finished job away.
    pub(crate) async fn finish(&self, leased: &Leased) -> Result<(), StoreError> {
        let deleted = persist(self.patience(), self.random.as_ref(), |_| {
            let condition = Condition(vec![fence_is(leased.fence)]);
            self.store.delete(Table::Queue, leased.key.clone(), condition)
        });
        match deleted.await {
            // Gone already, or another worker's by now.
            Ok(()) | Err(StoreError::ConditionFailed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts a job, as it is to be from then on, off until `due_ms` at the earliest. The new item is there before the old
    /// one goes.
    pub(crate) async fn put_off(&self, leased: &Leased, job: &Job, due_ms: u64) -> Result<(), StoreError> {
        // Under the old key the new item would go with the old one.
        let due_ms = due_ms.max(due_of(&leased.key).unwrap_or(0).saturating_add(1));
        self.enqueue(job, due_ms, self.patience()).await?;
        if let Err(error) = self.finish(leased).await {
            // The old item comes up again when its lease runs out, and is done a second time.
            tracing::warn!(job = leased.job.id, %error, "a job that was put off is still there");
        }
        Ok(())
    }

    /// Puts a job that failed off until its next attempt.
    pub(crate) async fn put_off_failed(&self, leased: &Leased) -> Result<(), StoreError> {
        let mut job = leased.job.clone();
        let doubled = FIRST_PAUSE_MS.saturating_mul(1 << job.attempts.min(20));
        job.attempts = job.attempts.saturating_add(1);
        let due_ms = self.clock.now_ms() + doubled.min(LONGEST_PAUSE_MS);
        self.put_off(leased, &job, due_ms).await
    }

    /// Puts an item that cannot be understood off for an hour, so that it does not block its shard.
    pub(crate) async fn put_off_damaged(&self, key: &Key, item: &Item) -> Result<(), StoreError> {
        let id = key.sort.split_once('#').map_or(key.sort.as_str(), |(_, id)| id);
        let due_ms = self.clock.now_ms() + 60 * 60 * 1000;
        let sort = format!("{}#{id}", crate::schema::due_until(due_ms));
        let later = Key { partition: key.partition.clone(), sort };
        let item = crate::schema::without_lease(item.clone());
        self.store.put(Table::Queue, later, item, Condition::default()).await?;
        self.store.delete(Table::Queue, key.clone(), Condition::default()).await
    }

    /// Returns a fresh job id.
    pub(crate) fn job_id(&self) -> Result<String, MetadataError> {
        let random = crate::clock::random_octets(self.random.as_ref())?;
        Ok(puro_types::TransactionId::new(self.clock.now_ms(), random).to_string())
    }
}

fn lease_until(until_ms: u64) -> Update {
    let expires = (attribute::LEASE_EXPIRES.to_owned(), number(until_ms));
    Update { set: vec![expires], ..Update::default() }
}

fn fence_is(fence: u64) -> Check {
    Check::Equals(attribute::LEASE_FENCE.to_owned(), number(fence))
}

/// Wakes this replica's worker for jobs that this replica put; jobs of others it finds when it looks around.
#[derive(Debug)]
pub(crate) struct Alarm {
    notify: tokio::sync::Notify,
    next_ms: std::sync::atomic::AtomicU64,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { notify: tokio::sync::Notify::new(), next_ms: u64::MAX.into() }
    }

    /// A job is due at `due_ms`.
    fn due(&self, due_ms: u64) {
        use std::sync::atomic::Ordering::SeqCst;
        if self.next_ms.fetch_min(due_ms, SeqCst) > due_ms {
            self.notify.notify_one();
        }
    }

    /// Forgets what was due, before the worker looks.
    pub(crate) fn reset(&self) {
        self.next_ms.store(u64::MAX, std::sync::atomic::Ordering::SeqCst);
    }

    /// Waits until a job that was put here is due, at most for `longest`.
    pub(crate) async fn wait(&self, clock: &dyn crate::Clock, longest: Duration) {
        let end = tokio::time::Instant::now() + longest;
        loop {
            let next_ms = self.next_ms.load(std::sync::atomic::Ordering::SeqCst);
            let pause = Duration::from_millis(next_ms.saturating_sub(clock.now_ms()));
            let until = end.min(tokio::time::Instant::now() + pause.min(longest));
            if tokio::time::timeout_at(until, self.notify.notified()).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use puro_types::MailboxId;

    use super::*;
    use crate::{
        ManualClock, MetadataConfig, SeededRandom, Segments, SegmentsError,
        schema::{Emptying, JobKind, SHARDS, shard_name},
        store::{ItemStore, memory::MemoryStore},
    };

    const NOW_MS: u64 = 1_800_000_000_000;

    #[derive(Debug)]
    struct NoSegments;

    #[async_trait::async_trait]
    impl Segments for NoSegments {
        async fn delete(&self, _: &[String]) -> Result<(), SegmentsError> {
            Err(SegmentsError("none here".to_owned()))
        }
    }

    fn world() -> (Arc<MemoryStore>, Arc<ManualClock>, Metadata) {
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::new(NOW_MS)));
        let random = Arc::new(SeededRandom::new(1));
        let config = MetadataConfig::default();
        let metadata =
            Metadata::new(store.clone(), Arc::new(NoSegments), clock.clone(), random, config).unwrap();
        (store, clock, metadata)
    }

    fn job(id: &str) -> Job {
        let kind = JobKind::Empty { email: "ann@example.org".to_owned(), step: Emptying::Sweep };
        Job { id: id.to_owned(), created_ms: 1, attempts: 0, mailbox: MailboxId::new([1; 12]), kind }
    }

    async fn all_due(metadata: &Metadata) -> Vec<(Key, Item)> {
        let mut all = Vec::new();
        for shard in 0..SHARDS {
            all.extend(metadata.due(&shard_name(shard), "").await.unwrap());
        }
        all
    }

    #[tokio::test]
    async fn a_job_has_one_owner_and_a_slow_one_loses_it() {
        let (_, clock, metadata) = world();
        metadata.enqueue(&job("a"), NOW_MS, metadata.patience()).await.unwrap();
        let (key, item) = all_due(&metadata).await.remove(0);
        let slow = metadata.lease(key.clone(), &item).await.unwrap().unwrap();
        // Another worker read the item at the same time.
        assert!(metadata.lease(key.clone(), &item).await.unwrap().is_none());
        let (_, held) = all_due(&metadata).await.remove(0);
        assert!(metadata.lease(key.clone(), &held).await.unwrap().is_none());
        assert!(metadata.renew(&slow).await.unwrap());
        clock.advance_ms(5 * 60 * 1000);
        let (_, held) = all_due(&metadata).await.remove(0);
        let quick = metadata.lease(key, &held).await.unwrap().unwrap();
        assert!(!metadata.renew(&slow).await.unwrap());
        metadata.finish(&slow).await.unwrap();
        assert_eq!(all_due(&metadata).await.len(), 1, "it was another's to finish");
        metadata.finish(&quick).await.unwrap();
        assert!(all_due(&metadata).await.is_empty());
    }

    #[tokio::test]
    async fn a_job_that_is_put_off_stays_whatever_the_clock_says() {
        let (_, clock, metadata) = world();
        metadata.enqueue(&job("a"), NOW_MS, metadata.patience()).await.unwrap();
        let (key, item) = all_due(&metadata).await.remove(0);
        let leased = metadata.lease(key, &item).await.unwrap().unwrap();
        metadata.put_off(&leased, &leased.job, NOW_MS).await.unwrap();
        clock.advance_ms(1);
        assert_eq!(all_due(&metadata).await.len(), 1);
    }

    #[tokio::test]
    async fn pauses_grow_up_to_a_bound() {
        let (_, clock, metadata) = world();
        metadata.enqueue(&job("a"), NOW_MS, metadata.patience()).await.unwrap();
        let mut waited = Vec::new();
        for _ in 0..12 {
            let (key, item) = all_due(&metadata).await.remove(0);
            let leased = metadata.lease(key, &item).await.unwrap().unwrap();
            metadata.put_off_failed(&leased).await.unwrap();
            let mut seconds = 0;
            while all_due(&metadata).await.is_empty() {
                clock.advance_ms(1_000);
                seconds += 1;
            }
            waited.push(seconds);
        }
        assert_eq!(waited[..4], [5, 10, 20, 40]);
        assert_eq!(waited[11], 15 * 60);
    }

    #[tokio::test]
    async fn a_damaged_item_is_kept_and_blocks_nobody() {
        let (store, clock, metadata) = world();
        for number in 0..2 * BATCH {
            let key = Key { partition: "03".to_owned(), sort: format!("{:015}#x{number}", 1) };
            let item = Item::from([("kind".to_owned(), text("odd"))]);
            store.put(Table::Queue, key, item, Condition::default()).await.unwrap();
        }
        let other = (0..100).map(|number| job(&format!("j{number}")));
        let other = other.into_iter().find(|job| job.key(NOW_MS).partition == "03").unwrap();
        metadata.enqueue(&other, NOW_MS, metadata.patience()).await.unwrap();
        let round = metadata.work_once().await;
        assert_eq!((round.done, round.failed, round.due), (1, 128, 129));
        assert_eq!(metadata.work_once().await, crate::Round::default());
        clock.advance_ms(2 * 60 * 60 * 1000);
        assert_eq!(metadata.work_once().await.failed, 128, "they are still there for somebody to look at");
    }
}

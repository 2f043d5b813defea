//! Messages that arrive together share a write.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, future::join_all, stream, stream::BoxStream};
use puro_api::{Failure, model::Part};
use puro_blob::{
    BlobConfig, Blobs,
    store::{
        DiskConfig, DiskStore, MemoryStore, Metered, SegmentPage, SegmentStore, SegmentWriter, StoreError,
        Written,
    },
};
use tokio::{sync::Semaphore, time::Instant};

use crate::rig::{message, pieces, read, store};

/// A store whose puts wait for a permit.
#[derive(Debug)]
struct Gated {
    inner: MemoryStore,
    gate: Semaphore,
    arrived: Semaphore,
    fails: bool,
}

impl Gated {
    fn new(fails: bool) -> Arc<Self> {
        let (gate, arrived) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { inner: MemoryStore::new(), gate, arrived, fails })
    }

    /// Waits until another put has arrived at the gate.
    async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }
}

#[async_trait]
impl SegmentStore for Gated {
    fn kind(&self) -> &'static str {
        "gated"
    }

    async fn put(&self, pieces: Vec<Bytes>) -> Result<Written, StoreError> {
        self.arrived.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        if self.fails {
            return Err(StoreError::Unavailable("closed".to_owned()));
        }
        self.inner.put(pieces).await
    }

    async fn begin(&self) -> Result<Box<dyn SegmentWriter>, StoreError> {
        self.inner.begin().await
    }

    async fn read(
        &self,
        object_name: &str,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        self.inner.read(object_name, range).await
    }

    async fn delete(&self, object_names: &[String]) -> Result<(), StoreError> {
        self.inner.delete(object_names).await
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, StoreError> {
        self.inner.list(after, limit).await
    }
}

/// Lets every task that can run do so, on a runtime of one thread.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_arrives_during_a_write_shares_the_next() {
    let gated = Gated::new(false);
    let blobs = Blobs::new(gated.clone(), BlobConfig::default());
    let send = |n: u64| {
        let blobs = blobs.clone();
        tokio::spawn(async move { (n, store(&blobs, &message(3000, n)).await.unwrap()) })
    };
    let first = send(0);
    gated.arrival().await;
    let rest: Vec<_> = (1..=50).map(send).collect();
    settle().await;
    gated.gate.add_permits(2);
    let first = first.await.unwrap().1;
    assert_eq!((first.slot, first.slots), (0, 1), "an idle service writes at once");
    let rest: Vec<_> = join_all(rest).await.into_iter().map(Result::unwrap).collect();
    let names: BTreeSet<_> = rest.iter().map(|(_, location)| location.object_name.clone()).collect();
    assert_eq!(names.len(), 1, "one put");
    let slots: BTreeSet<_> = rest.iter().map(|(_, location)| location.slot).collect();
    assert_eq!(slots, (0..50).collect());
    for (n, location) in rest {
        assert_eq!(location.slots, 50);
        assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), message(3000, n));
    }
}

#[tokio::test]
async fn a_failed_write_fails_every_message_in_it() {
    let gated = Gated::new(true);
    let blobs = Blobs::new(gated.clone(), BlobConfig::default());
    let stores = join_all((0..20).map(|n| {
        let blobs = blobs.clone();
        async move { store(&blobs, &message(3000, n)).await }
    }));
    gated.gate.add_permits(20);
    for outcome in stores.await {
        assert_eq!(outcome, Err(Failure::Unavailable("closed".to_owned())));
    }
}

#[tokio::test]
async fn a_batch_closes_at_its_size() {
    let gated = Gated::new(false);
    let blobs = Blobs::new(gated.clone(), BlobConfig { batch_bytes: 20_000, ..BlobConfig::default() });
    let stores = join_all((0..100).map(|n| {
        let blobs = blobs.clone();
        async move { store(&blobs, &message(3000, n)).await.unwrap() }
    }));
    gated.gate.add_permits(1000);
    let locations = stores.await;
    assert!(locations.iter().any(|location| location.slots > 1));
    for segment in gated.inner.list(None, 1000).await.unwrap().segments {
        assert!(segment.size_bytes <= 20_000, "{segment:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn linger_waits_for_others_and_no_longer_than_it_says() {
    let linger = Duration::from_millis(500);
    let metered = Arc::new(Metered::new(Arc::new(MemoryStore::new())));
    let blobs = Blobs::new(metered.clone(), BlobConfig { linger, ..BlobConfig::default() });
    let started = Instant::now();
    let stores = (0..10).map(|n| {
        let blobs = blobs.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(40 * n)).await;
            store(&blobs, &message(3000, n)).await.unwrap().slots
        }
    });
    assert_eq!(join_all(stores).await, [10; 10]);
    assert_eq!(started.elapsed(), linger);
    assert_eq!(metered.meter().counts().puts, 1);
}

#[tokio::test(start_paused = true)]
async fn one_slow_write_does_not_hold_up_the_others() {
    let gated = Gated::new(false);
    let put_patience = Duration::from_millis(200);
    let blobs =
        Blobs::new(gated.clone(), BlobConfig { parallel_puts: 2, put_patience, ..BlobConfig::default() });
    let send = |n: u64| {
        let blobs = blobs.clone();
        tokio::spawn(async move { store(&blobs, &message(3000, n)).await.unwrap().slots })
    };
    let begun = Instant::now();
    let slow = send(0);
    gated.arrival().await;
    let second: Vec<_> = (1..=20).map(send).collect();
    gated.arrival().await;
    assert_eq!(begun.elapsed(), put_patience, "they have gathered until then");
    // Two are under way: whoever comes now waits for one of them, however long.
    let third = send(21);
    tokio::time::sleep(put_patience * 10).await;
    assert_eq!(gated.arrived.available_permits(), 0);
    gated.gate.add_permits(1);
    gated.arrival().await;
    gated.gate.add_permits(2);
    assert_eq!((slow.await.unwrap(), third.await.unwrap()), (1, 1));
    assert_eq!(join_all(second).await.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [20; 20]);
}

#[tokio::test(start_paused = true)]
async fn half_gathered_messages_do_not_keep_one_another_from_being_whole() {
    // Memory for two messages; four senders have sent half of theirs when it is used up.
    let config = BlobConfig { memory_bytes: 20_000, ..BlobConfig::default() };
    let blobs = Blobs::new(Arc::new(MemoryStore::new()), config);
    let stores = (0..4).map(|n| {
        let blobs = blobs.clone();
        async move {
            let whole = message(10_000, n);
            let pieces = stream::iter(pieces(&whole, 5_000)).then(|piece| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                piece
            });
            let location = blobs.store(Box::pin(pieces)).await.unwrap();
            assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
        }
    });
    join_all(stores).await;
}

#[tokio::test]
async fn senders_wait_while_memory_is_used_up() {
    let gated = Gated::new(false);
    let config = BlobConfig { memory_bytes: 30_000, ..BlobConfig::default() };
    let blobs = Blobs::new(gated.clone(), config);
    let polled = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (blobs, polled) = (blobs.clone(), polled.clone());
            tokio::spawn(async move {
                let whole = message(3000, n);
                // Counts who was let in: the second piece is asked for when there was memory for the first.
                let count = move |_: &_| {
                    polled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                };
                let pieces = stream::iter(pieces(&whole, 10_000)).inspect(count);
                blobs.store(pieces).await.unwrap();
            })
        })
        .collect();
    gated.arrival().await;
    settle().await;
    let let_in = polled.load(std::sync::atomic::Ordering::Relaxed) - 100;
    assert!((5..=10).contains(&let_in), "{let_in} messages of 3,000 octets in 30,000");
    gated.gate.add_permits(1000);
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn what_is_under_way_is_written_before_the_end() {
    let gated = Gated::new(false);
    let blobs = Blobs::new(gated.clone(), BlobConfig::default());
    let ended = tokio::spawn(blobs.ended());
    let stored = tokio::spawn(async move { store(&blobs, &message(3000, 1)).await });
    gated.arrival().await;
    settle().await;
    assert!(!ended.is_finished());
    gated.gate.add_permits(1);
    stored.await.unwrap().unwrap();
    ended.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_message_costs_a_quarter_of_a_put_at_most() {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(directory.path(), &DiskConfig::default()).unwrap();
    let metered = Metered::new(Arc::new(disk));
    let meter = metered.meter();
    let blobs = Blobs::new(Arc::new(metered), BlobConfig::default());
    let tasks = (0..64).map(|client| {
        let blobs = blobs.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let whole = message(3000, client * 100 + n);
                let location = store(&blobs, &whole).await.unwrap();
                assert_eq!(read(&blobs, &location, Part::Message).await.unwrap(), whole);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let puts = meter.counts().puts;
    assert!(puts * 4 <= 64 * 20, "{puts} puts for {} messages", 64 * 20);
}

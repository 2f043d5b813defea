//! Group commit: messages that arrive while a segment is being written share the next one.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use puro_api::Failure;
use puro_types::{Frame, Location};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::{
    BlobConfig,
    error::failure,
    index::{self, ENTRY},
    metrics::Metrics,
    store::{SegmentStore, Written},
};

/// Messages that wait to be put into a batch; their octets are bounded by the memory they hold a permit for.
const WAITING: usize = 4096;
/// Messages in one segment.
pub(crate) const SLOTS_MAX: usize = 4096;

/// A message ready to be written.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) header: (Frame, Bytes),
    pub(crate) body: (Frame, Bytes),
    /// What the segment is to say of it.
    pub(crate) label: Bytes,
    /// The memory that it holds, until it is answered.
    pub(crate) memory: Option<OwnedSemaphorePermit>,
    pub(crate) answer: oneshot::Sender<Result<Location, Failure>>,
}

impl Entry {
    fn stored_length(&self) -> usize {
        self.header.1.len() + self.body.1.len()
    }

    /// Octets that it adds to a segment.
    fn room(&self) -> usize {
        self.stored_length() + ENTRY + self.label.len()
    }
}

/// Puts entries into segments until all senders are gone. Then it waits for the writes under way.
pub(crate) struct Committer {
    store: Arc<dyn SegmentStore>,
    config: BlobConfig,
    metrics: Arc<Metrics>,
    entries: mpsc::Receiver<Entry>,
    /// Did not fit into the last batch.
    left_over: Option<Entry>,
}

impl Committer {
    pub(crate) fn new(
        store: Arc<dyn SegmentStore>,
        config: BlobConfig,
        metrics: Arc<Metrics>,
    ) -> (mpsc::Sender<Entry>, Self) {
        let (sender, entries) = mpsc::channel(WAITING);
        (sender, Self { store, config, metrics, entries, left_over: None })
    }

    pub(crate) async fn run(mut self) {
        let mut puts = JoinSet::new();
        let mut last_begun = Instant::now();
        loop {
            // The next batch gathers in the channel meanwhile.
            self.turn(&mut puts, last_begun).await;
            let first = match self.left_over.take() {
                Some(entry) => entry,
                None => match self.entries.recv().await {
                    Some(entry) => entry,
                    None => break,
                },
            };
            while puts.try_join_next().is_some() {}
            let batch = self.gather(first).await;
            self.metrics.batch(batch.len());
            last_begun = Instant::now();
            puts.spawn(put(self.store.clone(), batch));
        }
        while puts.join_next().await.is_some() {}
    }

    /// Waits until the next batch may be written: when no write is under way, or the last one has been for so long that
    /// the next had better not wait for it.
    async fn turn(&self, puts: &mut JoinSet<()>, last_begun: Instant) {
        while !puts.is_empty() {
            let one_more = puts.len() < self.config.parallel_puts;
            tokio::select! {
                _ = puts.join_next() => {}
                () = sleep_until(last_begun + self.config.put_patience), if one_more => return,
            }
        }
    }

    async fn gather(&mut self, first: Entry) -> Vec<Entry> {
        let deadline = Instant::now() + self.config.linger;
        let mut octets = first.room();
        let mut batch = vec![first];
        while batch.len() < SLOTS_MAX && octets < self.config.batch_bytes {
            let next = match self.entries.try_recv() {
                Ok(entry) => Some(entry),
                Err(_) if self.config.linger.is_zero() => None,
                Err(_) => timeout_at(deadline, self.entries.recv()).await.ok().flatten(),
            };
            let Some(entry) = next else { break };
            if octets + entry.room() > self.config.batch_bytes {
                self.left_over = Some(entry);
                break;
            }
            octets += entry.room();
            batch.push(entry);
        }
        batch
    }
}

/// Writes a batch as one segment and answers each of its messages.
async fn put(store: Arc<dyn SegmentStore>, batch: Vec<Entry>) {
    // Who went away needs no room. Who goes away later leaves an orphan, which the audit finds.
    let batch: Vec<Entry> = batch.into_iter().filter(|entry| !entry.answer.is_closed()).collect();
    let Ok(slots) = u32::try_from(batch.len()) else { return };
    if slots == 0 {
        return;
    }
    let index = index::in_front(batch.iter().map(|entry| (entry.stored_length() as u64, &entry.label)));
    let mut offset = index.as_ref().map_or(0, |index| index.len() as u64);
    let frames = batch.iter().flat_map(|entry| [entry.header.1.clone(), entry.body.1.clone()]);
    let outcome = store.put(index.into_iter().chain(frames).collect()).await.map_err(failure);
    let mut batch = VecDeque::from(batch);
    for slot in 0..slots {
        let Some(entry) = batch.pop_front() else { return };
        let place = Place { offset, slot, slots };
        offset += entry.stored_length() as u64;
        let Entry { header, body, memory, answer, .. } = entry;
        // Nobody may be waiting any more.
        drop(answer.send(outcome.clone().map(|written| place.location(written, header.0, body.0))));
        drop(memory);
    }
}

/// Where in a segment a message is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) slot: u32,
    pub(crate) slots: u32,
}

impl Place {
    /// A segment's only message.
    pub(crate) const ALONE: Self = Self { offset: 0, slot: 0, slots: 1 };

    pub(crate) fn location(self, written: Written, header: Frame, body: Frame) -> Location {
        let Self { offset, slot, slots } = self;
        let Written { bucket, object_name } = written;
        Location { bucket, object_name, offset, header, body, slot, slots }
    }
}

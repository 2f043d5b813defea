//! The service's core, without gRPC.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use puro_api::{Failure, model::Part};
use puro_types::Location;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::spawn_blocking,
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;

use crate::{
    BlobConfig, Piece,
    commit::{Committer, Entry},
    error::{compression, failure, interrupted},
    frames::{self, Codecs, HeaderSplitter},
    metrics::Metrics,
    store::{SegmentPage, SegmentStore},
    stream as streamed,
    upload::Upload,
};

/// Octets up to which a message is compressed where it stands: some hundred microseconds.
const INLINE_MAX: usize = 64 * 1024;

/// Stores and reads messages; clones share everything.
#[derive(Debug, Clone)]
pub struct Blobs(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn SegmentStore>,
    pub(crate) config: BlobConfig,
    codecs: Arc<Codecs>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) memory: Arc<Semaphore>,
    streams: Semaphore,
    entries: mpsc::Sender<Entry>,
    tasks: TaskTracker,
}

impl Blobs {
    /// Makes the core above a store. Must be called in a tokio runtime.
    pub fn new(store: Arc<dyn SegmentStore>, config: BlobConfig) -> Self {
        let metrics = Arc::new(Metrics::new());
        let (entries, committer) = Committer::new(store.clone(), config.clone(), metrics.clone());
        let tasks = TaskTracker::new();
        tasks.spawn(committer.run());
        tasks.close();
        Self(Arc::new(Inner {
            store,
            codecs: Arc::new(Codecs::new(config.zstd_level)),
            metrics,
            memory: Arc::new(Semaphore::new(config.memory_bytes as usize)),
            streams: Semaphore::new(config.max_streams.max(1)),
            entries,
            tasks,
            config,
        }))
    }

    /// Stores one message and returns when it is durable. A stream that ends without `finish`, or with an error, stores
    /// nothing; neither does a call that is dropped before the message is complete. Dropped later, it may leave an
    /// orphan.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: the stream is not a message, or not of the size that it says; [`Failure::TooLarge`]; else the store's. Of a message that failed nothing is kept but perhaps an orphan.
    pub async fn store<S>(&self, pieces: S) -> Result<Location, Failure>
    where
        S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
    {
        let started = Instant::now();
        let mut upload = Upload::new(pieces, self.0.config.max_message_bytes);
        let outcome = self.0.store(&mut upload).await;
        match &outcome {
            Ok(_) => self.0.metrics.stored(upload.received(), started.elapsed()),
            Err(failure) => self.0.metrics.failed("store", failure),
        }
        outcome
    }

    /// Reads a part of a message as chunks of at most 64 KiB. Octets that are not those stored end the stream with
    /// [`Failure::DataLoss`] before the last chunk of their frame.
    ///
    /// # Errors
    /// [`Failure::NotFound`] where the segment, or the place in it, does not exist; [`Failure::Invalid`] where the
    /// location is none that this service gave; else the store's.
    pub async fn read(
        &self,
        location: &Location,
        part: Part,
    ) -> Result<BoxStream<'static, Result<Bytes, Failure>>, Failure> {
        let outcome = self.0.read(location, part).await;
        let metrics = self.0.metrics.clone();
        let failed = move |failure: &Failure| metrics.failed("read", failure);
        let chunks = outcome.inspect_err(&failed)?;
        let object_name = location.object_name.clone();
        let watch = move |chunk: &Result<Bytes, Failure>| {
            if let Err(failure) = chunk {
                failed(failure);
                if matches!(failure, Failure::DataLoss(_)) {
                    tracing::error!(object_name, %failure, "a stored message is damaged");
                }
            }
        };
        Ok(chunks.inspect(watch).boxed())
    }

    /// Deletes segments; absent ones count as deleted.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: one of them is no segment's name; else the store's.
    pub async fn delete(&self, object_names: &[String]) -> Result<(), Failure> {
        let outcome = self.0.store.delete(object_names).await.map_err(failure);
        outcome.inspect_err(|failure| self.0.metrics.failed("delete", failure))
    }

    /// Lists segments, a page at a time, in the store's own order.
    ///
    /// # Errors
    /// [`Failure::Invalid`]: `after` is no segment's name; else the store's.
    pub async fn list(&self, after: Option<&str>, limit: usize) -> Result<SegmentPage, Failure> {
        let outcome = self.0.store.list(after, limit).await.map_err(failure);
        outcome.inspect_err(|failure| self.0.metrics.failed("list", failure))
    }

    /// Returns a future that waits until all clones are gone and every write under way has ended. It is no clone itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let tasks = self.0.tasks.clone();
        async move { tasks.wait().await }
    }
}

impl Inner {
    async fn store<S>(&self, upload: &mut Upload<S>) -> Result<Location, Failure>
    where
        S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
    {
        let mut gathered = Gathered::default();
        while let Some(chunk) = upload.next().await? {
            let size = gathered.octets + chunk.len();
            let whole = upload.is_complete();
            let fits = size <= self.config.shared_max_bytes
                && self.reserve(&mut gathered, chunk.len(), whole).await?;
            gathered.octets = size;
            gathered.chunks.push(chunk);
            if !fits {
                return self.stream(gathered, upload).await;
            }
        }
        let Gathered { chunks, octets, memory } = gathered;
        let message = one(chunks, octets);
        let codecs = self.codecs.clone();
        let (header, body) = match message.len() <= INLINE_MAX {
            true => encode(&codecs, message)?,
            false => spawn_blocking(move || encode(&codecs, message)).await.map_err(interrupted)??,
        };
        let (answer, answered) = oneshot::channel();
        let entry = Entry { header, body, label: upload.label(), memory, answer };
        let stopped = || Failure::Internal("no batches are written any more".to_owned());
        self.entries.send(entry).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(Failure::OutcomeUnknown("the write did not end".to_owned())))
    }

    /// Reserves memory for the next octets. `false`: there is none for so long that the message had better be streamed.
    async fn reserve(&self, gathered: &mut Gathered, octets: usize, whole: bool) -> Result<bool, Failure> {
        let wanted = u32::try_from(octets).unwrap_or(u32::MAX).min(self.config.memory_bytes);
        let waiting = self.memory.clone().acquire_many_owned(wanted);
        // One that holds nothing keeps nobody waiting.
        let permit = match gathered.memory.is_none() && whole {
            true => waiting.await,
            false => match timeout(self.config.memory_patience, waiting).await {
                Ok(permit) => permit,
                Err(_) => return Ok(false),
            },
        };
        let permit = permit.map_err(|_| Failure::Internal("memory is no longer given".to_owned()))?;
        match &mut gathered.memory {
            Some(memory) => memory.merge(permit),
            none => *none = Some(permit),
        }
        Ok(true)
    }

    async fn stream<S>(&self, gathered: Gathered, upload: &mut Upload<S>) -> Result<Location, Failure>
    where
        S: Stream<Item = Result<Piece, Failure>> + Send + Unpin,
    {
        let streams = self.streams.acquire().await;
        let _stream = streams.map_err(|_| Failure::Internal("streams are no longer given".to_owned()))?;
        // What was gathered is written at once: its memory is given back with the first write.
        let Gathered { chunks, memory, .. } = gathered;
        drop(memory);
        Box::pin(streamed::store(&*self.store, self.codecs.clone(), chunks, upload)).await
    }

    async fn read(
        &self,
        location: &Location,
        part: Part,
    ) -> Result<BoxStream<'static, Result<Bytes, Failure>>, Failure> {
        let Location { object_name, offset, header, body, .. } = location;
        let too_large = || Failure::Invalid("the location is beyond the largest number".to_owned());
        let body_at = offset.checked_add(header.stored_length).ok_or_else(too_large)?;
        let end = body_at.checked_add(body.stored_length).ok_or_else(too_large)?;
        let (range, frames) = match part {
            Part::Header => (*offset..body_at, vec![*header]),
            Part::Body => (body_at..end, vec![*body]),
            Part::Message => (*offset..end, vec![*header, *body]),
        };
        self.metrics.reading(frames.iter().map(|frame| frame.length).sum());
        if range.is_empty() && frames.iter().all(|frame| frame.length == 0) {
            return Ok(stream::empty().boxed());
        }
        let stored = self.store.read(object_name, range).await.map_err(failure)?;
        let chunks = frames::decode(stored, frames, self.codecs.clone());
        Ok(chunks.map(|chunk| chunk.map_err(Failure::from)).boxed())
    }
}

/// What has arrived of a message, and the memory that it holds.
#[derive(Default)]
struct Gathered {
    chunks: Vec<Bytes>,
    octets: usize,
    memory: Option<OwnedSemaphorePermit>,
}

/// Joins chunks; one alone is not copied.
fn one(mut chunks: Vec<Bytes>, octets: usize) -> Bytes {
    match chunks.len() {
        1 => chunks.pop().unwrap_or_default(),
        _ => {
            let mut message = Vec::with_capacity(octets);
            chunks.iter().for_each(|chunk| message.extend_from_slice(chunk));
            message.into()
        }
    }
}

type Encoded = (puro_types::Frame, Bytes);

fn encode(codecs: &Codecs, mut message: Bytes) -> Result<(Encoded, Encoded), Failure> {
    let length = message.len();
    let header = message.split_to(HeaderSplitter::new().push(&message).unwrap_or(length));
    let header = codecs.encode(header).map_err(compression)?;
    let body = codecs.encode(message).map_err(compression)?;
    Ok((header, body))
}

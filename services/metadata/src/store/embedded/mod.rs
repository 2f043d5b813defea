//! The durable store of one machine: items in a log-structured database in the data directory.
//!
//! * **Writes** go through a bounded queue to one thread, which takes all that wait, decides each in order against the
//!   store and what the earlier ones of the group did, commits them together with one fsync, and only then answers.
//!   A busy store thus pays one fsync for hundreds of writes, an idle one answers after one fsync.
//! * **Point reads** run where they are called: the row is in memory or in the page cache, and a few microseconds of
//!   work (a page fault at worst) cost less than a trip to another thread. **Pages** may decode a megabyte and run on
//!   the blocking pool.
//! * **Faults**: after a failed write the database refuses all further ones. The writer thread then closes it and opens
//!   it again, finds out whether the failed group is in the journal, and answers accordingly. While the disk takes no
//!   writes, reads go on and writes are `Unavailable`; a small probe file tells when it does again. No restart needed.

mod engine;
mod folder;
mod group;
mod key;
mod shared;
mod value;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use async_trait::async_trait;
use tokio::sync::{Semaphore, oneshot};

pub use self::shared::EmbeddedStats;
use self::{
    engine::{Engine, EngineError},
    folder::Folder,
    group::{Job, Write},
    shared::Shared,
    writer::Writer,
};
use super::{
    Condition, Consistency, Item, ItemStore, Key, Page, PutCall, Query, StoreError, Table, Update,
    UpdateCall,
    decide::{self, Change},
};

/// How large the embedded store may grow in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// Octets of cached blocks, index and filters at most.
    pub cache_bytes: u64,
    /// Octets of a table's newest items in memory before they are written out as a sorted run. Kept with a table when
    /// it is made: a later change touches new tables only.
    pub memtable_bytes: u64,
    /// Writes that wait or are being committed at most; further callers wait for a place.
    pub queue_length: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, memtable_bytes: 8 * 1024 * 1024, queue_length: 4096 }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has it.
    #[error("the data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The directory cannot be made, read or written.
    #[error("the data directory {} cannot be used", folder.display())]
    Folder {
        /// The directory.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database in it cannot be opened: damage, or a version that this one does not know.
    #[error("the database in {} cannot be opened", folder.display())]
    Database {
        /// The directory.
        folder: PathBuf,
        /// What the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The embedded store. Dropping it waits for the writes already taken, and lets go of the directory.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    // Both are `None` only while the store is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<thread::JoinHandle<()>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made if it is missing. Blocks for as long as the journal takes to
    /// replay (64 MiB at most beside what is being flushed).
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(folder: &Path, options: EmbeddedOptions) -> Result<Self, OpenError> {
        let path = folder;
        let folder = Folder::lock(path)?;
        let engine = Engine::open(&folder, &options).map_err(|error| match error {
            EngineError::Io(source) => OpenError::Folder { folder: path.to_owned(), source },
            error => OpenError::Database { folder: path.to_owned(), source: Box::new(error) },
        })?;
        let shared = Arc::new(Shared::new(engine));
        let (jobs, queue) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), folder, options, queue);
        let writer = thread::Builder::new()
            .name("item-writer".into())
            .spawn(|| writer.run())
            .map_err(|source| OpenError::Folder { folder: path.to_owned(), source })?;
        let places = Arc::new(Semaphore::new(options.queue_length));
        Ok(Self { shared, places, jobs: Some(jobs), writer: Some(writer) })
    }

    /// Returns what the store has counted since it was opened.
    #[must_use]
    pub fn stats(&self) -> EmbeddedStats {
        self.shared.stats()
    }

    async fn write(
        &self,
        table: Table,
        key: Key,
        condition: Condition,
        change: Change,
    ) -> Result<Option<Item>, StoreError> {
        decide::check_write(table, &key, &change)?;
        let (answer, answered) = oneshot::channel();
        self.queue(Write { table, key, condition, change, answer }, None).await?;
        answered.await.unwrap_or_else(|_| Err(died()))
    }

    /// Hands writes to the writer thread once there is a place for them.
    async fn queue(&self, write: Write, then: Option<Box<Write>>) -> Result<(), StoreError> {
        let gone = |_| StoreError::Unavailable("the store is closed".into());
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| gone(()))?;
        let jobs = self.jobs.as_ref().ok_or(()).map_err(gone)?;
        jobs.send(Job { write, then, place }).map_err(|_| gone(()))
    }

    async fn page(
        &self,
        read: impl FnOnce(&Engine) -> Result<Page, StoreError> + Send + 'static,
    ) -> Result<Page, StoreError> {
        let shared = Arc::clone(&self.shared);
        let page = tokio::task::spawn_blocking(move || shared.read(read)).await;
        page.unwrap_or_else(|error| Err(StoreError::Internal(format!("a read did not finish: {error}"))))
    }
}

fn died() -> StoreError {
    StoreError::OutcomeUnknown("the writer thread died".into())
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the thread was printed when it happened.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

#[async_trait]
impl ItemStore for EmbeddedStore {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    async fn get(
        &self,
        table: Table,
        key: &Key,
        _consistency: Consistency,
    ) -> Result<Option<Item>, StoreError> {
        decide::check_key(table, key)?;
        self.shared.read(|engine| engine.item(table, key))
    }

    async fn query(&self, query: &Query) -> Result<Page, StoreError> {
        decide::check_query(query)?;
        let query = query.clone();
        self.page(move |engine| engine.query(&query)).await
    }

    async fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let after = after.cloned();
        self.page(move |engine| engine.scan(table, after.as_ref(), limit)).await
    }

    async fn put(&self, table: Table, key: Key, item: Item, condition: Condition) -> Result<(), StoreError> {
        self.write(table, key, condition, Change::Put(item)).await.map(|_| ())
    }

    async fn update(
        &self,
        table: Table,
        key: Key,
        update: Update,
        condition: Condition,
    ) -> Result<Item, StoreError> {
        self.write(table, key, condition, Change::Update(update)).await.map(Option::unwrap_or_default)
    }

    /// Both in one group, which is written with one fsync.
    async fn put_then_update(
        &self,
        put: PutCall,
        update: UpdateCall,
    ) -> Result<Result<Item, StoreError>, StoreError> {
        let change = Change::Update(update.update);
        if let Err(error) = decide::check_write(update.table, &update.key, &change) {
            self.put(put.table, put.key, put.item, put.condition).await?;
            return Ok(Err(error));
        }
        let (answer, updated) = oneshot::channel();
        let UpdateCall { table, key, condition, update: _ } = update;
        let then = Write { table, key, condition, change, answer };
        let change = Change::Put(put.item);
        decide::check_write(put.table, &put.key, &change)?;
        let (answer, was_put) = oneshot::channel();
        let PutCall { table, key, condition, item: _ } = put;
        self.queue(Write { table, key, condition, change, answer }, Some(Box::new(then))).await?;
        was_put.await.unwrap_or_else(|_| Err(died()))?;
        Ok(updated.await.unwrap_or_else(|_| Err(died())).map(Option::unwrap_or_default))
    }

    async fn delete(&self, table: Table, key: Key, condition: Condition) -> Result<(), StoreError> {
        self.write(table, key, condition, Change::Delete).await.map(|_| ())
    }
}

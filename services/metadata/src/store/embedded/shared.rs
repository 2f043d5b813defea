//! What the readers and the writer thread share: the open database, or its absence, and the counters.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use super::{super::StoreError, engine::Engine};

/// What an embedded store has counted since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EmbeddedStats {
    /// Writes answered, failed ones included.
    pub writes: u64,
    /// Groups committed, each with one fsync.
    pub commits: u64,
    /// Groups whose commit failed.
    pub failed_commits: u64,
    /// Times the database was closed and opened again after a failure.
    pub reopens: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) writes: AtomicU64,
    pub(super) commits: AtomicU64,
    pub(super) failed_commits: AtomicU64,
    pub(super) reopens: AtomicU64,
}

/// The database and the counters. Only the writer thread changes either.
pub(super) struct Shared {
    engine: RwLock<Option<Engine>>,
    pub(super) counters: Counters,
}

impl Shared {
    pub(super) fn new(engine: Engine) -> Self {
        Self { engine: RwLock::new(Some(engine)), counters: Counters::default() }
    }

    /// Runs a read on the database. Readers never wait for one another, nor for a commit: only for the moment in
    /// which the database is put in place or taken away.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Some(engine) => read(engine),
            None => Err(closed()),
        }
    }

    /// Puts a database in place, or takes it away and returns it when the last reader has left it.
    pub(super) fn replace(&self, engine: Option<Engine>) -> Option<Engine> {
        std::mem::replace(&mut *self.engine.write().unwrap_or_else(PoisonError::into_inner), engine)
    }

    pub(super) fn stats(&self) -> EmbeddedStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { writes, commits, failed_commits, reopens } = &self.counters;
        EmbeddedStats {
            writes: count(writes),
            commits: count(commits),
            failed_commits: count(failed_commits),
            reopens: count(reopens),
        }
    }
}

/// The answer while the database is closed after a failure.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the data directory cannot be read or written at the moment".into())
}

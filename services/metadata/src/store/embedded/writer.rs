//! The writer thread: gathers groups, commits them, and brings the database back after a failure.
//!
//! A failed commit leaves two questions. *Is the group in the journal?* The failed octets may sit there in part, or
//! whole if only the fsync failed. The database is closed and opened again, which cuts off an incomplete group; as a
//! group is atomic, one of its keys tells. *Is what the journal shows on the disk?* If the group is there, fsync may
//! have failed, after which the kernel's view proves nothing: the journal is written anew before anybody is told.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use super::{
    super::StoreError,
    EmbeddedOptions,
    engine::{Engine, EngineError, StoredWrite},
    folder::Folder,
    group::{self, Decided, Job},
    shared::{self, Shared},
};

/// Writes in a group at most: bounds the memory of a group and how long its first caller waits.
const GROUP_LENGTH: usize = 1024;
/// Between two attempts to write to, or to open, a directory that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

/// Whether writes can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    /// All is well.
    Good,
    /// The database is open and can be read, but the last commit failed: a probe must pass first.
    Suspect { probe_at: Instant },
    /// The database could not be opened again.
    Closed { open_at: Instant },
}

/// What became of a group whose commit failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    NotApplied,
    Unknown,
}

/// The writer thread's state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    folder: Folder,
    options: EmbeddedOptions,
    queue: Receiver<Job>,
    health: Health,
    /// One write of a group whose outcome is still unknown: decides whether the journal must be written anew.
    unsettled: Option<StoredWrite>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: Folder,
        options: EmbeddedOptions,
        queue: Receiver<Job>,
    ) -> Self {
        Self { shared, folder, options, queue, health: Health::Good, unsettled: None }
    }

    /// Serves until the store is dropped and the queue is empty.
    pub(super) fn run(mut self) {
        loop {
            let first = match self.health {
                Health::Good | Health::Suspect { .. } => {
                    self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
                }
                // Readers cannot do without the database, so it is opened again whether anybody writes or not.
                Health::Closed { open_at } => {
                    self.queue.recv_timeout(open_at.saturating_duration_since(Instant::now()))
                }
            };
            match first {
                Ok(first) => self.serve(first),
                Err(RecvTimeoutError::Timeout) => self.try_open(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    fn serve(&mut self, first: Job) {
        let mut jobs = vec![first];
        jobs.extend(self.queue.try_iter().take(GROUP_LENGTH - 1));
        count(&self.shared.counters.writes, jobs.iter().map(Job::length).sum());
        if !self.ready() {
            for job in jobs {
                let _ = job.write.answer.send(Err(shared::closed()));
            }
            return;
        }
        let shared = Arc::clone(&self.shared);
        let committed = shared.read(|engine| {
            let (decided, writes) = group::decide_all(engine, jobs);
            let result = if writes.is_empty() { Ok(()) } else { guarded(|| engine.commit(&writes)) };
            Ok((decided, writes, result))
        });
        match committed {
            Ok((decided, writes, Ok(()))) => {
                count(&self.shared.counters.commits, usize::from(!writes.is_empty()));
                decided.into_iter().for_each(Decided::tell);
            }
            Ok((decided, writes, Err(error))) => self.settle(decided, writes, &error),
            // `ready` made sure that the database is open, and nobody else closes it.
            Err(_) => {}
        }
    }

    /// Makes sure that the database is open and the disk takes writes, as far as can be known beforehand.
    fn ready(&mut self) -> bool {
        match self.health {
            Health::Suspect { probe_at } if Instant::now() < probe_at => return false,
            Health::Suspect { .. } => match self.folder.probe() {
                Ok(()) => {
                    tracing::info!("the data directory takes writes again");
                    self.health = Health::Good;
                }
                Err(error) => {
                    tracing::debug!(%error, "the data directory still takes no writes");
                    self.health = Health::Suspect { probe_at: Instant::now() + RETRY_INTERVAL };
                    return false;
                }
            },
            Health::Closed { open_at } if Instant::now() < open_at => return false,
            Health::Closed { .. } => {
                self.try_open();
                return self.health == Health::Good || self.ready_after_open();
            }
            Health::Good => {}
        }
        // The database's own thread may have failed to write out a run: then it refuses all writes to come.
        let check = self.shared.read(|engine| Ok(engine.check()));
        if let Ok(Err(error)) = check {
            tracing::error!(%error, "the embedded store failed in the background");
            self.reopen();
            return self.health == Health::Good || self.ready_after_open();
        }
        true
    }

    fn ready_after_open(&mut self) -> bool {
        matches!(self.health, Health::Suspect { .. }) && self.folder.probe().is_ok() && {
            self.health = Health::Good;
            true
        }
    }

    /// Finds out what became of a group whose commit failed, and answers it.
    fn settle(&mut self, decided: Vec<Decided>, writes: Vec<StoredWrite>, error: &EngineError) {
        tracing::error!(%error, writes = writes.len(), "a commit of the embedded store failed");
        count(&self.shared.counters.failed_commits, 1);
        self.unsettled = writes.into_iter().next();
        match self.reopen() {
            Outcome::Applied => decided.into_iter().for_each(Decided::tell),
            Outcome::NotApplied => {
                let error = StoreError::Unavailable(format!("writing to the data directory failed: {error}"));
                decided.into_iter().for_each(|job| job.tell_instead(&error));
            }
            Outcome::Unknown => {
                let error =
                    StoreError::OutcomeUnknown(format!("writing to the data directory failed: {error}"));
                decided.into_iter().for_each(|job| job.tell_instead(&error));
            }
        }
    }

    fn try_open(&mut self) {
        let _ = self.reopen();
    }

    /// Closes the database and opens it again. Afterwards it can be read, or is closed till the next attempt.
    fn reopen(&mut self) -> Outcome {
        self.close();
        let reopened = self.open_settled();
        let retry_at = Instant::now() + RETRY_INTERVAL;
        match reopened {
            Ok((engine, outcome)) => {
                self.shared.replace(Some(engine));
                self.unsettled = None;
                count(&self.shared.counters.reopens, 1);
                self.health = Health::Suspect { probe_at: retry_at };
                tracing::warn!(?outcome, "the embedded store was opened again after a failure");
                outcome
            }
            Err(error) => {
                tracing::error!(%error, "the embedded store cannot be opened again yet");
                self.health = Health::Closed { open_at: retry_at };
                Outcome::Unknown
            }
        }
    }

    fn open_settled(&self) -> Result<(Engine, Outcome), EngineError> {
        let open = || {
            self.folder.wait_until_closed()?;
            guarded(|| Engine::reopen(&self.folder, &self.options))
        };
        let engine = open()?;
        let Some(write) = &self.unsettled else { return Ok((engine, Outcome::NotApplied)) };
        match outcome(&engine, write) {
            Outcome::Applied => {
                drop(engine);
                self.folder.wait_until_closed()?;
                self.folder.rewrite_journal()?;
                Ok((open()?, Outcome::Applied))
            }
            outcome => Ok((engine, outcome)),
        }
    }

    fn close(&self) {
        if let Some(engine) = self.shared.replace(None) {
            // Its drop waits for the database's own thread, and may panic if that did.
            let _ = guarded(|| {
                drop(engine);
                Ok(())
            });
        }
    }
}

/// Looks for one write of a group in a database that was opened since.
fn outcome(engine: &Engine, write: &StoredWrite) -> Outcome {
    match engine.stored(write.table, &write.key) {
        Ok(stored) if stored.as_deref() == write.after.as_deref() => Outcome::Applied,
        Ok(stored) if stored.as_deref() == write.before.as_deref() => Outcome::NotApplied,
        _ => Outcome::Unknown,
    }
}

/// Runs what calls into the database, whose panics must not end the writer.
fn guarded<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(EngineError::Panic(text.unwrap_or_default()))
    })
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _, path::Path, sync::mpsc};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;
    use crate::store::{
        Condition, Item, Key, Table, Value,
        decide::Change,
        embedded::{
            OpenError,
            group::{Answer, Write},
        },
    };

    fn key() -> Key {
        Key { partition: "a".into(), sort: String::new() }
    }

    fn item() -> Item {
        Item::from([("n".to_owned(), Value::Number(1))])
    }

    fn writer(path: &Path) -> Writer {
        let options = EmbeddedOptions::default();
        let folder = Folder::lock(path).unwrap();
        let engine = Engine::open(&folder, &options).unwrap();
        let (_, queue) = mpsc::channel();
        Writer::new(Arc::new(Shared::new(engine)), folder, options, queue)
    }

    fn decide(writer: &Writer) -> (Vec<Decided>, Vec<StoredWrite>, oneshot::Receiver<Answer>) {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (answer, answered) = oneshot::channel();
        let (table, change) = (Table::User, Change::Put(item()));
        let write = Write { table, key: key(), condition: Condition::default(), change, answer };
        let job = Job { write, then: None, place };
        let (decided, writes) =
            writer.shared.read(|engine| Ok(group::decide_all(engine, vec![job]))).unwrap();
        (decided, writes, answered)
    }

    fn failure() -> EngineError {
        EngineError::Io(std::io::Error::other("fsync failed"))
    }

    fn journal_inode(path: &Path) -> u64 {
        fs::metadata(path.join("items/0.jnl")).unwrap().ino()
    }

    /// As after an fsync that failed: the group is in the journal, but perhaps only in the kernel's memory.
    #[test]
    fn a_group_in_the_journal_is_answered_once_the_journal_was_written_anew() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        let (decided, writes, mut answered) = decide(&writer);
        writer.shared.read(|engine| Ok(engine.commit(&writes))).unwrap().unwrap();
        let before = journal_inode(place.path());
        writer.settle(decided, writes, &failure());
        assert_eq!(answered.try_recv().unwrap(), Ok(None));
        assert_ne!(journal_inode(place.path()), before, "the journal is a new file");
        let found = writer.shared.read(|engine| engine.item(Table::User, &key()));
        assert_eq!(found, Ok(Some(item())));
    }

    #[test]
    fn a_group_that_is_not_in_the_journal_was_not_applied() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        let (decided, writes, mut answered) = decide(&writer);
        writer.settle(decided, writes, &failure());
        assert!(matches!(answered.try_recv().unwrap(), Err(StoreError::Unavailable(_))));
        assert_eq!(writer.shared.read(|engine| engine.item(Table::User, &key())), Ok(None));
    }

    #[test]
    fn while_the_database_cannot_be_opened_the_outcome_is_unknown() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        let (decided, writes, mut answered) = decide(&writer);
        writer.shared.read(|engine| Ok(engine.commit(&writes))).unwrap().unwrap();
        let marker = place.path().join("items/version");
        fs::rename(&marker, place.path().join("aside")).unwrap();
        let before = journal_inode(place.path());
        writer.settle(decided, writes, &failure());
        assert!(matches!(answered.try_recv().unwrap(), Err(StoreError::OutcomeUnknown(_))));
        let closed = writer.shared.read(|engine| engine.item(Table::User, &key()));
        assert!(matches!(closed, Err(StoreError::Unavailable(_))));
        // When it can be, the group is found, and made durable before anybody reads it.
        fs::rename(place.path().join("aside"), &marker).unwrap();
        writer.try_open();
        assert_ne!(journal_inode(place.path()), before);
        assert_eq!(writer.shared.read(|engine| engine.item(Table::User, &key())), Ok(Some(item())));
    }

    #[test]
    fn a_database_that_has_vanished_is_not_begun_anew() {
        let place = tempfile::tempdir().unwrap();
        let mut writer = writer(place.path());
        fs::rename(place.path().join("items"), place.path().join("aside")).unwrap();
        writer.try_open();
        let closed = writer.shared.read(|engine| engine.item(Table::User, &key()));
        assert!(matches!(closed, Err(StoreError::Unavailable(_))));
        assert!(!place.path().join("items").exists());
        fs::rename(place.path().join("aside"), place.path().join("items")).unwrap();
        writer.try_open();
        assert_eq!(writer.shared.read(|engine| engine.item(Table::User, &key())), Ok(None));
    }

    #[test]
    fn the_directory_stays_locked_while_the_database_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let writer = writer(place.path());
        writer.close();
        assert!(matches!(Folder::lock(place.path()), Err(OpenError::InUse(_))));
    }
}

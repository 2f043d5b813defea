//! The data directory: its lock, the making of a new database, and the care of its files between close and reopen.
//!
//! ```text
//! <data>/lock       held by the process that uses the directory
//! <data>/items/     the database
//! <data>/creating/  a database being made; without value until it has been renamed to `items`
//! <data>/probe      written and removed to see whether the disk takes writes again
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::OpenError;

/// Octets that a disk must take before writing is tried again: more than a group of common size.
const PROBE_BYTES: usize = 256 * 1024;

/// How long a close may take to let go of the journal.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

/// A data directory, locked for this process.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the directory if it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        let failed = |source: io::Error| OpenError::Folder { folder: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// Returns where the database is.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("items")
    }

    /// Makes the database if there is none. `make` builds it in a place that counts for nothing until the rename, so
    /// that a crash or a full disk in the middle leaves a directory from which the next start works.
    pub(super) fn prepare<E: From<io::Error>>(
        &self,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.database().try_exists()? {
            return Ok(());
        }
        let draft = self.path.join("creating");
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        make(&draft)?;
        wait_until_closed(&draft)?;
        fs::rename(&draft, self.database())?;
        Ok(File::open(&self.path)?.sync_all()?)
    }

    /// Fails unless there is a complete database. fjall would make a new one where its marker is missing.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.database().join("version").try_exists()? {
            true => Ok(()),
            false => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the database or its version marker is missing"))
            }
        }
    }

    /// Waits until nothing in this process holds a journal open.
    pub(super) fn wait_until_closed(&self) -> io::Result<()> {
        wait_until_closed(&self.database())
    }

    /// Writes the active journal into a new file that takes its place.
    ///
    /// After a failed fsync the kernel may show octets that never reached the disk and will not be written again; only
    /// a fresh copy makes what is seen durable. The database must be closed.
    pub(super) fn rewrite_journal(&self) -> io::Result<()> {
        let database = self.database();
        let journals = fs::read_dir(&database)?.filter_map(|entry| journal_number(&entry.ok()?.path()));
        let Some(active) = journals.max() else {
            return Ok(());
        };
        let journal = database.join(format!("{active}.jnl"));
        // Files with another ending are none of the database's business.
        let copy = database.join("journal.copy");
        copy_octets(&journal, &copy)?;
        fs::rename(&copy, &journal)?;
        File::open(&database)?.sync_all()
    }

    /// Finds out whether the disk takes writes.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.path.join("probe");
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(&vec![0x5a; PROBE_BYTES])?;
            file.sync_all()
        });
        // Whatever came of it, the octets must not take up the space that is short.
        let removed = fs::remove_file(&path);
        written.and(removed)
    }
}

/// Copies through memory: the system's own copying may share the very blocks that were not written.
fn copy_octets(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut buffer = vec![0; PROBE_BYTES];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.sync_all(),
            length => to.write_all(&buffer[..length])?,
        }
    }
}

fn journal_number(path: &Path) -> Option<u64> {
    (path.extension()? == "jnl").then(|| path.file_stem()?.to_str()?.parse().ok())?
}

/// The database's own threads let go of the journal a little after the database was dropped, and write what they
/// still have buffered as they do. A journal opened before that could be written to by two.
#[cfg(target_os = "linux")]
fn wait_until_closed(database: &Path) -> io::Result<()> {
    let database = fs::canonicalize(database)?;
    let deadline = Instant::now() + CLOSE_PATIENCE;
    while journal_is_open(&database)? {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the journal was not closed"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn journal_is_open(database: &Path) -> io::Result<bool> {
    for entry in fs::read_dir("/proc/self/fd")? {
        // Other threads open and close files meanwhile: one that is gone is not ours.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else { continue };
        if target.parent() == Some(database) && target.extension().is_some_and(|ending| ending == "jnl") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Elsewhere there is no list of open files to look at: the threads get ample time.
#[cfg(not(target_os = "linux"))]
fn wait_until_closed(_database: &Path) -> io::Result<()> {
    let _ = (Instant::now(), CLOSE_PATIENCE);
    thread::sleep(Duration::from_millis(500));
    Ok(())
}

//! The database under the store: one keyspace a table, opened, read, written and closed.

use std::{io, ops::Bound, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable as _};

use super::super::{Item, Key, Page, Query, StoreError, Table, page::Filling};
use super::{EmbeddedOptions, folder::Folder, key, value};

/// The least that the database allows for its journals together.
const JOURNALS_BYTES: u64 = 128 * 1024 * 1024;
/// Files held open: a mail store of some gigabytes of metadata has fewer.
const OPEN_FILES: usize = 128;

/// A change of what is stored under one key; `None` is absence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredWrite {
    pub(super) table: Table,
    pub(super) key: Vec<u8>,
    pub(super) before: Option<Vec<u8>>,
    pub(super) after: Option<Vec<u8>>,
}

/// An open database.
pub(super) struct Engine {
    database: Database,
    tables: Vec<Keyspace>,
}

/// What went wrong inside the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum EngineError {
    #[error(transparent)]
    Database(#[from] fjall::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the database panicked: {0}")]
    Panic(String),
}

impl Engine {
    /// Opens the folder's database, making it first if there is none.
    pub(super) fn open(folder: &Folder, options: &EmbeddedOptions) -> Result<Self, EngineError> {
        folder.prepare(|draft| Self::open_at(draft, options).map(drop))?;
        Self::reopen(folder, options)
    }

    /// Opens the folder's database, which must be there: a directory that has lost it, perhaps because its disk is not
    /// mounted, must not look like an empty store.
    pub(super) fn reopen(folder: &Folder, options: &EmbeddedOptions) -> Result<Self, EngineError> {
        folder.check()?;
        Self::open_at(&folder.database(), options)
    }

    fn open_at(path: &Path, options: &EmbeddedOptions) -> Result<Self, EngineError> {
        // One thread of its own: it flushes and compacts in turn, so that flushed runs cannot pile up behind
        // compactions, on which the database would make writers wait without end.
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .worker_threads(1)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNALS_BYTES)
            .open()?;
        let keyspace = || KeyspaceCreateOptions::default().max_memtable_size(options.memtable_bytes);
        let tables = Table::ALL
            .iter()
            .map(|table| database.keyspace(table.name(), keyspace))
            .collect::<Result<_, fjall::Error>>()?;
        database.persist(PersistMode::SyncAll)?;
        Ok(Self { database, tables })
    }

    /// Fails if the database has given up after an earlier error and must be opened anew.
    pub(super) fn check(&self) -> Result<(), EngineError> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    /// Makes all the writes durable, or none; then they can be read. By fdatasync: what it leaves out are times of the
    /// journal, not its length or where its octets are.
    pub(super) fn commit(&self, writes: &[StoredWrite]) -> Result<(), EngineError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), writes.len())
            .durability(Some(PersistMode::SyncData));
        for write in writes {
            let keyspace = self.keyspace(write.table);
            match &write.after {
                Some(value) => batch.insert(keyspace, write.key.as_slice(), value.as_slice()),
                None => batch.remove(keyspace, write.key.as_slice()),
            }
        }
        Ok(batch.commit()?)
    }

    /// Returns what is stored under a key.
    pub(super) fn stored(&self, table: Table, key: &[u8]) -> Result<Option<fjall::UserValue>, StoreError> {
        self.keyspace(table).get(key).map_err(read_failed)
    }

    /// Returns an item.
    pub(super) fn item(&self, table: Table, key: &Key) -> Result<Option<Item>, StoreError> {
        self.stored(table, &key::encode(key)?)?.map(|stored| value::decode(&stored)).transpose()
    }

    /// Returns a page of one partition.
    pub(super) fn query(&self, query: &Query) -> Result<Page, StoreError> {
        match key::range(query)? {
            Some(range) => self.page(query.table, range, query.limit),
            None => Ok(Page::default()),
        }
    }

    /// Returns a page of a table.
    pub(super) fn scan(&self, table: Table, after: Option<&Key>, limit: usize) -> Result<Page, StoreError> {
        let start = match after {
            Some(key) => Bound::Excluded(key::encode(key)?),
            None => Bound::Unbounded,
        };
        self.page(table, (start, Bound::Unbounded), limit)
    }

    fn page(&self, table: Table, range: key::KeyRange, limit: usize) -> Result<Page, StoreError> {
        let mut filling = Filling::new(table, limit);
        for entry in self.database.snapshot().range(self.keyspace(table), range) {
            let (stored_key, stored) = entry.into_inner().map_err(read_failed)?;
            if !filling.push(key::decode(&stored_key)?, value::decode(&stored)?) {
                break;
            }
        }
        Ok(filling.finish())
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        // `Table::ALL` has the variants in their order, which a test below holds.
        &self.tables[table as usize]
    }
}

fn read_failed(error: fjall::Error) -> StoreError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = cause {
        if current.is::<io::Error>() {
            return StoreError::Unavailable(format!("reading failed: {error}"));
        }
        cause = current.source();
    }
    StoreError::Internal(format!("reading failed: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_own_place() {
        for (place, table) in Table::ALL.into_iter().enumerate() {
            assert_eq!(table as usize, place);
        }
    }
}

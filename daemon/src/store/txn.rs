//! A write transaction: what was committed, and what is written over it.
//!
//! Writes are kept in memory, in order, until the commit puts them into redb, each table opened
//! once. So a transaction that is given up, or that wrote nothing, never touches the file, and
//! reading goes through tables that stay open. A transaction holds as much as one segment (4 MiB).

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kinlink_proto::store::{Read, Row, Store, StoreError, Table};
use redb::{Durability, TransactionError, WriteTransaction};

use super::behind::{self, Behind, Chore, Limit};
use super::merged::Merged;
use super::{Open, Snapshot, definition, error, slot};

/// Why a commit failed. The store takes no more writes after either: see [`Db::reopen`](super::Db::reopen).
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// It failed before the commit began: nothing of it is in the store.
    #[error("nothing was committed: {0}")]
    Undone(StoreError),
    /// It failed on the way: all of it is in the store, or nothing. Reopen, and look.
    #[error("the commit may or may not have happened: {0}")]
    Unknown(StoreError),
}

impl From<CommitError> for StoreError {
    fn from(e: CommitError) -> Self {
        Self(e.to_string())
    }
}

/// The changes of one table.
#[derive(Default)]
pub(super) struct Changes {
    /// Whether all rows that were committed are gone.
    pub(super) cleared: bool,
    /// New values; `None` where a row was deleted.
    pub(super) rows: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        !self.cleared && self.rows.is_empty()
    }
}

/// The one write transaction. Dropped without [`commit`](Self::commit), it never happened.
pub struct Txn {
    /// Held from the start, so that nobody else commits between the snapshot and the commit.
    writer: WriteTransaction,
    base: Snapshot,
    changes: [Changes; Table::ALL.len()],
    behind: Arc<Mutex<Behind>>,
    limit: Limit,
}

impl Txn {
    pub(super) fn begin(db: &Open, limit: Limit) -> Result<Self, StoreError> {
        let writer = db.database.try_begin_write().map_err(|e| match e {
            TransactionError::WouldBlock => StoreError("another write transaction is open".into()),
            other => error(other),
        })?;
        let (base, behind) = (db.snapshot()?, Arc::clone(&db.behind));
        Ok(Self { writer, base, changes: Default::default(), behind, limit })
    }

    /// Whether anything was written: if not, a commit costs nothing and makes nothing durable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.changes.iter().any(|table| !table.is_empty())
    }

    /// Makes all writes durable, at once and as one. When this returns, they are on the disk.
    ///
    /// # Errors
    /// [`CommitError`] says whether nothing happened or whether that is unknown; either way the store
    /// must be reopened.
    pub fn commit(self) -> Result<(), CommitError> {
        if !self.is_dirty() {
            return self.abort().map_err(CommitError::Undone);
        }
        self.write(None)
    }

    /// Commits although nothing was written.
    pub(super) fn rest(self, chore: Chore) -> Result<(), CommitError> {
        self.write(Some(chore))
    }

    fn write(self, chore: Option<Chore>) -> Result<(), CommitError> {
        let Self { mut writer, base, changes, behind, limit } = self;
        // The snapshot would keep the pages that this commit frees, and have what is behind copied.
        drop(base);
        writer.set_quick_repair(chore.is_some());
        writer.set_durability(Durability::Immediate).map_err(|e| CommitError::Undone(error(e)))?;
        for (table, changes) in Table::ALL.into_iter().zip(&changes).filter(|(table, _)| *table != behind::TABLE) {
            apply(&writer, table, changes).map_err(CommitError::Undone)?;
        }
        // Nobody sees the new tables with the old rows beside them.
        let mut behind = behind::lock(&behind).map_err(CommitError::Undone)?;
        let staged = behind.stage(&writer, &changes[slot(behind::TABLE)], limit, chore).map_err(CommitError::Undone)?;
        writer.commit().map_err(|e| match e {
            redb::CommitError::TransactionPoisoned => CommitError::Undone(error(e)),
            other => CommitError::Unknown(error(other)),
        })?;
        behind.committed(staged, chore);
        Ok(())
    }

    /// Forgets all writes.
    ///
    /// # Errors
    /// If the store can no longer be read; the writes are forgotten nonetheless.
    pub fn abort(self) -> Result<(), StoreError> {
        self.writer.abort().map_err(error)
    }
}

fn apply(writer: &WriteTransaction, table: Table, changes: &Changes) -> Result<(), StoreError> {
    if changes.is_empty() {
        return Ok(());
    }
    if changes.cleared {
        writer.delete_table(definition(table.name())).map_err(error)?;
    }
    put(writer, table, changes.rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref())))
}

/// Puts and deletes rows of a table. Ascending keys are faster than others.
pub(super) fn put<'a>(
    writer: &WriteTransaction,
    table: Table,
    rows: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) -> Result<(), StoreError> {
    let mut open = writer.open_table(definition(table.name())).map_err(error)?;
    for (key, value) in rows {
        match value {
            Some(value) => {
                let shrinks =
                    open.insert(key, value).map_err(error)?.is_some_and(|old| is_far_smaller(value, old.value()));
                if shrinks {
                    // redb joins pages that have become empty only where a row is removed.
                    drop(open.remove(key).map_err(error)?);
                    drop(open.insert(key, value).map_err(error)?);
                }
            }
            None => drop(open.remove(key).map_err(error)?),
        }
    }
    Ok(())
}

/// Whether pages are left mostly empty if many values are replaced like this: content that is dropped leaves a hash.
fn is_far_smaller(new: &[u8], old: &[u8]) -> bool {
    2 * new.len() + 32 < old.len()
}

impl Read for Txn {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let changes = &self.changes[slot(table)];
        match changes.rows.get(key) {
            Some(value) => Ok(value.as_deref().map(<[u8]>::to_vec)),
            None if changes.cleared => Ok(None),
            None => self.base.get(table, key),
        }
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let changes = &self.changes[slot(table)];
        let base = if changes.cleared { None } else { Some(self.base.rows(table, from, to)?) };
        let over = changes.rows.range::<[u8], _>((Included(from), Excluded(to)));
        let over = over.map(|(key, value)| (key.as_slice(), value.as_deref()));
        Merged::new(base.into_iter().flatten(), over).take(limit).collect()
    }
}

impl Store for Txn {
    fn is_dirty(&self) -> bool {
        Self::is_dirty(self)
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.put_shared(table, key, Bytes::copy_from_slice(value))
    }

    fn put_shared(&mut self, table: Table, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        self.changes[slot(table)].rows.insert(key.to_vec(), Some(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.changes[slot(table)].rows.insert(key.to_vec(), None);
        Ok(())
    }

    fn clear(&mut self, table: Table) -> Result<(), StoreError> {
        self.changes[slot(table)] = Changes { cleared: true, rows: BTreeMap::new() };
        Ok(())
    }
}

impl std::fmt::Debug for Txn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Txn").field("dirty", &self.is_dirty()).finish_non_exhaustive()
    }
}

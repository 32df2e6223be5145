//! Rows under random keys are written behind.
//!
//! A row under a random key changes a page of its own: 4 KiB for a hundred bytes, in each commit. So a commit puts all
//! the changes that it makes to [`TABLE`] into *one* row of [`LOG`], a tree whose keys rise, and leaves the table's own
//! tree as it is. Memory holds what stands in the log, and readers see it over the tree. When that is more than
//! [`Limit`] allows, a commit brings all of it into the tree, in the order of its keys, and empties the log: by then
//! many rows share a page. Both happen within the transaction of the commit, so there is no moment at which
//! a row is in neither or a crash leaves half of them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kinlink_proto::store::{StoreError, Table};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, WriteTransaction};

use super::layer::{Layer, Newest};
use super::open::OpenError;
use super::txn::{Changes, put};
use super::{definition, error};

/// The one table whose keys are random: a PRF makes them. All others have keys that rise, or few rows.
pub(super) const TABLE: Table = Table::Entries;

/// What [`TABLE`] is behind by: a number that rises → the changes of one commit, as [`Layer`] writes them.
pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("behind");

/// How long after the last write what is behind is brought up, so that an idle daemon does not hold it in memory.
const QUIET: Duration = Duration::from_secs(30);
/// Fewer changes than this are not worth a commit of their own: tens of kilobytes in memory.
const FEW: usize = 256;
/// How long after the last write it is noted which pages are free: a crash costs time at the next start only if it comes earlier.
/// Whoever writes more often than this pays no commit for it.
const PAUSE: Duration = Duration::from_secs(5);

/// How much may be behind, changes that a later one replaced included. More is faster, and takes memory and, after a
/// crash, time to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Limit {
    pub(super) const DEFAULT: Self = Self { rows: 16 << 10, bytes: 2 << 20 };
    /// Nothing is left behind.
    pub(super) const NONE: Self = Self { rows: 0, bytes: 0 };
}

/// The changes of [`TABLE`] that are committed and not in its tree yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// The newest comes last, and each has at least twice the changes of the next: there are few. Snapshots share them.
    layers: Vec<Arc<Layer>>,
    /// The number of the log's next row.
    next: u64,
    /// What all rows of the log hold.
    size: Size,
    /// When something was last written, to any table.
    written: Option<Instant>,
    /// Whether the last commit was a [`Chore`].
    noted: bool,
}

/// What a pause is good for: each is a commit of its own, and changes nothing that a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// The commit writes down which pages are free. After a crash, redb otherwise reads the whole file to find that out; but what
    /// it finds written counts only if no commit came later, and a commit that writes it syncs twice.
    Note,
    /// All that is behind goes into the tree. Notes, too.
    BringUp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    rows: usize,
    bytes: usize,
}

/// What a commit does, to be remembered when it is done.
pub(super) struct Staged {
    /// Whether the log is empty before `batch`.
    afresh: bool,
    batch: Layer,
}

impl Behind {
    /// Reads the log of a store that was just opened.
    pub(super) fn load(db: &Database) -> Result<Self, OpenError> {
        let mut behind = Self::default();
        let log = match db.begin_read()?.open_table(LOG) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(behind),
            other => other?,
        };
        for row in log.iter()? {
            let (number, batch) = row?;
            behind.next = number.value();
            let damaged = || redb::StorageError::Corrupted("what was written behind".to_owned());
            behind.add(Layer::decode(batch.value().to_vec()).ok_or_else(damaged)?);
        }
        Ok(behind)
    }

    /// The change of this row, if it is behind.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        if table == TABLE { self.layers.iter().rev().find_map(|layer| layer.get(key)) } else { None }
    }

    /// The changes with `from <= key < to`, ascending; `None` if the table's tree has all of its rows.
    pub(super) fn range(&self, table: Table, from: &[u8], to: &[u8]) -> Option<Newest<'_>> {
        if table != TABLE || self.layers.is_empty() || from >= to {
            return None;
        }
        Some(Newest::new(self.layers.iter().map(|layer| layer.range(from, to))))
    }

    /// Writes changes into the log, or with all that is behind into the tree if it would be more than `limit`.
    pub(super) fn stage(
        &self,
        writer: &WriteTransaction,
        changes: &Changes,
        limit: Limit,
    ) -> Result<Staged, StoreError> {
        let batch = Layer::new(changes.rows.iter().map(|(key, value)| (&key[..], value.as_deref())), 0);
        if changes.cleared {
            writer.delete_table(definition(TABLE.name())).map_err(error)?;
            writer.delete_table(LOG).map_err(error)?;
            return Self::default().stage_over(writer, batch, limit).map(|staged| Staged { afresh: true, ..staged });
        }
        self.stage_over(writer, batch, limit)
    }

    fn stage_over(&self, writer: &WriteTransaction, batch: Layer, limit: Limit) -> Result<Staged, StoreError> {
        let size = self.size.with(&batch);
        if size.rows > limit.rows || size.bytes > limit.bytes {
            let all = self.layers.iter().map(|layer| layer.all()).chain([batch.all()]);
            put(writer, TABLE, Newest::new(all))?;
            writer.delete_table(LOG).map_err(error)?;
            return Ok(Staged { afresh: true, batch: Layer::default() });
        }
        if !batch.is_empty() {
            let mut log = writer.open_table(LOG).map_err(error)?;
            log.insert(self.next, batch.bytes()).map_err(error)?;
        }
        Ok(Staged { afresh: false, batch })
    }

    /// What was staged is on the disk.
    pub(super) fn committed(&mut self, staged: Staged, chore: Option<Chore>) {
        let written = if chore.is_some() { self.written } else { Some(Instant::now()) };
        if staged.afresh {
            *self = Self::default();
        }
        self.add(staged.batch);
        (self.written, self.noted) = (written, chore.is_some());
    }

    /// What is to be done next, and when, if nothing is written until then.
    pub(super) fn chore(&self) -> Option<(Instant, Chore)> {
        let written = self.written?;
        if !self.noted {
            Some((written + PAUSE, Chore::Note))
        } else if self.size.rows >= FEW {
            Some((written + QUIET, Chore::BringUp))
        } else {
            None
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size.rows == 0
    }

    fn add(&mut self, batch: Layer) {
        if batch.is_empty() {
            return;
        }
        self.next += 1;
        self.size = self.size.with(&batch);
        let mut top = batch;
        // A change is copied into a layer of about twice the size each time: seldom.
        while let Some(below) = self.layers.pop_if(|below| below.len() < 2 * top.len()) {
            top = below.under(&top);
        }
        self.layers.push(Arc::new(top));
    }
}

/// Looks at what is behind. A commit that panicked may have left it wrong.
pub(super) fn lock(behind: &Mutex<Behind>) -> Result<MutexGuard<'_, Behind>, StoreError> {
    behind.lock().map_err(|_| StoreError("a commit was cut short; the store must be opened again".into()))
}

impl Size {
    fn with(self, batch: &Layer) -> Self {
        Self { rows: self.rows + batch.len(), bytes: self.bytes + batch.bytes().len() }
    }
}

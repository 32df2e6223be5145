//! Rows under random keys are written behind.
//!
//! A row under a random key changes a page of its own: 4 KiB for a hundred bytes, in each commit. So a commit puts all
//! the changes that it makes to [`TABLE`] into *one* row of [`LOG`], a tree whose keys rise, and leaves the table's own
//! tree as it is. Memory holds what stands in the log, and readers see it over the tree. When that is more than
//! [`Limit`] allows, a commit brings all of it into the tree, in the order of its keys, and empties the log: by then
//! many rows share a page. Both happen within the transaction of the commit, so there is no moment at which
//! a row is in neither or a crash leaves half of them.
//!
//! One row of the log is one commit's changes: for each, the lengths of key and value plus one as `u32`, 0 for the value
//! of a row that was deleted, then key and value.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BufMut as _, Bytes};
use kinlink_proto::store::{StoreError, Table};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, WriteTransaction};

use super::open::OpenError;
use super::txn::{Changes, put};
use super::{definition, error};

/// The one table whose keys are random: a PRF makes them. All others have keys that rise, or few rows.
pub(super) const TABLE: Table = Table::Entries;

/// What [`TABLE`] is behind by: a number that rises → the changes of one commit.
pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("behind");

/// How long after the last write what is behind is brought up, so that an idle daemon does not hold it in memory.
const QUIET: Duration = Duration::from_secs(30);
/// Fewer changes than this are not worth a commit of their own: tens of kilobytes in memory.
const FEW: usize = 256;

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

/// The newest change of each key; `None` where the row was deleted.
pub(super) type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// The changes of [`TABLE`] that are committed and not in its tree yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// Copied when it changes, but only if a snapshot looks at it then.
    rows: Arc<Rows>,
    /// The number of the log's next row.
    next: u64,
    /// What all rows of the log hold.
    size: Size,
    /// When something was last written, to any table.
    written: Option<Instant>,
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
    batch: Batch,
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
            behind.add(
                Batch::decode(Bytes::copy_from_slice(batch.value())).map_err(|e| redb::StorageError::Corrupted(e.0))?,
            );
        }
        Ok(behind)
    }

    /// The change of this row, if it is behind.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        if table == TABLE { self.rows.get(key).map(Option::as_deref) } else { None }
    }

    /// The changes with `from <= key < to`, ascending; `None` if the table's tree has all of its rows.
    pub(super) fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
    ) -> Option<impl Iterator<Item = (&[u8], Option<&[u8]>)>> {
        if table != TABLE || self.rows.is_empty() || from >= to {
            return None;
        }
        let rows = self.rows.range::<[u8], _>((Included(from), Excluded(to)));
        Some(rows.map(|(key, value)| (&key[..], value.as_deref())))
    }

    /// Writes changes into the log, or with all that is behind into the tree if it would be more than `limit`.
    pub(super) fn stage(
        &self,
        writer: &WriteTransaction,
        changes: &Changes,
        limit: Limit,
    ) -> Result<Staged, StoreError> {
        let batch = Batch::new(&changes.rows)?;
        if changes.cleared {
            writer.delete_table(definition(TABLE.name())).map_err(error)?;
            writer.delete_table(LOG).map_err(error)?;
            return Self::default().stage_over(writer, batch, limit).map(|staged| Staged { afresh: true, ..staged });
        }
        self.stage_over(writer, batch, limit)
    }

    fn stage_over(&self, writer: &WriteTransaction, batch: Batch, limit: Limit) -> Result<Staged, StoreError> {
        let size = self.size.with(&batch);
        if size.rows > limit.rows || size.bytes > limit.bytes {
            let mut rows = Rows::clone(&self.rows);
            rows.extend(batch.rows);
            let rows = rows.iter().map(|(key, value)| (&key[..], value.as_deref()));
            put(writer, TABLE, rows)?;
            writer.delete_table(LOG).map_err(error)?;
            return Ok(Staged { afresh: true, batch: Batch::default() });
        }
        if !batch.rows.is_empty() {
            let mut log = writer.open_table(LOG).map_err(error)?;
            log.insert(self.next, &batch.bytes[..]).map_err(error)?;
        }
        Ok(Staged { afresh: false, batch })
    }

    /// What was staged is on the disk.
    pub(super) fn committed(&mut self, staged: Staged) {
        if staged.afresh {
            *self = Self::default();
        }
        self.add(staged.batch);
        self.written = Some(Instant::now());
    }

    /// When it is time to bring up what is behind, if nothing is written until then.
    pub(super) fn due(&self) -> Option<Instant> {
        self.written.filter(|_| self.size.rows >= FEW).map(|written| written + QUIET)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size.rows == 0
    }

    fn add(&mut self, batch: Batch) {
        if batch.rows.is_empty() {
            return;
        }
        self.next += 1;
        self.size = self.size.with(&batch);
        Arc::make_mut(&mut self.rows).extend(batch.rows);
    }
}

/// Looks at what is behind. A commit that panicked may have left it wrong.
pub(super) fn lock(behind: &Mutex<Behind>) -> Result<MutexGuard<'_, Behind>, StoreError> {
    behind.lock().map_err(|_| StoreError("a commit was cut short; the store must be opened again".into()))
}

impl Size {
    fn with(self, batch: &Batch) -> Self {
        Self { rows: self.rows + batch.rows.len(), bytes: self.bytes + batch.bytes.len() }
    }
}

/// The changes of one commit: as they stand in the log, and as parts of that.
#[derive(Default)]
struct Batch {
    bytes: Bytes,
    rows: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    fn new(changes: &BTreeMap<Vec<u8>, Option<Bytes>>) -> Result<Self, StoreError> {
        let mut bytes = Vec::new();
        for (key, value) in changes {
            put_len(&mut bytes, Some(key))?;
            put_len(&mut bytes, value.as_deref())?;
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value.as_deref().unwrap_or_default());
        }
        Self::decode(bytes.into())
    }

    fn decode(bytes: Bytes) -> Result<Self, StoreError> {
        let (mut rows, mut rest) = (Vec::new(), bytes.clone());
        while !rest.is_empty() {
            let (key, value) = (len(&mut rest)?, len(&mut rest)?);
            let key = part(&mut rest, key.ok_or_else(damaged)?)?;
            rows.push((key, value.map(|len| part(&mut rest, len)).transpose()?));
        }
        Ok(Self { bytes, rows })
    }
}

/// A length plus one; 0 stands for nothing.
fn put_len(bytes: &mut Vec<u8>, what: Option<&[u8]>) -> Result<(), StoreError> {
    let len = u32::try_from(what.map_or(0, |what| what.len() + 1));
    bytes.put_u32(len.map_err(|_| StoreError("a row of more than 4 GiB".into()))?);
    Ok(())
}

fn len(rest: &mut Bytes) -> Result<Option<usize>, StoreError> {
    let len = rest.try_get_u32().map_err(|_| damaged())?;
    Ok(usize::try_from(len).map_err(|_| damaged())?.checked_sub(1))
}

/// The next `len` bytes, shared.
fn part(rest: &mut Bytes, len: usize) -> Result<Bytes, StoreError> {
    if len <= rest.len() { Ok(rest.split_to(len)) } else { Err(damaged()) }
}

fn damaged() -> StoreError {
    StoreError("what was written behind is damaged".into())
}

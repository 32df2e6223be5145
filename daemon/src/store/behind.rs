//! Rows under random keys are written behind.
//!
//! A row under a random key changes a page of its own: 4 KiB for a hundred bytes, in each commit. So a commit puts all
//! the changes that it makes to [`TABLE`] into *one* row of [`LOG`], a tree whose keys rise, and leaves the table's own
//! tree as it is. Memory holds what stands in the log, and readers see it over the tree. When that is more than
//! [`Limit`] allows, it goes into the tree, in the order of its keys: by then many rows share a page. [`Moving`] does
//! so. Everything happens within the transaction of a commit, so there is no moment at which
//! a row is in neither or a crash leaves half of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use kinlink_proto::store::{StoreError, Table};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, TableError, WriteTransaction};

use super::known::Known;
use super::layer::{Layer, Newest};
use super::moving::{Moving, bring};
use super::open::OpenError;
use super::txn::Changes;
use super::{definition, error};

/// The one table whose keys are random: a PRF makes them. All others have keys that rise, or few rows.
pub(super) const TABLE: Table = Table::Entries;

/// What [`TABLE`] is behind by: a number that rises → the changes of one commit, as [`Layer`] writes them.
pub(super) const LOG: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("behind");

/// How long after the last write what is behind is brought up, so that an idle daemon does not hold it in memory.
const QUIET: Duration = Duration::from_secs(30);
/// Fewer changes than this are not worth a commit of their own: tens of kilobytes in memory.
const FEW: usize = 256;
/// Changes that an idle daemon brings up at once: whoever comes meanwhile waits for it.
const IDLE_SLICE: usize = 4096;
/// How long after the last write it is noted which pages are free: a crash costs time at the next start only if it comes earlier.
/// Whoever writes more often than this pays no commit for it.
const PAUSE: Duration = Duration::from_secs(10);

/// How much is behind before it goes on into the tree, changes that a later one replaced included. Up to as much again gathers
/// meanwhile. More is faster, and takes memory and, after a crash, time to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    /// Changes that a commit brings into the tree. A large commit brings twice its own.
    pub(super) slice: usize,
}

impl Limit {
    pub(super) const DEFAULT: Self = Self { rows: 16 << 10, bytes: 2 << 20, slice: 64 };
}

/// The changes of [`TABLE`] that are committed and not in its tree yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind {
    /// Older changes, on their way into the tree.
    moving: Moving,
    /// The newest comes last, and each has at least twice the changes of the next: there are few. Snapshots share them.
    layers: Vec<Arc<Layer>>,
    /// What all of these hold.
    size: Size,
    /// Their rows of the log.
    log: Range<u64>,
    /// What the tree certainly lacks, if that is known.
    known: Option<Arc<Known>>,
    /// When something was last written, to any table.
    written: Option<Instant>,
    /// Whether the last commit was a [`Chore`].
    noted: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    rows: usize,
    bytes: usize,
}

/// What a pause is good for: each is a commit of its own, and changes nothing that a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// The commit writes down which pages are free. After a crash, redb otherwise reads the whole file to find that out; but what
    /// it finds written counts only if no commit came later, and a commit that writes it syncs twice.
    Note,
    /// A part of what is behind goes into the tree. Notes, too.
    Slice,
    /// All of it does. Notes, too.
    All,
}

/// What a commit does, to be remembered when it is done.
pub(super) struct Staged {
    /// Whether nothing is behind now but the batch and what is moving.
    afresh: bool,
    moving: Moving,
    batch: Layer,
    known: Option<Arc<Known>>,
}

impl Behind {
    /// Reads the log of a store that was just opened.
    pub(super) fn load(db: &Database) -> Result<Self, OpenError> {
        let txn = db.begin_read()?;
        let mut behind = Self::default();
        let known = match txn.open_table(definition(TABLE.name())) {
            Err(TableError::TableDoesNotExist(_)) => Known::behind(&[]),
            tree => tree?.last()?.map_or_else(|| Known::behind(&[]), |(key, _)| Known::behind(key.value())),
        };
        behind.known = Some(Arc::new(known));
        let log = match txn.open_table(LOG) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(behind),
            other => other?,
        };
        let first = log.first()?.map_or(0, |(number, _)| number.value());
        behind.log = first..first;
        for row in log.iter()? {
            let (number, batch) = row?;
            behind.log.end = number.value();
            let damaged = || redb::StorageError::Corrupted("what was written behind".to_owned());
            behind.add(Layer::decode(batch.value().to_vec()).ok_or_else(damaged)?);
        }
        Ok(behind)
    }

    /// The change of this row, if it is behind; or that there is no such row, if that is known.
    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        if table != TABLE {
            return None;
        }
        let change = self.layers().rev().find_map(|layer| layer.get(key));
        change.or_else(|| self.known.as_ref()?.lacks(key).then_some(None))
    }

    /// The changes with `from <= key < to`, ascending; `None` if the table's tree has all of its rows.
    pub(super) fn range(&self, table: Table, from: &[u8], to: &[u8]) -> Option<Newest<'_>> {
        if table != TABLE || self.layers().next().is_none() || from >= to {
            return None;
        }
        Some(Newest::new(self.layers().map(|layer| layer.range(from, to))))
    }

    /// The newest comes last.
    fn layers(&self) -> impl DoubleEndedIterator<Item = &Layer> {
        self.moving.layers().iter().chain(&self.layers).map(|layer| &**layer)
    }

    /// Writes changes into the log, and older ones into the tree where there were more than `limit` or a pause is used for it.
    pub(super) fn stage(
        &self,
        writer: &WriteTransaction,
        changes: &Changes,
        limit: Limit,
        chore: Option<Chore>,
    ) -> Result<Staged, StoreError> {
        let batch = Layer::new(changes.rows.iter().map(|(key, value)| (&key[..], value.as_deref())), 0);
        if changes.cleared {
            writer.delete_table(definition(TABLE.name())).map_err(error)?;
            writer.delete_table(LOG).map_err(error)?;
            self.log(writer, &batch)?;
            let known = Some(Arc::new(Known::behind(&[])));
            return Ok(Staged { afresh: true, moving: Moving::default(), batch, known });
        }
        let size = self.size.with(&batch);
        let full = size.rows > limit.rows || size.bytes > limit.bytes;
        if chore == Some(Chore::All) || full && !self.moving.is_done() {
            return self.stage_all(writer, &batch);
        }
        self.log(writer, &batch)?;
        let afresh = self.moving.is_done() && (full || chore == Some(Chore::Slice));
        // What an idle daemon brings up is not worth the memory of knowing it.
        let known = self.known.clone().filter(|_| chore != Some(Chore::Slice));
        let moving = if afresh { Moving::new(&self.layers, self.log.clone()) } else { self.moving.clone() };
        let slice = match chore {
            None => limit.slice.max(2 * batch.len()),
            Some(Chore::Note) => 0,
            Some(_) => IDLE_SLICE,
        };
        let moving = moving.step(writer, slice, known.as_deref())?;
        let known = match known {
            None if moving.layers().is_empty() => Some(known_afresh(writer)?),
            known => known,
        };
        Ok(Staged { afresh, moving, batch, known })
    }

    fn stage_all(&self, writer: &WriteTransaction, batch: &Layer) -> Result<Staged, StoreError> {
        let all = self.moving.left().chain(self.layers.iter().map(|layer| layer.all())).chain([batch.all()]);
        bring(writer, Newest::new(all), None)?;
        writer.delete_table(LOG).map_err(error)?;
        let known = Some(known_afresh(writer)?);
        Ok(Staged { afresh: true, moving: Moving::default(), batch: Layer::default(), known })
    }

    fn log(&self, writer: &WriteTransaction, batch: &Layer) -> Result<(), StoreError> {
        if !batch.is_empty() {
            writer.open_table(LOG).map_err(error)?.insert(self.log.end, batch.bytes()).map_err(error)?;
        }
        Ok(())
    }

    /// What was staged is on the disk.
    pub(super) fn committed(&mut self, staged: Staged, chore: Option<Chore>) {
        let Staged { afresh, moving, batch, known } = staged;
        if afresh {
            self.layers.clear();
            self.size = Size::default();
            self.log.start = self.log.end;
        }
        (self.moving, self.known, self.noted) = (moving, known, chore.is_some());
        self.add(batch);
        if chore.is_none() {
            self.written = Some(Instant::now());
        }
    }

    /// What is to be done next, and when, if nothing is written until then.
    pub(super) fn chore(&self) -> Option<(Instant, Chore)> {
        let written = self.written?;
        if !self.noted {
            Some((written + PAUSE, Chore::Note))
        } else if self.size.rows >= FEW || !self.moving.is_done() {
            Some((written + QUIET, Chore::Slice))
        } else {
            None
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.size.rows == 0 && self.moving.is_done()
    }

    fn add(&mut self, batch: Layer) {
        if batch.is_empty() {
            return;
        }
        self.log.end += 1;
        self.size = self.size.with(&batch);
        let mut top = batch;
        // A change is copied into a layer of about twice the size each time: seldom.
        while let Some(below) = self.layers.pop_if(|below| below.len() < 2 * top.len()) {
            top = below.under(&top);
        }
        self.layers.push(Arc::new(top));
    }
}

/// What there is to know of the tree as it is now, in no memory to speak of.
fn known_afresh(writer: &WriteTransaction) -> Result<Arc<Known>, StoreError> {
    let tree = writer.open_table(definition(TABLE.name())).map_err(error)?;
    let last = tree.last().map_err(error)?;
    Ok(Arc::new(last.map_or_else(|| Known::behind(&[]), |(key, _)| Known::behind(key.value()))))
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

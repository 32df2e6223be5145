//! The store on disk: redb behind the traits of [`kinlink_proto::store`].
//!
//! One file, one table of bytes for each [`Table`], and a schema number. There is one writer at a
//! time ([`Db::begin`]); readers take a [`Snapshot`] each, and do not wait to read. A commit returns when it
//! is on the disk. One that failed is *unknown*, not undone: [`Db::reopen`], and look.
//!
//! What a crash leaves is redb's promise (two commit slots with checksums, one `fsync`), held to by
//! the tests over [`crash::CrashBackend`]. redb's two-phase commit stays off: it guards against who
//! controls both the order in which pages reach the disk and the moment of the crash, and costs a
//! second `fsync` for every change. Only the last commit before a pause has it ([`Db::rest`]).

mod behind;
pub mod crash;
mod known;
mod layer;
mod merged;
mod moving;
mod open;
mod snapshot;
mod tables;
mod txn;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use kinlink_proto::store::{StoreError, Table};
use redb::{Database, ReadableDatabase, StorageBackend};

use behind::{Behind, Chore, Limit};
pub use open::OpenError;
pub use snapshot::Snapshot;
pub use txn::{CommitError, Txn};

/// Where a store lies, so that it can be opened again.
#[derive(Debug)]
enum Place {
    File(PathBuf),
    Backend(Arc<dyn StorageBackend>),
}

/// An open store. No other process has it open at the same time.
#[derive(Debug)]
pub struct Db {
    place: Place,
    /// Nothing only after [`Db::reopen`] failed.
    inner: Option<Open>,
    /// How much commits leave behind.
    limit: Limit,
}

/// The database, and what its tables are behind by.
#[derive(Debug)]
struct Open {
    database: Database,
    behind: Arc<Mutex<Behind>>,
}

impl Db {
    /// Opens the store in the file `path`, or makes it there with mode 0600.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::at(Place::File(path.as_ref().to_owned()))
    }

    /// Opens the store in `backend`, or makes it there if `backend` is empty: memory for guests, and
    /// [`crash::CrashBackend`] for tests.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do.
    pub fn open_with(backend: impl StorageBackend) -> Result<Self, OpenError> {
        Self::at(Place::Backend(Arc::new(backend)))
    }

    /// A store in memory, gone when it is dropped: what a guest has.
    ///
    /// # Errors
    /// [`OpenError`], though memory gives no reason for one.
    pub fn in_memory() -> Result<Self, OpenError> {
        Self::open_with(redb::backends::InMemoryBackend::new())
    }

    fn at(place: Place) -> Result<Self, OpenError> {
        let inner = Some(Open::at(&place)?);
        Ok(Self { place, inner, limit: Limit::DEFAULT })
    }

    /// The same store, in which a commit leaves no more than `rows` changes of rows under random keys behind, instead of
    /// bringing them where they belong. For tests: the default is some ten thousand.
    #[must_use]
    pub fn behind_by(self, rows: usize) -> Self {
        Self { limit: Limit { rows, slice: 1 + rows / 4, ..self.limit }, ..self }
    }

    /// Begins to write. It sees what was committed before, and its own writes.
    ///
    /// # Errors
    /// If another [`Txn`] is alive (waiting for it could be waiting for oneself), or the store cannot
    /// be read, or a commit failed and the store was not reopened.
    pub fn begin(&self) -> Result<Txn, StoreError> {
        Txn::begin(self.inner()?, self.limit)
    }

    /// All that is committed now, unchanged by what is committed later. Waits for a commit that is under way.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.inner()?.snapshot()
    }

    /// When [`Db::rest`] is worth its commit, if nothing is written until then.
    #[must_use]
    pub fn rest_due(&self) -> Option<Instant> {
        Some(behind::lock(&self.inner.as_ref()?.behind).ok()?.chore()?.0)
    }

    /// Does the next thing that a pause is good for, in a commit that changes nothing that a reader sees: first what makes the store
    /// open fast after a crash, then what [`Db::settle`] does.
    ///
    /// # Errors
    /// As [`Txn::commit`]; nothing is lost.
    pub fn rest(&self) -> Result<(), CommitError> {
        let inner = self.inner().map_err(CommitError::Undone)?;
        let chore = behind::lock(&inner.behind).map_err(CommitError::Undone)?.chore();
        chore.map_or(Ok(()), |(_, chore)| self.begin().map_err(CommitError::Undone)?.rest(chore))
    }

    /// Brings everything where it belongs, so that no memory is needed for it: a commit that changes nothing that a reader
    /// sees. To be called at the end.
    ///
    /// # Errors
    /// As [`Txn::commit`]; nothing is lost.
    pub fn settle(&self) -> Result<(), CommitError> {
        let inner = self.inner().map_err(CommitError::Undone)?;
        if behind::lock(&inner.behind).map_err(CommitError::Undone)?.is_empty() {
            return Ok(());
        }
        self.begin().map_err(CommitError::Undone)?.rest(Chore::All)
    }

    /// Closes the store and opens it again, as must be done after any failed read, write or commit: redb refuses
    /// all further writes until then. Snapshots taken before answer with an error from now on; no
    /// [`Txn`] may be alive.
    ///
    /// # Errors
    /// [`OpenError`]. Until a later attempt succeeds, every other call is an error.
    pub fn reopen(&mut self) -> Result<(), OpenError> {
        drop(self.inner.take());
        self.inner = Some(Open::at(&self.place)?);
        Ok(())
    }

    fn inner(&self) -> Result<&Open, StoreError> {
        self.inner.as_ref().ok_or_else(|| StoreError("the store is closed, since it could not be opened again".into()))
    }
}

impl Open {
    fn at(place: &Place) -> Result<Self, OpenError> {
        let database = open::open(place)?;
        let behind = Arc::new(Mutex::new(Behind::load(&database)?));
        Ok(Self { database, behind })
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let behind = behind::lock(&self.behind)?;
        let txn = self.database.begin_read().map_err(error)?;
        Ok(Snapshot::new(txn, behind.clone()))
    }
}

/// An error of redb, in the words of the trait.
fn error(e: impl Into<redb::Error>) -> StoreError {
    StoreError(e.into().to_string())
}

/// redb's name and types for `table`.
const fn definition(table: &'static str) -> redb::TableDefinition<'static, &'static [u8], &'static [u8]> {
    redb::TableDefinition::new(table)
}

/// Where `table` stands in [`Table::ALL`].
const fn slot(table: Table) -> usize {
    table as usize
}

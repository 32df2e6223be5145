//! Stored state as an argument: ordered tables of bytes, inside one write transaction.
//!
//! The engine reads and writes through this trait while the shell holds a write transaction open. The shell commits when the
//! engine has taken its facts, and only then carries out what the engine asked for. That commit is
//! the barrier: a revocation is on disk before a connection is cut. A transaction that was not committed never happened; the
//! shell then drops the engine and loads it anew.

use bytes::Bytes;

/// Why the store did not answer. After any of these the transaction is lost and the engine is loaded anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("storage: {0}")]
pub struct StoreError(pub String);

/// The tables. Keys order as bytes; what stands in them is written down at each constructor of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Single values by name: this device's record, the index key, the port.
    Meta,
    /// Statements: `u32` in the order in which they became valid → bytes as they came.
    Statements,
    /// Epoch secrets, sealed under the store key: EpochId → nonce and ciphertext.
    Secrets,
    /// Journals: local index `u32` → JournalId, signed head, peaks, live digest.
    Journals,
    /// Operations: local index `u32`, number `u64` (keys that rise) → session, epoch, ciphertext as they travel; or a dropped leaf's hash.
    Operations,
    /// Hashes of complete aligned subtrees: local index, level, position → 32 bytes.
    Subtrees,
    /// Live values: local number of the session, PRF of (space, key) → references to operations, sealed.
    Entries,
    /// Sessions: SessionId → references and sealed summary.
    Sessions,
    /// Newest report of each device: DeviceId → bytes as they came.
    Reports,
    /// Peers: DeviceId → addresses that worked, last seen.
    Peers,
    /// Operations whose epoch could not be opened yet: EpochId, JournalId, number → nothing.
    Waiting,
    /// Covered operations that may still have content: local number of the journal, number → row of `Entries`, covering operation.
    Covered,
    /// The order in which the entries of a session last changed here, and in which run: see `session/changes.rs`.
    Changes,
}

impl Table {
    /// All, in order of their codes.
    pub const ALL: [Self; 13] = [
        Self::Meta,
        Self::Statements,
        Self::Secrets,
        Self::Journals,
        Self::Operations,
        Self::Subtrees,
        Self::Entries,
        Self::Sessions,
        Self::Reports,
        Self::Peers,
        Self::Waiting,
        Self::Covered,
        Self::Changes,
    ];

    /// The table's name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Statements => "statements",
            Self::Secrets => "secrets",
            Self::Journals => "journals",
            Self::Operations => "operations",
            Self::Subtrees => "subtrees",
            Self::Entries => "entries",
            Self::Sessions => "sessions",
            Self::Reports => "reports",
            Self::Peers => "peers",
            Self::Waiting => "waiting",
            Self::Covered => "covered",
            Self::Changes => "changes",
        }
    }
}

/// Rows that [`Read::each`] holds at once where it cannot show them in place: values may be of 1 MiB each.
const PAGE: usize = 16;

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Reading, inside a transaction or from a snapshot.
pub trait Read {
    /// The value of `key`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Up to `limit` rows with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError>;

    /// Shows `each` every row with `from <= key < to`, ascending, until it fails.
    ///
    /// # Errors
    /// If the store cannot be read, and whatever `each` returns.
    fn each(&self, table: Table, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), StoreError> {
        let mut from = from.to_vec();
        loop {
            let rows = self.range(table, &from, to, PAGE)?;
            rows.iter().try_for_each(|(key, value)| each(key, value))?;
            match rows.last() {
                Some((key, _)) if rows.len() == PAGE => from = [key, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }
}

/// What [`Read::each`] calls with a key and its value.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Writing, inside a transaction. Its own writes are seen by its reads.
pub trait Store: Read {
    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Sets `key` to `value`, which may be a part of a larger buffer: a store that keeps it until the commit shares it.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put_shared(&mut self, table: Table, key: &[u8], value: Bytes) -> Result<(), StoreError> {
        self.put(table, key, &value)
    }

    /// Removes `key`; it is no error if there is none.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;

    /// Removes every row of `table`.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn clear(&mut self, table: Table) -> Result<(), StoreError>;

    /// Whether anything was written, so that there is something to commit.
    fn is_dirty(&self) -> bool;
}

/// The first key behind all keys that begin with `prefix`, for [`Read::range`].
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 64]
}

/// A store in memory: for guests, tests and simulations. [`MemoryStore::snapshot`] is what a commit
/// keeps; going back to it is what a crash leaves.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    rows: std::collections::BTreeMap<(Table, Vec<u8>), Vec<u8>>,
    dirty: bool,
}

impl PartialEq for MemoryStore {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows
    }
}

impl Eq for MemoryStore {}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of all there is.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        self.clone()
    }

    /// A copy to write to, which takes the place of this one with a commit.
    #[must_use]
    pub fn begin(&self) -> Self {
        Self { rows: self.rows.clone(), dirty: false }
    }
}

impl Read for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.rows.get(&(table, key.to_vec())).cloned())
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range((table, from.to_vec())..(table, to.to_vec()));
        Ok(rows.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

impl Store for MemoryStore {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.dirty = true;
        self.rows.insert((table, key.to_vec()), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.dirty = true;
        self.rows.remove(&(table, key.to_vec()));
        Ok(())
    }

    fn clear(&mut self, table: Table) -> Result<(), StoreError> {
        self.dirty = true;
        self.rows.retain(|(t, _), _| *t != table);
        Ok(())
    }

    fn is_dirty(&self) -> bool {
        self.dirty
    }
}

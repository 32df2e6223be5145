//! The rows of the index: how they are named and sealed.
//!
//! A row is named by the local number of its session and a PRF of its key, and sealed under a key of this device alone. The seal has
//! to be the same each time, as applying an operation has no randomness: see [`key::seal_row`].

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::authors::Authors;
use super::content::Space;
use super::register::Register;
use super::summary::Summary;
use crate::id::SessionId;
use crate::key::{self, Secret};
use crate::limits::KEY_BYTES;
use crate::store::{Read, Row, Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of the PRF in a row's name: within one session no two keys share it by chance, and nobody can look for such keys.
const PRF: usize = 12;
/// Bytes of a row's name: the session's number as `u32`, then the PRF.
pub(super) const ENTRY_KEY: usize = 4 + PRF;
/// Rows read at once.
const PAGE: usize = 256;

/// The name of an entry's row.
pub(super) type EntryKey = [u8; ENTRY_KEY];

/// One key of one session: its name, and its values.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) space: Space,
    pub(super) key: Vec<u8>,
    /// The number of its last change, of [`super::changes`]; 0 if it has none.
    pub(super) changed: u64,
    pub(super) register: Register,
}

/// Names, seals and opens rows.
pub(super) struct Index {
    prf: Secret,
    rows: Secret,
    authors: Authors,
}

impl Index {
    pub(super) fn load(store: &dyn Read, index_key: &Secret) -> Result<Self, StoreError> {
        let rows = key::derive(&index_key.0, &[], "index rows", &[]);
        Ok(Self { prf: index_key.clone(), rows, authors: Authors::load(store)? })
    }

    /// What rows are named by; other MACs under it have labels of their own.
    pub(super) fn prf(&self) -> &Secret {
        &self.prf
    }

    pub(super) fn authors(&self) -> &Authors {
        &self.authors
    }

    /// Names the row of a key of the session that has this number.
    pub(super) fn name(&self, number: u32, session: SessionId, space: Space, key: &[u8]) -> EntryKey {
        let prf = key::mac(&self.prf, "index", &[session.as_bytes(), &[space.code()], key]);
        let mut name = [0; ENTRY_KEY];
        name[..4].copy_from_slice(&number.to_be_bytes());
        name[4..].copy_from_slice(&prf[..PRF]);
        name
    }

    pub(super) fn entry(&self, store: &dyn Read, name: &[u8]) -> Result<Option<Entry>, StoreError> {
        store.get(Table::Entries, name)?.map(|sealed| self.open_entry(name, &sealed)).transpose()
    }

    pub(super) fn put_entry(
        &mut self,
        store: &mut dyn Store,
        name: &EntryKey,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        for journal in entry.register.journals() {
            self.authors.note(store, journal)?;
        }
        let mut w = Writer::with_capacity(64);
        entry.write(&mut w, &self.authors);
        let plain = Zeroizing::new(w.finish());
        store.put(Table::Entries, name, &key::seal_row(&self.rows, &place(Table::Entries, name), &plain))
    }

    /// Calls `each` with every key of the session that has this number, in no order that means anything.
    pub(super) fn entries(&self, store: &dyn Read, number: u32, mut each: impl FnMut(Entry)) -> Result<(), StoreError> {
        let (from, to) = (number.to_be_bytes(), prefix_end(&number.to_be_bytes()));
        store.each(Table::Entries, &from, &to, &mut |name, sealed| {
            each(self.open_entry(name, sealed)?);
            Ok(())
        })
    }

    pub(super) fn summaries(&self, store: &dyn Read) -> Result<BTreeMap<SessionId, Summary>, StoreError> {
        let mut all = BTreeMap::new();
        rows(store, Table::Sessions, &[], |(name, sealed)| {
            let id = SessionId::from_bytes(&name).map_err(|_| damaged())?;
            let plain = self.open(Table::Sessions, &name, &sealed)?;
            let mut summary = Summary::from_bytes(&plain).map_err(|_| damaged())?;
            summary.refresh();
            all.insert(id, summary);
            Ok(())
        })?;
        Ok(all)
    }

    pub(super) fn put_summary(
        &self,
        store: &mut dyn Store,
        session: SessionId,
        summary: &Summary,
    ) -> Result<(), StoreError> {
        let (name, plain) = (session.as_bytes(), Zeroizing::new(summary.to_bytes()));
        store.put(Table::Sessions, name, &key::seal_row(&self.rows, &place(Table::Sessions, name), &plain))
    }

    fn open_entry(&self, name: &[u8], sealed: &[u8]) -> Result<Entry, StoreError> {
        let plain = self.open(Table::Entries, name, sealed)?;
        let mut r = Reader::new(&plain);
        let entry = Entry::read(&mut r, &self.authors).and_then(|entry| r.finish().map(|()| entry));
        entry.map_err(|_| damaged())
    }

    fn open(&self, table: Table, name: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        key::open_row(&self.rows, &place(table, name), sealed).ok_or_else(damaged)
    }
}

/// Calls `each` with every row whose key begins with `prefix`, a page at a time.
pub(super) fn rows(
    store: &dyn Read,
    table: Table,
    prefix: &[u8],
    mut each: impl FnMut(Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (mut from, to) = (prefix.to_vec(), prefix_end(prefix));
    loop {
        let page = store.range(table, &from, &to, PAGE)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        from = after(last);
        page.into_iter().try_for_each(&mut each)?;
    }
}

/// The first key behind `key`.
pub(super) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The number of the session of an entry's row, and the PRF behind it.
pub(super) fn place_of(name: &EntryKey) -> (u32, &[u8]) {
    let (number, prf) = name.split_at(4);
    (number.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)), prf)
}

fn place(table: Table, name: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), name].concat()
}

fn damaged() -> StoreError {
    StoreError("a row of the session index does not open: the index must be rebuilt from the journals".into())
}

impl Entry {
    fn write(&self, w: &mut Writer, authors: &Authors) {
        w.u8(LAYOUT);
        w.u8(self.space.code());
        w.varint(self.changed);
        w.v16(&self.key);
        self.register.write(w, authors);
    }

    fn read(r: &mut Reader<'_>, authors: &Authors) -> Result<Self, DecodeError> {
        version(r)?;
        let (space, changed) = (Space::decode(r)?, r.varint()?);
        let key = r.v16("key", KEY_BYTES)?.to_vec();
        Ok(Self { space, key, changed, register: Register::read(r, authors)? })
    }
}

/// The layout of rows that this version writes.
pub(super) const LAYOUT: u8 = 2;

/// Reads the version of a row's layout.
pub(super) fn version(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    match r.u8()? {
        LAYOUT => Ok(()),
        value => Err(DecodeError::Newer { what: "row", value: value.into() }),
    }
}

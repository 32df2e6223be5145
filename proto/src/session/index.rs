//! The rows of the index: how they are named and sealed.
//!
//! A row is named by a PRF and sealed under a key of this device alone. The seal has to be deterministic, as applying an operation
//! has no randomness: the nonce is a MAC over the row's place and plaintext, so that it repeats only
//! where place and plaintext do (the construction of SIV, RFC 5297). The nonce of XChaCha20-Poly1305 has room for 192 bits of it.

use std::collections::BTreeMap;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::content::Space;
use super::register::Register;
use super::summary::Summary;
use crate::id::SessionId;
use crate::key::{self, NONCE, Secret};
use crate::limits::KEY_BYTES;
use crate::store::{Read, Row, Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of a row's name: SessionId, then 16 bytes of the PRF.
pub(super) const ENTRY_KEY: usize = SessionId::LEN + 16;
/// Rows read at once.
const PAGE: usize = 256;

/// The name of an entry's row.
pub(super) type EntryKey = [u8; ENTRY_KEY];

/// One key of one session: its name, and its values.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) space: Space,
    pub(super) key: Vec<u8>,
    pub(super) register: Register,
}

/// Names, seals and opens rows.
pub(super) struct Index {
    prf: Secret,
    cipher: Secret,
    nonces: Secret,
}

impl Index {
    pub(super) fn new(index_key: &Secret) -> Self {
        let derived = |text| key::derive(&index_key.0, &[], text, &[]);
        Self { prf: index_key.clone(), cipher: derived("index rows"), nonces: derived("index nonces") }
    }

    /// What rows are named by; other MACs under it have labels of their own.
    pub(super) fn prf(&self) -> &Secret {
        &self.prf
    }

    /// Names the row of a key: its session, and a PRF of (session, space, key).
    pub(super) fn name(&self, session: SessionId, space: Space, key: &[u8]) -> EntryKey {
        let prf = key::mac(&self.prf, "index", &[session.as_bytes(), &[space.code()], key]);
        let mut name = [0; ENTRY_KEY];
        name[..SessionId::LEN].copy_from_slice(session.as_bytes());
        name[SessionId::LEN..].copy_from_slice(&prf[..ENTRY_KEY - SessionId::LEN]);
        name
    }

    pub(super) fn entry(&self, store: &dyn Read, name: &[u8]) -> Result<Option<Entry>, StoreError> {
        store.get(Table::Entries, name)?.map(|sealed| self.open(Table::Entries, name, &sealed)).transpose()
    }

    pub(super) fn put_entry(&self, store: &mut dyn Store, name: &EntryKey, entry: &Entry) -> Result<(), StoreError> {
        store.put(Table::Entries, name, &self.seal(Table::Entries, name, entry))
    }

    /// Calls `each` with every key of `session`, in no order that means anything.
    pub(super) fn entries(
        &self,
        store: &dyn Read,
        session: SessionId,
        mut each: impl FnMut(Entry),
    ) -> Result<(), StoreError> {
        rows(store, Table::Entries, session.as_bytes(), |(name, sealed)| {
            each(self.open(Table::Entries, &name, &sealed)?);
            Ok(())
        })
    }

    pub(super) fn summaries(&self, store: &dyn Read) -> Result<BTreeMap<SessionId, Summary>, StoreError> {
        let mut all = BTreeMap::new();
        rows(store, Table::Sessions, &[], |(name, sealed)| {
            let id = SessionId::from_bytes(&name).map_err(|_| damaged())?;
            let mut summary: Summary = self.open(Table::Sessions, &name, &sealed)?;
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
        let name = session.as_bytes();
        store.put(Table::Sessions, name, &self.seal(Table::Sessions, name, summary))
    }

    fn seal(&self, table: Table, name: &[u8], row: &impl Encode) -> Vec<u8> {
        let (place, plain) = (place(table, name), Zeroizing::new(row.to_bytes()));
        // The place has a fixed size within each table and begins with its name: no two inputs read the same.
        let mac = key::mac(&self.nonces, "index nonce", &[&place, &plain]);
        let mut nonce = [0; NONCE];
        nonce.copy_from_slice(&mac[..NONCE]);
        let cipher = XChaCha20Poly1305::new(&Key::from(self.cipher.0));
        // Fails only for more than 256 GiB; what does not open later is reported as damaged.
        let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &place }).unwrap_or_default();
        [&nonce[..], &sealed].concat()
    }

    fn open<T: Decode>(&self, table: Table, name: &[u8], sealed: &[u8]) -> Result<T, StoreError> {
        let plain = key::open(&self.cipher, &place(table, name), sealed).ok_or_else(damaged)?;
        T::from_bytes(&plain).map_err(|_| damaged())
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

/// The session of an entry's row, and the PRF behind it.
pub(super) fn place_of(name: &EntryKey) -> (SessionId, &[u8]) {
    let mut session = [0; SessionId::LEN];
    session.copy_from_slice(&name[..SessionId::LEN]);
    (SessionId(session), &name[SessionId::LEN..])
}

fn place(table: Table, name: &[u8]) -> Vec<u8> {
    [table.name().as_bytes(), name].concat()
}

fn damaged() -> StoreError {
    StoreError("a row of the session index does not open: the index must be rebuilt from the journals".into())
}

impl Encode for Entry {
    fn encode(&self, w: &mut Writer) {
        w.u8(1);
        w.u8(self.space.code());
        w.v16(&self.key);
        self.register.encode(w);
    }
}

impl Decode for Entry {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        version(r)?;
        let (space, key) = (Space::decode(r)?, r.v16("key", KEY_BYTES)?.to_vec());
        Ok(Self { space, key, register: Register::decode(r)? })
    }
}

/// Reads the version of a row's layout.
pub(super) fn version(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    match r.u8()? {
        1 => Ok(()),
        value => Err(DecodeError::Newer { what: "row", value: value.into() }),
    }
}

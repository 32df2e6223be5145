//! Reading entries.

use super::content::{Content, Seen, Space};
use super::index::Entry;
use super::register::{OpId, ValueRef};
use super::{SessionInfo, Sessions};
use crate::id::{DeviceId, SessionId};
use crate::journal::Journals;
use crate::roster::keyring::Keyring;
use crate::store::{Read, StoreError};
use crate::time::Wall;

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such session, or its record has not arrived.
    #[error("there is no such session here; if it was made on another device, it may still be on its way")]
    NotFound,
    /// It is over: nothing of it can be read.
    #[error("the session has ended; make a new one")]
    Ended,
    /// The content of a live operation, or the key to it, is not on this device (yet).
    #[error("the content or the key to it is not on this device; connect it to another device of the account")]
    Locked,
    /// A cursor of another session, another device, or a history that is gone.
    #[error("this cursor no longer holds; begin anew with an empty one, and forget the keys that do not come with it")]
    StartOver,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A value of an entry.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The bytes; `None` is a delete that conflicts with a write.
    pub bytes: Option<Vec<u8>>,
    /// When, by its writer's clock.
    pub time: Wall,
    /// Who wrote it.
    pub device: DeviceId,
}

/// A key in a listing, and the value of it that is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// The key.
    pub key: Vec<u8>,
    /// When its value was written, by its writer's clock.
    pub time: Wall,
    /// Who wrote it.
    pub device: DeviceId,
    /// Bytes of the value.
    pub size: u64,
}

/// A value to be written anew under another account.
#[derive(Clone, PartialEq, Eq)]
pub struct Exported {
    /// Its session, which keeps its id.
    pub session: SessionId,
    /// Its name space.
    pub space: Space,
    /// Its key.
    pub key: Vec<u8>,
    /// The value that is shown.
    pub value: Vec<u8>,
    /// When it was written.
    pub time: Wall,
    /// How many other values conflict with it; a new journal can hold only one.
    pub conflicts: usize,
}

/// Values are the user's: not shown.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Value({:?} bytes, {:?}, {:?})", self.bytes.as_ref().map(Vec::len), self.time, self.device)
    }
}

/// Keys are the user's: not shown.
impl std::fmt::Debug for KeyInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyInfo({} bytes, {:?}, {:?})", self.size, self.time, self.device)
    }
}

/// Keys and values are the user's: not shown.
impl std::fmt::Debug for Exported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Exported({:?}, {} bytes, {:?})", self.space, self.value.len(), self.time)
    }
}

impl Sessions {
    /// A session that can be read: its record is here, and it has not ended.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] or [`ReadError::Ended`].
    pub fn readable(&self, session: SessionId) -> Result<&SessionInfo, ReadError> {
        let info = self.get(session).ok_or(ReadError::NotFound)?;
        if info.ended.is_some() { Err(ReadError::Ended) } else { Ok(info) }
    }

    /// What a new write of a key has seen. Empty for a key that was never written.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn context(
        &self,
        store: &dyn Read,
        session: SessionId,
        space: Space,
        key: &[u8],
    ) -> Result<Vec<Seen>, StoreError> {
        let entry = self.row(store, session, space, key)?;
        Ok(entry.map(|entry| entry.register.context()).unwrap_or_default())
    }

    /// The values of a key: the one that is shown, then those in conflict with it. None if there is no such key; a delete
    /// is listed only if it conflicts with a write.
    ///
    /// # Errors
    /// If the session is not there or has ended, or the content cannot be opened.
    pub fn values(
        &self,
        store: &dyn Read,
        keyring: &Keyring,
        journals: &Journals,
        session: SessionId,
        key: &[u8],
    ) -> Result<Vec<Value>, ReadError> {
        self.readable(session)?;
        let entry = self.row(store, session, Space::Entry, key)?;
        let live = entry.map(|entry| entry.register.live()).unwrap_or_default();
        if live.iter().all(|value| value.deleted) {
            return Ok(Vec::new());
        }
        live.iter().map(|value| read(store, keyring, journals, value)).collect()
    }

    /// The keys of a session that begin with `prefix` and stand behind `after`, ascending as bytes, at most `limit`; and
    /// whether there are more. A key that was deleted on one device and written on another at the same time is listed with what was
    /// written, so that the conflict can be seen.
    ///
    /// # Errors
    /// If the session is not there or has ended.
    pub fn keys(
        &self,
        store: &dyn Read,
        session: SessionId,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<KeyInfo>, bool), ReadError> {
        self.readable(session)?;
        let mut keys = Vec::new();
        self.each(store, session, |entry| {
            let wanted = entry.key.starts_with(prefix) && after.is_none_or(|after| entry.key.as_slice() > after);
            let shown = entry.register.live().into_iter().find(|value| !value.deleted);
            if let (Space::Entry, true, Some(ValueRef { op, time, size, .. })) = (entry.space, wanted, shown) {
                keys.push(KeyInfo { key: entry.key, time, device: op.journal.device, size: size.into() });
            }
        })?;
        keys.sort_by(|a, b| a.key.cmp(&b.key));
        let more = keys.len() > limit;
        keys.truncate(limit);
        Ok((keys, more))
    }

    /// All that has to be written anew to bring the open sessions along to another account: of each its record first, then
    /// its entries. Where values conflict, the one that is shown and is not a delete.
    ///
    /// # Errors
    /// If a content cannot be opened.
    pub fn export(&self, store: &dyn Read, keyring: &Keyring, journals: &Journals) -> Result<Vec<Exported>, ReadError> {
        let mut exported = Vec::new();
        for (session, _) in self.iter().filter(|(_, info)| info.ended.is_none()) {
            let mut entries = Vec::new();
            self.each(store, session, |entry| entries.push(entry))?;
            entries.sort_by(|a, b| (a.space, &a.key).cmp(&(b.space, &b.key)));
            for Entry { space, key, register, .. } in entries {
                let live = register.live();
                let Some(shown) = live.iter().find(|value| !value.deleted) else { continue };
                let value = read(store, keyring, journals, shown)?.bytes.ok_or(ReadError::Locked)?;
                exported.push(Exported { session, space, key, value, time: shown.time, conflicts: live.len() - 1 });
            }
        }
        Ok(exported)
    }
}

impl Sessions {
    fn each(&self, store: &dyn Read, session: SessionId, each: impl FnMut(Entry)) -> Result<(), StoreError> {
        self.summaries.get(&session).map_or(Ok(()), |summary| self.index.entries(store, summary.number, each))
    }
}

fn read(store: &dyn Read, keyring: &Keyring, journals: &Journals, value: &ValueRef) -> Result<Value, ReadError> {
    let device = value.op.journal.device;
    let bytes = match value.deleted {
        true => None,
        false => open(store, keyring, journals, value.op)?.value().map(<[u8]>::to_vec),
    };
    Ok(Value { bytes, time: value.time, device })
}

/// The content of an operation that is held here.
pub(super) fn open(store: &dyn Read, keyring: &Keyring, journals: &Journals, op: OpId) -> Result<Content, ReadError> {
    let operation = journals.operation(store, op.journal, op.number)?.ok_or(ReadError::Locked)?;
    let header = operation.header;
    let key = keyring.session_key(header.epoch, header.session).ok_or(ReadError::Locked)?;
    Content::open(&header, &key, operation.ciphertext()).map_err(|_| ReadError::Locked)
}

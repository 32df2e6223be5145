//! Operations become entries, sessions and names.

use super::content::{Glance, OpenError, Space};
use super::index::{self, Entry, EntryKey};
use super::record::{END_KEY, End, RECORD_KEY, Record};
use super::register::{Applied, OpId, ValueRef};
use super::{LABEL, Sessions, device_known_key, device_name_key, device_wrong_pins_key};
use crate::id::{DeviceId, EpochId, SessionId};
use crate::journal::Journals;
use crate::journal::operation::Header;
use crate::key;
use crate::limits::NAME_BYTES;
use crate::roster::keyring::Keyring;
use crate::store::{Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, Encode, Reader, Writer};

/// Waiting operations that are read at once.
const PAGE: usize = 256;

/// What an operation changed, for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session appeared: its record is here. Entries and an end may have come before it.
    Created {
        /// Which.
        session: SessionId,
    },
    /// The values of an entry are others than before, in a session that is open.
    Entry {
        /// Where.
        session: SessionId,
        /// Which.
        key: Vec<u8>,
        /// Whether it reads as absent now.
        deleted: bool,
        /// Who wrote.
        device: DeviceId,
    },
    /// A session is over.
    Ended {
        /// Which.
        session: SessionId,
        /// Who, when and why.
        end: End,
    },
    /// The account's label or a device's name changed.
    Account {
        /// [`LABEL`], or that of [`device_name_key`], [`device_known_key`] or [`device_wrong_pins_key`].
        key: Vec<u8>,
    },
}

impl Sessions {
    /// Takes in an operation that is in a journal, own or received.
    ///
    /// Its content is `opened`, or opened here. One whose epoch is not open yet waits. One that does not open or is malformed is counted, and changes nothing.
    ///
    /// # Errors
    /// If the store fails.
    pub fn apply(
        &mut self,
        store: &mut dyn Store,
        keyring: &Keyring,
        header: &Header,
        ciphertext: &[u8],
        opened: Option<&[u8]>,
    ) -> Result<Option<Change>, StoreError> {
        self.belong_to(keyring);
        let Some(key) = self.session_key(keyring, header.epoch, header.session) else {
            wait(store, header)?;
            return Ok(None);
        };
        let mut plain = std::mem::take(&mut self.opened);
        plain.clear();
        let opened = opened.or_else(|| {
            let content = key::open_behind(&key, &header.to_bytes(), ciphertext, &mut plain)?;
            plain.get(content)
        });
        let content = opened.map_or(Err(OpenError::Sealed), Glance::of);
        let change = match content {
            Ok(content) if self.allows(header, &content) => self.take_in(store, header, &content)?,
            Ok(_) | Err(OpenError::Sealed | OpenError::Malformed(_)) => {
                self.unreadable = self.unreadable.saturating_add(1);
                None
            }
            // It stays among the waiting ones, for the version that understands it.
            Err(OpenError::Newer) => {
                self.update_needed = true;
                wait(store, header)?;
                None
            }
            Err(OpenError::Ignorable) => None,
        };
        self.opened = plain;
        Ok(change)
    }

    /// Takes in the operations that waited for `epochs`, whose secrets are in `keyring` now.
    ///
    /// # Errors
    /// If the store fails.
    pub fn retry_waiting(
        &mut self,
        store: &mut dyn Store,
        keyring: &Keyring,
        journals: &Journals,
        epochs: &[EpochId],
    ) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        for epoch in epochs {
            let (mut from, to) = (epoch.0.to_vec(), prefix_end(epoch.as_bytes()));
            loop {
                let page = store.range(Table::Waiting, &from, &to, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                from = index::after(last);
                for (name, _) in page {
                    changes.extend(self.retry(store, keyring, journals, &name)?);
                }
            }
        }
        Ok(changes)
    }

    fn retry(
        &mut self,
        store: &mut dyn Store,
        keyring: &Keyring,
        journals: &Journals,
        name: &[u8],
    ) -> Result<Option<Change>, StoreError> {
        // Applying puts the row back if it has to go on waiting.
        store.delete(Table::Waiting, name)?;
        let Some(op) = waiting_op(name) else { return Ok(None) };
        match journals.operation(store, op.journal, op.number)? {
            Some(operation) => self.apply(store, keyring, &operation.header, operation.ciphertext(), None),
            None => Ok(None),
        }
    }

    /// Whether content means what it may mean: nobody deletes a record or an end, ends a session in another's name, or
    /// ends the account session. The answer depends on the operation alone, so it is the same on every device.
    fn allows(&self, header: &Header, content: &Glance<'_>) -> bool {
        if content.space == Space::Entry {
            return true;
        }
        let (key, value) = (content.key, content.value);
        Some(header.session) != self.account
            && match value {
                Some(value) if key == RECORD_KEY => Record::from_bytes(value).is_ok(),
                Some(value) if key == END_KEY => {
                    End::from_bytes(value).is_ok_and(|end| end.by == header.journal.device)
                }
                _ => key != RECORD_KEY && key != END_KEY,
            }
    }

    fn take_in(
        &mut self,
        store: &mut dyn Store,
        header: &Header,
        content: &Glance<'_>,
    ) -> Result<Option<Change>, StoreError> {
        let number = self.summary(header.session).number;
        let name = self.index.name(number, header.session, content.space, content.key);
        let old = self.index.entry(store, &name)?;
        let mut entry = old.clone().unwrap_or_else(|| Entry {
            space: content.space,
            key: content.key.to_vec(),
            changed: 0,
            register: super::register::Register::default(),
        });
        let applied = entry.register.apply(value_ref(header, content), &content.context);
        if applied.changed {
            self.note_change(store, header.session, &name, &mut entry)?;
        }
        if old.as_ref() != Some(&entry) {
            self.index.put_entry(store, &name, &entry)?;
        }
        self.note_covered(store, &name, &applied)?;
        Ok(self.summarize(header, content, &entry, &applied))
    }

    /// Remembers which operations were covered, and by which, for [`Sessions::sweep`]. The first one that covered is kept:
    /// the others will have reported it first.
    fn note_covered(&self, store: &mut dyn Store, name: &EntryKey, applied: &Applied) -> Result<(), StoreError> {
        let written = |op| {
            let mut w = Writer::new();
            self.index.authors().write_op(&mut w, op);
            w.finish()
        };
        for (op, by) in &applied.covered {
            let key = written(*op);
            if store.get(Table::Covered, &key)?.is_none() {
                store.put(Table::Covered, &key, &[&name[..], &written(*by)].concat())?;
            }
        }
        Ok(())
    }

    /// Brings the session's summary up to date, and says what a client should hear.
    fn summarize(&mut self, header: &Header, content: &Glance<'_>, entry: &Entry, applied: &Applied) -> Option<Change> {
        let session = header.session;
        let (is_account, kept) = (Some(session) == self.account, self.is_kept(session, content));
        let summary = self.summary(session);
        let (had_record, was_ended) = (summary.info().is_some(), summary.ended());
        summary.touch(content.time);
        if kept {
            let op = OpId { journal: header.journal, number: header.number };
            summary.keep(content.space, content.key, &entry.register, (op, content.time, content.value));
        }
        summary.refresh();
        let key = content.key.to_vec();
        let (has_record, end) = (summary.info().is_some(), summary.end());
        match content.space {
            Space::Record if has_record && !had_record => Some(Change::Created { session }),
            Space::Record => end.filter(|_| has_record && !was_ended).map(|end| Change::Ended { session, end }),
            Space::Entry if !applied.changed => None,
            Space::Entry if is_account => kept.then_some(Change::Account { key }),
            Space::Entry if !has_record || was_ended => None,
            Space::Entry => {
                let deleted = entry.register.live().first().is_none_or(|value| value.deleted);
                Some(Change::Entry { session, key, deleted, device: header.journal.device })
            }
        }
    }

    /// Whether a key's values are kept in memory.
    fn is_kept(&self, session: SessionId, content: &Glance<'_>) -> bool {
        let key = content.key;
        match content.space {
            Space::Record => key == RECORD_KEY || key == END_KEY,
            Space::Entry if Some(session) == self.account => {
                let short = content.value.is_none_or(|value| value.len() <= NAME_BYTES);
                short && (key == LABEL || named_device(key).is_some() || about_device(key))
            }
            Space::Entry => false,
        }
    }
}

/// The device that a key of the account session names.
#[must_use]
pub fn named_device(key: &[u8]) -> Option<DeviceId> {
    let text = std::str::from_utf8(key).ok()?;
    let device = text.strip_prefix("device/")?.strip_suffix("/name")?.parse().ok()?;
    // Upper case parses too; there is one key for each device.
    (device_name_key(device) == key).then_some(device)
}

/// Whether a key of the account session says that a device is known, or of wrong PINs there.
fn about_device(key: &[u8]) -> bool {
    let device = || std::str::from_utf8(key).ok()?.strip_prefix("device/")?.get(..64)?.parse().ok();
    device().is_some_and(|device| device_known_key(device) == key || device_wrong_pins_key(device) == key)
}

fn value_ref(header: &Header, content: &Glance<'_>) -> ValueRef {
    ValueRef {
        op: OpId { journal: header.journal, number: header.number },
        time: content.time,
        deleted: content.value.is_none(),
        // Values are bounded far below 4 GiB.
        size: content.value.map_or(0, |value| u32::try_from(value.len()).unwrap_or(u32::MAX)),
    }
}

fn wait(store: &mut dyn Store, header: &Header) -> Result<(), StoreError> {
    let op = OpId { journal: header.journal, number: header.number };
    store.put(Table::Waiting, &[&header.epoch.0[..], &op.to_bytes()].concat(), &[])
}

/// The operation that a row of [`Table::Waiting`] names.
fn waiting_op(name: &[u8]) -> Option<OpId> {
    let mut r = Reader::new(name);
    EpochId::decode(&mut r).ok()?;
    OpId::decode(&mut r).ok()
}

//! Sessions and their entries: PROTOCOL.md section 8, over the operations of the journals.
//!
//! An operation goes through [`Sessions::apply`] once it is in a journal, whoever wrote it, in any order and as often as one
//! likes: the index is a function of the set of operations. To write, make a [`Content`] with what was seen of its key
//! ([`Sessions::context`]), seal it, append it to the own journal, and apply it.
//!
//! Nothing is stored in plain: rows are named by a PRF of (session, space, key) and sealed under the index key; values stay in
//! the operations, sealed once by their writer. Records, ends and the names in the account session are opened into memory.
//!
//! An operation whose epoch is not open yet waits ([`Sessions::retry_waiting`]); one that cannot be read is counted
//! ([`Sessions::unreadable`]) and never stops the others. When operations that were applied no longer count
//! (their author was revoked), [`Sessions::clear`] and apply anew those that still do.

pub mod apply;
mod authors;
pub mod changes;
pub mod compact;
pub mod content;
mod index;
pub mod limit;
pub mod read;
pub mod record;
pub mod register;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use apply::Change;
pub use changes::Changed;
pub use content::{Content, OpenError, Seen, Space, Write};
pub use limit::LimitError;
pub use read::{Exported, KeyInfo, ReadError, Value};
pub use record::{End, Record};
pub use register::OpId;

use self::index::{Entry, EntryKey, Index};
use self::summary::Summary;
use zeroize::Zeroizing;

use crate::id::{AccountId, DeviceId, EpochId, RunId, SessionId};
use crate::key::{self, Secret};
use crate::roster::keyring::Keyring;
use crate::store::{Read, Store, StoreError, Table};
use crate::time::Wall;

/// The key of the account's label, in the account session.
pub const LABEL: &[u8] = b"label";

/// The session that holds the account's label and the devices' names: the first 16 bytes of
/// `H("account session", account)`.
#[must_use]
pub fn account_session(account: AccountId) -> SessionId {
    let hash = key::hash("account session", &[account.as_bytes()]);
    let mut id = [0; SessionId::LEN];
    id.copy_from_slice(&hash.0[..SessionId::LEN]);
    SessionId(id)
}

/// The key of a device's name, in the account session.
#[must_use]
pub fn device_name_key(device: DeviceId) -> Vec<u8> {
    format!("device/{device}/name").into_bytes()
}

/// The key under which somebody said that a newly linked device is known, in the account session.
#[must_use]
pub fn device_known_key(device: DeviceId) -> Vec<u8> {
    format!("device/{device}/known").into_bytes()
}

/// The key under which a device says how many wrong PINs in a row were typed there, in the account session.
#[must_use]
pub fn device_wrong_pins_key(device: DeviceId) -> Vec<u8> {
    format!("device/{device}/wrong-pins").into_bytes()
}

/// A session, as its record says, and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// The app's id.
    pub app: String,
    /// What people see, as its maker wrote it: clean it before it is shown.
    pub title: String,
    /// Where it was made.
    pub creator: DeviceId,
    /// When, by that device's clock.
    pub created: Wall,
    /// The latest write, by its writer's clock.
    pub last_active: Wall,
    /// When it ends by itself; 0 is never.
    pub expires: Wall,
    /// Who ended it, when and why.
    pub ended: Option<End>,
}

/// All sessions of an account: an index over the store, and what lists show in memory.
pub struct Sessions {
    index: Index,
    account: Option<SessionId>,
    summaries: BTreeMap<SessionId, Summary>,
    /// Those whose rows are to be written: [`Sessions::settle`].
    unwritten: BTreeSet<SessionId>,
    /// What was opened last, of this batch.
    opened: Zeroizing<Vec<u8>>,
    /// The key of the last one: operations come in runs of one session.
    last_key: Option<(EpochId, SessionId, Secret)>,
    unreadable: u64,
    update_needed: bool,
    /// Where the next sweep goes on.
    swept: Vec<u8>,
    /// Which run gives numbers to changes.
    run: RunId,
}

/// Titles and names are the user's: not shown.
impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sessions({}, {} unreadable operations)", self.summaries.len(), self.unreadable)
    }
}

impl Sessions {
    /// Opens the sessions in `store`. `index_key` is this device's own.
    ///
    /// # Errors
    /// If the store cannot be read, or was sealed under another index key.
    pub fn load(store: &dyn Read, index_key: &Secret, keyring: &Keyring) -> Result<Self, StoreError> {
        let index = Index::load(store, index_key)?;
        let summaries = index.summaries(store)?;
        let account = keyring.account().map(account_session);
        Ok(Self {
            index,
            account,
            summaries,
            unwritten: BTreeSet::new(),
            opened: Zeroizing::default(),
            last_key: None,
            unreadable: 0,
            update_needed: false,
            swept: Vec::new(),
            run: RunId::NONE,
        })
    }

    /// Forgets everything, in memory and in the store, but the operations themselves. Cursors that were given out no longer
    /// hold.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn clear(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        for table in [Table::Entries, Table::Sessions, Table::Waiting, Table::Covered] {
            store.clear(table)?;
        }
        Self::begin_history(store)?;
        self.summaries.clear();
        self.unwritten.clear();
        self.swept.clear();
        (self.unreadable, self.update_needed) = (0, false);
        Ok(())
    }

    /// Ends a batch of operations, inside the same transaction: to be called after any number of [`Self::apply`].
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn settle(&mut self, store: &mut dyn Store) -> Result<(), StoreError> {
        self.opened = Zeroizing::default();
        self.last_key = None;
        for session in std::mem::take(&mut self.unwritten) {
            if let Some(summary) = self.summaries.get(&session) {
                self.index.put_summary(store, session, summary)?;
            }
        }
        Ok(())
    }

    /// A session whose record is here.
    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<&SessionInfo> {
        self.summaries.get(&session)?.info()
    }

    /// Every session whose record is here, ended ones included, by id.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &SessionInfo)> {
        self.summaries.iter().filter_map(|(id, summary)| Some((*id, summary.info()?)))
    }

    /// How many sessions are open in all.
    #[must_use]
    pub fn open(&self) -> usize {
        self.iter().filter(|(_, info)| info.ended.is_none()).count()
    }

    /// How many sessions of `app` are open.
    #[must_use]
    pub fn open_of(&self, app: &str) -> usize {
        self.iter().filter(|(_, info)| info.ended.is_none() && info.app == app).count()
    }

    /// The account's label, as its writer wrote it.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.account_text(LABEL)
    }

    /// The name that a device was given after it was linked, as its writer wrote it.
    #[must_use]
    pub fn device_name(&self, device: DeviceId) -> Option<&str> {
        self.account_text(&device_name_key(device))
    }

    /// Whether somebody has dismissed the notice of a newly linked device, on whichever device.
    #[must_use]
    pub fn is_known(&self, device: DeviceId) -> bool {
        self.account_text(&device_known_key(device)).is_some()
    }

    /// How many wrong PINs in a row were typed on a device, as it says.
    #[must_use]
    pub fn wrong_pins(&self, device: DeviceId) -> u32 {
        self.account_text(&device_wrong_pins_key(device)).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// How many operations could not be read since this was loaded: sealed under another key than their header says, or
    /// malformed. Their writer is at fault.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Whether an operation says that it must be understood, and was made by a newer version.
    #[must_use]
    pub fn update_needed(&self) -> bool {
        self.update_needed
    }

    /// The account is that of the keyring; it comes and goes with it.
    fn belong_to(&mut self, keyring: &Keyring) {
        self.account = keyring.account().map(account_session);
    }

    /// The name of a key's row; `None` in a session of which nothing is here.
    fn name(&self, session: SessionId, space: Space, key: &[u8]) -> Option<EntryKey> {
        Some(self.index.name(self.summaries.get(&session)?.number, session, space, key))
    }

    /// The row of a key.
    fn row(&self, store: &dyn Read, session: SessionId, space: Space, key: &[u8]) -> Result<Option<Entry>, StoreError> {
        self.name(session, space, key).map_or(Ok(None), |name| self.index.entry(store, &name))
    }

    /// What is known of a session, made where there is nothing yet.
    fn summary(&mut self, session: SessionId) -> &mut Summary {
        // Numbers are not given again before the index is built anew.
        let next = || u32::try_from(self.summaries.len()).unwrap_or(u32::MAX);
        let number = if self.summaries.contains_key(&session) { 0 } else { next() };
        self.unwritten.insert(session);
        self.summaries.entry(session).or_insert_with(|| Summary::numbered(number))
    }

    /// The key of a session's operations in an epoch; `None` while its secret is not held.
    fn session_key(&mut self, keyring: &Keyring, epoch: EpochId, session: SessionId) -> Option<Secret> {
        keyring.secret(epoch)?;
        match &self.last_key {
            Some((of, at, key)) if (*of, *at) == (epoch, session) => Some(key.clone()),
            _ => {
                let key = keyring.session_key(epoch, session)?;
                self.last_key = Some((epoch, session, key.clone()));
                Some(key)
            }
        }
    }

    fn account_text(&self, key: &[u8]) -> Option<&str> {
        let value = self.summaries.get(&self.account?)?.shown(Space::Entry, key)?;
        std::str::from_utf8(value).ok()
    }
}

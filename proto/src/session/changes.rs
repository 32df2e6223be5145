//! Which entries of a session changed since an app last looked, and which version of one it has seen.
//!
//! Each change of an entry gets the next number of its session, in the order in which it happened *here*: a device that hears of
//! things in another order numbers them otherwise, so a number is never signed, sealed or sent. An entry keeps only its
//! newest number. A [`Cursor`] is the number up to which an app has read, with a MAC that ties it to this device, this
//! session and this history, which ends when the index is built anew ([`Sessions::clear`]), and to the run of the daemon
//! in which that number was given: on a disk that was restored another run gives it again, to something else.
//!
//! Rows of [`Table::Changes`], whose names say no more than those of [`Table::Entries`]:
//!
//! | key | value |
//! | --- | --- |
//! | `history` | `u64`: how often the index was built anew |
//! | session, 0 | `u64`: the highest number given; the run in which it was |
//! | session, 1, PRF of (space, key) | `u64`: the number of the entry's last change |
//! | session, 2, number `u64` | the PRF |
//! | session, 3, the complement of a number | the run in which that one and those up to the next such row were given |

use super::Sessions;
use super::content::Space;
use super::index::{self, Entry, EntryKey};
use super::read::{KeyInfo, ReadError};
use crate::id::{Cursor, RunId, SessionId, Version};
use crate::key::{self, Secret};
use crate::store::{Read, Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, Encode};

const HISTORY: &[u8] = b"history";
const LAST: u8 = 0;
const BY_ROW: u8 = 1;
const BY_NUMBER: u8 = 2;
const RUNS: u8 = 3;
/// Bytes of a number in front of a cursor's MAC.
const NUMBER: usize = 8;

/// An entry that changed, as it is now.
#[derive(Clone, PartialEq, Eq)]
pub struct Changed {
    /// The value that a listing shows; if there is none, the delete that counts, of size 0.
    pub now: KeyInfo,
    /// Whether a listing does not show the key.
    pub deleted: bool,
}

/// Keys are the user's: not shown.
impl std::fmt::Debug for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Changed({:?}, deleted: {})", self.now, self.deleted)
    }
}

impl Sessions {
    /// The entries of a session that changed behind `cursor`, or all that ever were, each once, those that changed longest ago
    /// first, at most `limit`; and the cursor behind them. None means that there are no more.
    ///
    /// # Errors
    /// [`ReadError::StartOver`] if the cursor is not one of this session and history; if the session is not there or has ended.
    pub fn changes_since(
        &self,
        store: &dyn Read,
        session: SessionId,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<(Vec<Changed>, Cursor), ReadError> {
        self.readable(session)?;
        let mut at = match cursor {
            None => 0,
            Some(cursor) => self.read_cursor(store, session, cursor)?.ok_or(ReadError::StartOver)?,
        };
        let (mut found, end) = (Vec::new(), prefix_end(&row(session, BY_NUMBER, &[])));
        while found.len() < limit {
            let from = row(session, BY_NUMBER, &at.saturating_add(1).to_be_bytes());
            let rows = store.range(Table::Changes, &from, &end, limit - found.len())?;
            let Some((newest, _)) = rows.last() else { break };
            at = number(newest.get(from.len() - NUMBER..))?;
            for (_, prf) in rows {
                let entry = self.index.entry(store, &[session.as_bytes(), prf.as_slice()].concat())?;
                found.extend(entry.and_then(changed));
            }
        }
        Ok((found, self.cursor(store, session, at)?))
    }

    /// Which values of a key are live, as an opaque token: it changes with every write of the key that arrives here, from
    /// wherever. `None` if a listing does not show the key.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn version(&self, store: &dyn Read, session: SessionId, key: &[u8]) -> Result<Option<Version>, StoreError> {
        let entry = self.index.entry(store, &self.index.name(session, Space::Entry, key))?;
        Ok(entry.and_then(|entry| version(self.index.prf(), session, &entry)))
    }

    /// Begins a run, which gives the numbers from now on: to be called after [`Self::load`]. The entries of a store that was
    /// made before there were numbers get one each.
    ///
    /// # Errors
    /// If the store fails.
    pub fn begin_run(&mut self, store: &mut dyn Store, run: RunId) -> Result<(), StoreError> {
        self.run = run;
        if history(store)?.is_some() {
            return Ok(());
        }
        put(store, HISTORY, 0)?;
        let mut names = Vec::new();
        index::rows(store, Table::Entries, &[], |(name, _)| {
            names.push(name);
            Ok(())
        })?;
        for name in names {
            let entry = self.index.entry(store, &name)?;
            if let (Some(entry), Ok(name)) = (entry, EntryKey::try_from(name)) {
                self.note_change(store, &name, &entry)?;
            }
        }
        Ok(())
    }

    /// Gives an entry the next number. The names in the account session are nothing that apps read.
    pub(super) fn note_change(&self, store: &mut dyn Store, name: &EntryKey, entry: &Entry) -> Result<(), StoreError> {
        let (session, prf) = index::place_of(name);
        if entry.space != Space::Entry || Some(session) == self.account {
            return Ok(());
        }
        let of_row = row(session, BY_ROW, prf);
        if let Some(old) = store.get(Table::Changes, &of_row)? {
            store.delete(Table::Changes, &row(session, BY_NUMBER, &old))?;
        }
        let (last, run) = last(store, session)?;
        let next = last.saturating_add(1);
        if run != self.run {
            store.put(Table::Changes, &row(session, RUNS, &(!next).to_be_bytes()), &self.run.0)?;
        }
        store.put(Table::Changes, &row(session, LAST, &[]), &[&next.to_be_bytes()[..], &self.run.0].concat())?;
        put(store, &of_row, next)?;
        store.put(Table::Changes, &row(session, BY_NUMBER, &next.to_be_bytes()), prf)
    }

    /// Forgets all numbers, and with them every cursor that was given out.
    pub(super) fn begin_history(store: &mut dyn Store) -> Result<(), StoreError> {
        let next = history(store)?.unwrap_or_default().saturating_add(1);
        store.clear(Table::Changes)?;
        put(store, HISTORY, next)
    }
}

impl Sessions {
    fn cursor(&self, store: &dyn Read, session: SessionId, number: u64) -> Result<Cursor, StoreError> {
        let history = history(store)?.unwrap_or_default().to_be_bytes();
        let (run, number) = (run_of(store, session, number)?, number.to_be_bytes());
        let mac = key::mac(self.index.prf(), "cursor", &[session.as_bytes(), &history, &run.0, &number]);
        let mut cursor = [0; Cursor::LEN];
        cursor[..NUMBER].copy_from_slice(&number);
        cursor[NUMBER..].copy_from_slice(&mac[..Cursor::LEN - NUMBER]);
        Ok(Cursor(cursor))
    }

    /// The number of a cursor, if it holds.
    fn read_cursor(&self, store: &dyn Read, session: SessionId, cursor: Cursor) -> Result<Option<u64>, StoreError> {
        let at = number(cursor.0.get(..NUMBER))?;
        let given = at <= last(store, session)?.0;
        Ok((given && key::same(&self.cursor(store, session, at)?.0, &cursor.0)).then_some(at))
    }
}

/// The run in which a number was given; none for 0.
fn run_of(store: &dyn Read, session: SessionId, number: u64) -> Result<RunId, StoreError> {
    let from = row(session, RUNS, &(!number).to_be_bytes());
    let found = store.range(Table::Changes, &from, &prefix_end(&row(session, RUNS, &[])), 1)?;
    found.first().map_or(Ok(RunId::NONE), |(_, run)| to_run(run))
}

/// An entry as it is told; a key that was only ever heard of in the context of others is none.
fn changed(entry: Entry) -> Option<Changed> {
    if entry.space != Space::Entry {
        return None;
    }
    let live = entry.register.live();
    let shown = live.iter().find(|value| !value.deleted);
    let value = shown.or(live.first())?;
    let now = KeyInfo { key: entry.key, time: value.time, device: value.op.journal.device, size: value.size.into() };
    Some(Changed { now, deleted: shown.is_none() })
}

/// A MAC rather than a hash: it must not tell an app how much the devices write elsewhere.
fn version(prf: &Secret, session: SessionId, entry: &Entry) -> Option<Version> {
    let live = entry.register.live();
    if live.iter().all(|value| value.deleted) {
        return None;
    }
    let ops: Vec<u8> = live.iter().flat_map(|value| value.op.to_bytes()).collect();
    let mac = key::mac(prf, "version", &[session.as_bytes(), &ops]);
    let mut version = [0; Version::LEN];
    version.copy_from_slice(&mac[..Version::LEN]);
    Some(Version(version))
}

fn row(session: SessionId, kind: u8, rest: &[u8]) -> Vec<u8> {
    [session.as_bytes(), &[kind][..], rest].concat()
}

fn history(store: &dyn Read) -> Result<Option<u64>, StoreError> {
    store.get(Table::Changes, HISTORY)?.map(|bytes| number(Some(&bytes))).transpose()
}

/// The highest number given, and in which run.
fn last(store: &dyn Read, session: SessionId) -> Result<(u64, RunId), StoreError> {
    match store.get(Table::Changes, &row(session, LAST, &[]))? {
        None => Ok((0, RunId::NONE)),
        Some(bytes) => Ok((number(bytes.get(..NUMBER))?, to_run(bytes.get(NUMBER..).unwrap_or_default())?)),
    }
}

fn to_run(bytes: &[u8]) -> Result<RunId, StoreError> {
    RunId::from_bytes(bytes).map_err(|_| damaged())
}

fn put(store: &mut dyn Store, key: &[u8], number: u64) -> Result<(), StoreError> {
    store.put(Table::Changes, key, &number.to_be_bytes())
}

fn number(bytes: Option<&[u8]>) -> Result<u64, StoreError> {
    let bytes = bytes.and_then(|bytes| <[u8; NUMBER]>::try_from(bytes).ok());
    bytes.map(u64::from_be_bytes).ok_or_else(damaged)
}

fn damaged() -> StoreError {
    StoreError("a row of the order of changes is damaged".into())
}

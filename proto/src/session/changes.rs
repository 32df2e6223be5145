//! Which entries of a session changed since an app last looked, and which version of one it has seen.
//!
//! Each change of an entry gets the next number of its session, in the order in which it happened *here*: a device that hears of
//! things in another order numbers them otherwise, so a number is never signed, sealed or sent. An entry keeps only its
//! newest number. A [`Cursor`] is the number up to which an app has read, with a MAC that ties it to this device, this
//! session and this history, which ends when the index is built anew ([`Sessions::clear`]), and to the run of the daemon
//! in which that number was given: on a disk that was restored another run gives it again, to something else.
//!
//! An entry's row has its number, and that of its session the highest that was given and the run in which it was. Rows of
//! [`Table::Changes`], whose names say no more than those of [`Table::Entries`], by the session's number `u32`:
//!
//! | key | value |
//! | --- | --- |
//! | session, 0, number `u64` | the PRF in the name of the entry's row |
//! | session, 1, the complement of a number | the run in which that one and those up to the next such row were given |
//!
//! How often the index was built anew stands in [`Table::Meta`].

use super::Sessions;
use super::content::Space;
use super::index::{self, Entry, EntryKey};
use super::read::{KeyInfo, ReadError};
use crate::id::{Cursor, RunId, SessionId, Version};
use crate::key::{self, Secret};
use crate::store::{Read, Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, Encode};

const HISTORY: &[u8] = b"index history";
const BY_NUMBER: u8 = 0;
const RUNS: u8 = 1;
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
        let Some(place) = self.summaries.get(&session).map(|summary| summary.number) else {
            return Err(ReadError::NotFound);
        };
        let mut at = match cursor {
            None => 0,
            Some(cursor) => self.read_cursor(store, session, cursor)?.ok_or(ReadError::StartOver)?,
        };
        let (mut found, end) = (Vec::new(), prefix_end(&row(place, BY_NUMBER, &[])));
        while found.len() < limit {
            let from = row(place, BY_NUMBER, &at.saturating_add(1).to_be_bytes());
            let rows = store.range(Table::Changes, &from, &end, limit - found.len())?;
            let Some((newest, _)) = rows.last() else { break };
            at = number(newest.get(from.len() - NUMBER..))?;
            for (_, prf) in rows {
                let entry = self.index.entry(store, &[&place.to_be_bytes(), prf.as_slice()].concat())?;
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
        let entry = self.row(store, session, Space::Entry, key)?;
        Ok(entry.and_then(|entry| version(self.index.prf(), session, &entry)))
    }

    /// Begins a run, which gives the numbers from now on: to be called after [`Self::load`].
    pub fn begin_run(&mut self, run: RunId) {
        self.run = run;
    }

    /// Gives an entry the next number. The names in the account session are nothing that apps read.
    pub(super) fn note_change(
        &mut self,
        store: &mut dyn Store,
        session: SessionId,
        name: &EntryKey,
        entry: &mut Entry,
    ) -> Result<(), StoreError> {
        if entry.space != Space::Entry || Some(session) == self.account {
            return Ok(());
        }
        let (place, prf) = index::place_of(name);
        if entry.changed > 0 {
            store.delete(Table::Changes, &row(place, BY_NUMBER, &entry.changed.to_be_bytes()))?;
        }
        let now = self.run;
        let summary = self.summary(session);
        let (last, run) = summary.last;
        let next = last.saturating_add(1);
        summary.last = (next, now);
        if run != now {
            store.put(Table::Changes, &row(place, RUNS, &(!next).to_be_bytes()), &now.0)?;
        }
        entry.changed = next;
        store.put(Table::Changes, &row(place, BY_NUMBER, &next.to_be_bytes()), prf)
    }

    /// Forgets all numbers, and with them every cursor that was given out.
    pub(super) fn begin_history(store: &mut dyn Store) -> Result<(), StoreError> {
        let next = history(store)?.unwrap_or_default().saturating_add(1);
        store.clear(Table::Changes)?;
        store.put(Table::Meta, HISTORY, &next.to_be_bytes())
    }
}

impl Sessions {
    fn cursor(&self, store: &dyn Read, session: SessionId, number: u64) -> Result<Cursor, StoreError> {
        let history = history(store)?.unwrap_or_default().to_be_bytes();
        let place = self.summaries.get(&session).map_or(u32::MAX, |summary| summary.number);
        let (run, number) = (run_of(store, place, number)?, number.to_be_bytes());
        let mac = key::mac(self.index.prf(), "cursor", &[session.as_bytes(), &history, &run.0, &number]);
        let mut cursor = [0; Cursor::LEN];
        cursor[..NUMBER].copy_from_slice(&number);
        cursor[NUMBER..].copy_from_slice(&mac[..Cursor::LEN - NUMBER]);
        Ok(Cursor(cursor))
    }

    /// The number of a cursor, if it holds.
    fn read_cursor(&self, store: &dyn Read, session: SessionId, cursor: Cursor) -> Result<Option<u64>, StoreError> {
        let at = number(cursor.0.get(..NUMBER))?;
        let given = self.summaries.get(&session).is_some_and(|summary| at <= summary.last.0);
        Ok((given && key::same(&self.cursor(store, session, at)?.0, &cursor.0)).then_some(at))
    }
}

/// The run in which a number was given; none for 0.
fn run_of(store: &dyn Read, place: u32, number: u64) -> Result<RunId, StoreError> {
    let from = row(place, RUNS, &(!number).to_be_bytes());
    let found = store.range(Table::Changes, &from, &prefix_end(&row(place, RUNS, &[])), 1)?;
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

fn row(place: u32, kind: u8, rest: &[u8]) -> Vec<u8> {
    [&place.to_be_bytes(), &[kind][..], rest].concat()
}

fn history(store: &dyn Read) -> Result<Option<u64>, StoreError> {
    store.get(Table::Meta, HISTORY)?.map(|bytes| number(Some(&bytes))).transpose()
}

fn to_run(bytes: &[u8]) -> Result<RunId, StoreError> {
    RunId::from_bytes(bytes).map_err(|_| damaged())
}

fn number(bytes: Option<&[u8]>) -> Result<u64, StoreError> {
    let bytes = bytes.and_then(|bytes| <[u8; NUMBER]>::try_from(bytes).ok());
    bytes.map(u64::from_be_bytes).ok_or_else(damaged)
}

fn damaged() -> StoreError {
    StoreError("a row of the order of changes is damaged".into())
}

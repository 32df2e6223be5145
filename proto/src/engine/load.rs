//! Loading an engine over a store.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::local::Local;
use super::view::View;
use super::{Changed, Config, Cx, Engine};
use crate::id::{AccountId, DeviceId, EpochId};
use crate::journal::Journals;
use crate::key::{self, Secret};
use crate::roster::Roster;
use crate::roster::keyring::Keyring;
use crate::session::Sessions;
use crate::store::{Read, Store, StoreError, Table, prefix_end};
use crate::sync::report::Report;

/// Rows read at a time.
const ROWS: usize = 1024;
const INDEX_KEY: &[u8] = b"index key";

/// Why an engine cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What stands in the store is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store was sealed under another key.
    #[error("the store is sealed under another key: was the key file replaced?")]
    WrongKey,
}

impl Engine {
    /// Loads what the store holds; an empty store is a new device.
    ///
    /// # Errors
    /// If the store cannot be read, is damaged, or is sealed under another key.
    pub fn load(config: Config, cx: &mut Cx<'_>) -> Result<Self, LoadError> {
        let local = Local::load(cx.store)?;
        if local.erasing {
            // The power may have gone between the new store key and the note that it is in use.
            forget_sealed(cx.store)?;
        }
        let roster = load_roster(cx.store)?;
        let keyring = load_keyring(&config, &roster, cx.store)?;
        let journals = Journals::load(cx.store)?;
        let index_key = load_index_key(&config, cx)?;
        let mut sessions = Sessions::load(cx.store, &index_key, &keyring)?;
        sessions.begin_run(config.run);
        let mut engine = Self {
            config,
            local,
            roster,
            keyring,
            journals,
            sessions,
            reports: load_reports(cx.store)?,
            peers: BTreeMap::new(),
            conns: BTreeMap::new(),
            pushes: BTreeMap::new(),
            links: BTreeMap::new(),
            show: None,
            join: None,
            pairings: 0,
            addresses: Vec::new(),
            port: 0,
            pings: super::ping::Pings::default(),
            report_due: None,
            tell: super::tell::Tell::default(),
            unsaved: super::unsaved::Unsaved::default(),
            sweep_due: None,
            discovery: super::discovery::Told::default(),
            counted: cx.now.mono,
            pin: super::pin::Pin::load(cx.store)?,
            met: false,
            restored: super::restored::Restored::load(cx.store)?,
            clones: super::clones::Clones::default(),
            changed: Changed { view: true, keys: true, ..Changed::default() },
            view: Arc::new(View::default()),
            outputs: VecDeque::new(),
        };
        engine.peers = super::peers::load(cx.store)?;
        engine.admit();
        // No challenge survives this, so nobody may come in for one.
        engine.outputs.push_back(super::io::Output::CloseLinking);
        if engine.local.erasing {
            engine.outputs.push_back(super::io::Output::EraseKeys);
        }
        Ok(engine)
    }

    /// Says that the store key was replaced: what was sealed under the old one is gone for good.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn keys_erased(store: &mut dyn Store) -> Result<(), StoreError> {
        let mut local = Local::load(store)?;
        local.erasing = false;
        forget_sealed(store)?;
        local.save(store)
    }

    pub(super) fn keep_secret(&mut self, cx: &mut Cx<'_>, epoch: EpochId, secret: Secret) -> Result<(), StoreError> {
        let sealed = key::seal(&self.config.store_key, epoch.as_bytes(), &secret.0, cx.entropy);
        cx.store.put(Table::Secrets, epoch.as_bytes(), &sealed)?;
        self.keyring.insert(epoch, secret);
        self.changed.keys = true;
        Ok(())
    }
}

/// All rows of a table, in pieces.
pub(super) fn rows(store: &dyn Read, table: Table) -> Result<Vec<crate::store::Row>, StoreError> {
    let (mut all, mut from) = (Vec::new(), Vec::new());
    let end = prefix_end(&[u8::MAX]);
    loop {
        let piece = store.range(table, &from, &end, ROWS)?;
        let Some((last, _)) = piece.last() else { return Ok(all) };
        from = [last.as_slice(), &[0]].concat();
        all.extend(piece);
    }
}

fn load_roster(store: &dyn Read) -> Result<Roster, LoadError> {
    let mut roster = Roster::new();
    let statements: Vec<Vec<u8>> = rows(store, Table::Statements)?.into_iter().map(|(_, bytes)| bytes).collect();
    roster.insert(&statements).map_err(|error| LoadError::Damaged(error.to_string()))?;
    Ok(roster)
}

fn load_keyring(config: &Config, roster: &Roster, store: &dyn Read) -> Result<Keyring, LoadError> {
    let Some(account) = roster.account() else { return Ok(Keyring::default()) };
    let mut keyring = Keyring::new(account);
    for (epoch, sealed) in rows(store, Table::Secrets)? {
        let id = <[u8; 32]>::try_from(epoch).map(EpochId).map_err(|_| LoadError::Damaged("an epoch's name".into()))?;
        keyring.insert(id, open_secret(config, id.as_bytes(), &sealed)?);
    }
    Ok(keyring)
}

fn load_index_key(config: &Config, cx: &mut Cx<'_>) -> Result<Secret, LoadError> {
    if let Some(sealed) = cx.store.get(Table::Meta, INDEX_KEY)? {
        return open_secret(config, INDEX_KEY, &sealed);
    }
    let fresh = Secret::random(cx.entropy);
    let sealed = key::seal(&config.store_key, INDEX_KEY, &fresh.0, cx.entropy);
    cx.store.put(Table::Meta, INDEX_KEY, &sealed)?;
    Ok(fresh)
}

/// Forgets what is sealed under the store key: the epoch secrets, and the index key, without which what it indexed
/// cannot be looked up.
pub(super) fn forget_sealed(store: &mut dyn Store) -> Result<(), StoreError> {
    store.clear(Table::Secrets)?;
    store.delete(Table::Meta, INDEX_KEY)
}

fn open_secret(config: &Config, aad: &[u8], sealed: &[u8]) -> Result<Secret, LoadError> {
    let plain = key::open(&config.store_key, aad, sealed).ok_or(LoadError::WrongKey)?;
    let bytes = <[u8; 32]>::try_from(plain.as_slice()).map_err(|_| LoadError::Damaged("a secret's length".into()))?;
    Ok(Secret(bytes))
}

fn load_reports(store: &dyn Read) -> Result<BTreeMap<DeviceId, Report>, LoadError> {
    let mut reports = BTreeMap::new();
    for (_, bytes) in rows(store, Table::Reports)? {
        let report = Report::open(&bytes).map_err(|error| LoadError::Damaged(error.to_string()))?;
        reports.insert(report.content.device, report);
    }
    Ok(reports)
}

impl Engine {
    pub(super) fn account(&self) -> Option<AccountId> {
        self.roster.account()
    }
}

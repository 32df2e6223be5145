//! One simulated device: an engine over a disk that keeps what was committed.

use std::collections::BTreeMap;

use kinlink_proto::engine::io::{Input, Output};
use kinlink_proto::engine::{Config, Cx, Engine};
use kinlink_proto::id::{AccountId, Hash, JournalId, RunId};
use kinlink_proto::key::{self, Identity, Secret};
use kinlink_proto::store::MemoryStore;
use kinlink_proto::time::Now;
use rand_chacha::ChaCha20Rng;

/// Where in a batch the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before the commit: the batch never happened.
    Before,
    /// Behind the commit, before any effect.
    Behind,
    /// After so many effects.
    After(usize),
}

/// A copy of a disk.
#[derive(Debug)]
struct Backup {
    disk: MemoryStore,
    /// The account that the device was in, or about to join.
    account: Option<AccountId>,
    /// How much it held of each journal.
    sizes: BTreeMap<JournalId, u64>,
}

/// A device, running or not.
#[derive(Debug)]
pub struct Device {
    /// Its place in the world, and the last number of its address.
    pub index: usize,
    identity: Identity,
    store_key: Secret,
    /// What is on the disk.
    pub disk: MemoryStore,
    /// `None` while it is down.
    pub engine: Option<Engine>,
    backup: Option<Backup>,
    runs: u8,
}

impl Device {
    /// A fresh one, not running yet.
    #[must_use]
    pub fn new(index: usize, rng: &mut ChaCha20Rng) -> Self {
        let identity = Identity::random(rng);
        let store_key = Secret::random(rng);
        Self { index, identity, store_key, disk: MemoryStore::new(), backup: None, engine: None, runs: 0 }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> kinlink_proto::id::DeviceId {
        self.identity.device()
    }

    /// Starts it over what is on its disk.
    ///
    /// # Panics
    /// If what is on the disk cannot be loaded: an invariant.
    #[expect(clippy::panic, reason = "a store that cannot be loaded is what the simulation looks for")]
    pub fn start(&mut self, now: Now, rng: &mut ChaCha20Rng) {
        self.runs = self.runs.wrapping_add(1);
        let config = Config {
            identity: self.identity.clone(),
            store_key: self.store_key.clone(),
            run: RunId(key::random(rng)),
            name: format!("device-{}", self.index),
            platform: "simulated".to_owned(),
            devices: 10,
        };
        let mut disk = self.disk.clone();
        let loaded = Engine::load(config, &mut Cx { now, entropy: rng, store: &mut disk });
        self.disk = disk;
        self.engine = Some(loaded.unwrap_or_else(|error| panic!("device {} does not load: {error}", self.index)));
    }

    /// The power goes.
    pub fn stop(&mut self) {
        self.engine = None;
    }

    /// Replaces the store key, as the shell does when the keys are void; with `crash` the power goes before that is noted.
    ///
    /// # Panics
    /// Never: a store in memory does not fail.
    #[expect(clippy::expect_used, reason = "a store in memory does not fail")]
    pub fn erase_keys(&mut self, now: Now, rng: &mut ChaCha20Rng, crash: bool) {
        self.store_key = Secret::random(rng);
        self.backup = None;
        if crash {
            return self.stop();
        }
        Engine::keys_erased(&mut self.disk).expect("a store in memory does not fail");
        self.start(now, rng);
    }

    /// Somebody makes a copy of the disk, if the device is running.
    pub fn back_up(&mut self) {
        let Some(engine) = &self.engine else { return };
        let sizes = engine.journals().vector().into_iter().map(|held| (held.journal, held.size)).collect();
        self.backup = Some(Backup { disk: self.disk.clone(), account: engine.view().status.account, sizes });
    }

    /// The disk is what it was when the copy was made; how much of each journal was on it. Nothing is done if there is no
    /// copy, or none of the account that the device is in: it would have forgotten that, and would have to be linked anew.
    pub fn restore(&mut self) -> Option<BTreeMap<JournalId, u64>> {
        let account = self.engine.as_ref()?.view().status.account;
        let backup = self.backup.as_ref().filter(|backup| backup.account == account)?;
        self.disk = backup.disk.clone();
        Some(backup.sizes.clone())
    }

    /// Another machine with what this one has on its disk, not running yet.
    #[must_use]
    pub fn copied(&self, index: usize) -> Self {
        let (identity, store_key) = (self.identity.clone(), self.store_key.clone());
        Self { index, identity, store_key, disk: self.disk.clone(), backup: None, engine: None, runs: 0 }
    }

    /// The leaf of an operation that it holds; `None` if it does not, or dropped the content.
    #[must_use]
    pub fn leaf(&self, journal: JournalId, number: u64) -> Option<Hash> {
        let journals = self.engine.as_ref()?.journals();
        let operation = journals.operation(&self.disk, journal, number).ok()??;
        Some(operation.leaf())
    }

    /// What a fresh start over this disk makes of it.
    #[must_use]
    pub fn reloaded(&self, now: Now, rng: &mut ChaCha20Rng) -> Self {
        let mut again = self.copied(self.index);
        again.start(now, rng);
        again
    }

    /// One batch of one fact: decides, commits, and hands out what is to be done: all of it, and how much of it
    /// is done before the power goes.
    ///
    /// # Panics
    /// Never: a store in memory does not fail.
    #[expect(clippy::expect_used, reason = "a store in memory does not fail")]
    pub fn take(
        &mut self,
        now: Now,
        rng: &mut ChaCha20Rng,
        input: Input,
        crash: Option<Crash>,
    ) -> (Vec<Output>, usize) {
        let Some(engine) = self.engine.as_mut() else { return (Vec::new(), 0) };
        let mut txn = self.disk.begin();
        let mut cx = Cx { now, entropy: rng, store: &mut txn };
        engine.handle(&mut cx, input).expect("a store in memory does not fail");
        engine.settle(&mut cx).expect("a store in memory does not fail");
        if crash == Some(Crash::Before) {
            self.stop();
            return (Vec::new(), 0);
        }
        self.disk = txn;
        let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll()).collect();
        let done = match crash {
            None => return (outputs, usize::MAX),
            Some(Crash::After(count)) => count,
            Some(_) => 0,
        };
        self.stop();
        (outputs, done)
    }
}

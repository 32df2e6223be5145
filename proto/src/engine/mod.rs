//! The engine: everything that a device decides.
//!
//! Facts go in ([`io::Input`]), things to do come out ([`io::Output`]). The shell, for each batch of facts:
//!
//! 1. opens a write transaction and calls [`Engine::handle`] once for each fact, then [`Engine::settle`] once;
//! 2. commits;
//! 3. carries out what [`Engine::poll`] returns, in order, until it is empty;
//! 4. sends [`io::Input::Tick`] when [`Engine::deadline`] has passed.
//!
//! If any call or the commit fails, the shell drops the engine with all its outputs and loads it anew: a
//! transaction that was not committed never happened. That commit is the only barrier there is, and nothing passes it.

pub mod command;
pub mod error;
pub mod io;
pub mod view;

mod account;
mod age;
mod alive;
mod arrivals;
mod clones;
mod complete;
mod confirm;
mod conn;
mod devices;
mod dialling;
mod discovery;
mod dispatch;
mod entries;
mod epochs;
mod handover;
mod honour;
mod introduce;
mod join;
mod links;
mod load;
mod local;
mod out;
mod peers;
mod pin;
mod ping;
mod refusals;
mod reports;
mod restored;
mod rivals;
mod show;
mod snapshot;
mod suspended;
mod tell;
#[cfg(test)]
mod tests;
mod transfers;
mod unsaved;
mod whole;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use command::CallerId;
use error::{CommandError, ErrorKind};
use io::{ConnId, Event, Input, Output};
pub use load::LoadError;
use local::Local;
use view::View;

use crate::id::{DeviceId, EpochId, RunId, StatementId};
use crate::journal::Journals;
use crate::key::{Entropy, Identity, Secret};
use crate::roster::Roster;
use crate::roster::keyring::Keyring;
use crate::session::Sessions;
use crate::store::{Store, StoreError};
use crate::sync::report::Report;
use crate::time::{Mono, Now};
use crate::wire::address::Address;
use crate::wire::frame::CloseCode;

/// What the engine is told once, when it is loaded.
#[derive(Clone, Debug)]
pub struct Config {
    /// This device's keys.
    pub identity: Identity,
    /// What epoch secrets and the index key are sealed under in the store.
    pub store_key: Secret,
    /// Drawn at each start.
    pub run: RunId,
    /// This device's name, until the user gives it another.
    pub name: String,
    /// What it runs on.
    pub platform: String,
    /// The most devices that this one links.
    pub devices: usize,
}

/// What one call has at hand: the time, entropy, and the transaction.
pub struct Cx<'a> {
    /// The two clocks.
    pub now: Now,
    /// Randomness.
    pub entropy: Entropy<'a>,
    /// The open transaction.
    pub store: &'a mut dyn Store,
}

/// A device: its keys, what it knows, whom it talks to.
pub struct Engine {
    config: Config,
    local: Local,
    roster: Roster,
    keyring: Keyring,
    journals: Journals,
    sessions: Sessions,
    reports: BTreeMap<DeviceId, Report>,
    peers: BTreeMap<DeviceId, peers::Peer>,
    conns: BTreeMap<ConnId, conn::Conn>,
    /// Journals that are behind here though their authors are connected, and until when those are waited for; `None`
    /// once that was in vain.
    pushes: BTreeMap<crate::id::JournalId, Option<Mono>>,
    links: BTreeMap<ConnId, links::Stranger>,
    show: Option<show::Show>,
    join: Option<join::Join>,
    pairings: u64,
    /// Where this device can be reached, as the shell says.
    addresses: Vec<Address>,
    port: u16,
    /// Pings that clients wait for.
    pings: ping::Pings,
    report_due: Option<Mono>,
    /// What is to be passed on.
    tell: tell::Tell,
    /// What is not on the disk yet.
    unsaved: unsaved::Unsaved,
    /// When more content that was replaced is dropped.
    sweep_due: Option<Mono>,
    /// What the shell was last told to announce and recognise.
    discovery: discovery::Told,
    /// Up to when running time was counted.
    counted: Mono,
    /// Tries at the PIN.
    pin: pin::Pin,
    /// Of this run: whether a device of the account was met.
    met: bool,
    restored: restored::Restored,
    clones: clones::Clones,
    /// What changed since the last settle.
    changed: Changed,
    view: Arc<View>,
    outputs: VecDeque<Output>,
}

/// What [`Engine::settle`] has to see to.
#[derive(Debug, Default)]
struct Changed {
    /// Devices or status.
    view: bool,
    /// What opens operations.
    keys: bool,
    /// This device wrote operations.
    wrote: bool,
    /// Journals of others that advanced here.
    advanced: BTreeSet<crate::id::JournalId>,
    /// Those of them of which less is held than before.
    cut: BTreeSet<crate::id::JournalId>,
    /// Whom this device is connected with.
    peers: bool,
    /// Statements that were taken in, and from whom.
    said: Vec<(StatementId, Option<ConnId>)>,
    /// Epochs whose secret is here by now.
    opened: Vec<EpochId>,
    /// Something that the next report says.
    report: bool,
    /// It is being said which revocations were applied here.
    applying: bool,
}

/// Why a fact could not be dealt with.
#[derive(Debug)]
enum Fail {
    /// A command is refused; nothing was changed.
    Refused(CommandError),
    /// A peer is closed.
    Peer(CloseCode),
    /// The transaction is lost.
    Store(StoreError),
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CommandError> for Fail {
    fn from(error: CommandError) -> Self {
        Self::Refused(error)
    }
}

fn refuse<T>(kind: ErrorKind, message: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Refused(CommandError::new(kind, message)))
}

impl Engine {
    /// This device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.config.identity.device()
    }

    /// Who is linked, as this device knows it.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What this device holds of each journal.
    #[must_use]
    pub fn journals(&self) -> &Journals {
        &self.journals
    }

    /// The epochs whose secret this device holds.
    pub fn epochs(&self) -> impl Iterator<Item = EpochId> {
        self.keyring.iter().map(|(epoch, _)| epoch)
    }

    /// Takes one fact, inside an open transaction.
    ///
    /// # Errors
    /// If the store failed: the transaction must be aborted and the engine loaded anew.
    pub fn handle(&mut self, cx: &mut Cx<'_>, input: Input) -> Result<(), StoreError> {
        match input {
            Input::Started => self.started(cx),
            Input::Command { id, caller, command } => return self.command(cx, id, &caller, command),
            Input::CallerGone(caller) => self.caller_gone(cx, caller)?,
            Input::Connected { conn, peer, dialled, address, exporter } => {
                self.connected(cx, conn, peer, dialled, address, Secret(exporter))?;
            }
            Input::LinkConnected { conn, peer, dialled, address, exporter } => {
                self.link_connected(cx, conn, peer, dialled, address, exporter)?;
            }
            Input::Received { conn, frame } => self.received(cx, conn, &frame)?,
            Input::Transfer { conn, stream, frame, prepared } => self.transfer(cx, conn, stream, &frame, prepared)?,
            Input::Disconnected { conn, code } => self.disconnected(cx, conn, code)?,
            Input::DialFailed { device, reason } => self.dial_failed(cx, device, &reason),
            Input::LinkDialFailed { pairing, code, reason } => self.link_dial_failed(pairing, code, &reason),
            Input::Addresses(addresses) => self.addressed(addresses),
            Input::Port(port) => self.listens_on(port),
            Input::NetworkChanged => self.network_changed(cx.now.mono),
            Input::Silent { conn } => self.silent(cx.now.mono, conn),
            Input::Found { device, addresses } => self.found(cx, device, &addresses)?,
            Input::Heard { device, addresses } => self.heard(cx.now.mono, device, addresses),
            Input::Tick => self.tick(cx)?,
        }
        Ok(())
    }

    /// Ends a batch of facts, inside the same transaction: signs the head over what was written, says what is to
    /// be pushed, and publishes what changed.
    ///
    /// # Errors
    /// As [`Self::handle`].
    pub fn settle(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.sessions.settle(cx.store)?;
        self.spread(cx.now.mono);
        self.hand_out_epochs(cx);
        let changed = std::mem::take(&mut self.changed);
        if changed.keys {
            self.outputs.push_back(Output::Keys(self.keyring.clone()));
        }
        if changed.wrote {
            self.push_own(cx)?;
        }
        if !changed.advanced.is_empty() {
            self.announce(&changed.advanced, &changed.cut);
            self.want_more(cx.now.mono);
        }
        if changed.report || changed.wrote || !changed.advanced.is_empty() {
            self.report_soon(cx.now.mono);
        }
        if changed.peers {
            self.tell_lost();
            self.tell_soon(cx.now.mono);
        }
        if changed.view || self.is_further(&changed.advanced) {
            self.discover();
            self.publish();
        }
        self.save_along(cx)
    }

    /// The next thing to do, once the transaction is durable.
    #[must_use]
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        let waits = [self.redial_due(), self.asked_due(), self.conn_due(), self.show_due(), self.join_due()];
        let alive = [self.probe_due(), self.ping_due()];
        waits
            .into_iter()
            .chain(alive)
            .chain([self.tell_due(), self.unsaved.due(), self.report_due, self.sweep_due, self.age_due()])
            .flatten()
            .min()
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let now = cx.now.mono;
        if self.tell_due().is_some_and(|due| due <= now) {
            self.tell();
        }
        if self.report_due.is_some_and(|due| due <= now) {
            self.report(cx)?;
        }
        if self.sweep_due.is_some_and(|due| due <= now) {
            self.sweep(cx)?;
        }
        self.grow_older(cx)?;
        self.expire_probes(cx)?;
        self.redial(now);
        self.expire_asked(now);
        self.expire_conns(now);
        self.expire_pings(now);
        self.expire_show(now);
        self.expire_join(now);
        Ok(())
    }

    fn caller_gone(&mut self, cx: &mut Cx<'_>, caller: CallerId) -> Result<(), StoreError> {
        self.show_caller_gone(cx.now.mono, caller);
        self.join_caller_gone(cx, caller)
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.device())
    }
}

//! What the bus and the tests hold of the one task that owns the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinlink_proto::engine::command::{Caller, CallerId, Command, Reply};
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::View;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::clock::entropy;
use crate::keys::{KeyError, Means, Passphrase, Place, Wrap};

/// An order for the core, from this device.
#[derive(Debug)]
pub enum Job {
    /// A command and where its reply goes. `OpenPairing` comes with no addresses: the core opens the linking socket.
    Command(Caller, Command, oneshot::Sender<Result<Reply, CommandError>>),
    /// A client left its bus.
    CallerGone(CallerId),
    /// Whether the core still takes orders.
    Ping(oneshot::Sender<()>),
    /// Open the keys, if they are locked, with what was typed or with what is there by now.
    Unlock(Option<Passphrase>, oneshot::Sender<Result<(), KeyError>>),
    /// Keep the store key there from now on.
    MoveKey(Wrap, oneshot::Sender<Result<(), KeyError>>),
}

/// The store key, as far as others may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// Where it is kept.
    pub place: Place,
    /// If it could not be opened yet: why, and what to do.
    pub locked: Option<String>,
}

/// What is known of the store key, and what a new place for it is made from.
#[derive(Clone, Debug)]
pub struct Vault {
    /// Where the key is now.
    pub view: watch::Receiver<KeyView>,
    /// What the daemon was started with.
    pub means: Means,
}

impl Vault {
    /// Of a key that stays in a file.
    #[must_use]
    pub fn file() -> Self {
        Self { view: watch::channel(KeyView { place: Place::File, locked: None }).1, means: Means::default() }
    }
}

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The program's version.
    pub version: String,
}

/// A handle to the core; cheap to clone.
#[derive(Clone, Debug)]
pub struct Core {
    jobs: mpsc::Sender<Job>,
    view: watch::Receiver<Arc<View>>,
    events: broadcast::Sender<Arc<Event>>,
    facts: Arc<Facts>,
    vault: Arc<Vault>,
    callers: Arc<AtomicU64>,
}

impl Core {
    /// Over the ends that the core reads and writes.
    #[must_use]
    pub fn new(
        jobs: mpsc::Sender<Job>,
        view: watch::Receiver<Arc<View>>,
        events: broadcast::Sender<Arc<Event>>,
        facts: Facts,
        vault: Vault,
    ) -> Self {
        let callers = Arc::new(AtomicU64::new(1));
        Self { jobs, view, events, facts: Arc::new(facts), vault: Arc::new(vault), callers }
    }

    /// Gives an order and waits for its reply.
    ///
    /// # Errors
    /// What the core refused with, or that the daemon is stopping.
    pub async fn command(&self, caller: Caller, command: Command) -> Result<Reply, CommandError> {
        let stopping = || CommandError::new(ErrorKind::Internal, "kinlinkd is stopping");
        let (tx, rx) = oneshot::channel();
        self.jobs.send(Job::Command(caller, command, tx)).await.map_err(|_| stopping())?;
        rx.await.map_err(|_| stopping())?
    }

    /// Opens the keys, if they are locked.
    ///
    /// # Errors
    /// Why they stay locked; `None` if the daemon is stopping.
    pub async fn unlock(&self, passphrase: Option<Passphrase>) -> Result<(), Option<KeyError>> {
        let (tx, rx) = oneshot::channel();
        self.jobs.send(Job::Unlock(passphrase, tx)).await.map_err(|_| None)?;
        rx.await.map_err(|_| None)?.map_err(Some)
    }

    /// Moves the store key to `place`.
    ///
    /// # Errors
    /// Why it stays where it is; `None` if the daemon is stopping.
    pub async fn move_key(&self, place: Place, passphrase: Option<Passphrase>) -> Result<(), Option<KeyError>> {
        let means = self.vault.means.with(passphrase);
        // Here and not in the core: it may take long, and the core is to go on.
        let wrap = spawn_blocking(move || Wrap::fresh(place, &means, &mut entropy())).await.map_err(|_| None)?;
        let (tx, rx) = oneshot::channel();
        self.jobs.send(Job::MoveKey(wrap.map_err(Some)?, tx)).await.map_err(|_| None)?;
        rx.await.map_err(|_| None)?.map_err(Some)
    }

    /// Where the store key is now, and a way to wait until that changes.
    #[must_use]
    pub fn key(&self) -> watch::Receiver<KeyView> {
        self.vault.view.clone()
    }

    /// Says that a client left its bus.
    pub async fn caller_gone(&self, caller: CallerId) {
        if self.jobs.send(Job::CallerGone(caller)).await.is_err() {
            tracing::debug!("a client left while the daemon was stopping");
        }
    }

    /// Waits until the core has taken all orders given so far. Whether it has: not if it is gone.
    pub async fn answers(&self) -> bool {
        let (tx, rx) = oneshot::channel();
        self.jobs.send(Job::Ping(tx)).await.is_ok() && rx.await.is_ok()
    }

    /// The newest snapshot of devices and status, and a way to wait for the next.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Facts that do not change.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// A name for a client that was not seen before.
    #[must_use]
    pub fn next_caller(&self) -> CallerId {
        CallerId(self.callers.fetch_add(1, Ordering::Relaxed))
    }
}

//! What the bus and the tests hold of the one task that owns the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kinlink_proto::engine::command::{Caller, CallerId, Command, Reply};
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::View;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// An order for the core, from this device.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every job is a command: boxing would only add an allocation")]
pub enum Job {
    /// A command and where its reply goes. `OpenPairing` comes with no addresses: the core opens the linking socket.
    Command(Caller, Command, oneshot::Sender<Result<Reply, CommandError>>),
    /// A client left its bus.
    CallerGone(CallerId),
    /// Whether the core still takes orders.
    Ping(oneshot::Sender<()>),
}

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The program's version.
    pub version: String,
    /// How the store key is kept: `file`.
    pub key_protection: &'static str,
}

/// A handle to the core; cheap to clone.
#[derive(Clone, Debug)]
pub struct Core {
    jobs: mpsc::Sender<Job>,
    view: watch::Receiver<Arc<View>>,
    events: broadcast::Sender<Event>,
    facts: Arc<Facts>,
    callers: Arc<AtomicU64>,
}

impl Core {
    /// Over the ends that the core reads and writes.
    #[must_use]
    pub fn new(
        jobs: mpsc::Sender<Job>,
        view: watch::Receiver<Arc<View>>,
        events: broadcast::Sender<Event>,
        facts: Facts,
    ) -> Self {
        Self { jobs, view, events, facts: Arc::new(facts), callers: Arc::new(AtomicU64::new(1)) }
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
    pub fn events(&self) -> broadcast::Receiver<Event> {
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

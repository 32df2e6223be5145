//! D-Bus: the same objects on the session bus and on the private socket.
//!
//! [`Bus::start`] serves; [`Bus::shutdown`] takes everything back. In between, a *link* is one D-Bus connection
//! ([`link`]): the one to the session bus ([`public`]), or one for each client of the private socket ([`private`]).
//! A method call becomes at most one order to the core ([`call`]), in the name of the client that sent it ([`caller`]);
//! what happened in the core leaves as signals to those who may know ([`signals`]).
//!
//! zbus's own object server is not used: what exists here depends on who asks. A pairing exists for its owner only, a
//! sandboxed app's neighbour must not learn which sessions there are, and ten thousand sessions need no objects. So
//! objects are looked up when they are called ([`objects`]), and each interface is a table of its members ([`contract`])
//! beside a `match` over them. A test holds the tables against `proto/dbus/*.xml`.
//!
//! Calls of one client run concurrently: who needs an order waits for the reply.

mod agent;
mod call;
mod caller;
mod contract;
mod device;
mod error;
mod hub;
mod limits;
mod link;
mod listed;
mod manager;
mod objects;
mod options;
mod outbox;
mod pairing;
mod pin;
mod private;
mod public;
mod session;
mod signals;
mod standard;
mod vault;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;

pub use error::StartError;

use crate::callers::Callers;
use crate::handle::Core;
use hub::Hub;

/// Where the private socket comes from.
#[derive(Debug)]
pub enum Private {
    /// Made at this path, in a directory of its own (mode 0700), with mode 0600; unlinked in the end.
    Path(PathBuf),
    /// Handed over by whoever started the daemon, and left to them.
    Listener(UnixListener),
}

/// Which session bus to serve on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionBus {
    /// None.
    No,
    /// The user's, if there is one.
    Default,
    /// The one at this D-Bus address, if it is there.
    Address(String),
}

/// Where to serve.
#[derive(Debug)]
pub struct BusOptions {
    /// The private socket: always.
    pub private: Private,
    /// The session bus.
    pub session: SessionBus,
}

/// The running D-Bus service.
#[derive(Debug)]
pub struct Bus {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    public: bool,
}

impl Bus {
    /// [`serve`](Self::serve), where this process looks at its callers itself.
    ///
    /// # Errors
    /// As there.
    pub async fn start(core: Core, options: BusOptions) -> Result<Self, StartError> {
        Self::serve(core, options, Callers::Own).await
    }

    /// Serves `core` to callers that `callers` tells apart. A session bus that is not there is logged; one where the name is
    /// taken is an error.
    ///
    /// # Errors
    /// The private socket cannot be made, or another daemon has the name or the socket.
    pub async fn serve(core: Core, options: BusOptions, callers: Callers) -> Result<Self, StartError> {
        let (stop, stopped) = watch::channel(false);
        let events = core.events();
        let (hub, barriers) = Hub::new(core, callers);
        let hub = Arc::new(hub);
        let socket = private::Socket::open(options.private)?;
        let public = public::connect(options.session).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(signals::run(hub.clone(), events, barriers, stopped.clone()));
        let on_bus = public.is_some();
        if let Some(stream) = public {
            tasks.spawn(link::serve(hub.clone(), stream, link::Side::Bus, stopped.clone()));
        }
        tasks.spawn(private::accept(hub, socket, stopped));
        Ok(Self { stop, tasks, public: on_bus })
    }

    /// Whether the session bus is served too.
    #[must_use]
    pub fn on_session_bus(&self) -> bool {
        self.public
    }

    /// Disconnects every client, gives up the name, unlinks the socket.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!("a task of the D-Bus service failed: {error}");
            }
        }
    }
}

/// Waits until the service is to stop. Whoever could have said so being gone means the same.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        tracing::debug!("the D-Bus service was dropped without a shutdown");
    }
}

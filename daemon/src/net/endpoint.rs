//! The sockets, who comes in through them, and the orders that the owner of the state gives.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use kinlink_proto::discovery::{Key, Keys};
use kinlink_proto::engine::view::PathView;
use kinlink_proto::id::DeviceId;
use kinlink_proto::key::Identity;
use kinlink_proto::reach::HostPort;
use kinlink_proto::wire::address::Address;
use kinlink_proto::wire::frame::{CloseCode, Frame};
use quinn::{Endpoint, EndpointConfig, ServerConfig};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::accept::{Door, Listening};
use super::admission::Admission;
use super::conn::{Live, Registry};
use super::dial::{DialError, Dials};
use super::discover::Discovery;
use super::event::NetEvent;
use super::gate::Gate;
use super::interfaces;
use super::links::Links;
use super::outgoing::sockets;
use super::quic::{self, Protocol};
use super::socket;
use super::stranger::Strangers;
use super::tls::{Tls, TlsError, Trust};
use super::udp;
use crate::handed;

/// How long a linking peer has to acknowledge the last frame when linking closes.
const LINK_LINGER: Duration = Duration::from_secs(2);
/// How long peers have to hear that this daemon stops: many round trips of any network. One that does not answer any more,
/// or is just being dialled, must not hold up the rest, who are to have this device back within two seconds of a restart.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// Labels of `X` in PROTOCOL.md section 2.
const EXPORTER_LINK: &[u8] = b"EXPORTER-kinlink-link-1";
const EXPORTER_SYNC: &[u8] = b"EXPORTER-kinlink-1";

/// Why the network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The port cannot be had.
    #[error("cannot listen on UDP port {port}: {source}; stop what uses it, or set another port")]
    Bind {
        /// Which.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The network of one device. Cheap to clone; orders never wait. Call [`Net::shutdown`] before dropping the last one.
#[derive(Clone)]
pub struct Net(Arc<Shared>);

/// What all tasks of the network share.
pub(super) struct Shared {
    pub(super) tls: Tls,
    pub(super) admission: Admission,
    pub(super) events: mpsc::Sender<NetEvent>,
    pub(super) registry: Registry,
    /// Unknown keys that are being heard on `kinlink/1`.
    pub(super) strangers: Strangers,
    port: AtomicU16,
    links: Links,
    gate: Gate,
    /// The socket of `kinlink/1`; `None` after the shutdown.
    pub(super) syncing: Slot,
    /// The linking socket, while it is open.
    linking: Slot,
    /// Unless this device keeps off the local network.
    pub(super) discovery: OnceLock<Discovery>,
    device: DeviceId,
    dials: Dials,
}

type Slot = Mutex<Option<Listening>>;

impl Net {
    /// Listens on `port` (0: draws one), IPv6 and IPv4, for the keys that `admission` allows, and follows what `links` tells. The
    /// service manager is asked to keep the socket for the next run. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the port is taken, or no certificate can be made.
    pub fn bind(
        identity: &Identity,
        port: u16,
        admission: Admission,
        events: mpsc::Sender<NetEvent>,
        links: Links,
    ) -> Result<Self, NetError> {
        let socket = socket::open(port).map_err(|source| NetError::Bind { port, source })?;
        handed::keep(&socket);
        Self::listen(identity, socket, admission, events, links)
    }

    /// [`bind`](Self::bind) on a socket that is there already.
    ///
    /// # Errors
    /// If the socket is of no use, or no certificate can be made.
    pub fn listen(
        identity: &Identity,
        socket: UdpSocket,
        admission: Admission,
        events: mpsc::Sender<NetEvent>,
        links: Links,
    ) -> Result<Self, NetError> {
        let tls = Tls::new(identity)?;
        let server = quic::server(&tls, Protocol::Sync, Trust::Roster(admission.clone()))?;
        let bound = socket.local_addr().and_then(|address| Ok((endpoint(Some(server), socket)?, address.port())));
        let (endpoint, port) = bound.map_err(|source| NetError::Bind { port: 0, source })?;
        let shared = Arc::new(Shared {
            tls,
            registry: Registry::new(admission.clone()),
            admission,
            events,
            strangers: Strangers::default(),
            port: AtomicU16::new(port),
            links,
            gate: Gate::default(),
            syncing: Slot::default(),
            linking: Slot::default(),
            discovery: OnceLock::new(),
            device: identity.device(),
            dials: Dials::default(),
        });
        *locked(&shared.syncing) = Some(Listening::start(&shared, endpoint, shared.gate.clone(), Door::Sync));
        tokio::spawn(watch_addresses(Arc::downgrade(&shared), shared.links.clone()));
        Ok(Self(shared))
    }

    /// Searches the local network from now on, with what [`Net::discover`] says. To be called within a tokio runtime.
    pub fn start_discovery(&self) {
        let shared = &self.0;
        shared.discovery.get_or_init(|| Discovery::start(shared.port(), shared.events.clone(), shared.links.clone()));
    }

    /// Announces this device on the local network and looks for others with these keys from now on, or does neither.
    pub fn discover(&self, keys: Option<Keys>) {
        if let Some(discovery) = self.0.discovery.get() {
            discovery.account(keys);
        }
    }

    /// Announces the linking socket under this key, until it closes.
    pub fn announce_linking(&self, key: Key) {
        let Some(discovery) = self.0.discovery.get() else { return };
        let endpoint = locked(&self.0.linking).as_ref().map(Listening::endpoint);
        let port = endpoint.and_then(|endpoint| endpoint.local_addr().ok()).map(|at| at.port());
        discovery.link(port.map(|port| (key, self.0.device, port)));
    }

    /// The UDP port of `kinlink/1`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// A socket on another port, for [`Self::move_to`].
    ///
    /// # Errors
    /// If the port is taken or may not be had.
    pub fn reserve(&self, port: u16) -> Result<Reserved, NetError> {
        socket::open(port).map(Reserved).map_err(|source| NetError::Bind { port, source })
    }

    /// Listens there from now on, and no longer on the port of before; the service manager keeps the new socket. Connections that
    /// this side dialled move along; those that peers dialled are found dead and made anew.
    ///
    /// # Errors
    /// If the socket cannot be used; the one of before stays then.
    pub fn move_to(&self, Reserved(socket): Reserved) -> io::Result<()> {
        let Some(endpoint) = locked(&self.0.syncing).as_ref().map(Listening::endpoint) else { return Ok(()) };
        let (port, kept) = (socket.local_addr()?.port(), socket.try_clone()?);
        endpoint.rebind(socket)?;
        handed::let_go();
        handed::keep(&kept);
        self.0.port.store(port, Ordering::Relaxed);
        if let Some(discovery) = self.0.discovery.get() {
            discovery.moved(port);
        }
        self.0.links.nudge();
        Ok(())
    }

    /// The path of a connection; `None` once it has ended.
    #[must_use]
    pub fn path(&self, conn: u64) -> Option<PathView> {
        let (address, rtt) = self.0.registry.path(conn)?;
        Some(PathView { rtt, place: interfaces::place(&interfaces::locals().unwrap_or_default(), address) })
    }

    /// Handshakes that others have under way on `kinlink/1`.
    #[must_use]
    pub fn handshakes(&self) -> usize {
        self.0.gate.under_way()
    }

    /// Dials a device at addresses, and at names as soon as they are resolved; `Connected` or `DialFailed` follows. A dial that is
    /// under way takes the addresses in; if it is to be done `anew`, nothing is heard of that one any more.
    pub fn dial(&self, device: DeviceId, addresses: &[Address], names: Vec<HostPort>, anew: bool) {
        let shared = self.0.clone();
        let addresses = sockets(addresses);
        let tried = addresses.clone();
        let run = async move |number, more| {
            let dialled = shared.dial(device, addresses, names, more).await;
            shared.dials.end(&device, number);
            if let Err(error) = dialled {
                tracing::debug!(?device, %error, "dialling failed");
                shared.tell(NetEvent::DialFailed { device, reason: error.reason }).await;
            }
        };
        self.0.dials.begin(device, &tried, anew, |number, more| tokio::spawn(run(number, more)).abort_handle());
    }

    /// Dials the shower of a challenge from a socket of its own; `LinkConnected` or `LinkDialFailed` follows. Unless
    /// `anywhere`, only addresses of this network are dialled. The shower is also looked for on the local network, where
    /// it announces itself under `key`.
    pub fn dial_link(&self, pairing: u64, shower: DeviceId, addresses: &[Address], anywhere: bool, key: Key) {
        let shared = self.0.clone();
        let addresses = sockets(addresses);
        tokio::spawn(async move {
            if let Err(DialError { code, reason }) = shared.dial_link(pairing, shower, addresses, anywhere, key).await {
                shared.tell(NetEvent::LinkDialFailed { pairing, code, reason }).await;
            }
        });
    }

    /// Opens the linking socket on a port of its own, and says where it can be reached, best first. Unless `anywhere`,
    /// its packets die at the first router, and peers from beyond this network are closed with
    /// [`CloseCode::NotOnLink`]. One that was open is closed first.
    ///
    /// # Errors
    /// If no socket can be had or the addresses of this machine cannot be read.
    pub fn open_linking(&self, anywhere: bool) -> io::Result<Vec<Address>> {
        self.close_linking();
        let server = quic::server(&self.0.tls, Protocol::Link, Trust::Anyone).map_err(io::Error::other)?;
        let socket = if anywhere { socket::open(0)? } else { socket::open_link_local()? };
        let addresses = interfaces::in_challenge(&interfaces::locals()?, socket.local_addr()?.port(), anywhere);
        let endpoint = endpoint(Some(server), socket)?;
        let listening = Listening::start(&self.0, endpoint, Gate::default(), Door::Link { anywhere });
        *locked(&self.0.linking) = Some(listening);
        Ok(addresses)
    }

    /// Closes the linking socket. Peers that linking has not closed yet are closed with
    /// [`CloseCode::PairingClosed`], after what was sent to them has arrived.
    pub fn close_linking(&self) {
        if let Some(discovery) = self.0.discovery.get() {
            discovery.link(None);
        }
        let Some(listening) = locked(&self.0.linking).take() else { return };
        listening.stop();
        self.0.registry.close_strangers(CloseCode::PairingClosed, LINK_LINGER);
    }

    /// Sends a frame on the control or linking stream. A connection whose peer takes nothing is closed in the end.
    pub fn send(&self, conn: u64, frame: Frame) {
        self.0.registry.send(conn, frame);
    }

    /// Sends frames on a stream of their own. The iterator runs on a thread for blocking work, as fast as the peer takes
    /// the frames; if the connection ends it is dropped in between.
    pub fn send_journal(&self, conn: u64, frames: impl Iterator<Item = Frame> + Send + 'static) {
        self.0.registry.transfer(conn, super::transfer::produce(frames));
    }

    /// Lets a peer whose key was unknown send its next frame, of at most so many bytes; from
    /// [`limits::FRAME_CONTROL`] on it is like any other.
    pub fn widen(&self, conn: u64, bytes: usize) {
        if let Some(address) = self.0.registry.widen(conn, bytes) {
            self.0.admission.remember(address);
        }
    }

    /// Closes a connection: reads nothing more, cuts its transfers, and closes when every frame that was sent is
    /// acknowledged, or after `linger`.
    pub fn close(&self, conn: u64, code: CloseCode, linger: Duration) {
        self.0.registry.close(conn, code, linger);
    }

    /// Closes every connection with [`CloseCode::Internal`], for when the state behind them is lost. The sockets stay.
    pub fn close_all(&self) {
        self.0.registry.close_all(CloseCode::Internal);
    }

    /// Closes everything with [`CloseCode::ShuttingDown`], waits until the peers were told, and lets go of the sockets. The
    /// system has the port back moments later.
    pub async fn shutdown(&self) {
        let mut endpoints = self.0.registry.endpoints();
        self.0.registry.close_all(CloseCode::ShuttingDown);
        self.close_linking();
        if let Some(discovery) = self.0.discovery.get() {
            discovery.stop().await;
        }
        if let Some(listening) = locked(&self.0.syncing).take() {
            endpoints.push(listening.close(CloseCode::ShuttingDown));
        }
        let idle = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
            self.0.registry.none_running().await;
        };
        if timeout(SHUTDOWN, idle).await.is_err() {
            tracing::info!("stopping before every peer was told");
        }
    }
}

/// A socket on a port that nobody listens on yet.
#[derive(Debug)]
pub struct Reserved(UdpSocket);

impl Shared {
    /// The UDP port of `kinlink/1`.
    fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Takes in a connection on `kinlink/1` of a key that may connect, or that has sent an introduction.
    pub(super) fn connected(&self, live: Live, peer: DeviceId) -> io::Result<()> {
        let exporter = quic::exporter(&live.connection, EXPORTER_SYNC)?;
        if live.stranger.is_none() {
            quic::widen(&live.connection);
            self.admission.remember(live.connection.remote_address().ip());
        }
        let dialled = live.dialled;
        let address = live.connection.remote_address().into();
        let announce = |conn| NetEvent::Connected { conn, peer, dialled, address, exporter };
        self.registry.run(live, self.events.clone(), announce);
        Ok(())
    }

    /// Takes in a connection on `kinlink-link/1`.
    pub(super) fn link_connected(&self, live: Live, peer: DeviceId, dialled: Option<u64>) -> io::Result<()> {
        if dialled.is_some() {
            quic::widen(&live.connection);
        }
        let exporter = quic::exporter(&live.connection, EXPORTER_LINK)?;
        let address = live.connection.remote_address().into();
        let announce = |conn| NetEvent::LinkConnected { conn, peer, dialled, address, exporter };
        self.registry.run(live, self.events.clone(), announce);
        Ok(())
    }

    async fn tell(&self, event: NetEvent) {
        if self.events.send(event).await.is_err() {
            tracing::debug!("a network event while the daemon is stopping");
        }
    }
}

/// Poisoning cannot leave a slot half-changed: each change is one assignment.
pub(super) fn locked(slot: &Slot) -> MutexGuard<'_, Option<Listening>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn endpoint(server: Option<ServerConfig>, socket: std::net::UdpSocket) -> io::Result<Endpoint> {
    Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(udp::Runtime))
}

/// Tells the addresses of this machine at the start and whenever they changed, and each change of the network, until that is gone.
async fn watch_addresses(shared: Weak<Shared>, mut links: Links) {
    let mut told = None;
    loop {
        let Some(shared) = shared.upgrade().filter(|shared| !shared.events.is_closed()) else { return };
        match interfaces::locals().map(|locals| interfaces::usable(&locals, shared.port())) {
            Ok(addresses) if told.as_ref() != Some(&addresses) => {
                told = Some(addresses.clone());
                shared.tell(NetEvent::Addresses(addresses)).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot read the addresses of this machine"),
        }
        let events = shared.events.clone();
        drop(shared);
        tokio::select! {
            () = links.changed() => {}
            () = events.closed() => return,
        }
        tracing::debug!("the network changed");
        if events.send(NetEvent::Changed).await.is_err() {
            return;
        }
    }
}

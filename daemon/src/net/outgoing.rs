//! Going out: to devices of the account, and to the shower of a challenge.

use std::net::SocketAddr;
use std::time::Duration;

use kinlink_proto::discovery::Key;
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::reach::HostPort;
use kinlink_proto::wire::address::Address;
use kinlink_proto::wire::frame::CloseCode;
use tokio::sync::mpsc;

use super::accept::Listening;
use super::conn::Live;
use super::dial::{self, DialError, More};
use super::endpoint::{Shared, endpoint, locked};
use super::interfaces;
use super::quic::{self, Protocol};
use super::socket;

/// How long a shower is looked for on the local network. It answers within a fifth of a second, and is asked four times.
const SEARCH: Duration = Duration::from_secs(8);

impl Shared {
    /// Dials a device on `kinlink/1` and takes the connection in.
    pub(super) async fn dial(
        &self,
        device: DeviceId,
        addresses: Vec<SocketAddr>,
        names: Vec<HostPort>,
        mut more: mpsc::Receiver<SocketAddr>,
    ) -> Result<(), DialError> {
        let config = quic::client(&self.tls, Protocol::Sync, device).map_err(internal)?;
        let endpoint = locked(&self.syncing).as_ref().map(Listening::endpoint);
        let endpoint = endpoint.ok_or_else(|| DialError::new(None, "the network is shut down"))?;
        let unknown = DialError::new(None, "no address of it is known");
        let more = More::within(Duration::ZERO, &mut more);
        let connection = dial::any(&endpoint, &config, addresses, names, more, unknown).await?;
        if !self.admission.allows(&device) {
            quic::close(&connection, CloseCode::UnknownDevice);
            return Err(DialError::new(None, "it may no longer connect"));
        }
        let control = connection.open_bi().await?;
        let live = Live::dialled(Protocol::Sync, endpoint, connection, control);
        self.connected(live, device).map_err(internal)
    }

    /// Dials a shower on `kinlink-link/1`, from a socket of its own, and takes the connection in.
    pub(super) async fn dial_link(
        &self,
        pairing: u64,
        shower: DeviceId,
        mut addresses: Vec<SocketAddr>,
        anywhere: bool,
        key: Key,
    ) -> Result<(), DialError> {
        let mut unknown = self.not_found();
        if !anywhere && !addresses.is_empty() {
            let locals = interfaces::locals().map_err(internal)?;
            addresses.retain(|address| interfaces::is_near(&locals, *address));
            if addresses.is_empty() {
                unknown = not_on_link();
            }
        }
        let socket = if anywhere { socket::open(0) } else { socket::open_link_local() };
        let endpoint = socket.and_then(|socket| endpoint(None, socket)).map_err(internal)?;
        let config = quic::client(&self.tls, Protocol::Link, shower).map_err(internal)?;
        let (_, mut nothing) = mpsc::channel(1);
        let mut search = self.discovery.get().map(|discovery| discovery.search(pairing, shower, key));
        let more = More::within(SEARCH, search.as_mut().map_or(&mut nothing, |search| &mut search.found));
        let connection = dial::any(&endpoint, &config, addresses, Vec::new(), more, unknown).await?;
        drop(search);
        let control = connection.open_bi().await?;
        let live = Live::dialled(Protocol::Link, endpoint, connection, control);
        self.link_connected(live, shower, Some(pairing)).map_err(internal)
    }

    /// What it means that a challenge names no address, and nobody was found.
    fn not_found(&self) -> DialError {
        let reason = match self.discovery.get() {
            Some(_) => "it was not found on this network",
            None => "the challenge names no address, and this device runs with --no-discovery",
        };
        DialError::new(None, reason)
    }
}

/// As many addresses as are dialled for one order.
pub(super) fn sockets(addresses: &[Address]) -> Vec<SocketAddr> {
    addresses.iter().filter_map(Address::socket).take(2 * limits::ADDRESSES + limits::GIVEN).collect()
}

fn internal(error: impl ToString) -> DialError {
    DialError::new(None, error)
}

fn not_on_link() -> DialError {
    let reason = "the other device is not on this network: connect both to the same one, or let it show the challenge \
                  for linking from anywhere";
    DialError::new(Some(CloseCode::NotOnLink), reason)
}

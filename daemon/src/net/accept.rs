//! Who comes in: address validation, caps, the handshake, and a second look at the roster.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use quinn::{Endpoint, Incoming};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::conn::Live;
use super::endpoint::Shared;
use super::gate::{Gate, Permit, Verdict};
use super::interfaces;
use super::quic::{self, Protocol};
use super::stranger::{self, Place};

/// Which socket this is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Door {
    /// `kinlink/1`.
    Sync,
    /// `kinlink-link/1`, for peers of this network unless `anywhere`.
    Link {
        /// Whether peers from beyond this network may come in.
        anywhere: bool,
    },
}

/// A socket on which others are let in.
pub(super) struct Listening {
    endpoint: Endpoint,
    accepting: AbortHandle,
}

impl Listening {
    pub(super) fn start(shared: &Arc<Shared>, endpoint: Endpoint, gate: Gate, door: Door) -> Self {
        let task = tokio::spawn(all(shared.clone(), endpoint.clone(), gate, door));
        Self { endpoint, accepting: task.abort_handle() }
    }

    /// For dialling from the same port.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Lets nobody in any more; handshakes under way end, connections stay.
    pub(super) fn stop(self) {
        self.endpoint.set_server_config(None);
        self.accepting.abort();
    }

    /// As [`Self::stop`], and closes the connections; the endpoint, to wait for them.
    pub(super) fn close(self, code: CloseCode) -> Endpoint {
        self.endpoint.close(quic::number(code), code.text().as_bytes());
        self.accepting.abort();
        self.endpoint
    }
}

/// Why someone who came in was not taken in.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error("it took too long")]
    Deadline,
    #[error("{}", .0.text())]
    Closed(CloseCode),
}

/// Accepts until the endpoint closes or the task is aborted, which also ends the handshakes under way.
async fn all(shared: Arc<Shared>, endpoint: Endpoint, gate: Gate, door: Door) {
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => {
                    if let Some((incoming, permit)) = judge(&shared, &gate, incoming) {
                        handshakes.spawn(one(shared.clone(), endpoint.clone(), door, incoming, permit));
                    }
                }
                None => return,
            },
            Some(done) = handshakes.join_next(), if !handshakes.is_empty() => {
                if let Err(error) = done {
                    tracing::error!(%error, "a handshake's task failed");
                }
            }
        }
    }
}

/// Lets an attempt on, or spends as little as possible on it.
fn judge(shared: &Shared, gate: &Gate, incoming: Incoming) -> Option<(Incoming, Permit)> {
    let source = incoming.remote_address().ip();
    if shared.registry.peers() >= limits::CONNECTIONS {
        incoming.ignore();
        return None;
    }
    match gate.judge(source, incoming.remote_address_validated(), shared.admission.knows(source)) {
        Verdict::Accept(permit) => return Some((incoming, permit)),
        Verdict::Ignore => incoming.ignore(),
        Verdict::Retry => {
            if let Err(error) = incoming.retry() {
                error.into_incoming().ignore();
            }
        }
    }
    None
}

async fn one(shared: Arc<Shared>, endpoint: Endpoint, door: Door, incoming: Incoming, permit: Permit) {
    let source = incoming.remote_address();
    if let Err(error) = welcome(&shared, endpoint, door, incoming, permit).await {
        tracing::debug!(%source, %error, "a connection was not taken in");
    }
}

async fn welcome(
    shared: &Shared,
    endpoint: Endpoint,
    door: Door,
    incoming: Incoming,
    permit: Permit,
) -> Result<(), Refusal> {
    let connection = within(limits::HANDSHAKE, incoming.accept()?).await??;
    let refuse = |code| {
        quic::close(&connection, code);
        Refusal::Closed(code)
    };
    let peer = quic::peer_of(&connection).ok_or_else(|| refuse(CloseCode::Protocol))?;
    check_network(door, connection.remote_address()).map_err(refuse)?;
    // The roster may have changed since the verifier looked, and changes while the first word is waited for.
    let unknown = matches!(door, Door::Sync) && !shared.admission.allows(&peer);
    let place = match unknown {
        true => Some(place(shared, connection.remote_address().ip()).ok_or_else(|| refuse(CloseCode::UnknownDevice))?),
        false => None,
    };
    let (patience, late) = match place {
        Some(_) => (limits::INTRODUCTION, CloseCode::UnknownDevice),
        None => (limits::HELLO, CloseCode::Protocol),
    };
    let mut control = within(patience, connection.accept_bi()).await.map_err(|_| refuse(late))??;
    if place.is_none() && matches!(door, Door::Sync) && !shared.admission.allows(&peer) {
        return Err(refuse(CloseCode::UnknownDevice));
    }
    let stranger = match place {
        Some(place) => {
            let first = stranger::introduction(&mut control.1).await;
            Some((place, first.ok_or_else(|| refuse(CloseCode::UnknownDevice))?))
        }
        None => None,
    };
    let live = |protocol, permit, stranger| {
        let connection = connection.clone();
        Live { protocol, dialled: false, endpoint, connection, control, permit, stranger }
    };
    match door {
        Door::Sync => {
            drop(permit);
            shared.connected(live(Protocol::Sync, None, stranger), peer).map_err(|_| refuse(CloseCode::Internal))?;
        }
        Door::Link { .. } => shared
            .link_connected(live(Protocol::Link, Some(permit), None), peer, None)
            .map_err(|_| refuse(CloseCode::Internal))?,
    }
    Ok(())
}

/// Where an unknown key may introduce itself, if it may.
fn place(shared: &Shared, source: IpAddr) -> Option<Place> {
    if shared.admission.hears_strangers() { shared.strangers.enter(source) } else { None }
}

/// Whether this door is open to whoever comes from `source`.
fn check_network(door: Door, source: SocketAddr) -> Result<(), CloseCode> {
    let Door::Link { anywhere: false } = door else { return Ok(()) };
    let locals = interfaces::locals().map_err(|_| CloseCode::Internal)?;
    if interfaces::is_near(&locals, source) { Ok(()) } else { Err(CloseCode::NotOnLink) }
}

async fn within<T>(limit: Duration, work: impl IntoFuture<Output = T>) -> Result<T, Refusal> {
    timeout(limit, work).await.map_err(|_| Refusal::Deadline)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn linking_is_for_this_network_unless_it_was_opened_to_all() {
        let near = (Ipv4Addr::LOCALHOST, 4).into();
        let far = (Ipv4Addr::new(240, 0, 0, 1), 4).into(); // RFC 1112 section 4: no network has such addresses.
        let lan = Door::Link { anywhere: false };
        assert_eq!(check_network(lan, near), Ok(()));
        assert_eq!(check_network(lan, far), Err(CloseCode::NotOnLink));
        assert_eq!(check_network(Door::Link { anywhere: true }, far), Ok(()));
        assert_eq!(check_network(Door::Sync, far), Ok(()));
    }
}

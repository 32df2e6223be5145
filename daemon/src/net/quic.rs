//! QUIC's settings, each with its reason, and how its errors read in terms of the protocol.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, NoneTokenStore, ServerConfig, TransportConfig, TransportErrorCode,
    ValidationTokenConfig, VarInt,
};
use rustls::AlertDescription;

use super::tls::{self, ALPN_LINK, ALPN_SYNC, Tls, TlsError, Trust};

/// Bytes in flight towards us before the peer's key was looked up again: a stranger holds no more memory than this.
const WINDOW_STRANGER: u32 = 64 * 1024;
/// Bytes in flight from a peer that may connect: a few segments at once, and 100 ms at 80 MB/s.
const WINDOW_PEER: u32 = 8 << 20;
/// Bytes in flight on one stream: 100 ms at 10 MB/s, so that no transfer starves the control stream.
const WINDOW_STREAM: u32 = 1 << 20;
/// Bytes kept for a peer until it acknowledges them; what is behind waits in the outbox or the store.
const WINDOW_SEND: u64 = 4 << 20;
/// Transfers from one peer at once.
pub(super) const TRANSFERS: u32 = 4;
/// Bytes of handshake messages out of order: a certificate of 200 bytes and a key share of 1.2 KiB fit many times.
const CRYPTO_BUFFER: usize = 16 * 1024;
/// Connection attempts not looked at yet. They are looked at at once, so few ever wait.
const WAITING: usize = 256;
/// Bytes kept of one attempt that was not looked at yet: the second half of its first flight.
const WAITING_BYTES: u64 = 8 * 1024;
/// A Retry is answered within one round trip.
const RETRY_LIFETIME: Duration = limits::HANDSHAKE;

/// One of the two protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// `kinlink/1`.
    Sync,
    /// `kinlink-link/1`.
    Link,
}

impl Protocol {
    fn alpn(self) -> &'static [u8] {
        match self {
            Self::Sync => ALPN_SYNC,
            Self::Link => ALPN_LINK,
        }
    }
}

/// For accepting.
pub(super) fn server(tls: &Tls, protocol: Protocol, trust: Trust) -> Result<ServerConfig, TlsError> {
    let crypto = QuicServerConfig::try_from(tls.server(protocol.alpn(), trust)?).map_err(no_initial_suite)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0); // A token would let an observer link a device's connections to one another.
    config
        .transport_config(Arc::new(transport(protocol, 1)))
        .validation_token_config(tokens)
        .retry_token_lifetime(RETRY_LIFETIME)
        // A linking peer must stay on the network that it was checked to be on; a linked one may roam.
        .migration(protocol == Protocol::Sync)
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING as u64 * WAITING_BYTES);
    Ok(config)
}

/// For dialling one device.
pub(super) fn client(tls: &Tls, protocol: Protocol, device: DeviceId) -> Result<ClientConfig, TlsError> {
    let crypto = QuicClientConfig::try_from(tls.client(protocol.alpn(), device)?).map_err(no_initial_suite)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport(protocol, 0))).token_store(Arc::new(NoneTokenStore));
    Ok(config)
}

fn no_initial_suite<E: std::fmt::Display>(error: E) -> TlsError {
    TlsError::Setup(rustls::Error::General(error.to_string()))
}

fn transport(protocol: Protocol, streams: u32) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(limits::IDLE.try_into().ok())
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        // One control stream, opened by the dialler.
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        .max_concurrent_uni_streams(VarInt::from_u32(if protocol == Protocol::Sync { TRANSFERS } else { 0 }))
        .receive_window(VarInt::from_u32(WINDOW_STRANGER))
        .stream_receive_window(VarInt::from_u32(WINDOW_STREAM))
        .send_window(WINDOW_SEND)
        .crypto_buffer_size(CRYPTO_BUFFER)
        .datagram_receive_buffer_size(None)
        .allow_spin(false); // Nobody on the path needs to know our round-trip times.
    config
}

/// Widens what a peer may have in flight, once its key may connect.
pub(super) fn widen(connection: &Connection) {
    connection.set_receive_window(VarInt::from_u32(WINDOW_PEER));
}

/// Closes with a code of PROTOCOL.md section 11; the reason is for whoever reads a packet trace.
pub(super) fn close(connection: &Connection, code: CloseCode) {
    connection.close(number(code), code.text().as_bytes());
}

/// The code as QUIC has it.
pub(super) fn number(code: CloseCode) -> VarInt {
    VarInt::from_u32(u32::from(code.code()))
}

/// The code that the peer closed with, if it did. A peer that refused our key in the handshake says so by an alert.
pub(super) fn code_of(error: &ConnectionError) -> Option<CloseCode> {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
            Some(CloseCode::from_code(code))
        }
        ConnectionError::ConnectionClosed(close) if close.error_code == access_denied() => {
            Some(CloseCode::UnknownDevice)
        }
        _ => None,
    }
}

fn access_denied() -> TransportErrorCode {
    TransportErrorCode::crypto(u8::from(AlertDescription::AccessDenied))
}

/// `X` of PROTOCOL.md section 2.
pub(super) fn exporter(connection: &Connection, label: &[u8]) -> io::Result<[u8; 32]> {
    let mut out = [0; 32];
    connection
        .export_keying_material(&mut out, label, b"")
        .map_err(|_| io::Error::other("TLS gives no keying material"))?;
    Ok(out)
}

/// The key that a peer proved to hold in the handshake.
pub(super) fn peer_of(connection: &Connection) -> Option<DeviceId> {
    let chain = connection.peer_identity()?.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok()?;
    tls::device_of(chain.first()?).ok()
}

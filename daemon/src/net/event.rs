//! What the network tells the one task that owns the state.

use kinlink_proto::id::DeviceId;
use kinlink_proto::sync::transfer::Prepared;
use kinlink_proto::wire::address::Address;
use kinlink_proto::wire::frame::{CloseCode, Frame};
use tokio::sync::OwnedSemaphorePermit;

/// One fact. Every `Connected` and `LinkConnected` is followed by exactly one `Disconnected`, also after an order
/// to close; events of a connection that was ordered to close may still be in the channel.
#[derive(Debug)]
pub enum NetEvent {
    /// A handshake on `kinlink/1` is done, and the peer's key may connect or it sent an introduction first.
    Connected {
        /// The new connection, of either protocol, unique within one run.
        conn: u64,
        /// The key that the peer proved to hold.
        peer: DeviceId,
        /// Whether this side dialled.
        dialled: bool,
        /// The peer's address.
        address: Address,
        /// `X` of PROTOCOL.md section 2.
        exporter: [u8; 32],
    },
    /// A handshake on `kinlink-link/1` is done.
    LinkConnected {
        /// The new connection.
        conn: u64,
        /// The key that the peer proved to hold.
        peer: DeviceId,
        /// The pairing that this side dialled for; `None` if the peer dialled.
        dialled: Option<u64>,
        /// The peer's address.
        address: Address,
        /// `X` of PROTOCOL.md section 2.
        exporter: [u8; 32],
    },
    /// A frame arrived on the control or linking stream.
    Received {
        /// From whom.
        conn: u64,
        /// What.
        frame: Frame,
    },
    /// A frame arrived on a unidirectional stream of its own.
    Transfer {
        /// From whom.
        conn: u64,
        /// Which stream, unique within the connection.
        stream: u64,
        /// What.
        frame: Frame,
        /// What was worked out of it, if it is a segment.
        prepared: Option<Prepared>,
        /// While this is held, it counts among what a peer may have waiting here.
        room: OwnedSemaphorePermit,
    },
    /// A connection ended, by either side.
    Disconnected {
        /// Which.
        conn: u64,
        /// The code that the peer closed with, if it did.
        code: Option<CloseCode>,
    },
    /// None of a device's addresses led to it.
    DialFailed {
        /// Whom.
        device: DeviceId,
        /// What the network said, for people.
        reason: String,
    },
    /// Something was sent on a connection, and nothing came from it for [`kinlink_proto::limits::SILENT`].
    Silent {
        /// Which.
        conn: u64,
    },
    /// This machine's network changed, or it slept.
    Changed,
    /// None of the addresses of a challenge led to its shower.
    LinkDialFailed {
        /// For which pairing.
        pairing: u64,
        /// The code that the peer closed with; [`CloseCode::NotOnLink`] also if this side did not try.
        code: Option<CloseCode>,
        /// What the network said, for people.
        reason: String,
    },
    /// A device of the account announced on the local network where it is.
    Heard {
        /// Which.
        device: DeviceId,
        /// Where, best first: on this network all of them.
        addresses: Vec<Address>,
    },
    /// The addresses and port of this device, best first: at the start, and whenever they changed.
    Addresses(Vec<Address>),
}

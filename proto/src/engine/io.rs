//! What goes into the engine and what comes out: one enum each. The shell is a `match` over the latter.

use std::time::Duration;

use super::command::{Caller, CallerId, Command, CommandId, PairingId, Reply};
use super::error::CommandError;
use super::view::{PairingView, RevokedBy, View};
use crate::discovery::{Key, Keys};
use crate::id::{DeviceId, JournalId, SessionId};
use crate::reach::HostPort;
use crate::roster::keyring::Keyring;
use crate::sync::transfer::Prepared;
use crate::wire::address::Address;
use crate::wire::frame::{CloseCode, Frame};

/// Names a connection, of either protocol, within one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One fact.
#[derive(Debug)]
pub enum Input {
    /// The daemon started: dial, remind, tell.
    Started,
    /// An order from a client on this device.
    Command {
        /// To be named in the reply.
        id: CommandId,
        /// Who gives it.
        caller: Caller,
        /// What.
        command: Command,
    },
    /// A client left its bus: what it opened ends.
    CallerGone(CallerId),
    /// A handshake on `kinlink/1` is done.
    Connected {
        /// The new connection.
        conn: ConnId,
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
        conn: ConnId,
        /// The key that the peer proved to hold.
        peer: DeviceId,
        /// The pairing that this side dialled for; `None` if the peer dialled.
        dialled: Option<PairingId>,
        /// The peer's address.
        address: Address,
        /// `X` of PROTOCOL.md section 2.
        exporter: [u8; 32],
    },
    /// A frame arrived on a control or linking stream.
    Received {
        /// From whom.
        conn: ConnId,
        /// What.
        frame: Frame,
    },
    /// A frame of a transfer arrived on a stream of its own: a header, or a segment.
    Transfer {
        /// From whom.
        conn: ConnId,
        /// Which stream, unique within the connection.
        stream: u64,
        /// What.
        frame: Frame,
        /// What was worked out of it on the way here, by [`Preparer`](crate::sync::transfer::Preparer).
        prepared: Option<Prepared>,
    },
    /// A connection ended, by either side.
    Disconnected {
        /// Which.
        conn: ConnId,
        /// The code that the peer closed with, if it did.
        code: Option<CloseCode>,
    },
    /// Dialling did not reach `kinlink/1` of a device.
    DialFailed {
        /// Whom.
        device: DeviceId,
        /// What the network said, for people.
        reason: String,
    },
    /// Dialling did not reach the shower of a challenge.
    LinkDialFailed {
        /// For which pairing.
        pairing: PairingId,
        /// The code that the peer closed with, if it did.
        code: Option<CloseCode>,
        /// What the network said.
        reason: String,
    },
    /// The addresses and port of this device, best first.
    Addresses(Vec<Address>),
    /// The port of this device on `kinlink/1`.
    Port(u16),
    /// This machine's network changed, or it slept: connections may be dead, and devices that were out of reach may not be.
    NetworkChanged,
    /// Something was sent on a connection, and nothing came from it for [`crate::limits::SILENT`].
    Silent {
        /// Which.
        conn: ConnId,
    },
    /// A device was found on the network, or the user said where it is.
    Found {
        /// Which.
        device: DeviceId,
        /// Where, best first.
        addresses: Vec<Address>,
    },
    /// A device announced on the local network where it is, under a key that was told with [`Output::Discover`].
    Heard {
        /// Which.
        device: DeviceId,
        /// Where, best first; link-local ones with the interface that they were heard on.
        addresses: Vec<Address>,
    },
    /// The deadline of [`Output::Wait`] has passed.
    Tick,
}

/// One thing to do, in order, after the transaction is durable.
#[derive(Debug)]
pub enum Output {
    /// Answer a command.
    Reply {
        /// Which.
        id: CommandId,
        /// With what.
        result: Result<Reply, CommandError>,
    },
    /// Tell the clients.
    Event(Event),
    /// Send a frame on the connection's stream.
    Send {
        /// To whom.
        conn: ConnId,
        /// What.
        frame: Frame,
    },
    /// Stream a journal from a snapshot of the store on a stream of its own, with
    /// [`crate::sync::transfer::Outgoing`].
    SendJournal {
        /// To whom.
        conn: ConnId,
        /// Which.
        journal: JournalId,
        /// From which number on.
        from: u64,
        /// Up to which number, if its author was revoked.
        upto: Option<u64>,
    },
    /// Close a connection when what was sent before is acknowledged, or after `linger` at the latest. Nothing
    /// is read from it from now on.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        code: CloseCode,
        /// How long to wait for acknowledgements.
        linger: Duration,
    },
    /// A peer whose key was unknown may send its next frame, of at most so many bytes; from
    /// [`crate::limits::FRAME_CONTROL`] on it is known, and this connection is like any other.
    Widen {
        /// Which.
        conn: ConnId,
        /// Bytes of a frame's body.
        bytes: usize,
    },
    /// Dial a device on `kinlink/1`, all addresses at once or one by one; pins its key.
    Dial {
        /// Whom.
        device: DeviceId,
        /// Where, best first.
        addresses: Vec<Address>,
        /// Names that a user gave, to be resolved; they come last.
        names: Vec<HostPort>,
        /// Whether a dial that is under way ends without a word, because its packets may be lost; otherwise it takes the
        /// addresses in.
        anew: bool,
    },
    /// Dial the shower of a challenge on `kinlink-link/1`; pins its key.
    DialLink {
        /// For which pairing.
        pairing: PairingId,
        /// Whom.
        shower: DeviceId,
        /// Where, best first.
        addresses: Vec<Address>,
        /// Whether addresses beyond this network are allowed.
        anywhere: bool,
        /// What the shower announces itself under on the local network: it is looked for there, too.
        key: Key,
    },
    /// Announce the linking socket on the local network under this key, until [`Output::CloseLinking`].
    AnnounceLinking(Key),
    /// Close the linking socket, and announce it no more.
    CloseLinking,
    /// Announce this device on the local network and look for others there, with these keys from now on; or do neither.
    Discover(Option<Keys>),
    /// The keys that may connect on `kinlink/1` from now on: linked ones, and those that were revoked. If there are any,
    /// others may introduce themselves.
    Admit(Vec<DeviceId>),
    /// What opens operations from now on, for whoever prepares segments on their way here.
    Keys(Keyring),
    /// This device was set back to an older state of its disk and has noticed: to be logged.
    Restored,
    /// The keys here are void: replace the store key, seal the identity under the new one, and load the engine anew.
    EraseKeys,
    /// Wipe the store, make a fresh identity, and load the engine anew.
    Reset,
}

/// Something that happened, for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The snapshot of devices and status changed.
    View(std::sync::Arc<View>),
    /// A pairing changed, for its owner only.
    Pairing {
        /// Which.
        pairing: PairingId,
        /// Whose.
        owner: CallerId,
        /// Its state now.
        view: PairingView,
    },
    /// A pairing is over and forgotten.
    PairingGone(PairingId),
    /// A session appeared.
    SessionCreated {
        /// Which.
        session: SessionId,
        /// Of which app.
        app: String,
    },
    /// An entry changed.
    EntryChanged {
        /// Where.
        session: SessionId,
        /// Of which app.
        app: String,
        /// Which.
        key: Vec<u8>,
        /// Whether it was removed.
        deleted: bool,
        /// Who changed it.
        device: DeviceId,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
        /// Of which app.
        app: String,
        /// Who, why, when.
        by: RevokedBy,
    },
}

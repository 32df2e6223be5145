//! Orders from this device's users and apps, each with its caller, and what they are answered.

use std::time::Duration;

use super::view::{DeviceView, PairingView, PingView, SessionView, Status};
use crate::id::{Cursor, DeviceId, SessionId, Version};
use crate::key::Secret;
use crate::reach::HostPort;
use crate::roster::Role;
use crate::roster::statement::PinSetting;
use crate::time::Wall;
use crate::wire::address::Address;
use crate::wire::challenge::Challenge;

/// Names a command until its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// One client on one bus connection, until it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// Who gives a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Which client: what it opened ends when it leaves.
    pub id: CallerId,
    /// What it may do.
    pub kind: CallerKind,
}

/// What a caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerKind {
    /// A process of this user outside of any sandbox: everything.
    User,
    /// An app in a sandbox: its own sessions. What could not be identified has an empty name and no sessions.
    Sandboxed(String),
}

/// Names a pairing, on both sides, within one run of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairingId(pub u64);

/// What a joining device does with the sessions that it made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSessions {
    /// Brings them along, sealed anew.
    Bring,
    /// Discards them.
    Discard,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Shows a challenge. The shell has opened the linking socket and names its addresses, best first.
    OpenPairing {
        /// How long the challenge stays open.
        timeout: Duration,
        /// Whether devices beyond this network may answer.
        anywhere: bool,
        /// The account's label, if this creates it.
        label: Option<String>,
        /// This device's name from now on.
        name: Option<String>,
        /// Where the linking socket listens.
        addresses: Vec<Address>,
    },
    /// Answers a challenge.
    Join {
        /// The challenge, decoded and verified.
        challenge: Challenge,
        /// This device's name from now on.
        name: Option<String>,
        /// Whether this side's user allows a shower beyond this network, too.
        anywhere: bool,
    },
    /// The new device's user agrees to join.
    AcceptOffer {
        /// Which pairing.
        pairing: PairingId,
        /// What becomes of the sessions made before.
        sessions: OldSessions,
    },
    /// The shower's user typed the code.
    ConfirmCode {
        /// Which pairing.
        pairing: PairingId,
        /// What was typed.
        code: String,
    },
    /// The new device's client asks for the code, to show it.
    Code(PairingId),
    /// Ends a pairing, on either side.
    CancelPairing(PairingId),
    /// The state of a pairing, for its owner.
    Pairing(PairingId),
    /// Names a device, this one or another.
    Rename {
        /// Which.
        device: DeviceId,
        /// Its name from now on.
        name: String,
    },
    /// Asks a device for a sign of life; dials it if it is not connected.
    Ping(DeviceId),
    /// Says where a device is.
    AddAddress {
        /// Which.
        device: DeviceId,
        /// Where.
        address: HostPort,
    },
    /// Forgets an address of a device.
    RemoveAddress {
        /// Which.
        device: DeviceId,
        /// Which one.
        address: HostPort,
    },
    /// Listens on another port from now on. The shell has moved already; the engine only says who may.
    SetPort(u16),
    /// Dismisses the notice of a newly linked device, on every device.
    Dismiss(DeviceId),
    /// Revokes devices.
    Revoke {
        /// Which.
        devices: Vec<DeviceId>,
        /// Why, for everyone to read.
        reason: String,
    },
    /// Revokes every device but this one.
    RevokeOthers {
        /// Why.
        reason: String,
    },
    /// Takes a device's rights until it is readmitted.
    Suspend {
        /// Which.
        device: DeviceId,
        /// Why, for everyone to read.
        reason: String,
    },
    /// Gives a suspended device its rights back.
    Readmit(DeviceId),
    /// Gives a device another role.
    SetRole {
        /// Which.
        device: DeviceId,
        /// Its role from now on.
        role: Role,
    },
    /// A command of somebody who typed the PIN.
    WithPin {
        /// What Argon2id makes of it, with the settings of each PIN that is set.
        seeds: Vec<Secret>,
        /// Which.
        command: Box<Command>,
    },
    /// Asks whether that is the PIN, and nothing else.
    VerifyPin,
    /// Sets or changes the PIN, or removes it.
    SetPin(Option<PinSetting>),
    /// This device revokes itself.
    Leave {
        /// Why.
        reason: String,
    },
    /// Wipes everything here and starts over with fresh keys.
    Erase,
    /// Makes a session.
    CreateSession {
        /// The app's id.
        app: String,
        /// What people see.
        title: String,
        /// When it ends by itself; 0 is never.
        expires: Wall,
    },
    /// Lists sessions.
    Sessions(SessionFilter),
    /// One session.
    Session(SessionId),
    /// Ends a session everywhere.
    EndSession {
        /// Which.
        session: SessionId,
        /// Why, for its app to hear.
        reason: String,
    },
    /// Writes an entry.
    Put {
        /// Where.
        session: SessionId,
        /// Under which key.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
        /// Only if the entry is still as somebody saw it.
        only_if: Option<Seen>,
    },
    /// Removes an entry.
    Delete {
        /// Where.
        session: SessionId,
        /// Which.
        key: Vec<u8>,
        /// Only if the entry is still as somebody saw it.
        only_if: Option<Seen>,
    },
    /// Reads an entry with its conflicts.
    Get {
        /// Where.
        session: SessionId,
        /// Which.
        key: Vec<u8>,
    },
    /// Lists keys.
    List {
        /// Where.
        session: SessionId,
        /// Only keys that begin with this.
        prefix: Vec<u8>,
        /// Only keys behind this one.
        after: Option<Vec<u8>>,
        /// At most so many.
        limit: usize,
    },
    /// Lists what changed.
    Changes {
        /// Where.
        session: SessionId,
        /// Behind what was listed before; none for all.
        cursor: Option<Cursor>,
        /// At most so many.
        limit: usize,
    },
}

/// How somebody saw an entry; a write under this condition is refused with `Conflict` if it is another by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// There was none.
    Absent,
    /// In this version.
    Version(Version),
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of this app.
    pub app: Option<String>,
    /// Made on this device.
    pub device: Option<DeviceId>,
    /// Open ones (`true`), ended ones (`false`), or both.
    pub open: Option<bool>,
    /// Behind this one.
    pub after: Option<SessionId>,
    /// At most so many.
    pub limit: usize,
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// Never given: the reply follows by itself.
    Later,
    /// A device answered.
    Pinged(PingView),
    /// A pairing was opened; the texts go to the caller only.
    Opened {
        /// Its name.
        pairing: PairingId,
        /// For the QR: `KL:` and Base45.
        qr: String,
        /// For copying: `kinlink:` and base64url.
        text: String,
        /// When it ends, by the wall clock, for display.
        expires: Wall,
    },
    /// A join was started.
    Joining(PairingId),
    /// The six digits.
    Code(String),
    /// A pairing's state.
    Pairing(PairingView),
    /// Devices were revoked.
    Revoked(Vec<DeviceId>),
    /// A session was made.
    Created(SessionId),
    /// Sessions, and whether more stand behind the last one.
    Sessions(Vec<SessionView>, bool),
    /// One session.
    Session(SessionView),
    /// The values of a key: the one shown first, then the conflicting ones; never empty. With the version that they are.
    Values(Vec<Value>, Version),
    /// Keys, and whether more stand behind the last one.
    Keys(Vec<KeyView>, bool),
    /// Keys that changed, whether each is gone, and the cursor behind them; none if there are no more.
    Changes(Vec<(KeyView, bool)>, Cursor),
    /// All devices, and this one's state.
    Devices(Vec<DeviceView>, Status),
}

/// A value of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes; `None` is a delete that conflicts with a write.
    pub bytes: Option<Vec<u8>>,
    /// When its writer's clock said it was written.
    pub time: Wall,
    /// Who wrote it.
    pub device: DeviceId,
}

/// A key in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyView {
    /// The key.
    pub key: Vec<u8>,
    /// When its value was written.
    pub time: Wall,
    /// Who wrote it.
    pub device: DeviceId,
    /// Bytes of the value.
    pub size: u64,
}

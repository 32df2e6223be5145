//! Plain public snapshots of the state, for D-Bus and the command line.

use super::error::CommandError;
use crate::id::{AccountId, DeviceId, EpochId, SessionId, StatementId};
use crate::roster::statement::PinSetting;
use crate::roster::{Custody, Role};
use crate::time::Wall;
use crate::wire::address::Address;

/// What everybody on this device may know at a glance. The shell publishes it whenever it changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// This device's state.
    pub status: Status,
    /// All devices, this one first, then linked ones by name, then those that are out.
    pub devices: Vec<DeviceView>,
}

/// This device's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Where it stands.
    pub standing: Standing,
    /// The account, once there is one.
    pub account: Option<AccountId>,
    /// The account's label.
    pub label: String,
    /// This device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// The newest statement of each author.
    pub heads: Vec<(DeviceId, u32, StatementId)>,
    /// The epoch that is written under.
    pub epoch: Option<EpochId>,
    /// The UDP port of `kinlink/1`.
    pub port: u16,
    /// The PIN, if one is set.
    pub two_step: Option<TwoStep>,
    /// Whether a challenge is open here.
    pub pairing_open: bool,
    /// Something critical was made by a newer version: no writing, no approving.
    pub update_needed: bool,
    /// While many operations of others are still to come from connected devices: how far they came.
    pub arriving: Option<Arriving>,
    /// Who put this device out or suspended it, why, and when.
    pub revoked: Option<RevokedBy>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// The PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoStep {
    /// How its key is made; of several that were set without knowing of one another, any.
    pub settings: Vec<PinSetting>,
    /// Who set it.
    pub by: DeviceId,
    /// Its name.
    pub by_name: String,
    /// When, by that device's clock.
    pub at: Wall,
    /// So many linked devices are known to have heard of it,
    pub known_on: u32,
    /// of so many.
    pub known_of: u32,
}

/// Operations of others that count here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arriving {
    /// How many are here.
    pub here: u64,
    /// How many there will be, as far as connected devices say.
    pub total: u64,
}

/// Where a device stands, seen from itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// No account with other devices.
    #[default]
    Unlinked,
    /// Linked with others, or was.
    Linked,
    /// It agreed to join and has not seen the link yet.
    Pending,
    /// It is without rights, until an owner readmits it.
    Suspended,
    /// It was revoked, or left.
    Revoked,
}

/// A revocation or suspension, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedBy {
    /// Who.
    pub by: DeviceId,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// When, by the revoker's clock.
    pub at: Wall,
}

/// Where a device stands, seen by the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceStatus {
    /// In.
    Linked,
    /// In, but it has not shown up yet.
    Pending,
    /// Out.
    Revoked,
    /// Out by its own wish.
    Left,
    /// No rights until somebody settles who was right.
    Suspended,
    /// Linked by a device that was being revoked; no access until an owner links it.
    Unconfirmed,
}

/// A device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Which.
    pub id: DeviceId,
    /// Its name, cleaned.
    pub name: String,
    /// Its platform, cleaned.
    pub platform: String,
    /// Its role.
    pub role: Role,
    /// Its custody.
    pub custody: Custody,
    /// Where it stands.
    pub status: DeviceStatus,
    /// Whether it is this one.
    pub this: bool,
    /// It was linked, and nobody has dismissed the notice of that yet.
    pub new: bool,
    /// When it was linked.
    pub linked_at: Wall,
    /// Who linked it; itself if it was the first.
    pub linked_by: DeviceId,
    /// From where it answered.
    pub linked_from: Option<Address>,
    /// Whether it is connected now.
    pub online: bool,
    /// When it was last connected or reported.
    pub last_seen: Wall,
    /// Where it was last reached.
    pub address: Option<Address>,
    /// Where it may be reached, and how this device knows: those that the user gave first, then the best first.
    pub addresses: Vec<AddressView>,
    /// Its lease in seconds; 0 is none.
    pub lease: u32,
    /// Its revocation, or what suspends it.
    pub revoked: Option<RevokedBy>,
    /// Where it was seen when it was suspended: of a clone, where each of the two was.
    pub seen_at: Vec<Address>,
    /// Wrong PINs that were tried there since the last right one.
    pub wrong_pins: u32,
    /// Its revocation was applied on so many of so many remaining devices.
    pub applied: (u32, u32),
}

/// How this device knows an address of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The user said so, here.
    Given,
    /// It was dialled there with success.
    Worked,
    /// It came from there.
    Heard,
    /// It was found there on the network.
    Found,
    /// It says so itself.
    Reported,
}

impl AddressSource {
    /// Whether the device proved its key there.
    pub(crate) fn is_proof(self) -> bool {
        matches!(self, Self::Worked | Self::Heard)
    }

    /// In one word.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Worked => "worked",
            Self::Heard => "heard",
            Self::Found => "found",
            Self::Reported => "reported",
        }
    }
}

/// An address of a device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressView {
    /// As it is written: an IP address or a name, and a port.
    pub text: String,
    /// How this device knows.
    pub from: AddressSource,
    /// Whether the connection of now goes there.
    pub in_use: bool,
}

/// What a ping found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingView {
    /// Over which connection.
    pub conn: super::io::ConnId,
    /// To which address.
    pub address: Address,
    /// How this device knows that address.
    pub from: AddressSource,
    /// Whether it had to be dialled for this.
    pub dialled: bool,
    /// From the question to the answer, both devices' work included.
    pub answered: std::time::Duration,
    /// When both last held the same; 0 is never.
    pub synced: Wall,
    /// What the shell knows of the path: filled in by it.
    pub path: Option<PathView>,
}

/// A path through the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathView {
    /// QUIC's smoothed round trip.
    pub rtt: std::time::Duration,
    /// Where the address is, seen from here.
    pub place: Place,
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this very machine.
    Here,
    /// On a network that this machine is part of.
    Lan,
    /// Behind a router, or at the other end of a tunnel.
    Routed,
}

/// A session, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Which.
    pub id: SessionId,
    /// The app's id.
    pub app: String,
    /// Its title.
    pub title: String,
    /// Where it was made.
    pub device: DeviceId,
    /// That device's name.
    pub device_name: String,
    /// When it was made.
    pub created: Wall,
    /// When it was last written to.
    pub last_active: Wall,
    /// When it ends by itself; 0 is never.
    pub expires: Wall,
    /// Who ended it, why, and when.
    pub ended: Option<RevokedBy>,
}

/// Which side of a pairing this device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It shows the challenge.
    Show,
    /// It answers one.
    Join,
}

/// Where a pairing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairingState {
    /// Show: nobody has answered.
    Waiting,
    /// Show: somebody proved to have seen the challenge.
    Claimed,
    /// Show: the code is to be typed. Join: it is to be shown.
    Code,
    /// Join: on the way to the shower.
    Dialling,
    /// Join: the account is shown, the user is asked.
    Offered,
    /// Join: agreed, waiting for the shower.
    Accepted,
    /// Done.
    Linked,
    /// Not done; see the error.
    Failed,
    /// Ended by a user.
    Cancelled,
}

/// A pairing, for the client that opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingView {
    /// Which side.
    pub direction: Direction,
    /// Where it stands.
    pub state: PairingState,
    /// The peer, once known.
    pub peer: Option<DeviceId>,
    /// Its self-chosen name, cleaned.
    pub peer_name: String,
    /// Its platform, cleaned.
    pub peer_platform: String,
    /// From where it answers.
    pub peer_address: Option<Address>,
    /// The account to join.
    pub account: Option<AccountId>,
    /// Its label, cleaned.
    pub label: String,
    /// As what.
    pub role: Role,
    /// In whose custody.
    pub custody: Custody,
    /// When the challenge ends, for display.
    pub expires: Wall,
    /// Tries left at the code.
    pub tries_left: u8,
    /// Why it failed.
    pub error: Option<CommandError>,
}

impl Default for Status {
    fn default() -> Self {
        Self {
            standing: Standing::default(),
            account: None,
            label: String::new(),
            device: DeviceId::NONE,
            name: String::new(),
            heads: Vec::new(),
            epoch: None,
            port: 0,
            two_step: None,
            pairing_open: false,
            update_needed: false,
            arriving: None,
            revoked: None,
            warnings: Vec::new(),
        }
    }
}

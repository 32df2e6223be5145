//! What goes into the shower and what comes out of it.

use crate::id::{AccountId, ChallengeId, DeviceId};
use crate::time::Mono;
use crate::wire::address::Address;
use crate::wire::frame::{CloseCode, Frame};

/// Who claims, and over which connection.
#[derive(Clone, Copy, Debug)]
pub struct Claimant<'a, C> {
    /// The connection.
    pub conn: C,
    /// The key that the peer proved to hold in TLS.
    pub joiner: DeviceId,
    /// Where it comes from.
    pub source: &'a Address,
    /// The exporter of this connection.
    pub exporter: &'a [u8; 32],
}

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimVerdict<C> {
    /// The first valid proof: [`Shower::offer`] is next.
    Accepted,
    /// The same key again: [`Shower::offer`] is next, and its old connection is closed as a duplicate.
    Reclaimed {
        /// The old connection, if it is still there.
        superseded: Option<C>,
    },
    /// No proof of this challenge: costs this connection only.
    BadProof {
        /// Whether its source is not listened to any more.
        blocked: bool,
    },
    /// The challenge is over its time, as was found just now.
    Expired,
    /// The challenge is used up, for this reason.
    Ended(CloseCode),
    /// A second key has seen the challenge: the attempt is cancelled on all sides.
    SecondClaimant {
        /// The first one's connection, which is told the same.
        first: Option<C>,
    },
}

impl<C> ClaimVerdict<C> {
    /// What the claiming connection is refused with; `None` if it may go on.
    #[must_use]
    pub fn refusal(&self) -> Option<CloseCode> {
        match self {
            Self::Accepted | Self::Reclaimed { .. } => None,
            Self::BadProof { .. } => Some(CloseCode::BadProof),
            Self::Expired => Some(CloseCode::Expired),
            Self::Ended(code) => Some(*code),
            Self::SecondClaimant { .. } => Some(CloseCode::SecondClaimant),
        }
    }
}

/// What the shower says of itself and its account. Role and custody are the challenge's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferParams {
    /// The account.
    pub account: AccountId,
    /// Its label.
    pub label: String,
    /// This device's name.
    pub name: String,
    /// This device's platform.
    pub platform: String,
    /// Seconds; 0 is the default.
    pub lease: u32,
    /// The roster, parents first.
    pub statements: Vec<Vec<u8>>,
    /// Where this device can be reached later.
    pub addresses: Vec<Address>,
}

/// The new device, as it described itself. Its text is cleaned for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its key.
    pub device: DeviceId,
    /// Where epochs are sealed to.
    pub hpke: Vec<u8>,
    /// Its name, chosen by itself.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// The device that it says it replaces.
    pub replaces: Option<DeviceId>,
    /// Its signed consent, for the link statement.
    pub consent: [u8; 64],
}

/// What became of a typed code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// The code that the new device shows: link it. The challenge is used up.
    Right {
        /// Whom to link.
        peer: Box<Peer>,
        /// For the link statement.
        challenge: ChallengeId,
    },
    /// Another one. The frame goes to the connection, if there still is one; the next code comes by itself.
    Wrong {
        /// How often it can still be typed.
        tries_left: u8,
        /// Tells the new device.
        frame: Frame,
    },
    /// That was the last try; the challenge is used up, with this code.
    TooMany(CloseCode),
    /// Not six digits; this was not a try.
    Malformed,
    /// No code is awaited now: nobody has accepted, or the new device is preparing the next one.
    NotReady,
    /// The challenge is used up.
    Ended(CloseCode),
}

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowerStage {
    /// Nobody has answered.
    Waiting,
    /// Somebody proved to have seen the challenge; its user is asked.
    Claimed,
    /// The code is to be typed.
    Code,
    /// A wrong code was typed; the next one is being agreed on.
    Retrying,
    /// The challenge is used up.
    Ended(CloseCode),
}

/// A snapshot for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShowerState {
    /// Where it stands.
    pub stage: ShowerStage,
    /// Who claimed.
    pub claimant: Option<DeviceId>,
    /// From where, most recently.
    pub source: Option<Address>,
    /// How the claimant described itself, once it accepted.
    pub peer: Option<Peer>,
    /// Tries left at the code.
    pub tries_left: u8,
    /// When the challenge ends.
    pub deadline: Mono,
}

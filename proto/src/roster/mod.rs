//! The roster: who is linked, as what, and who was revoked by whom and why.
//!
//! It is a set of signed statements ([`statement`]), each chained to its author's and to those that its author had seen.
//! [`Roster::insert`] takes statements in whatever order they come; [`Roster::evaluation`] is what follows from the set: a pure
//! function, without a clock and without the order of arrival (PROTOCOL.md section 5.4).

mod action;
mod body;
mod components;
pub mod epoch;
pub mod evaluate;
mod graph;
mod intake;
pub mod keyring;
mod pin;
pub mod statement;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::str::FromStr;

pub use evaluate::{Device, EpochInfo, Evaluation, Pin, Removal, Status, VoidReason};
pub use graph::{Roster, RosterError};

use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// What a device may do. The later ones may do more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// A shared or public computer: approves nothing, sees what is listed for it.
    Guest,
    /// Reads and writes sessions.
    Member,
    /// Links, revokes and changes roles.
    Owner,
}

/// Whose machine a device is. Shown wherever the device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Custody {
    /// The user's own.
    Personal,
    /// Used by others too.
    Shared,
    /// Run by a third party.
    Hosted,
}

/// Why a text is not a role or custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct ParseNameError(&'static str);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Owner => "owner",
            Self::Member => "member",
            Self::Guest => "guest",
        })
    }
}

impl FromStr for Role {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        match text {
            "owner" => Ok(Self::Owner),
            "member" => Ok(Self::Member),
            "guest" => Ok(Self::Guest),
            _ => Err(ParseNameError("owner, member or guest")),
        }
    }
}

impl fmt::Display for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Personal => "personal",
            Self::Shared => "shared",
            Self::Hosted => "hosted",
        })
    }
}

impl FromStr for Custody {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        match text {
            "personal" => Ok(Self::Personal),
            "shared" => Ok(Self::Shared),
            "hosted" => Ok(Self::Hosted),
            _ => Err(ParseNameError("personal, shared or hosted")),
        }
    }
}

impl Role {
    /// Its code in every format.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Owner => 0,
            Self::Member => 1,
            Self::Guest => 2,
        }
    }

    /// The role with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Owner, Self::Member, Self::Guest].into_iter().find(|role| role.code() == code)
    }
}

impl Custody {
    /// Its code in every format.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Personal => 0,
            Self::Shared => 1,
            Self::Hosted => 2,
        }
    }

    /// The custody with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Personal, Self::Shared, Self::Hosted].into_iter().find(|custody| custody.code() == code)
    }
}

impl Encode for Role {
    fn encode(&self, w: &mut Writer) {
        w.u8(self.code());
    }
}

impl Decode for Role {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_code(r.u8()?).ok_or(DecodeError::Invalid("role"))
    }
}

impl Encode for Custody {
    fn encode(&self, w: &mut Writer) {
        w.u8(self.code());
    }
}

impl Decode for Custody {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_code(r.u8()?).ok_or(DecodeError::Invalid("custody"))
    }
}

//! Identifiers, one type each.

use std::fmt;

use data_encoding::HEXLOWER;

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits")]
pub struct ParseIdError {
    /// How many digits the identifier has.
    pub expected: usize,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Size in bytes.
            pub const LEN: usize = $len;
            /// All zeros: stands for "none" where a format says so.
            pub const NONE: Self = Self([0; $len]);

            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), HEXLOWER.encode(&self.0[..4]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                HEXLOWER
                    .decode(text.to_ascii_lowercase().as_bytes())
                    .ok()
                    .and_then(|bytes| <[u8; $len]>::try_from(bytes).ok())
                    .map(Self)
                    .ok_or(ParseIdError { expected: 2 * $len })
            }
        }

        impl crate::wire::Encode for $name {
            fn encode(&self, w: &mut crate::wire::Writer) {
                w.raw(&self.0);
            }
        }

        impl crate::wire::Decode for $name {
            fn decode(r: &mut crate::wire::Reader<'_>) -> Result<Self, crate::wire::DecodeError> {
                Ok(Self(r.array()?))
            }
        }
    };
}

id!(
    /// A device: its Ed25519 public key.
    DeviceId, 32
);
id!(
    /// An account: the [`StatementId`] of its genesis.
    AccountId, 32
);
id!(
    /// A statement of the roster: the hash of all its bytes.
    StatementId, 32
);
id!(
    /// An epoch: the [`StatementId`] of its statement.
    EpochId, 32
);
id!(
    /// A challenge: see PROTOCOL.md section 3.
    ChallengeId, 32
);
id!(
    /// A session.
    SessionId, 16
);
id!(
    /// One run of one device's daemon, drawn at its start.
    RunId, 16
);
id!(
    /// Which values of an entry somebody has seen: opaque, and of use on the device that gave it only.
    Version, 16
);
id!(
    /// Up to where somebody has read the changes of a session: opaque, and of use on the device that gave it only.
    Cursor, 24
);
id!(
    /// The public half of the key that a PIN gives: Ed25519.
    PinKey, 32
);
id!(
    /// A hash: SHA-256.
    Hash, 32
);

impl DeviceId {
    /// The first 16 bytes in 8 groups of 4 digits, for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let groups: Vec<String> = self.0[..16].chunks(2).map(|pair| HEXLOWER.encode(pair)).collect();
        groups.join(" ")
    }
}

impl From<StatementId> for AccountId {
    fn from(id: StatementId) -> Self {
        Self(id.0)
    }
}

impl From<StatementId> for EpochId {
    fn from(id: StatementId) -> Self {
        Self(id.0)
    }
}

impl From<EpochId> for StatementId {
    fn from(id: EpochId) -> Self {
        Self(id.0)
    }
}

/// One of a device's journals: operations are numbered within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId {
    /// Whose.
    pub device: DeviceId,
    /// Which: a device that was rolled back opens the next.
    pub generation: u32,
}

impl crate::wire::Encode for JournalId {
    fn encode(&self, w: &mut crate::wire::Writer) {
        self.device.encode(w);
        w.u32(self.generation);
    }
}

impl crate::wire::Decode for JournalId {
    fn decode(r: &mut crate::wire::Reader<'_>) -> Result<Self, crate::wire::DecodeError> {
        Ok(Self { device: DeviceId::decode(r)?, generation: r.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_as_text_and_refuse_what_is_not_one() {
        let id = DeviceId([0xab; 32]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("ab".parse::<DeviceId>(), Err(ParseIdError { expected: 64 }));
        assert_eq!(id.fingerprint(), "abab abab abab abab abab abab abab abab");
    }
}

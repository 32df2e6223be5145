//! Frames on streams, and the codes that connections close with.

use bytes::Bytes;

use super::codec::DecodeError;
use super::object::CRITICAL;

/// Bytes of a frame before its body.
pub const HEADER: usize = 6;

/// One frame, its body unread.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its type; bit 15 is the critical bit.
    pub kind: u16,
    /// Its body.
    pub body: Bytes,
}

impl Frame {
    /// Of a body that was just written.
    #[must_use]
    pub fn new(kind: u16, body: Vec<u8>) -> Self {
        Self { kind, body: body.into() }
    }

    /// What goes before the body: type and length.
    #[must_use]
    pub fn head(&self) -> [u8; HEADER] {
        // Frames are far below 4 GiB.
        let len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let ([k0, k1], [l0, l1, l2, l3]) = (self.kind.to_be_bytes(), len.to_be_bytes());
        [k0, k1, l0, l1, l2, l3]
    }

    /// Changes the body, as a cheat would.
    #[cfg(test)]
    pub(crate) fn alter(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut body = self.body.to_vec();
        change(&mut body);
        self.body = body.into();
    }

    /// Whether a reader that does not know its type must stop.
    #[must_use]
    pub fn critical(&self) -> bool {
        self.kind & CRITICAL != 0
    }

    /// Type and length of the body from the first [`HEADER`] bytes.
    ///
    /// # Errors
    /// If the body is longer than `max`.
    pub fn header(bytes: [u8; HEADER], max: usize) -> Result<(u16, usize), DecodeError> {
        let [k0, k1, l0, l1, l2, l3] = bytes;
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if len > max {
            return Err(DecodeError::TooLarge { what: "frame", len, max });
        }
        Ok((u16::from_be_bytes([k0, k1]), len))
    }
}

impl std::fmt::Debug for Frame {
    /// Type and length only: bodies hold nonces and proofs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:#06x}, {} bytes)", self.kind, self.body.len())
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a connection closes, or a request was refused: PROTOCOL.md section 11.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
            /// A code of a newer version.
            Unknown(u16),
        }

        impl CloseCode {
            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* Self::Unknown(code) => code }
            }

            /// From the number on the wire.
            #[must_use]
            pub fn from_code(code: u16) -> Self {
                match code { $($code => Self::$name,)* other => Self::Unknown(other) }
            }

            /// In a few words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* Self::Unknown(_) => "a reason that this version does not know" }
            }
        }
    };
}

close_codes! {
    /// Orderly.
    Done = 0, "done";
    /// The daemon stops.
    ShuttingDown = 1, "shutting down";
    /// The peer's key is revoked; the proof was sent.
    Revoked = 2, "revoked";
    /// The key is not in the roster.
    UnknownDevice = 3, "unknown device";
    /// The hello names another account.
    WrongAccount = 4, "wrong account";
    /// Malformed, out of order or over a limit.
    Protocol = 5, "protocol error";
    /// Another connection between the two stays.
    Duplicate = 6, "duplicate connection";
    /// An unknown critical element.
    UpdateNeeded = 7, "update needed";
    /// A fault here; the peer did nothing wrong.
    Internal = 8, "internal error";
    /// The peer's key is suspended; the proof was sent.
    Suspended = 9, "suspended";
    /// No challenge is open.
    PairingClosed = 16, "pairing is closed";
    /// The challenge is over its time.
    Expired = 17, "the challenge has expired";
    /// The challenge has linked a device.
    Used = 18, "the challenge was used already";
    /// By the user of either side.
    Cancelled = 19, "cancelled";
    /// The mac does not match.
    BadProof = 20, "the proof does not match the challenge";
    /// A second key proved to have seen the challenge.
    SecondClaimant = 21, "a second device answered the same challenge";
    /// Three times.
    WrongCode = 22, "the code was wrong three times";
    /// This key is linked there.
    AlreadyLinked = 23, "already linked";
    /// This key was revoked there and cannot come back.
    RevokedKey = 24, "this key was revoked";
    /// The account is full.
    TooManyDevices = 25, "too many devices";
    /// The shower may not link.
    NotOwner = 26, "not an owner";
    /// The nonce is not the one committed to.
    BadCommitment = 27, "the nonce is not the one committed to";
    /// The consent does not verify.
    BadConsent = 28, "the consent does not verify";
    /// The address is not on this network.
    NotOnLink = 29, "not on this network";
    /// The user of the new device said no.
    Declined = 30, "declined";
}

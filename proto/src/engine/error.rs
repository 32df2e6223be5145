//! Why a command was refused.

/// The kind decides the D-Bus error name, the hint and the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No such device, session, key or pairing.
    NotFound,
    /// This state does not allow it.
    Refused,
    /// This caller may not do it.
    NotAllowed,
    /// The challenge is over its time.
    Expired,
    /// The challenge has linked a device already.
    AlreadyUsed,
    /// By the user of either side.
    Cancelled,
    /// This device is linked there already.
    AlreadyLinked,
    /// There is no account yet.
    NotLinked,
    /// This device belongs to an account with other devices.
    LeaveFirst,
    /// A pairing is open already.
    PairingOpen,
    /// No challenge is open there.
    PairingClosed,
    /// The text is not a challenge.
    BadChallenge,
    /// The proof of having seen the challenge does not verify.
    BadProof,
    /// The typed code is not the one shown.
    WrongCode,
    /// The third wrong code.
    TooManyTries,
    /// A second device proved to have seen the challenge.
    SecondClaimant,
    /// Nobody answered.
    Unreachable,
    /// The other side speaks for another account.
    WrongAccount,
    /// The device may not link others.
    NotOwner,
    /// The last owner cannot be revoked.
    LastOwner,
    /// The account is full.
    TooManyDevices,
    /// This device was revoked.
    Revoked,
    /// The session is over.
    SessionEnded,
    /// Over a limit.
    TooLarge,
    /// Malformed.
    InvalidArgument,
    /// Made by a newer version.
    UpdateNeeded,
    /// The keys that this needs are not here (yet).
    Locked,
    /// The store failed; whether it was done is not known.
    Storage,
    /// A fault here.
    Internal,
}

/// A refused command: what failed, in one sentence that a person can act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CommandError {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What failed.
    pub message: String,
}

impl CommandError {
    /// Of `kind`, saying `message`.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl From<crate::store::StoreError> for CommandError {
    fn from(error: crate::store::StoreError) -> Self {
        Self::new(ErrorKind::Storage, error.to_string())
    }
}

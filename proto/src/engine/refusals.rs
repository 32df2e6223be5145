//! What a refused pairing tells the people on either side.

use super::error::{CommandError, ErrorKind};
use crate::wire::frame::CloseCode;

/// A close code of linking, as the new device's user is told.
pub(super) fn joining_error(code: CloseCode) -> CommandError {
    match code {
        CloseCode::AlreadyLinked => {
            CommandError::new(ErrorKind::AlreadyLinked, "that account has this device among its own already")
        }
        CloseCode::RevokedKey => CommandError::new(
            ErrorKind::Revoked,
            "this device's key was revoked in that account and cannot come back; `kinctl erase` gives it a fresh one",
        ),
        code => pairing_error(code),
    }
}

/// A close code of linking, as the user of the device that shows the challenge is told.
pub(super) fn pairing_error(code: CloseCode) -> CommandError {
    let (kind, message) = match code {
        CloseCode::PairingClosed => (ErrorKind::PairingClosed, "no challenge is open there; show a new one"),
        CloseCode::Expired => (ErrorKind::Expired, "the challenge has expired; show a new one"),
        CloseCode::Used => {
            (ErrorKind::AlreadyUsed, "the challenge has linked a device already; show a new one for each device")
        }
        CloseCode::Cancelled => (ErrorKind::Cancelled, "the pairing was cancelled; nothing was linked"),
        CloseCode::Declined => (ErrorKind::Cancelled, "the user of the new device declined; nothing was linked"),
        CloseCode::BadProof => (ErrorKind::BadProof, "the proof does not match the challenge; scan it again"),
        CloseCode::SecondClaimant => (
            ErrorKind::SecondClaimant,
            "a second device answered the same challenge, so somebody else has seen it; nothing was linked. Show a new one where nobody can photograph it",
        ),
        CloseCode::WrongCode => (ErrorKind::TooManyTries, "the code was wrong three times; nothing was linked"),
        CloseCode::AlreadyLinked => (ErrorKind::AlreadyLinked, "that device is linked in this account already"),
        CloseCode::RevokedKey => (
            ErrorKind::Refused,
            "that device's key was revoked in this account and cannot come back; run `kinctl erase` on it and link it anew",
        ),
        CloseCode::TooManyDevices => {
            (ErrorKind::TooManyDevices, "the account is full; revoke a device that is not used any more")
        }
        CloseCode::NotOwner => {
            (ErrorKind::NotOwner, "the device that shows the challenge is not an owner of its account")
        }
        CloseCode::WrongAccount => {
            (ErrorKind::WrongAccount, "the device that answered speaks for another account than it shows")
        }
        CloseCode::NotOnLink => (
            ErrorKind::Refused,
            "the other device is not on this network; `--anywhere` on both sides, with `kinctl link` and `kinctl join`, lifts that",
        ),
        CloseCode::UpdateNeeded => (ErrorKind::UpdateNeeded, "the other device uses a newer version; update kinlink"),
        CloseCode::BadCommitment | CloseCode::BadConsent => {
            (ErrorKind::BadProof, "the other device broke the linking protocol; nothing was linked")
        }
        _ => (ErrorKind::Unreachable, "the connection to the other device broke; nothing was linked"),
    };
    CommandError::new(kind, message)
}

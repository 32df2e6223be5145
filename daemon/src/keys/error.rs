//! Why there are no keys, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::Place;

/// Why the keys cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is an identity, but no key that could open it.
    #[error(
        "{} is missing, without which neither this device's identity nor its store can be opened; restore it from a \
         backup, or move the whole directory away, revoke this device from another one, and link again", .0.display()
    )]
    KeyMissing(PathBuf),
    /// There is a key or a store, but no identity.
    #[error(
        "{} is missing; restore it from a backup, or move the whole directory away, revoke this device from another \
         one, and link again", .0.display()
    )]
    IdentityMissing(PathBuf),
    /// The key and the identity were not made together, or one is damaged.
    #[error(
        "the key does not open the identity in {}; restore both from one backup, or move the whole directory away, \
         revoke this device from another one, and link again", .0.display()
    )]
    Mismatch(PathBuf),
    /// What is needed to open the key is not at hand now.
    #[error("the key of this device is kept in the {place}: {why}")]
    Locked {
        /// Where it is kept.
        place: Place,
        /// What is missing, and what to do.
        why: String,
    },
    /// The passphrase is another one.
    #[error("that is not the passphrase of this device")]
    WrongPassphrase,
    /// What should open the key does not.
    #[error(
        "the {0} is there, but is not the one that opens the key of this device; put back what was there, or move the whole \
         state directory away, revoke this device from another one, and link again"
    )]
    WrongKey(Place),
    /// The key cannot be kept there.
    #[error("the key cannot be kept in the {place}: {why}")]
    NoPlace {
        /// Where it was to go.
        place: Place,
        /// Why not.
        why: String,
    },
    /// It is some other file, or is damaged.
    #[error("{} is not a kinlinkd key file, or is damaged; restore it from a backup", .0.display())]
    NotAKey(PathBuf),
    /// Its version is from the future.
    #[error("{} was made by a newer kinlinkd (version {version}); install that version again", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u8,
    },
    /// Others can read it.
    #[error(
        "{0} has mode {mode:04o}, so other users may have read it; if they are not trusted, revoke this device from \
         another one and link again; otherwise run: chmod 600 {0}", .path.display()
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("{} belongs to user {owner}, not to you; run kinlinkd as that user, or choose another --state-dir", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
    },
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeyError {
    /// Whether the key may open later, with nothing else changed on the disk.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Locked { .. } | Self::WrongPassphrase)
    }

    /// The same, of a place that a key was to go to.
    pub(super) fn refused(self) -> Self {
        match self {
            Self::Locked { place, why } => Self::NoPlace { place, why },
            other => other,
        }
    }
}

/// `source`, with the file that it happened at.
pub(super) fn io_at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    move |source| KeyError::Io { path: path.to_owned(), source }
}

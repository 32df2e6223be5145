//! Why there are no keys, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

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

/// `source`, with the file that it happened at.
pub(super) fn io_at(path: &Path) -> impl Fn(io::Error) -> KeyError {
    move |source| KeyError::Io { path: path.to_owned(), source }
}

//! The user's keyring, behind the D-Bus interface `org.freedesktop.secrets`.
//!
//! What is kept there is not the store key but the key that it is sealed under: the keyring alone opens nothing, nor does the disk.

mod secret;
mod service;

use std::fmt;
use std::io;
use std::time::Duration;

use kinlink_proto::key::{Entropy, Secret, random};
use tokio::time::timeout;

pub(crate) use service::Watch;

/// How long a keyring may take over all that one question needs. It asks nobody meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a key is found by in the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item(pub(super) [u8; 16]);

impl Item {
    /// A fresh one.
    pub(super) fn random(entropy: Entropy<'_>) -> Self {
        Self(random(entropy))
    }
}

/// Why a keyring does not give or take a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is none, or it does not answer.
    #[error("there is no keyring: {0}")]
    Absent(String),
    /// It is locked.
    #[error("it is locked; unlock it, as by logging in to the desktop, and this goes on by itself")]
    Locked,
    /// It is open and does not have it.
    #[error(
        "it is open and has no key of this device; put back the keyring from a backup, or move the state directory away, revoke \
         this device from another one, and link again"
    )]
    Lost,
}

/// A place for keys outside of the state directory.
pub trait Keyring: Send + Sync + fmt::Debug {
    /// Whether one is there already, open, and would take a key without asking anybody.
    fn is_ready(&self) -> bool;

    /// The key of `item`.
    ///
    /// # Errors
    /// [`KeyringError`].
    fn find(&self, item: &Item) -> Result<Secret, KeyringError>;

    /// Keeps `key` as `item`.
    ///
    /// # Errors
    /// [`KeyringError`].
    fn put(&self, item: &Item, key: &Secret) -> Result<(), KeyringError>;

    /// Deletes `item`; it is no error if it is not there.
    ///
    /// # Errors
    /// [`KeyringError`].
    fn forget(&self, item: &Item) -> Result<(), KeyringError>;
}

/// The Secret Service on the user's session bus.
#[derive(Clone, Copy, Debug)]
pub struct SecretService;

impl Keyring for SecretService {
    fn is_ready(&self) -> bool {
        ask(service::is_ready()).is_ok_and(|ready| ready)
    }

    fn find(&self, item: &Item) -> Result<Secret, KeyringError> {
        ask(service::find(item))
    }

    fn put(&self, item: &Item, key: &Secret) -> Result<(), KeyringError> {
        ask(service::put(item, key))
    }

    fn forget(&self, item: &Item) -> Result<(), KeyringError> {
        ask(service::forget(item))
    }
}

/// On a thread of its own, with a connection of its own: keys are looked up, replaced and erased where nothing else may come in
/// between.
fn ask<T: Send>(question: impl Future<Output = Result<T, KeyringError>> + Send) -> Result<T, KeyringError> {
    let absent = |error: &dyn fmt::Display| KeyringError::Absent(error.to_string());
    let answer = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| absent(&error))?;
        let answer = runtime.block_on(async { timeout(PATIENCE, question).await });
        answer.unwrap_or_else(|_| Err(absent(&io::Error::from(io::ErrorKind::TimedOut))))
    };
    std::thread::scope(|scope| scope.spawn(answer).join()).unwrap_or_else(|_| Err(absent(&"it cannot be asked")))
}

//! What there is to open a key with.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use kinlink_proto::key::{Secret, derive};
use zeroize::Zeroizing;

use super::{Item, KeyError, Keyring, KeyringError, Passphrase, Place};

/// The credential's name, in the directory that the service manager names.
pub const CREDENTIAL: &str = "kinlink.key";
/// Bytes that a credential has at least, and at most.
const CREDENTIAL_BYTES: (u64, u64) = (16, 64 * 1024);

/// What there is to open a key with, or to seal one.
#[derive(Clone, Debug, Default)]
pub struct Means {
    /// What the user typed.
    pub passphrase: Option<Passphrase>,
    /// `CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The user's keyring, if the daemon may use one.
    pub keyring: Option<Arc<dyn Keyring>>,
}

impl Means {
    /// The same with another passphrase.
    #[must_use]
    pub fn with(&self, passphrase: Option<Passphrase>) -> Self {
        Self { passphrase, ..self.clone() }
    }

    /// The best place that a key may go to without anybody being asked.
    pub(super) fn best(&self) -> Place {
        if self.credentials.as_ref().is_some_and(|dir| dir.join(CREDENTIAL).exists()) {
            Place::Credential
        } else if self.passphrase.is_some() {
            Place::Passphrase
        } else if self.keyring.as_ref().is_some_and(|keyring| keyring.is_ready()) {
            Place::Keyring
        } else {
            Place::File
        }
    }

    /// What `ask` gets from the keyring.
    pub(super) fn ask<T>(&self, ask: impl FnOnce(&dyn Keyring) -> Result<T, KeyringError>) -> Result<T, KeyError> {
        let locked = |why| KeyError::Locked { place: Place::Keyring, why };
        let keyring =
            self.keyring.as_deref().ok_or_else(|| locked("kinlinkd runs without a session bus".to_owned()))?;
        ask(keyring).map_err(|error| locked(error.to_string()))
    }

    /// Deletes `item` from the keyring. Whether it is gone.
    pub(super) fn forget(&self, item: &Item) -> bool {
        let forgotten = self.ask(|keyring| keyring.forget(item));
        if let Err(error) = &forgotten {
            tracing::warn!("an old key is still in the keyring; this is tried again at the next start: {error}");
        }
        forgotten.is_ok()
    }

    /// The key that the credential gives with `salt`.
    pub(super) fn credential(&self, salt: &[u8; 16]) -> Result<Secret, KeyError> {
        let locked = |why| KeyError::Locked { place: Place::Credential, why };
        let Some(dir) = &self.credentials else {
            return Err(locked(format!(
                "kinlinkd was started without one; start it by its unit, with LoadCredentialEncrypted={CREDENTIAL}"
            )));
        };
        let path = dir.join(CREDENTIAL);
        let content = read(&path).map_err(|error| locked(format!("{}: {error}", path.display())))?;
        Ok(derive(&content, salt, "credential", &[]))
    }
}

fn read(path: &std::path::Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let (least, most) = CREDENTIAL_BYTES;
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if !(least..=most).contains(&size) {
        return Err(std::io::Error::other(format!("it has {size} bytes, and {least} to {most} are needed")));
    }
    // Never grown, so no copy is left behind.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1));
    file.take(size).read_to_end(&mut content)?;
    Ok(content)
}

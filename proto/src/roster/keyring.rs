//! The epoch secrets that this device holds, and the keys derived from them.

use std::collections::BTreeMap;

use crate::id::{AccountId, DeviceId, EpochId, Hash, SessionId};
use crate::key::{self, Secret};

/// The secrets of an account's epochs, in memory.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    account: Option<AccountId>,
    secrets: BTreeMap<EpochId, Secret>,
}

impl Keyring {
    /// An empty one.
    #[must_use]
    pub fn new(account: AccountId) -> Self {
        Self { account: Some(account), secrets: BTreeMap::new() }
    }

    /// Whose epochs these are, once there is an account.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Adds the secret of an epoch whose statement commits to it.
    pub fn insert(&mut self, epoch: EpochId, secret: Secret) {
        self.secrets.insert(epoch, secret);
    }

    /// The secret of `epoch`.
    #[must_use]
    pub fn secret(&self, epoch: EpochId) -> Option<&Secret> {
        self.secrets.get(&epoch)
    }

    /// Every epoch and its secret, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (EpochId, &Secret)> {
        self.secrets.iter().map(|(id, secret)| (*id, secret))
    }

    /// The key under which `session` is sealed in `epoch`: `KDF(epoch secret, account, "session" ‖ epoch ‖ session)`.
    #[must_use]
    pub fn session_key(&self, epoch: EpochId, session: SessionId) -> Option<Secret> {
        let (account, secret) = (self.account?, self.secrets.get(&epoch)?);
        Some(key::derive(&secret.0, account.as_bytes(), "session", &[epoch.as_bytes(), session.as_bytes()]))
    }

    /// The key under which the secrets of earlier epochs are sealed in `epoch`.
    #[must_use]
    pub fn history_key(&self, epoch: EpochId) -> Option<Secret> {
        let (account, secret) = (self.account?, self.secrets.get(&epoch)?);
        Some(key::derive(&secret.0, account.as_bytes(), "history", &[]))
    }

    /// What proves to `receiver`, who does not know it yet, that `newcomer` was given `epoch`: an HMAC under
    /// `KDF(epoch secret, account, "introduction" ‖ epoch)` over the exporter of their connection and both ids.
    #[must_use]
    pub fn introduction(
        &self,
        epoch: EpochId,
        exporter: &Secret,
        newcomer: DeviceId,
        receiver: DeviceId,
    ) -> Option<[u8; 32]> {
        let (account, secret) = (self.account?, self.secrets.get(&epoch)?);
        let key = key::derive(&secret.0, account.as_bytes(), "introduction", &[epoch.as_bytes()]);
        Some(key::mac(&key, "introduction", &[&exporter.0, newcomer.as_bytes(), receiver.as_bytes()]))
    }

    /// Forgets everything; the secrets are wiped.
    pub fn clear(&mut self) {
        self.secrets.clear();
    }
}

/// What an epoch statement commits to.
#[must_use]
pub fn commitment(secret: &Secret) -> Hash {
    key::hash("epoch commitment", &[&secret.0])
}

//! Where the store key is kept.

use std::fmt;

/// Where the key is kept that opens everything else of this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the clear, in a file of mode 0600.
    File,
    /// Sealed under a key in the user's keyring.
    Keyring,
    /// Sealed under a key that is derived from a passphrase.
    Passphrase,
    /// Sealed under a key that is derived from a credential of the service manager's.
    Credential,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::File, Self::Keyring, Self::Passphrase, Self::Credential];

    /// Its name, for people and on D-Bus.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Keyring => "keyring",
            Self::Passphrase => "passphrase",
            Self::Credential => "credential",
        }
    }

    /// The place of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|place| place.name() == name)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

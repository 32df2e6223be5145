//! Why a command was refused.

/// The kind decides the D-Bus error name, the hint and the exit code.
pub use crate::dbus::Error as ErrorKind;

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

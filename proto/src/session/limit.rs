//! What a writer is held to. What others wrote is bounded where it is decoded.

use super::Sessions;
use super::content::Content;
use crate::limits::{CONTEXT_ENTRIES, KEY_BYTES, SESSIONS, SESSIONS_PER_APP, VALUE_BYTES};

/// Which limit a write goes over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The key is too long, or empty.
    #[error("the key has {0} bytes; 1 to {KEY_BYTES} are allowed")]
    Key(usize),
    /// The value is too long.
    #[error("the value has {0} bytes; at most {VALUE_BYTES} are allowed: keep larger ones in files")]
    Value(usize),
    /// The context names too many journals.
    #[error("the context names {0} journals; at most {CONTEXT_ENTRIES} are allowed")]
    Context(usize),
    /// The app has as many open sessions as one may have.
    #[error("{0} has {SESSIONS_PER_APP} open sessions; end some of them first")]
    SessionsOfApp(String),
    /// The account has as many open sessions as one may have.
    #[error("there are {SESSIONS} open sessions; end some of them first")]
    Sessions,
}

impl Content {
    /// Whether every device would take this in.
    ///
    /// # Errors
    /// Names the limit that it goes over.
    pub fn within_limits(&self) -> Result<(), LimitError> {
        let value = self.value().map_or(0, <[u8]>::len);
        match (self.key.len(), value, self.context.len()) {
            (key, _, _) if key == 0 || key > KEY_BYTES => Err(LimitError::Key(key)),
            (_, value, _) if value > VALUE_BYTES => Err(LimitError::Value(value)),
            (_, _, context) if context > CONTEXT_ENTRIES => Err(LimitError::Context(context)),
            _ => Ok(()),
        }
    }
}

impl Sessions {
    /// Whether `app` may make another session. Those of other devices are taken in even above the limit.
    ///
    /// # Errors
    /// Names the limit that it goes over.
    pub fn room_for(&self, app: &str) -> Result<(), LimitError> {
        if self.open_of(app) >= SESSIONS_PER_APP {
            return Err(LimitError::SessionsOfApp(app.to_owned()));
        }
        if self.open() >= SESSIONS { Err(LimitError::Sessions) } else { Ok(()) }
    }
}

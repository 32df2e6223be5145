//! Time as an argument.

use std::time::Duration;

/// Wall-clock time in milliseconds since the Unix epoch. For display and for ordering concurrent
/// values only; no decision about trust reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub u64);

/// Monotonic time in milliseconds since an arbitrary start. It does not jump; deadlines use it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// The two clocks, read at one moment by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What the user's clock shows.
    pub wall: Wall,
    /// What deadlines are measured against.
    pub mono: Mono,
}

impl Mono {
    /// This moment plus `by`, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

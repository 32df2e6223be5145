//! The two clocks, and the system's randomness: what the engine takes as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use kinlink_proto::time::{Mono, Now, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Both clocks now. The monotonic one counts while the machine sleeps: a challenge does not outlive a suspend.
#[must_use]
pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let boot = clock_gettime(ClockId::Boottime);
    let millis =
        |secs: i64, nanos: i64| u64::try_from(secs.saturating_mul(1000).saturating_add(nanos / 1_000_000)).unwrap_or(0);
    Now {
        wall: Wall(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
        mono: Mono(millis(boot.tv_sec, boot.tv_nsec)),
    }
}

/// The system's generator. It does not fail once the machine has booted; if it did, stopping is the one safe answer.
#[must_use]
pub fn entropy() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

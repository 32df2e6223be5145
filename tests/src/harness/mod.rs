//! Real daemons with throwaway homes, driven by `kinctl` as a person or a script drives them.
//!
//! Both programs stand beside the test's own, as `cargo test --workspace` builds them. Nothing here knows more than a
//! user: what a test asserts comes out of `kinctl`, the exit code included, or lies on the disk. Hosts made by
//! [`Host::new`] share the machine's network; one is kept from another by stopping it. Those of a [`Lan`] have networks
//! of their own, which can be cut, slow, lossy, and watched.

mod bus;
mod capture;
mod container;
mod ctl;
mod delay;
mod faults;
mod host;
mod keyring;
mod lan;
mod link;
mod machine;
mod netns;
mod tunnel;

use std::time::{Duration, Instant};

pub use bus::SessionBus;
pub use capture::Capture;
pub use ctl::{Ctl, Done, Failure};
pub use host::{Host, NO_DISCOVERY, kinctl, kinlinkd};
pub use keyring::Keyring;
pub use lan::{Lan, Plan};
pub use link::{Linking, link, link_anywhere, wrong};
pub use machine::{Installed, Machine, User};
pub use netns::Namespace;
pub use tunnel::Tunnel;

/// What anything may take on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(25);

/// Waits until `condition` gives something, looking again and again.
///
/// # Panics
/// After [`PATIENCE`], with what was waited for.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition)
}

/// [`eventually`], with a deadline of its own.
///
/// # Panics
/// After `patience`, with what was waited for.
pub fn within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < patience, "after {patience:?} still not so: {what}");
        std::thread::sleep(LOOK);
    }
}

/// A program that is built together with this test.
pub fn program(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join(name);
    assert!(path.exists(), "{} is missing; run: cargo build --workspace", path.display());
    path
}

/// Sends `signal` to a child that has not been waited for, so that its id is still its own.
fn signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

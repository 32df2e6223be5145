//! What the process gives up before it holds a secret.
//!
//! SIGPIPE needs nothing: Rust's runtime ignores it before `main`, so a client that goes away is an
//! error of one write and not the end of the daemon.

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// Which measure the system refused.
#[derive(Debug, thiserror::Error)]
#[error("the process cannot be hardened: {measure}: {source}")]
pub struct HardenError {
    measure: &'static str,
    source: rustix::io::Errno,
}

/// Hardens this process. Call it first in `main`: a thread inherits `no_new_privs` from the one that
/// starts it, so those that exist already would stay without.
///
/// # Errors
/// [`HardenError`]. None of these needs a privilege, so an error means that something is wrong.
pub fn harden() -> Result<(), HardenError> {
    let measure = |measure| move |source| HardenError { measure, source };
    // Other processes of this user cannot attach to us or read our memory through /proc, and no core
    // dump holds our keys.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(measure("PR_SET_DUMPABLE"))?;
    // Nothing that we might ever run gains privileges through a set-user-id bit.
    rustix::thread::set_no_new_privs(true).map_err(measure("PR_SET_NO_NEW_PRIVS"))?;
    // No core file even if something makes the process dumpable again.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(measure("RLIMIT_CORE"))?;
    // Whatever is made without a mode of its own, such as a socket, is ours alone.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    Ok(())
}

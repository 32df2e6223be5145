//! Which program calls: one of the user, an app in a sandbox, or one that cannot be told.
//!
//! A process is named by a pidfd from beginning to end, since a process id may be another's by the time that it is looked
//! at. What a process is, its files in `/proc` say ([`evidence`]). To read them, one must not be confined oneself: from
//! inside a user namespace or a Landlock domain the kernel shows no process outside of it. So a daemon that its service
//! manager confines asks a helper that is not ([`helper`]: no network, no state, a few hundred lines), and one that is
//! started from a terminal looks for itself.

mod evidence;
mod message;

pub mod helper;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use kinlink_proto::engine::command::CallerKind;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::task::spawn_blocking;

/// How long the helper may take: it reads two files. It is started for the first question.
const ANSWER: Duration = Duration::from_secs(5);

/// Who finds out what a process is.
#[derive(Clone, Debug, Default)]
pub enum Callers {
    /// This process.
    #[default]
    Own,
    /// The helper that listens there.
    Helper(PathBuf),
}

/// Nobody could find out. Whoever asked is nobody until somebody can.
#[derive(Debug, thiserror::Error)]
#[error("the helper at {} does not answer: {source}; look at: systemctl --user status kinlinkd-callers.socket", .path.display())]
pub struct Unavailable {
    path: PathBuf,
    source: io::Error,
}

/// A caller that could not be identified: a sandbox without a name, which may do nothing.
#[must_use]
pub fn unknown() -> CallerKind {
    CallerKind::Sandboxed(String::new())
}

/// The process that `pid` names now, if it runs.
#[must_use]
pub fn process(pid: Option<u32>) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid?).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

impl Callers {
    /// What a process may do here. Without a process it is nobody.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn look_up(&self, process: Option<OwnedFd>) -> Result<CallerKind, Unavailable> {
        let Some(process) = process else { return Ok(unknown()) };
        let callers = self.clone();
        // On a thread that may block: the root of a sandbox can be a slow file system.
        spawn_blocking(move || callers.ask(&process)).await.unwrap_or_else(|_| Ok(unknown()))
    }

    fn ask(&self, process: &OwnedFd) -> Result<CallerKind, Unavailable> {
        match self {
            Self::Own => Ok(evidence::identify(process.as_fd())),
            Self::Helper(path) => {
                message::ask(path, process.as_fd(), ANSWER).map_err(|source| self.unavailable(path, source))
            }
        }
    }

    fn unavailable(&self, path: &Path, source: io::Error) -> Unavailable {
        let unavailable = Unavailable { path: path.to_owned(), source };
        tracing::warn!("programs cannot be told apart, so all are refused: {unavailable}");
        unavailable
    }
}

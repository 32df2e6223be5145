//! The helper: says what processes are to a daemon that may not look at them itself.
//!
//! It is handed its socket, answers the same user only, holds no state, and ends when nobody has asked for a while; its
//! service manager starts it again for the next question.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};

use super::{evidence, message};

/// How long it stays without a question: a person at a terminal gives one command after the other.
const IDLE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };
/// Questions under way at once. The files of a sandbox may be slow: it must not keep the others waiting.
const AT_ONCE: usize = 16;
/// How long a client may take to say what it wants.
const QUESTION: Duration = Duration::from_secs(1);

/// Answers what comes in at `listener`, until nobody has asked for a while.
///
/// # Errors
/// If the socket fails.
pub fn serve(listener: &OwnedFd) -> io::Result<()> {
    let busy = Arc::new(AtomicUsize::new(0));
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        if poll(&mut fds, Some(&IDLE))? == 0 {
            if busy.load(Ordering::Acquire) == 0 {
                return Ok(());
            }
            continue;
        }
        let client = accept_with(listener, SocketFlags::CLOEXEC)?;
        if busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
            busy.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let done = busy.clone();
        std::thread::spawn(move || {
            if let Err(error) = reply(&client) {
                eprintln!("kinlink-callers: a question was not answered: {error}");
            }
            done.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

fn reply(client: &OwnedFd) -> io::Result<()> {
    message::limit(client, QUESTION)?;
    if socket_peercred(client)?.uid != rustix::process::getuid() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let process = message::question(client)?;
    message::answer(client, &evidence::identify(process.as_fd()))
}

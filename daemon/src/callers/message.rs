//! The words between daemon and helper, over a socket of type `SOCK_SEQPACKET`: a message is a message.
//!
//! The question is one byte and a pidfd. The answer is `user`, `unknown`, or `app ` with its id.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use kinlink_proto::engine::command::CallerKind;
use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, recvmsg, send, sendmsg, socket_with,
};

use super::unknown;

/// The question: it has no form but its pidfd.
const QUESTION: [u8; 1] = *b"?";
/// Bytes of an app's id: the longest D-Bus name.
const NAME: usize = 255;
const USER: &str = "user";
const UNKNOWN: &str = "unknown";
const APP: &str = "app ";

/// Asks the helper at `path` what a process is.
pub(super) fn ask(path: &Path, process: BorrowedFd<'_>, patience: Duration) -> io::Result<CallerKind> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    limit(&socket, patience)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [process];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(&socket, &[IoSlice::new(&QUESTION)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut answer = [0; APP.len() + NAME + 1];
    let (length, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    read(answer.get(..length).unwrap_or_default())
}

/// Whoever is at the other end may not hold this one up for longer.
pub(super) fn limit(socket: &OwnedFd, patience: Duration) -> io::Result<()> {
    set_socket_timeout(socket, Timeout::Recv, Some(patience))?;
    Ok(set_socket_timeout(socket, Timeout::Send, Some(patience))?)
}

/// The process that a client asks about.
pub(super) fn question(socket: &OwnedFd) -> io::Result<OwnedFd> {
    let mut byte = [0; 2];
    // Room for one: the kernel closes what more was sent.
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.next().and_then(|mut fds| fds.next());
    fd.filter(|_| received.bytes == 1 && byte[..1] == QUESTION).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Answers it.
pub(super) fn answer(socket: &OwnedFd, kind: &CallerKind) -> io::Result<()> {
    send(socket, words(kind).as_bytes(), SendFlags::NOSIGNAL)?;
    Ok(())
}

fn words(kind: &CallerKind) -> String {
    match kind {
        CallerKind::User => USER.to_owned(),
        CallerKind::Sandboxed(app) if app.is_empty() || app.len() > NAME => UNKNOWN.to_owned(),
        CallerKind::Sandboxed(app) => format!("{APP}{app}"),
    }
}

/// Anything but the three answers is none: to say nonsense must not help.
fn read(answer: &[u8]) -> io::Result<CallerKind> {
    let nonsense = || io::Error::from(io::ErrorKind::InvalidData);
    match std::str::from_utf8(answer).map_err(|_| nonsense())? {
        USER => Ok(CallerKind::User),
        UNKNOWN => Ok(unknown()),
        words => {
            let app = words.strip_prefix(APP).filter(|app| !app.is_empty() && app.len() <= NAME);
            app.map(|app| CallerKind::Sandboxed(app.to_owned())).ok_or_else(nonsense)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_were_meant() {
        for kind in [CallerKind::User, unknown(), CallerKind::Sandboxed("org.example.Notes".to_owned())] {
            assert_eq!(read(words(&kind).as_bytes()).unwrap(), kind);
        }
        let long = CallerKind::Sandboxed("a".repeat(NAME + 1));
        assert_eq!(read(words(&long).as_bytes()).unwrap(), unknown());
    }

    #[test]
    fn nonsense_is_no_answer() {
        for answer in ["", "user ", "User", "app", "app ", "users", "\u{0}"] {
            assert!(read(answer.as_bytes()).is_err(), "{answer:?}");
        }
        assert!(read(b"\xff").is_err() && read(&[APP.as_bytes(), &[b'a'; NAME + 1]].concat()).is_err());
    }
}

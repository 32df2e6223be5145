//! The helper that tells a confined daemon what its callers are, over its real socket.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use kinlink_daemon::callers::{self, Callers, helper, process};
use kinlink_proto::engine::command::CallerKind;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send, socket_with,
};

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

/// A helper at `path`, which runs until the test ends.
fn start(path: &Path) -> Callers {
    let listener = socket();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    std::thread::spawn(move || helper::serve(&listener));
    Callers::Helper(path.to_owned())
}

/// Says `words` to the helper, and no process; what it answers.
fn says(path: &Path, words: &[u8]) -> Vec<u8> {
    let client = socket();
    connect(&client, &SocketAddrUnix::new(path).unwrap()).unwrap();
    send(&client, words, SendFlags::NOSIGNAL).unwrap();
    let mut answer = Vec::new();
    // To read until the other end closes needs no more than any stream does.
    UnixStream::from(client).read_to_end(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_helper_says_what_processes_are() {
    let dir = tempfile::tempdir().unwrap();
    let callers = start(&dir.path().join("callers"));
    assert_eq!(callers.look_up(process(Some(std::process::id()))).await.unwrap(), CallerKind::User);
    assert_eq!(callers.look_up(None).await.unwrap(), callers::unknown());
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let gone = process(Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(callers.look_up(gone).await.unwrap(), callers::unknown());
    // What is no process is nobody, and nothing worse.
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(callers.look_up(Some(file.into())).await.unwrap(), callers::unknown());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_gets_no_answer_and_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("callers");
    let callers = start(&path);
    let _silent: Vec<_> = (0..8)
        .map(|_| {
            let client = socket();
            connect(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
            client
        })
        .collect();
    assert_eq!(says(&path, b"?"), b"");
    assert_eq!(says(&path, b"user"), b"");
    assert_eq!(callers.look_up(process(Some(std::process::id()))).await.unwrap(), CallerKind::User);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_helper_nobody_is_anybody() {
    let dir = tempfile::tempdir().unwrap();
    let callers = Callers::Helper(dir.path().join("callers"));
    let said = callers.look_up(process(Some(std::process::id()))).await.unwrap_err().to_string();
    assert!(said.contains("kinlinkd-callers.socket"), "{said}");
}

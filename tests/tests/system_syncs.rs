//! What a commit costs the disk: the engine's tests count commits, and here one is one `fdatasync`.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kinlink_proto::dbus::{SESSION, SESSIONS};
use kinlink_tests::harness::{Host, eventually};
use zbus::{Connection, Variant, connection};

/// Whatever makes something durable, what goes with it, and what a client notices.
const CALLS: &str = "trace=fsync,fdatasync,sync_file_range,msync,syncfs,sync,ftruncate,accept4,sendmsg";

/// The daemon of `host` with its system calls written to `file`. It is the child, as it is without: the tracer stands aside.
fn traced(host: &Host, file: &Path) -> Command {
    let daemon = host.command();
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-e", CALLS, "-o"]).arg(file).arg(daemon.get_program()).args(daemon.get_args());
    command.env_clear().envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// What happened, in order: a client came, it was told something, something became durable. Several words to a client in a row are
/// one. A file that grows is synced once more, before what it grew for.
fn story(file: &Path) -> Vec<&'static str> {
    let trace = std::fs::read_to_string(file).unwrap();
    let mut story = Vec::new();
    for line in trace.lines() {
        match what(line) {
            Some("says") if story.last() == Some(&"says") => {}
            Some("syncs") if story.last() == Some(&"grows") => drop(story.pop()),
            Some(what) => story.push(what),
            None => {}
        }
    }
    story
}

/// Of calls that another thread's interrupted, an answer counts where it begins, and all else where it ends.
fn what(line: &str) -> Option<&'static str> {
    let (_, call) = line.split_once(' ')?;
    let call = call.trim_start();
    let over = !call.ends_with("<unfinished ...>");
    let name = call.strip_prefix("<... ").unwrap_or(call).split(['(', ' ']).next()?;
    match name {
        "sendmsg" => call.starts_with("sendmsg").then_some("says"),
        "accept4" => (over && !call.contains("= -1")).then_some("is called"),
        "ftruncate" => over.then_some("grows"),
        _ if name.contains("sync") => over.then_some("syncs"),
        _ => None,
    }
}

#[test]
fn a_write_is_one_sync_before_its_answer_and_its_report_one_more() {
    let (host, dir) = (Host::stopped("anna"), tempfile::tempdir().unwrap());
    let file = dir.path().join("trace");
    host.start_with(traced(&host, &file));
    let syncs = || story(&file).iter().filter(|what| **what == "syncs").count();
    // A report is due some time after a change; only when it is durable is the daemon at rest.
    let at_rest = |count: usize| eventually("the report is durable", || (syncs() >= count).then_some(()));
    let before = syncs();
    let session = host.session("org.example.Notes", "Syncs");
    at_rest(before + 2);
    let begun = story(&file).len();
    for n in 0..3 {
        let before = syncs();
        host.put(&session, "key", &format!("value {n}"));
        at_rest(before + 2);
    }
    let round = ["is called", "says", "syncs", "says", "syncs"];
    assert_eq!(story(&file)[begun..], [round; 3].concat());
    host.ok(&["session", "get", &session, "key"]);
    assert_eq!(story(&file)[begun + 3 * round.len()..], ["is called", "says"], "reading writes nothing");
}

/// Asks for an entry that is not there, and when that is answered again, until `enough`.
async fn ask(clients: Connection, session: String, enough: Arc<AtomicBool>) {
    let path = format!("{SESSIONS}/{session}");
    while !enough.load(Ordering::Relaxed) {
        let arguments = ("nothing", HashMap::<&str, Variant<'_>>::new());
        let asked = clients.call_method(None::<&str>, path.as_str(), Some(SESSION), "Get", &arguments).await;
        assert!(matches!(asked, Err(zbus::Error::MethodError(..))), "{asked:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_comes_though_somebody_always_asks_for_something() {
    let (host, dir) = (Host::stopped("anna"), tempfile::tempdir().unwrap());
    let file = dir.path().join("trace");
    host.start_with(traced(&host, &file));
    let session = host.session("org.example.Notes", "Busy");
    let stream = UnixStream::connect(host.socket()).unwrap();
    stream.set_nonblocking(true).unwrap();
    let client = connection::Builder::unix_stream(stream).p2p().build().await.unwrap();
    let enough = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> =
        (0..64).map(|_| tokio::spawn(ask(client.clone(), session.clone(), Arc::clone(&enough)))).collect();
    let syncs = || story(&file).iter().filter(|what| **what == "syncs").count();
    tokio::task::block_in_place(|| {
        let before = syncs();
        host.put(&session, "key", "value");
        eventually("the report is durable", || (syncs() >= before + 2).then_some(()));
    });
    enough.store(true, Ordering::Relaxed);
    for asked in asking {
        asked.await.unwrap();
    }
}

//! What a commit costs the disk: the engine's tests count commits, and here one is one `fdatasync`.

use std::path::Path;
use std::process::Command;

use kinlink_tests::harness::{Host, eventually};

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

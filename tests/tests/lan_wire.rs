//! What stands on the wire: for who listens, nothing in plain.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kinlink_tests::harness::{Host, Lan, Linking, eventually, link, wrong};

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "tcpdump", "tshark", lab::PYTHON])
}

/// Names of the devices, as their owner gave them at first.
const NAMES: [&str; 3] = ["anna-annapurna", "bert-bermuda", "carl-carborundum"];
/// What the account is called.
const LABEL: &str = "label-labyrinth";
/// Why a device was revoked.
const REASON: &str = "reason-rhinoceros";
/// What is sealed even inside of a connection: of sessions, and a name given later.
const CONTENT: [&str; 5] =
    ["org.example.Appaloosa", "title-tintinnabulation", "key-kaleidoscope", "value-vouchsafe", "rename-renaissance"];

/// What was done, for those who look at it on the wire.
struct Story {
    capture: PathBuf,
    /// Identities and secrets, as hexadecimal digits.
    bytes: Vec<String>,
    /// What stands in a datagram that somebody sent on purpose, in all forms.
    control: BTreeSet<String>,
}

/// Words that the one sends to the other in clear.
const CONTROL: &str = "control-contrapuntal";

/// Discovery, linking with a wrong code on the way, sync small and large, of what was missed, and a revocation.
fn story(dir: &Path) -> Story {
    let lan = Lan::new(3);
    let capture = lan.capture(&dir.join("wire.pcap"));
    let hosts = [0, 1, 2].map(|index| lan.host(index, NAMES[index]));
    let [anna, bert, carl] = &hosts;

    let mut show = anna.spawn(&["--json", "link", "--label", LABEL]);
    let text = show.event("open")["text"].as_str().unwrap().to_owned();
    let mut linking = Linking { show, join: Linking::join(bert, &text) };
    let missed = linking.code();
    linking.show.type_line(&wrong(&missed));
    let code = linking.code();
    linking.show.type_line(&code);
    assert_eq!(linking.join.end().ok()["event"], "linked");
    link(anna, carl);
    bert.meets(NAMES[2]);

    let [app, title, key, value, name] = CONTENT;
    let session = anna.session(app, title);
    anna.put(&session, key, value);
    let large = format!("{value} ").repeat(30_000);
    let file = dir.join("large");
    std::fs::write(&file, &large).unwrap();
    anna.ok(&["session", "put", &session, "large", "--file", file.to_str().unwrap()]);
    bert.reads(&session, "large", &large);
    carl.reads(&session, key, value);
    bert.ok(&["rename", NAMES[0], name]);
    carl.meets(name);
    // What carl wrote meanwhile, bert has to ask anna for.
    bert.stop();
    carl.put(&session, key, "meanwhile");
    anna.reads(&session, key, "meanwhile");
    carl.stop();
    bert.start();
    bert.reads(&session, key, "meanwhile");
    carl.start();
    anna.meets(NAMES[2]);
    anna.ok(&["revoke", NAMES[2], "--yes", "--reason", REASON]);
    eventually("carl knows", || (carl.ok(&["status"])["state"] == "revoked").then_some(()));
    anna.put(&session, key, "afterwards");
    bert.reads(&session, key, "afterwards");

    let account = bert.ok(&["status"])["account"].as_str().unwrap().to_owned();
    let ids: Vec<String> = hosts.iter().map(Host::id).collect();
    let control = send_in_clear(&lan);
    for host in &hosts {
        host.stop();
    }
    Story { capture: capture.stop(), bytes: [ids, vec![account]].concat(), control }
}

/// What was sent in clear on purpose, as a search has to report it.
fn send_in_clear(lan: &Lan) -> BTreeSet<String> {
    let script = lab::root().join("tests/lab/needles.py");
    let mut command = lan.space(1).exec(lab::PYTHON);
    command.arg(script).args(["--send", &lan.v4(0).to_string(), CONTROL]).env("PYTHONDONTWRITEBYTECODE", "1");
    lab::succeed(&mut command).lines().map(str::to_owned).collect()
}

/// Which of `words` stand in a capture, in which form.
fn search(capture: &Path, words: &[&str]) -> BTreeSet<String> {
    let args = [&[capture.to_str().unwrap()], words].concat();
    lab::succeed(&mut lab::script("needles.py", &args)).lines().map(str::to_owned).collect()
}

/// How many packets of a capture a filter of tshark takes.
fn count(capture: &Path, filter: &str) -> usize {
    let mut command = std::process::Command::new("tshark");
    command.args(["-r", capture.to_str().unwrap(), "-Y", filter, "-T", "fields", "-e", "frame.number"]);
    lab::succeed(&mut command).lines().count()
}

#[test]
fn who_listens_learns_no_name_no_key_and_no_content() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let story = story(dir.path());
    // All of it is in there: the search for others, linking and sync, and what was meant to be found.
    assert!(count(&story.capture, "mdns") > 0 && count(&story.capture, "quic") > 100);
    let found = search(&story.capture, &[CONTROL]);
    assert!(found == story.control && found.len() > 10, "{found:?} of {:?}", story.control);

    let secret: Vec<String> = story.bytes.iter().flat_map(|hex| [format!("0x{hex}"), hex.clone()]).collect();
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut words: Vec<&str> = [&NAMES[..], &CONTENT[..], &[LABEL, REASON, "Debian GNU/Linux"]].concat();
    words.extend(secret.iter().map(String::as_str));
    words.extend([machine.as_str()].into_iter().filter(|name| name.len() > 5));
    assert_eq!(search(&story.capture, &words), BTreeSet::new());
}

//! What stands on the wire: for who listens, nothing in plain; for who has the keys, the frames of PROTOCOL.md.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kinlink_tests::harness::{Host, Lan, Linking, eventually, wrong};

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
    /// The secrets of all connections.
    keys: PathBuf,
    /// What the people saw: the challenges as text, and the codes.
    challenges: Vec<String>,
    codes: Vec<String>,
    account: String,
    /// Identities and secrets, as hexadecimal digits.
    bytes: Vec<String>,
    /// What stands in a datagram that somebody sent on purpose, in all forms.
    control: BTreeSet<String>,
}

/// Words that the one sends to the other in clear.
const CONTROL: &str = "control-contrapuntal";

/// Discovery, linking with a no and a wrong code on the way, an introduction, sync small and large, of what was missed, and
/// a revocation.
fn story(dir: &Path) -> Story {
    let lan = Lan::new(3);
    let capture = lan.capture(&dir.join("wire.pcap"));
    let keys = dir.join("keys.log");
    let hosts = [0, 1, 2].map(|index| lan.stopped(index, NAMES[index]));
    hosts.iter().for_each(|host| start(host, &keys));
    let [anna, bert, carl] = &hosts;

    let mut challenges = vec![declined(anna, bert)];
    let mut codes = Vec::new();
    let mut linking = linking(anna, bert, &mut challenges);
    codes.push(linking.code());
    linking.show.type_line(&wrong(&codes[0]));
    complete(linking, &mut codes);
    // Bert hears of carl from carl.
    lan.cut(0, 1);
    complete(self::linking(anna, carl, &mut challenges), &mut codes);
    bert.meets(NAMES[2]);
    lan.heal();
    anna.meets(NAMES[1]);

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
    anna.ok(&["ping", NAMES[1]]);
    eventually("anna has a report of bert's", || {
        let known = anna.ok(&["address", "list", NAMES[1]]);
        known.as_array().unwrap().iter().any(|known| known["from"] == "reported").then_some(())
    });
    // What carl wrote meanwhile, bert has to ask anna for.
    bert.stop();
    carl.put(&session, key, "meanwhile");
    anna.ok(&["session", "put", &session, "large too", "--file", file.to_str().unwrap()]);
    anna.reads(&session, key, "meanwhile");
    carl.reads(&session, "large too", &large);
    carl.stop();
    start(bert, &keys);
    bert.reads(&session, key, "meanwhile");
    bert.reads(&session, "large too", &large);
    start(carl, &keys);
    anna.meets(NAMES[2]);
    anna.ok(&["revoke", NAMES[2], "--yes", "--reason", REASON]);
    eventually("carl knows", || (carl.ok(&["status"])["state"] == "revoked").then_some(()));
    anna.put(&session, key, "afterwards");
    bert.reads(&session, key, "afterwards");

    let account = bert.ok(&["status"])["account"].as_str().unwrap().to_owned();
    let mut bytes: Vec<String> = hosts.iter().map(Host::id).collect();
    bytes.push(account.clone());
    let control = send_in_clear(&lan);
    for host in &hosts {
        host.stop();
    }
    Story { capture: capture.stop(), keys, challenges, codes, account, bytes, control }
}

/// Starts a daemon that writes down the secrets of its connections.
fn start(host: &Host, keys: &Path) {
    let mut command = host.command();
    command.env("SSLKEYLOGFILE", keys);
    host.start_with(command);
}

/// A linking to which the new device's user says no; its challenge.
fn declined(shower: &Host, joiner: &Host) -> String {
    let (mut show, text) = Linking::open_with(shower, &["--label", LABEL]);
    let mut join = joiner.spawn(&["--json", "join", &text]);
    join.event("offer");
    join.type_line("n");
    join.end();
    show.end();
    text
}

/// A linking of which the challenge is noted.
fn linking(shower: &Host, joiner: &Host, challenges: &mut Vec<String>) -> Linking {
    let (show, text) = Linking::open_with(shower, &["--label", LABEL]);
    let join = Linking::join(joiner, &text);
    challenges.push(text);
    Linking { show, join }
}

/// Types the code, and notes it.
fn complete(mut linking: Linking, codes: &mut Vec<String>) {
    let code = linking.code();
    linking.show.type_line(&code);
    codes.push(code);
    assert_eq!(linking.join.end().ok()["event"], "linked");
    assert_eq!(linking.show.end().ok()["event"], "linked");
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

/// What has to be seen in the story, for the search to mean something.
const SEEN: [&str; 33] = [
    "kinlink/1",
    "kinlink-link/1",
    "Claim",
    "Offer",
    "Accept",
    "WrongCode",
    "Recommit",
    "Nonce",
    "Open",
    "Linked",
    "Done",
    "Hello",
    "Statements",
    "Epochs",
    "Reports",
    "Want",
    "Journal",
    "Have",
    "Revoked",
    "Introduction",
    "Ping",
    "Pong",
    "TransferHeader",
    "Segment",
    "action 0x8001",
    "action 0x8002",
    "action 0x8003",
    "action 0x800c",
    "action 0x000d",
    "closed with 2",
    "closed with 3",
    "Refused to link",
    "roots that operations lead to",
];

/// What the frames are, by a reader that was written from the text of the protocol; which of `words` stand in them.
fn frames(story: &Story, dir: &Path, words: &[&str]) -> BTreeSet<String> {
    let facts = dir.join("facts.json");
    let json = serde_json::json!({
        "account": story.account, "challenges": story.challenges, "codes": story.codes,
    });
    std::fs::write(&facts, json.to_string()).unwrap();
    let files = [&story.capture, &story.keys, &facts].map(|path| path.to_str().unwrap());
    let told = lab::succeed(&mut lab::script("frames.py", &[&files, words].concat()));
    told.lines().map(str::to_owned).collect()
}

#[test]
fn who_listens_learns_nothing_and_who_has_the_keys_finds_what_the_protocol_says() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let story = story(dir.path());
    who_listens_learns_no_name_no_key_and_no_content(&story);
    who_has_the_keys_finds_the_frames_of_the_protocol_and_no_content(&story, dir.path());
}

fn who_listens_learns_no_name_no_key_and_no_content(story: &Story) {
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

fn who_has_the_keys_finds_the_frames_of_the_protocol_and_no_content(story: &Story, dir: &Path) {
    let named = [&NAMES[..], &[LABEL, REASON]].concat();
    let found = frames(story, dir, &[&named[..], &CONTENT].concat());
    for what in SEEN {
        assert!(found.iter().any(|line| line.starts_with(&format!("{what}: "))), "no {what} in {found:?}");
    }
    let words: BTreeSet<&str> = found.iter().filter_map(|line| line.strip_prefix("word: ")).collect();
    let expected: BTreeSet<String> = named.iter().map(|word| format!("{word} (text)")).collect();
    assert_eq!(words, expected.iter().map(String::as_str).collect());
}

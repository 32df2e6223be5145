//! A stranger at the UDP ports, with an implementation of QUIC that is not ours: refused by the device, which goes on
//! with its work meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use kinlink_daemon::keys::Keys;
use kinlink_proto::wire::Address;
use kinlink_proto::wire::challenge::Challenge;
use kinlink_tests::harness::{Ctl, Host, Linking, link, within};
use lab::Beside;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use serde_json::{Value, json};

/// An address of loopback that no device uses: what is held against it is held against nobody else.
const SOURCE: &str = "127.0.0.66";
/// What all that a stranger tries may cost in memory, kB. Ten thousand handshakes that are kept would take hundreds of MB.
const COST: u64 = 32 * 1024;

/// Codes of TLS alerts, as QUIC carries them (RFC 9001 section 4.8).
mod alert {
    pub(crate) const BAD_CERTIFICATE: u64 = 0x100 + 42;
    pub(crate) const CERTIFICATE_REQUIRED: u64 = 0x100 + 116;
    pub(crate) const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;
}

/// Close codes of PROTOCOL.md section 11.
mod code {
    pub(crate) const UNKNOWN_DEVICE: u64 = 3;
    pub(crate) const PROTOCOL: u64 = 5;
    pub(crate) const UPDATE_NEEDED: u64 = 7;
    pub(crate) const BAD_PROOF: u64 = 20;
}

/// How each attempt ended, as its client saw it.
fn attempts(list: &[Value]) -> Vec<Value> {
    let told = lab::succeed(&mut lab::script("stranger.py", &["attempts", &json!(list).to_string()]));
    let outcomes: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(outcomes.len(), list.len(), "{told}");
    outcomes
}

/// That the device refused: with `code`, and without having said a word.
fn assert_refused(what: &str, outcome: &Value, application: bool, code: u64) {
    assert_eq!((&outcome["close"], &outcome["application"]), (&json!(code), &json!(application)), "{what}: {outcome}");
    assert_eq!(outcome["tickets"], 0, "{what}: {outcome}");
    assert_eq!(outcome["resumed"], false, "{what}: {outcome}");
    assert_eq!(outcome["early_accepted"], false, "{what}: {outcome}");
}

fn port(host: &Host) -> u64 {
    host.ok(&["status"])["port"].as_u64().unwrap()
}

/// What a line of the daemon's status file says, kB.
fn memory(host: &Host, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

fn linked() -> (Host, Host) {
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    link(&anna, &bert);
    bert.meets("anna");
    (anna, bert)
}

#[test]
fn who_is_not_linked_is_refused() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = linked();
    let to = json!(["127.0.0.1", port(&anna)]);
    let cases = [
        ("no certificate", json!({"alpn": "kinlink/1"}), alert::CERTIFICATE_REQUIRED),
        (
            "an unknown key",
            json!({"alpn": "kinlink/1", "key": "ed25519", "send": frame(0x8201, 2, &[0; 2])}),
            code::UNKNOWN_DEVICE,
        ),
        ("a key of another kind", json!({"alpn": "kinlink/1", "key": "rsa"}), alert::BAD_CERTIFICATE),
        ("linking", json!({"alpn": "kinlink-link/1", "key": "ed25519"}), alert::NO_APPLICATION_PROTOCOL),
        ("something else", json!({"alpn": "h3", "key": "ed25519"}), alert::NO_APPLICATION_PROTOCOL),
        (
            "early data",
            json!({"alpn": "kinlink/1", "key": "ed25519", "resume": true, "send": frame(0x8201, 2, &[0; 2])}),
            code::UNKNOWN_DEVICE,
        ),
    ];
    let list: Vec<Value> = cases.iter().map(|(_, attempt, _)| with_target(attempt, &to)).collect();
    for ((what, _, code), outcome) in cases.iter().zip(attempts(&list)) {
        assert_refused(what, &outcome, *code == code::UNKNOWN_DEVICE, *code);
        assert_eq!(outcome["read"], 0, "{what}: {outcome}");
        assert_eq!(outcome["early_sent"].as_u64() > Some(0), *what == "early data", "{what}: {outcome}");
    }
    let session = anna.session("org.example.Notes", "after");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
}

/// The port of the linking socket.
fn linking_port(challenge: &Challenge) -> u16 {
    challenge.terms.addresses.iter().find_map(Address::socket).unwrap().port()
}

fn with_target(attempt: &Value, target: &Value) -> Value {
    let mut attempt = attempt.clone();
    attempt["target"] = target.clone();
    attempt["source"] = json!(SOURCE);
    attempt
}

/// With a linked device's own key: nothing to resume with is given, what claims to resume has to shake hands in full.
#[test]
fn nobody_resumes_not_even_a_linked_device() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = linked();
    bert.stop();
    let keys = Keys::load_or_create(&bert.state(), &mut ChaCha20Rng::seed_from_u64(0)).unwrap();
    let file = bert.state().join("pkcs8");
    std::fs::write(&file, keys.identity.pkcs8()).unwrap();
    let base = json!({"target": ["127.0.0.1", port(&anna)], "alpn": "kinlink/1", "key": file, "send": "ffff00000000"});
    let mut resuming = base.clone();
    resuming["resume"] = json!(true);
    let outcomes = attempts(&[base, resuming]);
    for (what, outcome) in ["in full", "resuming"].iter().zip(&outcomes) {
        // Let in, and closed for what it then said.
        assert_eq!(outcome["handshake"], true, "{what}: {outcome}");
        assert_refused(what, outcome, true, code::UPDATE_NEEDED);
    }
    assert!(outcomes[1]["early_sent"].as_u64() > Some(0), "early data was tried: {}", outcomes[1]);
}

#[test]
fn floods_cost_little_and_linked_devices_keep_syncing() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = linked();
    let session = anna.session("org.example.Notes", "meanwhile");
    let (port, before) = (port(&anna).to_string(), memory(&anna, "VmRSS:"));
    let seed = std::process::id().to_string();
    let garbage = lab::succeed(&mut lab::script("stranger.py", &["garbage", "127.0.0.1", &port, "5000", &seed]));
    let garbage: Value = serde_json::from_str(&garbage).unwrap();
    let bytes = |name: &str| garbage[name].as_u64().unwrap();
    assert!(bytes("sent") > 1_000_000 && bytes("replied") < bytes("sent") / 100, "seed {seed}: {garbage}");
    let mut flood = Flood::start(&port, "kinlink/1", 10_000, 250);
    let mut meanwhile = 0;
    while flood.goes_on() {
        anna.put(&session, "round", &meanwhile.to_string());
        bert.reads(&session, "round", &meanwhile.to_string());
        meanwhile += 1;
    }
    let counts = flood.counts();
    println!("{meanwhile} changes arrived meanwhile; {counts}; {before} kB before");
    assert_eq!(counts["tried"], 10_000);
    assert!(counts["proved"].as_u64() > Some(5000), "most were asked to prove their address: {counts}");
    assert!(meanwhile >= 3, "changes arrived meanwhile");
    let cost = memory(&anna, "VmHWM:").saturating_sub(before);
    assert!(cost < COST, "{cost} kB more than before");
    // Whoever is linked gets in while the handshakes that nobody ends still stand.
    bert.kill();
    bert.start();
    bert.meets("anna");
}

/// Handshakes that stop half-way.
struct Flood {
    python: Beside,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Flood {
    fn start(port: &str, alpn: &str, count: u32, sources: u32) -> Self {
        let (count, sources) = (count.to_string(), sources.to_string());
        let mut script = lab::script("stranger.py", &["flood", "127.0.0.1", port, alpn, &count, &sources]);
        let mut python = Beside::start(script.stdout(Stdio::piped()));
        let mut lines = BufReader::new(python.0.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), r#"{"begun": true}"#);
        Self { python, lines }
    }

    fn goes_on(&mut self) -> bool {
        self.python.0.try_wait().unwrap().is_none()
    }

    fn counts(mut self) -> Value {
        serde_json::from_str(&self.lines.next().expect("the flood failed").unwrap()).unwrap()
    }
}

/// A frame as hex: type, length, body.
fn frame(kind: u16, length: u32, body: &[u8]) -> String {
    let bytes = [&kind.to_be_bytes(), &length.to_be_bytes()[..], body].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A claim whose proof is wrong: challenge, commitment, mac, no extensions.
fn bad_claim(challenge: &Challenge) -> String {
    let body = [&challenge.id().0[..], &[1; 32], &[2; 32], &[0]].concat();
    frame(0x8101, u32::try_from(body.len()).unwrap(), &body)
}

#[test]
fn an_attacker_at_the_linking_socket_costs_the_new_device_nothing() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let (anna, bert) = (Host::new("anna"), Host::new("bert"));
    let (show, text) = Linking::open(&anna);
    let challenge = Challenge::parse(&text).unwrap();
    let port = linking_port(&challenge);
    let claim = bad_claim(&challenge);
    let sends = [
        ("garbage", "47455420 2f204854 54502f31 2e310d0a".replace(' ', ""), code::PROTOCOL),
        ("an oversized frame", frame(0x8101, 8 * 1024 + 1, &[0; 64]), code::PROTOCOL),
        ("an unknown critical frame", frame(0xffff, 0, &[]), code::UPDATE_NEEDED),
        ("a claim cut short", frame(0x8101, 8, &[0; 8]), code::PROTOCOL),
    ];
    // Five bad proofs block a source; what comes then is refused alike.
    let proofs = std::iter::repeat_n(("a bad proof", claim, code::BAD_PROOF), 7);
    let cases: Vec<_> = sends.into_iter().chain(proofs).collect();
    let attempt = |(_, send, _): &(&str, String, u64)| json!({"target": ["127.0.0.1", port], "source": SOURCE, "alpn": "kinlink-link/1", "key": "ed25519", "send": send});
    for ((what, _, code), outcome) in cases.iter().zip(attempts(&cases.iter().map(attempt).collect::<Vec<_>>())) {
        assert_eq!(outcome["handshake"], true, "{what}: {outcome}");
        assert_refused(what, &outcome, true, *code);
    }
    // And while other addresses than the new device's open handshakes that they never end.
    let _flood = Flood::start(&port.to_string(), "kinlink-link/1", 20_000, 4);
    let join = Linking::join(&bert, &text);
    completes(Linking { show, join });
    assert_eq!(anna.linked(), ["anna", "bert"]);
}

fn completes(mut linking: Linking) {
    let code = linking.join.event("code")["code"].as_str().unwrap().to_owned();
    assert_eq!(linking.show.event("peer")["tries_left"], 3, "none was used up");
    linking.show.type_line(&code);
    let ended = |ctl: &mut Ctl| ctl.end().ok()["event"].clone();
    assert_eq!((ended(&mut linking.show), ended(&mut linking.join)), (json!("linked"), json!("linked")));
}

/// Once pairing is closed by the user, its port answers nobody who cannot prove to have seen the challenge.
#[test]
fn a_closed_pairing_is_closed() {
    if !lab::have(&[lab::PYTHON]) {
        return;
    }
    let anna = Host::new("anna");
    let (mut show, text) = Linking::open(&anna);
    let challenge = Challenge::parse(&text).unwrap();
    let port = linking_port(&challenge);
    show.interrupt();
    show.end();
    within(Duration::from_secs(20), "pairing is closed", || {
        (anna.ok(&["status"])["pairing_open"] == false).then_some(())
    });
    let attempt = json!({
        "target": ["127.0.0.1", port], "source": SOURCE, "alpn": "kinlink-link/1", "key": "ed25519",
        "send": bad_claim(&challenge),
    });
    let outcome = attempts(&[attempt]).remove(0);
    assert_refused("after the end", &outcome, true, code::BAD_PROOF);
}

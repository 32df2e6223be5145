//! Somebody on the same network who records, repeats, makes up and floods announcements: devices stay together, answer their
//! users, and find each other as before.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Command, Stdio};

use kinlink_tests::harness::{Host, Lan, Namespace, eventually, link};
use lab::Beside;
use serde_json::{Value, json};

/// What a flood may cost in memory, kB.
const COST: u64 = 4 * 1024;
/// For how many seconds as much is read as may be in one: 10,000 messages.
const SECONDS: usize = 5;
/// How often an announcement is repeated.
const REPEATED: usize = 5000;

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", lab::PYTHON])
}

/// `announcer.py` in a namespace.
fn announcer(space: &Namespace, args: &[&str]) -> Command {
    let mut command = space.exec(lab::PYTHON);
    command.arg(lab::root().join("tests/lab/announcer.py")).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// One that runs beside the test and says something.
struct Announcer {
    _python: Beside,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Announcer {
    fn start(space: &Namespace, args: &[&str]) -> Self {
        let mut python = Beside::start(announcer(space, args).stdout(Stdio::piped()));
        let mut lines = BufReader::new(python.0.stdout.take().unwrap()).lines();
        // It is at work.
        lines.next().expect("it failed").unwrap();
        Self { _python: python, lines }
    }

    /// What `host` announces next, as the whole packet.
    fn recorded(&mut self, host: std::net::Ipv4Addr) -> String {
        loop {
            let line = self.lines.next().expect("it ended").unwrap();
            let heard: Value = serde_json::from_str(&line).unwrap();
            if heard["from"] == json!(host.to_string()) {
                return heard["packet"].as_str().unwrap().to_owned();
            }
        }
    }
}

/// What a line of the daemon's status file says, kB.
fn memory(host: &Host, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// Two linked devices, and what the first one announced.
fn linked(lan: &Lan) -> (Host, Host, String) {
    let mut recorder = Announcer::start(lan.space(2), &["record"]);
    let (anna, bert) = (lan.host(0, "anna"), lan.host(1, "bert"));
    link(&anna, &bert);
    let packet = recorder.recorded(lan.v4(0));
    bert.meets("anna");
    (anna, bert, packet)
}

#[test]
fn a_flood_of_announcements_costs_little_and_parts_nobody() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let (anna, bert, packet) = linked(&lan);
    let session = anna.session("org.example.Notes", "Flooded");
    let before = [&anna, &bert].map(|host| memory(host, "VmRSS:"));
    let seed = std::process::id().to_string();
    println!("seed {seed}");
    let flood = Announcer::start(lan.space(2), &["flood", &packet, &seed]);
    for host in [&anna, &bert] {
        let bounded = || host.log().matches("reading less").count();
        eventually(&format!("{} is flooded", host.name()), || (bounded() >= SECONDS).then_some(()));
    }
    for round in 0..5 {
        let value = round.to_string();
        anna.put(&session, "round", &value);
        bert.reads(&session, "round", &value);
    }
    for host in [&anna, &bert] {
        assert_eq!(host.ok(&["status"])["state"], "linked");
    }
    anna.ok(&["ping", "bert"]);
    for (host, before) in [&anna, &bert].into_iter().zip(before) {
        let cost = memory(host, "VmHWM:").saturating_sub(before);
        println!("{}: {cost} kB more than the {before} before", host.name());
        assert!(cost < COST, "{}: {cost} kB more than the {before} before", host.name());
    }
    drop(flood);
    // Nothing of it stays: they find each other, at addresses that neither knows.
    bert.stop();
    lan.readdress(0);
    anna.stop();
    lan.readdress(1);
    anna.start();
    bert.start();
    anna.meets("bert");
    bert.meets("anna");
    anna.put(&session, "round", "after");
    bert.reads(&session, "round", "after");
    for host in [&anna, &bert] {
        assert!(!host.log().contains("panicked"), "{}", host.log());
    }
}

/// A recorded announcement is repeated from another host: while it still holds, and when the device is elsewhere.
#[test]
fn a_recorded_announcement_leads_nobody_astray() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let (anna, bert, packet) = linked(&lan);
    let session = anna.session("org.example.Notes", "Repeated");
    anna.put(&session, "k", "here");
    bert.reads(&session, "k", "here");
    let heard = || bert.log().matches("a device announced itself").count();
    let repeat = || lab::succeed(&mut announcer(lan.space(2), &["repeat", &packet, &REPEATED.to_string()]));
    let before = heard();
    repeat();
    // It answers: what was read before that was dealt with.
    bert.ok(&["ping", "anna"]);
    let more = heard() - before;
    println!("{more} of {REPEATED} were news");
    assert!(more < 10, "{more} of {REPEATED} were news");
    // Where the device was is the other host now.
    let old = lan.v4(0);
    bert.stop();
    lan.readdress(0);
    lan.space(2).ip(&format!("addr add {old}/24 dev eth0"));
    bert.start();
    repeat();
    bert.meets("anna");
    anna.put(&session, "k", "there");
    bert.reads(&session, "k", "there");
    repeat();
    let answer = bert.ok(&["ping", "anna"]);
    assert!(!answer["address"].as_str().unwrap().starts_with(&format!("{old}:")), "{answer}");
}

//! Devices that lose each other, and find each other again: cables, addresses, restarts, sleep, routers, ports. Discovery on the
//! local network is off here: what brings them back is what they remember, and what they were told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use kinlink_tests::harness::{Host, Lan, NO_DISCOVERY, Plan, eventually, link, link_anywhere};
use serde_json::Value;

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft"])
}

/// A device that finds others only by what it knows.
fn quiet(lan: &Lan, index: usize, name: &str) -> Host {
    let host = lan.stopped(index, name);
    start(&host);
    host
}

fn start(host: &Host) {
    let mut command = host.command();
    command.env(NO_DISCOVERY, "1");
    host.start_with(command);
}

fn pair(lan: &Lan) -> (Host, Host, String) {
    let (anna, bert) = (quiet(lan, 0, "anna"), quiet(lan, 1, "bert"));
    link(&anna, &bert);
    let session = anna.session("org.example.Notes", "Six");
    anna.put(&session, "first", "1");
    bert.reads(&session, "first", "1");
    (anna, bert, session)
}

/// How long something took, for people who read the test's output.
fn took(what: &str, since: Instant) {
    eprintln!("measured: {what}: {:?}", since.elapsed());
}

fn misses(host: &Host, name: &str) {
    eventually(&format!("{} misses {name}", host.name()), || (host.device(name)["online"] == false).then_some(()));
}

/// How often its daemon was told that its network is another.
fn changes(host: &Host) -> usize {
    host.log().matches("the network changed").count()
}

fn addresses(host: &Host, of: &str) -> Vec<Value> {
    host.ok(&["address", "list", of]).as_array().unwrap().clone()
}

fn knows(host: &Host, of: &str, address: &str, from: &str) -> bool {
    addresses(host, of).iter().any(|known| known["address"] == address && known["from"] == from)
}

/// Both write while the cable is out; what was written is there once it is back.
#[test]
fn a_cable_comes_out_and_goes_in_again() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert, session) = pair(&lan);
    lan.unplug(1);
    anna.put(&session, "a", "from anna");
    bert.put(&session, "b", "from bert");
    misses(&anna, "bert");
    misses(&bert, "anna");
    let (back, before) = (Instant::now(), changes(&bert));
    lan.replug(1);
    eventually("bert sees that the cable is back", || (changes(&bert) > before).then_some(()));
    bert.reads(&session, "a", "from anna");
    anna.reads(&session, "b", "from bert");
    took("a cable is back, both ways", back);
    anna.meets("bert");
}

/// Something between them fails, and neither end is told; both have carriers and addresses all the time.
#[test]
fn a_network_that_fails_in_between_is_missed_and_found_again() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert, session) = pair(&lan);
    for round in 0..2 {
        let key = format!("k{round}");
        lan.cut(0, 1);
        anna.put(&session, &key, "v");
        misses(&anna, "bert");
        assert_eq!(bert.run(&["session", "get", &session, &key]).code, 4);
        let back = Instant::now();
        lan.mend(0, 1);
        bert.reads(&session, &key, "v");
        took("a network that failed in between is back", back);
        anna.meets("bert");
        bert.meets("anna");
    }
}

/// Whichever of the two dialled, and whichever moves.
#[test]
fn addresses_change_under_a_running_connection() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert, session) = pair(&lan);
    for (round, moves) in [0, 1, 0, 1].into_iter().enumerate() {
        let (mover, stays) = if moves == 0 { (&anna, &bert) } else { (&bert, &anna) };
        let before = changes(mover);
        lan.readdress(moves);
        let moved = Instant::now();
        eventually("it sees that its address is another", || (changes(mover) > before).then_some(()));
        mover.put(&session, &format!("m{round}"), "here");
        stays.put(&session, &format!("s{round}"), "there");
        stays.reads(&session, &format!("m{round}"), "here");
        mover.reads(&session, &format!("s{round}"), "there");
        took("an address is another, both ways", moved);
        stays.meets(mover.name());
        let now = format!("{}:", lan.v4(moves));
        eventually("the new address is known", || {
            addresses(stays, mover.name())
                .iter()
                .any(|known| known["address"].as_str().unwrap().starts_with(&now))
                .then_some(())
        });
    }
}

#[test]
fn restarts_are_made_up_for() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert, session) = pair(&lan);
    for round in 0..4 {
        let (down, up) = if round % 2 == 0 { (&anna, &bert) } else { (&bert, &anna) };
        let key = format!("k{round}");
        if round < 2 {
            down.stop();
        } else {
            down.kill();
        }
        up.put(&session, &key, "v");
        start(down);
        let started = Instant::now();
        down.reads(&session, &key, "v");
        took(if round < 2 { "restarted" } else { "killed and restarted" }, started);
        up.meets(down.name());
        down.meets(up.name());
    }
}

/// Two hosts with a router between them that know no right address of each other: one is told, as an address and as a name.
#[test]
fn a_device_behind_a_router_is_reached_where_the_user_says() {
    if !possible() {
        return;
    }
    let lan = Lan::plan(Plan { segments: vec![1, 1], ..Plan::of(0) });
    lan.space(0).hosts_file("127.0.0.1 localhost\n");
    let (anna, bert) = (quiet(&lan, 0, "anna"), quiet(&lan, 1, "bert"));
    link_anywhere(&anna, &bert);
    for name in [false, true] {
        estrange(&lan, &anna, &bert);
        let port = bert.ok(&["config", "port"])["port"].as_u64().unwrap();
        let silent = anna.fails(&["ping", "bert"], 10);
        assert_eq!(silent.name, "Unreachable");
        let host = if name { "bert.vpn.example".to_owned() } else { lan.v4(1).to_string() };
        // Read anew for each look-up: it is laid over by what the daemon was started with.
        lan.space(0).hosts_file(&format!("127.0.0.1 localhost\n{} bert.vpn.example\n", lan.v4(1)));
        let given = format!("{host}:{port}");
        let told = Instant::now();
        anna.ok(&["address", "add", "bert", &given]);
        anna.meets("bert");
        took("an address was given", told);
        assert!(knows(&anna, "bert", &given, "given"), "{:?}", addresses(&anna, "bert"));
        let answer = anna.ok(&["ping", "bert"]);
        assert_eq!((&answer["event"], &answer["place"]), (&"answer".into(), &"routed".into()));
        assert!(answer["rtt_us"].as_u64().unwrap() > 0 && answer["synced"].as_u64().unwrap() > 0, "{answer}");
        let left = anna.ok(&["address", "remove", "bert", &given]);
        assert!(left.as_array().unwrap().iter().all(|known| known["from"] != "given"), "{left}");
    }
    assert_eq!(anna.fails(&["address", "remove", "bert", "192.0.2.1:1"], 4).name, "NotFound");
    assert_eq!(anna.run(&["address", "add", "bert", "fd77::1"]).code, 2);
}

/// Both move, each while the other is off: what they knew of each other is wrong.
fn estrange(lan: &Lan, anna: &Host, bert: &Host) {
    bert.stop();
    // The addresses of the machine are told before anybody is served.
    lan.readdress(0);
    anna.stop();
    start(bert);
    lan.readdress(1);
    bert.stop();
    start(anna);
    start(bert);
    misses(anna, "bert");
}

/// The port is another at once, others follow, and it is remembered; one that is taken is refused, and nothing changes.
#[test]
fn the_port_is_changed_while_devices_are_connected() {
    if !possible() {
        return;
    }
    let lan = Lan::new(2);
    let (anna, bert, session) = pair(&lan);
    for (mover, stays, port) in [(&anna, &bert, 40_001_u16), (&bert, &anna, 40_002)] {
        mover.ok(&["config", "port", &port.to_string()]);
        let moved = Instant::now();
        assert_eq!(mover.ok(&["status"])["port"], port);
        let key = format!("port{port}");
        mover.put(&session, &key, "v");
        stays.reads(&session, &key, "v");
        took("a port is another", moved);
        let ends = format!(":{port}");
        eventually("the other one is told, also of addresses that are not in use", || {
            let known = addresses(stays, mover.name());
            let mut reported = known.iter().filter(|known| known["from"] == "reported");
            reported.any(|known| known["address"].as_str().unwrap().ends_with(&ends)).then_some(())
        });
        mover.stop();
        start(mover);
        assert_eq!(mover.ok(&["config"])["port"], port);
        mover.meets(stays.name());
    }
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let anna = Host::new("anna");
    let before = anna.ok(&["config", "port"])["port"].clone();
    let taken = UdpSocket::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = anna.fails(&["config", "port", &port], 1);
    assert_eq!(refused.name, "PortUnavailable");
    assert!(refused.message.contains(&port), "{}", refused.message);
    assert_eq!(anna.ok(&["config", "port"])["port"], before);
    assert_eq!(anna.run(&["config", "port", "0"]).code, 2);
    drop(taken);
    anna.ok(&["config", "port", &port]);
    assert_eq!(anna.ok(&["config", "port"])["port"].to_string(), port);
}

/// A stand-in for logind, until dropped.
struct Logind(Child);

impl Logind {
    fn start(bus: &str) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-m", "dbusmock", "--template", "logind"]).env("DBUS_SYSTEM_BUS_ADDRESS", bus);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self(child)
    }

    /// Says that the machine is about to sleep, or that it is awake.
    fn say(bus: &str, asleep: bool) -> bool {
        let mut emit = Command::new("gdbus");
        emit.args([
            "call",
            "--address",
            bus,
            "--dest",
            "org.freedesktop.login1",
            "--object-path",
            "/org/freedesktop/login1",
        ]);
        emit.args([
            "--method",
            "org.freedesktop.DBus.Mock.EmitSignal",
            "org.freedesktop.login1.Manager",
            "PrepareForSleep",
        ]);
        emit.args(["b", if asleep { "[<true>]" } else { "[<false>]" }]);
        emit.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Logind {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The machine sleeps while the other one moves away and comes back: on waking it looks at once, though it heard of nothing.
#[test]
fn waking_up_is_a_change_of_the_network() {
    if !lab::have(&["gdbus", "dbus-daemon"]) {
        return;
    }
    let anna = Host::stopped("anna").with_system_bus();
    let bus = format!("unix:path={}", anna.system_bus().display());
    let _logind = Logind::start(&bus);
    eventually("logind is there", || Logind::say(&bus, true).then_some(()));
    anna.start();
    let looks = || anna.log().matches("the network changed").count();
    eventually("it hears that the machine goes to sleep", || {
        (Logind::say(&bus, true) && anna.log().contains("asleep=true")).then_some(())
    });
    let before = looks();
    assert!(Logind::say(&bus, false));
    eventually("it hears that the machine is awake, and looks", || {
        (anna.log().contains("asleep=false") && looks() > before).then_some(())
    });
}

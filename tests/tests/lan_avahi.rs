//! Beside Avahi, the Multicast DNS of most desktops: neither is in the other's way, and what Kinlink announces and takes back is
//! understood by it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what fails")]

mod lab;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use kinlink_tests::harness::{Host, Lan, Linking, Namespace, SessionBus, eventually};
use lab::Beside;
use tempfile::TempDir;

/// What nobody is to read in what Avahi has heard: names of devices, and the account's.
const SECRET: [&str; 3] = ["anna-annapurna", "bert-bermuda", "label-labyrinth"];

/// Whether these tests can run here.
fn possible() -> bool {
    Lan::possible() && lab::have(&["ip", "nft", "avahi-daemon", "avahi-browse", "dbus-daemon", "unshare"])
}

/// An `avahi-daemon` with a bus of its own.
struct Avahi<'l> {
    _daemon: Beside,
    bus: SessionBus,
    _dir: TempDir,
    space: &'l Namespace,
}

impl<'l> Avahi<'l> {
    /// Starts it, called `name`, and waits until it serves.
    fn start(space: &'l Namespace, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bus = SessionBus::at(&dir.path().join("bus"));
        // Its directory is not this machine's own.
        let script = "mkdir -p /run/avahi-daemon && mount -t tmpfs tmpfs /run/avahi-daemon && hostname \"$0\" && \
                      exec avahi-daemon --no-drop-root --no-rlimits --no-chroot";
        let mut command = space.exec("unshare");
        command.args(["-m", "-u", "sh", "-c", script, name]).env("DBUS_SYSTEM_BUS_ADDRESS", bus.address());
        let daemon = Beside::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let avahi = Self { _daemon: daemon, bus, _dir: dir, space };
        eventually("avahi serves", || avahi.browse().map(drop));
        avahi
    }

    /// What it knows of devices: `avahi-browse`'s lines; none while it does not serve.
    fn browse(&self) -> Option<String> {
        let mut command: Command = self.space.exec("avahi-browse");
        command.args(["--resolve", "--parsable", "--terminate", "_kinlink._udp"]);
        let output = command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address()).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The instances that it could resolve.
    fn instances(&self) -> BTreeSet<String> {
        let told = self.browse().unwrap();
        for secret in SECRET {
            assert!(!told.contains(secret), "{secret} stands in {told}");
        }
        let resolved = told.lines().filter(|line| line.starts_with('='));
        resolved.map(|line| line.split(';').nth(3).unwrap().to_owned()).collect()
    }
}

/// `bert` answers the challenge of `anna`, by the text of the QR code, in which stands an address that is no more.
fn link_by_picture(lan: &Lan, anna: &Host, bert: &Host) {
    let mut show = anna.spawn(&["--json", "link", "--label", SECRET[2]]);
    let qr = show.event("open")["qr"].as_str().unwrap().to_owned();
    lan.readdress(0);
    let mut linking = Linking { show, join: Linking::join(bert, &qr) };
    let code = linking.code();
    linking.show.type_line(&code);
    assert_eq!(linking.join.end().ok()["event"], "linked");
}

/// Whichever of the two started first.
#[test]
fn devices_find_each_other_beside_avahi_and_it_understands_them() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let first = Avahi::start(lan.space(0), "one");
    let (anna, bert) = (lan.host(0, SECRET[0]), lan.host(1, SECRET[1]));
    let observer = Avahi::start(lan.space(2), "three");
    link_by_picture(&lan, &anna, &bert);
    // Its sockets are open by now: this one comes second.
    let second = Avahi::start(lan.space(1), "two");
    let session = anna.session("org.example.Notes", "Beside");
    anna.put(&session, "k", "v");
    bert.reads(&session, "k", "v");
    for avahi in [&first, &second, &observer] {
        let both = || Some(avahi.instances()).filter(|instances| instances.len() == 2);
        let instances = eventually("avahi knows both", both);
        assert!(instances.iter().all(|name| name.len() == 26), "128 random bits each: {instances:?}");
    }
    bert.stop();
    anna.stop();
    (0..2).for_each(|host| lan.readdress(host));
    anna.start();
    bert.start();
    anna.put(&session, "k", "w");
    bert.reads(&session, "k", "w");
}

#[test]
fn a_device_that_stops_takes_back_what_it_announced() {
    if !possible() {
        return;
    }
    let lan = Lan::new(3);
    let (anna, bert) = (lan.host(0, SECRET[0]), lan.host(1, SECRET[1]));
    let observer = Avahi::start(lan.space(2), "three");
    link_by_picture(&lan, &anna, &bert);
    let count = |wanted| eventually("avahi knows as many", || (observer.instances().len() == wanted).then_some(()));
    count(2);
    // One that has no time to say so is believed to be there still.
    bert.kill();
    assert_eq!(observer.instances().len(), 2);
    anna.stop();
    count(1);
}

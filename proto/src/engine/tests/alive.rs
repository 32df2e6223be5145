//! Connections that look alive and are not, dials that wait, and addresses.

use super::*;
use crate::engine::error::ErrorKind;
use crate::engine::view::AddressSource;
use crate::reach::HostPort;

impl Lab {
    /// Two devices that met; the lower id is `low`.
    fn pair(seed: u64) -> (Self, usize, usize) {
        let mut lab = Self::new(seed, 2);
        lab.link(0, 1);
        let (low, high) = if lab.id(0) < lab.id(1) { (0, 1) } else { (1, 0) };
        (lab, low, high)
    }

    /// The path of a connection is dead: neither end notices.
    fn deaden(&mut self, at: usize, conn: ConnId) {
        let (to, other) = self.wires.remove(&(at, conn)).unwrap();
        self.wires.remove(&(to, other));
    }

    fn online(&self, at: usize, of: usize) -> bool {
        self.engine(at).view().devices.iter().any(|device| device.id == self.id(of) && device.online)
    }

    fn dials(&mut self, at: usize) -> usize {
        std::mem::take(&mut self.devices[at].dials).len()
    }

    fn open(&self, at: usize) -> usize {
        self.engine(at).conns.values().filter(|conn| !conn.closing).count()
    }

    fn give(&mut self, at: usize, of: usize, address: &str) -> Result<Reply, CommandError> {
        let address: HostPort = address.parse().unwrap();
        self.order(at, Command::AddAddress { device: self.id(of), address })
    }

    fn addresses(&self, at: usize, of: usize) -> Vec<(String, AddressSource, bool)> {
        let view = self.engine(at).view();
        let device = view.devices.iter().find(|device| device.id == self.id(of)).unwrap();
        device.addresses.iter().map(|address| (address.text.clone(), address.from, address.in_use)).collect()
    }

    /// Where a device says that it is, in a report from itself.
    fn report_addresses(&mut self, from: usize, addresses: Vec<Address>) {
        self.feed(from, Input::Addresses(addresses));
        self.pass(limits::REPORT_QUIET);
    }
}

fn socket(text: &str) -> Address {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

#[test]
fn a_live_connection_is_neither_doubted_nor_dialled_when_the_network_changes() {
    let (mut lab, low, high) = Lab::pair(60);
    lab.connect(low, high);
    lab.dials(low);
    lab.feed(low, Input::NetworkChanged);
    lab.pass(limits::PROBE);
    assert!(lab.online(low, high));
    assert_eq!((lab.dials(low), lab.open(low)), (0, 1));
}

/// Whichever side dialled, and whichever side notices.
#[test]
fn a_dead_connection_is_replaced_by_whoever_notices() {
    for (seed, low_dialled, low_notices) in [(61, true, true), (62, true, false), (63, false, true), (64, false, false)]
    {
        let (mut lab, low, high) = Lab::pair(seed);
        let ends = if low_dialled { lab.connect(low, high) } else { lab.connect(high, low) };
        let (me, peer) = if low_notices { (low, high) } else { (high, low) };
        lab.dials(me);
        let first = if low_dialled { low } else { high };
        lab.deaden(first, ends.0);
        lab.feed(me, Input::NetworkChanged);
        assert_eq!(lab.dials(me), 0, "it is asked first");
        lab.pass(limits::PROBE);
        assert!(!lab.online(me, peer), "a doubted device is not online");
        assert_eq!(lab.dials(me), 1);
        lab.connect(me, peer);
        // The other side may have to make sure that its own end is dead.
        lab.pass(limits::PROBE);
        assert!(lab.online(me, peer) && lab.online(peer, me), "low dialled {low_dialled}, low notices {low_notices}");
        assert_eq!((lab.open(me), lab.open(peer)), (1, 1));
    }
}

#[test]
fn silence_is_doubt_and_a_frame_ends_it() {
    let (mut lab, low, high) = Lab::pair(65);
    let (at_low, _) = lab.connect(low, high);
    lab.deaden(low, at_low);
    lab.feed(low, Input::Silent { conn: at_low });
    assert!(!lab.online(low, high));
    assert_eq!(lab.dials(low), 1);
    lab.say(low, at_low, &Message::Pong(0));
    assert!(lab.online(low, high), "a sign of life is one, whatever it answers");
    assert_eq!(lab.open(low), 1);
}

#[test]
fn a_doubted_peer_is_pinged_often_and_dialled_now_and_then() {
    let (mut lab, low, high) = Lab::pair(66);
    let (at_low, _) = lab.connect(low, high);
    lab.deaden(low, at_low);
    lab.devices[low].sent.clear();
    lab.dials(low);
    lab.feed(low, Input::Silent { conn: at_low });
    let rounds = 4 * limits::DOUBTS_PER_DIAL;
    (0..rounds).for_each(|_| lab.pass(limits::PROBE));
    let pings =
        lab.devices[low].sent.iter().filter(|(_, frame)| frame.kind == crate::wire::message::kind::PING).count();
    assert_eq!(pings, 1 + rounds as usize);
    assert_eq!(lab.dials(low), 1 + 4);
}

/// Both dial at once, each having given up the connection of before: one is left, the same on both sides.
#[test]
fn two_that_dial_at_once_keep_one_connection() {
    let (mut lab, low, high) = Lab::pair(67);
    let (at_low, at_high) = lab.connect(low, high);
    lab.deaden(low, at_low);
    lab.feed(low, Input::Silent { conn: at_low });
    lab.feed(high, Input::Silent { conn: at_high });
    lab.connect(high, low);
    lab.connect(low, high);
    assert!(lab.online(low, high) && lab.online(high, low));
    assert_eq!((lab.open(low), lab.open(high)), (1, 1));
}

/// A peer that dials once more over a connection that lives keeps the one that it has: neither end is left without.
#[test]
fn a_needless_dial_does_not_cost_the_connection() {
    let (mut lab, low, high) = Lab::pair(68);
    lab.connect(low, high);
    let conn = lab.new_conn();
    let (peer, hello) = (lab.id(high), lab.hello(high));
    lab.feed(low, Input::Connected { conn, peer, dialled: false, address: Lab::address(high), exporter: EXPORTER });
    lab.say(low, conn, &hello);
    assert_eq!(lab.closed_with(low, conn), Some(CloseCode::Duplicate));
    assert!(lab.online(low, high) && lab.online(high, low));
}

/// A hello on a held connection, and then more of it: nothing is taken before its time.
#[test]
fn a_held_connection_says_hello_once() {
    let (mut lab, low, high) = Lab::pair(69);
    let (at_low, _) = lab.connect(low, high);
    lab.deaden(low, at_low);
    let conn = lab.new_conn();
    let (peer, hello) = (lab.id(high), lab.hello(high));
    lab.feed(low, Input::Connected { conn, peer, dialled: false, address: Lab::address(high), exporter: EXPORTER });
    lab.say(low, conn, &hello);
    assert_eq!(lab.closed_with(low, conn), None, "it waits");
    lab.say(low, conn, &hello);
    assert_eq!(lab.closed_with(low, conn), Some(CloseCode::Protocol));
}

#[test]
fn a_change_of_the_network_dials_at_once_and_begins_the_waits_anew() {
    let (mut lab, low, high) = Lab::pair(70);
    lab.connect(low, high);
    lab.unplug(low);
    let device = lab.id(high);
    for _ in 0..10 {
        lab.pass(limits::REDIAL_MAX);
        lab.feed(low, Input::DialFailed { device, reason: String::new() });
    }
    lab.dials(low);
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.dials(low), 0, "it waits longer and longer");
    lab.feed(low, Input::NetworkChanged);
    assert_eq!(lab.dials(low), 1);
    lab.feed(low, Input::NetworkChanged);
    assert_eq!(lab.dials(low), 1, "an attempt that began on the network of before is begun anew");
    lab.feed(low, Input::DialFailed { device, reason: String::new() });
    lab.pass(limits::REDIAL_MIN * 2);
    assert_eq!(lab.dials(low), 1);
}

/// A peer that says hello and hangs up, again and again, is waited for longer each time.
#[test]
fn a_peer_that_hangs_up_again_and_again_is_not_hammered() {
    let (mut lab, low, high) = Lab::pair(71);
    lab.connect(low, high);
    lab.unplug(low);
    lab.dials(low);
    let (peer, mut dials) = (lab.id(high), 0);
    for _ in 0..600 {
        lab.pass(Duration::from_secs(1));
        if lab.dials(low) == 0 {
            continue;
        }
        dials += 1;
        let (conn, hello) = (lab.new_conn(), lab.hello(high));
        lab.feed(low, Input::Connected { conn, peer, dialled: true, address: Lab::address(high), exporter: EXPORTER });
        lab.say(low, conn, &hello);
        lab.feed(low, Input::Disconnected { conn, code: Some(CloseCode::Done) });
    }
    assert!((8..=22).contains(&dials), "{dials} dials in ten minutes");
}

#[test]
fn what_a_device_reports_pushes_out_neither_given_nor_proven_addresses() {
    let (mut lab, low, high) = Lab::pair(72);
    lab.connect(low, high);
    assert_eq!(lab.give(low, high, "vpn.example:4000"), Ok(Reply::Done));
    assert_eq!(lab.give(low, high, "198.51.100.7:4000"), Ok(Reply::Done));
    let many = (0..20).map(|n| socket(&format!("203.0.113.{n}:1"))).collect();
    lab.report_addresses(high, many);
    let known = lab.addresses(low, high);
    assert_eq!(known[0], ("vpn.example:4000".to_owned(), AddressSource::Given, false));
    assert_eq!(known[1], ("198.51.100.7:4000".to_owned(), AddressSource::Given, false));
    assert_eq!(known[2], (Lab::address(high).to_string(), AddressSource::Worked, true));
    assert_eq!(known.len(), 2 + limits::ADDRESSES);
    assert!(known[3..].iter().all(|(_, from, _)| *from == AddressSource::Reported));
    lab.unplug(low);
    lab.pass(limits::REDIAL_MAX);
    let (_, dialled) = lab.devices[low].dials.last().unwrap().clone();
    assert_eq!(dialled[..2], [Lab::address(high), socket("198.51.100.7:4000")]);
}

/// Groups, addresses that name a host on one interface only, and port 0: whatever a device claims, they are never dialled.
#[test]
fn reported_addresses_that_are_nobodys_are_not_remembered() {
    let (mut lab, low, high) = Lab::pair(77);
    lab.connect(low, high);
    let nobodys = ["224.0.0.251:5353", "[ff02::fb]:5353", "255.255.255.255:1", "[fe80::1]:4000", "203.0.113.1:0"];
    let told = nobodys.into_iter().chain(["203.0.113.2:4000"]).map(socket).collect();
    lab.report_addresses(high, told);
    let reported: Vec<_> =
        lab.addresses(low, high).into_iter().filter(|(_, from, _)| *from == AddressSource::Reported).collect();
    assert_eq!(reported, [("203.0.113.2:4000".to_owned(), AddressSource::Reported, false)]);
}

#[test]
fn given_addresses_outlive_a_restart_and_go_when_they_are_removed() {
    let (mut lab, low, high) = Lab::pair(73);
    assert_eq!(lab.give(low, high, "laptop.example:4000"), Ok(Reply::Done));
    assert_eq!(lab.give(low, high, "laptop.example:4000"), Ok(Reply::Done), "twice is once");
    lab.restart(low);
    lab.feed(low, Input::Tick);
    lab.feed(low, Input::Port(1));
    let given = ("laptop.example:4000".to_owned(), AddressSource::Given, false);
    assert!(lab.addresses(low, high).contains(&given));
    let device = lab.id(high);
    let remove = |address: &str| Command::RemoveAddress { device, address: address.parse().unwrap() };
    assert_eq!(lab.order(low, remove("laptop.example:4000")), Ok(Reply::Done));
    assert!(!lab.addresses(low, high).contains(&given));
    assert_eq!(lab.order(low, remove("laptop.example:4000")).unwrap_err().kind, ErrorKind::NotFound);
    for n in 0..limits::GIVEN {
        assert_eq!(lab.give(low, high, &format!("host-{n}:1")), Ok(Reply::Done));
    }
    assert_eq!(lab.give(low, high, "one-more:1").unwrap_err().kind, ErrorKind::TooLarge);
}

/// Addresses of a device that this one never met, of itself, of none, and of one that is out.
#[test]
fn an_address_is_given_for_whoever_is_linked() {
    let mut lab = Lab::account(74, 3);
    lab.unplug(2);
    lab.dials(1);
    assert_eq!(lab.give(1, 2, "192.0.2.99:1"), Ok(Reply::Done));
    assert_eq!(lab.dials(1), 1, "it is dialled there at once");
    let of = |lab: &mut Lab, device| {
        let address = "192.0.2.99:1".parse().unwrap();
        lab.order(1, Command::AddAddress { device, address }).unwrap_err().kind
    };
    let me = lab.id(1);
    assert_eq!(of(&mut lab, me), ErrorKind::InvalidArgument);
    assert_eq!(of(&mut lab, DeviceId([9; 32])), ErrorKind::NotFound);
    assert!(lab.revoke(0, 2).is_ok());
    let out = lab.id(2);
    assert_eq!(lab.give(1, 2, "192.0.2.98:1"), Ok(Reply::Done), "it has to be told");
    lab.connect(1, 2);
    assert_eq!(of(&mut lab, out), ErrorKind::Refused);
}

#[test]
fn a_ping_is_answered_dials_and_says_why_it_failed() {
    let (mut lab, low, high) = Lab::pair(75);
    lab.connect(low, high);
    let device = lab.id(high);
    let Ok(Reply::Pinged(view)) = lab.order(low, Command::Ping(device)) else { panic!("no answer") };
    assert_eq!((view.address, view.from, view.dialled), (Lab::address(high), AddressSource::Worked, false));
    assert_eq!(view.synced, lab.now.wall, "both hold the same");
    lab.unplug(low);
    lab.pass(limits::REDIAL_MAX);
    lab.dials(low);
    lab.devices[low].replies.clear();
    let ping = |id| Input::Command { id: CommandId(id), caller: USER, command: Command::Ping(device) };
    lab.feed(low, ping(7));
    assert_eq!((lab.devices[low].replies.len(), lab.dials(low)), (0, 1), "it is dialled, and the answer waits");
    lab.feed(low, Input::DialFailed { device, reason: "192.0.2.1:4000 did not answer".to_owned() });
    let error = lab.devices[low].replies.remove(0).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("192.0.2.1:4000 did not answer"), "{error}");
    lab.feed(low, ping(8));
    lab.connect(low, high);
    assert!(matches!(&lab.devices[low].replies[..], [Ok(Reply::Pinged(view))] if view.dialled));
    lab.unplug(low);
    lab.devices[low].replies.clear();
    lab.feed(low, ping(9));
    lab.pass(limits::PING_ANSWER);
    assert_eq!(lab.devices[low].replies.remove(0).unwrap_err().kind, ErrorKind::Unreachable);
}

/// Pings are counted, so that no client fills memory with them, and a sandboxed app has none.
#[test]
fn pings_are_bounded_and_not_for_apps() {
    let (mut lab, low, high) = Lab::pair(76);
    let device = lab.id(high);
    lab.connect(low, high);
    lab.unplug(low);
    for id in 0..=limits::PINGS as u64 {
        lab.feed(low, Input::Command { id: CommandId(id), caller: USER, command: Command::Ping(device) });
    }
    let refused = lab.devices[low].replies.last().cloned().unwrap();
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Refused);
    let caller = Caller { id: CallerId(2), kind: CallerKind::Sandboxed("app".to_owned()) };
    let address: HostPort = "192.0.2.1:1".parse().unwrap();
    for command in [
        Command::Ping(device),
        Command::AddAddress { device, address: address.clone() },
        Command::RemoveAddress { device, address },
        Command::SetPort(4000),
    ] {
        lab.devices[low].replies.clear();
        lab.feed(low, Input::Command { id: CommandId(1000), caller: caller.clone(), command });
        let refused = lab.devices[low].replies.remove(0);
        assert_eq!(refused.unwrap_err().kind, ErrorKind::NotAllowed);
    }
}

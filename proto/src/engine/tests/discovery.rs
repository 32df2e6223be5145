//! What a device announces and recognises on the local network, and what it makes of those who announce themselves.

use super::*;
use crate::discovery::Keys;

impl Lab {
    /// What a device announces and recognises with, as its shell was told last.
    fn keys(&self, at: usize) -> Option<Keys> {
        self.devices[at].keys.clone()
    }

    /// Two linked devices that lost each other, and have given up dialling for now.
    fn apart(seed: u64) -> Self {
        let mut lab = Self::account(seed, 2);
        lab.unplug(0);
        lab.pass(limits::REDIAL_MAX);
        for at in 0..2 {
            let device = lab.id(1 - at);
            lab.feed(at, Input::DialFailed { device, reason: String::new() });
            lab.devices[at].dials.clear();
        }
        lab
    }

    /// `at` hears `of` say that it is there; where it dials.
    fn hear(&mut self, at: usize, of: DeviceId, addresses: &[&str]) -> Vec<(DeviceId, Vec<Address>)> {
        let addresses = addresses.iter().map(|text| text.parse::<std::net::SocketAddr>().unwrap().into()).collect();
        self.feed(at, Input::Heard { device: of, addresses });
        std::mem::take(&mut self.devices[at].dials)
    }

    /// Whether `at` would tell its user of `address`.
    fn knows(&self, at: usize, of: usize, address: &str) -> bool {
        let view = self.engine(at).view();
        let device = view.devices.iter().find(|device| device.id == self.id(of)).unwrap();
        device.addresses.iter().any(|known| known.text == address)
    }
}

const NEAR: &str = "198.51.100.1:4000";

#[test]
fn who_has_nobody_to_find_keeps_quiet() {
    let mut lab = Lab::new(80, 2);
    lab.feed(0, Input::Started);
    assert_eq!(lab.keys(0), None);
    lab.link(0, 1);
    let (shower, joiner) = (lab.keys(0).unwrap(), lab.keys(1).unwrap());
    assert_eq!((shower.device, joiner.device), (lab.id(0), lab.id(1)));
    assert_eq!((&shower.announce, &shower.recognise), (&joiner.announce, &joiner.recognise));
    lab.restart(1);
    lab.devices[1].keys = None;
    lab.feed(1, Input::Tick);
    assert_eq!(lab.keys(1), Some(joiner), "after a restart as before");
}

#[test]
fn after_a_revocation_the_old_key_is_recognised_and_no_longer_announced() {
    let mut lab = Lab::account(81, 3);
    let before = lab.keys(0).unwrap();
    assert!(lab.revoke(0, 2).is_ok());
    // The next epoch is made before the next write.
    let session = lab.session(0);
    assert!(lab.put(0, session, "k", b"v").is_ok());
    let after = lab.keys(0).unwrap();
    assert_ne!(after.announce, before.announce);
    assert_eq!(after.recognise[0], after.announce, "newest first");
    assert!(after.recognise.contains(&before.announce), "one that was away announces under it");
    assert_eq!(lab.keys(1), Some(Keys { device: lab.id(1), ..after }));
    assert_eq!(lab.keys(2), None, "one that is out has no key");
}

#[test]
fn who_is_heard_is_dialled_at_once_where_it_says() {
    let mut lab = Lab::apart(82);
    let other = lab.id(1);
    let dials = lab.hear(0, other, &[NEAR]);
    assert_eq!(dials.len(), 1);
    assert_eq!((dials[0].0, dials[0].1[0].to_string()), (other, NEAR.to_owned()));
    // Another announcement while that goes on brings further addresses to it.
    assert_eq!(lab.hear(0, other, &["198.51.100.2:4000"]).len(), 1);
}

#[test]
fn who_repeats_an_announcement_has_to_wait() {
    let mut lab = Lab::apart(83);
    let other = lab.id(1);
    let fail = |lab: &mut Lab| lab.feed(0, Input::DialFailed { device: other, reason: String::new() });
    assert_eq!(lab.hear(0, other, &[NEAR]).len(), 1);
    fail(&mut lab);
    assert_eq!(lab.hear(0, other, &[NEAR]).len(), 0);
    assert_eq!(lab.hear(0, other, &["198.51.100.2:4000"]).len(), 1, "it is elsewhere: that is news");
    fail(&mut lab);
    lab.now.mono = lab.now.mono.after(limits::SIGHTING_AGAIN);
    assert_eq!(lab.hear(0, other, &["198.51.100.2:4000"]).len(), 1);
}

#[test]
fn who_is_connected_or_not_looked_for_is_not_dialled() {
    let mut lab = Lab::account(84, 3);
    let (me, other, out) = (lab.id(0), lab.id(1), lab.id(2));
    assert_eq!(lab.hear(0, other, &[NEAR]).len(), 0, "it is connected");
    assert_eq!(lab.hear(0, me, &[NEAR]).len(), 0);
    let unknown = DeviceId([9; 32]);
    assert_eq!(lab.hear(0, unknown, &[NEAR]).len(), 0);
    assert!(!lab.engine(0).peers.contains_key(&unknown), "nothing is kept of it");
    assert!(lab.revoke(0, 2).is_ok());
    lab.pass(limits::REVOKED_WAIT);
    lab.unplug(2);
    lab.devices[0].dials.clear();
    assert_eq!(lab.hear(0, out, &[NEAR]).len(), 0, "it knows that it is out");
    assert_eq!(lab.hear(2, me, &[NEAR]).len(), 0, "one that is out looks for nobody");
}

/// Anybody may repeat an announcement: what stands in it is worth nothing until the device proved its key there.
#[test]
fn where_a_device_was_heard_is_remembered_once_it_was_met_there() {
    let mut lab = Lab::apart(85);
    let other = lab.id(1);
    lab.hear(0, other, &[NEAR]);
    assert!(lab.knows(0, 1, NEAR));
    lab.restart(0);
    lab.feed(0, Input::Tick);
    assert!(!lab.knows(0, 1, NEAR));
    lab.devices[0].dials.clear();
    lab.hear(0, other, &[NEAR]);
    let conn = lab.new_conn();
    let address: Address = NEAR.parse::<std::net::SocketAddr>().unwrap().into();
    lab.feed(0, Input::Connected { conn, peer: other, dialled: true, address, exporter: EXPORTER });
    // It is stored along with something, or after a while.
    lab.pass(limits::SAVE);
    lab.restart(0);
    lab.feed(0, Input::Tick);
    assert!(lab.knows(0, 1, NEAR));
}

#[test]
fn of_many_addresses_that_are_announced_a_few_are_dialled() {
    let mut lab = Lab::apart(86);
    let many: Vec<String> = (0..100).map(|n| format!("203.0.113.{n}:4000")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let other = lab.id(1);
    let dials = lab.hear(0, other, &many);
    let announced = dials[0].1.iter().filter(|address| address.to_string().starts_with("203.0.113."));
    assert_eq!(announced.count(), limits::ADDRESSES);
}

/// Device 1 was revoked while it was away; 3 was linked after that, and never met it.
fn untold(seed: u64) -> Lab {
    let mut lab = Lab::account(seed, 3);
    lab.unplug(1);
    assert!(lab.revoke(0, 1).is_ok());
    lab.add(3);
    lab.link(0, 3);
    lab.devices[3].dials.clear();
    lab
}

impl Lab {
    fn dial_failed(&mut self, at: usize, device: DeviceId) {
        self.feed(at, Input::DialFailed { device, reason: String::new() });
    }

    /// Where `at` dials a device of itself, in an hour after it could not.
    fn dials_within_an_hour(&mut self, at: usize, device: DeviceId) -> usize {
        self.devices[at].dials.clear();
        for _ in 0..60 {
            self.pass(limits::REDIAL_MAX);
            if self.devices[at].dials.last().is_some_and(|(dialled, _)| *dialled == device) {
                self.dial_failed(at, device);
            }
        }
        self.devices[at].dials.iter().filter(|(dialled, _)| *dialled == device).count()
    }
}

#[test]
fn a_revoked_device_is_dialled_where_it_announces_itself_also_by_one_that_never_met_it() {
    let mut lab = untold(87);
    let one = lab.id(1);
    assert_eq!(lab.dials_within_an_hour(3, one), 0, "nothing is known of where it is");
    let dials = lab.hear(3, one, &[NEAR]);
    assert_eq!(dials.iter().map(|(device, _)| *device).collect::<Vec<_>>(), [one]);
    lab.connect(3, 1);
    assert_eq!(lab.status(1, 1), Some(Status::Revoked));
    lab.unplug(1);
    assert_eq!(lab.dials_within_an_hour(3, one), 0, "it was told");
    assert_eq!(lab.hear(3, one, &[NEAR]).len(), 0);
}

/// Whoever holds an old epoch can announce whatever it likes.
#[test]
fn a_revoked_device_makes_others_dial_only_now_and_then() {
    let mut lab = untold(88);
    let one = lab.id(1);
    while lab.hear(3, one, &[NEAR]).is_empty() {
        lab.pass(limits::SIGHTING_AGAIN);
    }
    for n in 0..100 {
        let elsewhere = format!("203.0.113.{n}:4000");
        assert_eq!(lab.hear(3, one, &[&elsewhere]), [], "at most one dial at a time");
    }
    // It is given up after a while, and then there is one dial for each time that it is heard, and no more.
    lab.dial_failed(3, one);
    assert!(lab.dials_within_an_hour(3, one) > 1);
    lab.dials_within_an_hour(3, one);
    assert_eq!(lab.dials_within_an_hour(3, one), 0, "it is given up");
    assert_eq!(lab.hear(3, one, &[NEAR]).len(), 1);
    lab.dial_failed(3, one);
    assert_eq!(lab.dials_within_an_hour(3, one), 0);
}

/// One that reads nothing and says that it knows nobody is not dialled for ever.
#[test]
fn a_revoked_device_that_will_not_be_told_is_given_up() {
    let mut lab = untold(89);
    let one = lab.id(1);
    lab.hear(3, one, &[NEAR]);
    for _ in 0..limits::SEEK_REVOKED {
        let conn = lab.new_conn();
        let address = Lab::address(1);
        lab.feed(3, Input::Connected { conn, peer: one, dialled: true, address, exporter: EXPORTER });
        lab.feed(3, Input::Disconnected { conn, code: Some(CloseCode::UnknownDevice) });
    }
    assert_eq!(lab.dials_within_an_hour(3, one), 0);
}

//! Two of one key, and what only looks like it.

use super::*;
use crate::roster::statement::Action;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Lab {
    /// Another machine with what a device has on its disk.
    fn clone_of(&mut self, of: usize) -> usize {
        let device = &self.devices[of];
        let (mut config, disk) = (device.config.clone(), device.store.snapshot());
        let at = self.devices.len();
        config.run = RunId([0x80 + u8::try_from(at).unwrap(); 16]);
        self.add_as(config, disk);
        at
    }

    /// As a restart is: with a run of its own.
    fn reboot(&mut self, at: usize) {
        let run = &mut self.devices[at].config.run;
        run.0[0] = run.0[0].wrapping_add(1);
        self.restart(at);
    }

    fn suspensions(&self, at: usize) -> usize {
        self.engine(at).roster.statements().filter(|said| matches!(said.action, Action::Suspend(_))).count()
    }

    fn seen_at(&self, at: usize, of: usize) -> Vec<Address> {
        let device = self.engine(at).roster.evaluation().device(self.id(of));
        device.and_then(|device| device.removal.as_ref()).map(|removal| removal.seen_at.clone()).unwrap_or_default()
    }
}

/// The copy says hello to the owner that knows the original, and the original comes back.
#[test]
fn a_clone_is_suspended_by_the_owner_that_saw_both_and_both_places_are_named() {
    let mut lab = Lab::account(60, 3);
    let copy = lab.clone_of(2);
    lab.connect(copy, 0);
    assert_eq!(lab.suspensions(0), 0, "it may have been started anew");
    lab.connect(2, 0);
    for at in [0, 1, 2] {
        assert_eq!(lab.status(at, 2), Some(Status::Suspended), "device {at}");
    }
    assert_eq!(lab.seen_at(1, 2), [Lab::address(copy), Lab::address(2)]);
    let removal = lab.engine(1).roster.evaluation().device(lab.id(2)).unwrap().removal.clone().unwrap();
    assert_eq!((removal.by, removal.reason_code), (lab.id(0), 6));
    lab.connect(copy, 1);
    assert_eq!(lab.status(copy, 2), Some(Status::Suspended), "the copy is told, too");
    assert_eq!(lab.leaked, []);
}

/// An owner settles it. What was seen before then does not count again, and what is seen from then on does.
#[test]
fn a_readmitted_device_is_not_suspended_for_what_was_settled() {
    let mut lab = Lab::account(61, 3);
    let copy = lab.clone_of(2);
    lab.connect(copy, 0);
    lab.connect(2, 0);
    assert_eq!(lab.suspensions(0), 1);
    let device = lab.id(2);
    assert_eq!(lab.order(1, Command::Readmit(device)), Ok(Reply::Done));
    for _ in 0..3 {
        lab.connect(2, 0);
        lab.connect(2, 1);
        lab.reboot(2);
    }
    assert_eq!((lab.status(0, 2), lab.suspensions(0)), (Some(Status::Linked), 1));
    lab.connect(2, 0);
    lab.connect(copy, 0);
    lab.connect(2, 0);
    assert_eq!((lab.status(0, 2), lab.suspensions(0)), (Some(Status::Suspended), 2));
}

/// A member suspends nobody; it goes on with whichever is there.
#[test]
fn a_member_that_sees_a_clone_suspends_nobody() {
    let mut lab = Lab::account(62, 3);
    let device = lab.id(1);
    lab.order(0, Command::SetRole { device, role: crate::roster::Role::Member }).unwrap();
    let copy = lab.clone_of(2);
    for at in [copy, 2, copy] {
        lab.connect(at, 1);
    }
    assert_eq!((lab.suspensions(1), lab.status(1, 2)), (0, Some(Status::Linked)));
}

/// However often it restarts, and whichever of its connections is noticed to be dead first.
#[test]
fn a_device_that_is_started_again_and_again_is_not_a_clone() {
    let mut lab = Lab::account(63, 3);
    for round in 0..40 {
        if round % 2 == 0 {
            lab.unplug(2);
        }
        lab.reboot(2);
        let (at_two, _) = lab.connect(2, 0);
        lab.connect(1, 2);
        // What its last run had is closed late, or never.
        if round % 3 == 0 {
            lab.feed(2, Input::Disconnected { conn: at_two, code: None });
            lab.connect(2, 0);
        }
        lab.pass(if round % 5 == 0 { DAY } else { Duration::from_secs(2) });
    }
    assert_eq!((lab.suspensions(0), lab.suspensions(1)), (0, 0));
    assert_eq!(lab.status(0, 2), Some(Status::Linked));
}

/// A new run is there while the connection of the last one still looks alive, and what that sent last comes late: a hello, its
/// writes, its report, an answer to a ping of before.
#[test]
fn what_a_dead_run_sent_last_is_no_sign_of_life() {
    let mut lab = Lab::account(64, 3);
    let session = lab.session(2);
    let old = lab.puppet(0, 2);
    let before = lab.hello(2);
    lab.devices[0].sent.clear();
    lab.feed(0, Input::NetworkChanged);
    let asked = lab.devices[0].sent.iter().find_map(|(conn, frame)| match Message::from_frame(frame) {
        Ok(Some(Message::Ping(number))) if *conn == old => Some(number),
        _ => None,
    });
    assert!(lab.put(2, session, "late", b"v").is_ok());
    lab.pass(Duration::from_secs(5));
    let report = lab.engine(2).reports[&lab.id(2)].bytes().to_vec();
    lab.reboot(2);
    lab.connect(2, 0);
    lab.connect(2, 1);
    // Of the old run: on its own connection, on a new one that comes late, and from a third device.
    lab.say(0, old, &Message::Pong(asked.expect("a ping")));
    lab.say(0, old, &Message::Reports(vec![report.clone()]));
    let late = lab.new_conn();
    let peer = lab.id(2);
    lab.feed(0, Input::Connected { conn: late, peer, dialled: false, address: Lab::address(9), exporter: EXPORTER });
    lab.say(0, late, &before);
    lab.say(0, late, &Message::Pong(asked.expect("a ping")));
    let third = lab.puppet(0, 1);
    lab.say(0, third, &Message::Reports(vec![report]));
    lab.connect(2, 0);
    assert_eq!((lab.suspensions(0), lab.status(0, 2)), (0, Some(Status::Linked)));
}

/// A disk that was set back is a new run, and the one before is gone.
#[test]
fn a_restored_disk_is_not_a_clone() {
    let mut lab = Lab::account(65, 3);
    let session = lab.session(2);
    for round in 0..5 {
        let disk = lab.devices[2].store.snapshot();
        assert!(lab.put(2, session, &format!("lost {round}"), b"v").is_ok());
        lab.unplug(2);
        lab.devices[2].config.run.0[1] += 1;
        lab.set_back(2, &disk);
        assert!(lab.put(2, session, &format!("since {round}"), b"v").is_ok());
        lab.connect(2, 0);
        lab.connect(2, 1);
        lab.pass(Duration::from_secs(5));
    }
    assert_eq!((lab.suspensions(0), lab.suspensions(1)), (0, 0));
    assert_eq!(lab.read(0, session, "lost 4"), Some(b"v".to_vec()));
}

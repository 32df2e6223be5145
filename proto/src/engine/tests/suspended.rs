//! Devices that were suspended, and come back or do not.

use super::*;
use crate::engine::error::ErrorKind;

impl Lab {
    fn suspend(&mut self, at: usize, device: usize) -> Result<Reply, CommandError> {
        let device = self.id(device);
        self.order(at, Command::Suspend { device, reason: "lent it".to_owned() })
    }

    fn readmit(&mut self, at: usize, device: usize) -> Result<Reply, CommandError> {
        let device = self.id(device);
        self.order(at, Command::Readmit(device))
    }
}

fn kind_of(result: Result<Reply, CommandError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

/// It hears who did it, keeps what it has, writes nothing, and is given nothing.
#[test]
fn a_suspended_device_is_told_and_cut_off_and_keeps_what_it_has() {
    let mut lab = Lab::account(50, 3);
    let session = lab.session(2);
    assert!(lab.put(2, session, "k", b"before").is_ok());
    assert_eq!(lab.suspend(0, 2), Ok(Reply::Done));
    for at in 0..3 {
        assert_eq!(lab.status(at, 2), Some(Status::Suspended), "device {at}");
    }
    assert!(lab.devices[0].closed.iter().any(|(_, code)| *code == CloseCode::Suspended));
    assert!(lab.engine(2).conns.values().all(|conn| conn.closing), "it is connected");
    let warnings = lab.engine(2).view().status.warnings.clone();
    assert!(warnings.iter().any(|text| text.contains("suspended by device 0 (lent it)")), "{warnings:?}");
    assert!(lab.put(1, session, "k", b"after").is_ok());
    assert_eq!(kind_of(lab.put(2, session, "k", b"mine")), Some(ErrorKind::Locked));
    lab.restart(2);
    lab.connect(2, 1);
    assert_eq!(lab.read(2, session, "k"), Some(b"before".to_vec()), "nothing is deleted");
    let (epoch, keyring) = (lab.engine(1).held_write_epoch().unwrap(), &lab.engine(2).keyring);
    assert!(keyring.secret(epoch).is_none() && keyring.iter().count() > 0);
    assert_eq!(lab.leaked, []);
}

/// What it wrote before it heard of it waits on its disk, and what the others wrote waits for it.
#[test]
fn a_readmitted_device_and_the_others_lack_nothing() {
    let mut lab = Lab::account(51, 4);
    let session = lab.session(0);
    assert!(lab.put(0, session, "k", b"old").is_ok());
    lab.unplug(2);
    assert!(lab.put(2, session, "mine", b"offline").is_ok());
    assert_eq!(lab.suspend(0, 2), Ok(Reply::Done));
    assert!(lab.put(1, session, "k", b"new").is_ok());
    lab.connect(2, 1);
    assert_eq!(lab.read(1, session, "mine"), None, "a suspended device wrote to another");
    assert_eq!(lab.read(2, session, "k"), Some(b"old".to_vec()));
    // An owner that did not suspend it, and that it does not meet itself.
    assert_eq!(lab.readmit(1, 2), Ok(Reply::Done));
    lab.connect(3, 2);
    for at in 0..4 {
        assert_eq!(lab.status(at, 2), Some(Status::Linked), "device {at}");
        assert_eq!(lab.read(at, session, "mine"), Some(b"offline".to_vec()), "device {at}");
        assert_eq!(lab.read(at, session, "k"), Some(b"new".to_vec()), "device {at}");
    }
    assert!(lab.put(2, session, "k", b"again").is_ok());
    assert_eq!(lab.read(0, session, "k"), Some(b"again".to_vec()));
    assert_eq!(lab.leaked, []);
}

/// Nothing is read from it; a member that heard of it from somebody else cuts it off as well.
#[test]
fn a_suspended_device_that_comes_back_is_not_listened_to() {
    let mut lab = Lab::account(52, 3);
    lab.unplug(2);
    assert_eq!(lab.suspend(0, 2), Ok(Reply::Done));
    for at in 0..2 {
        let (conn, peer) = (lab.new_conn(), lab.id(2));
        let heads = lab.engine(at).roster.heads();
        lab.devices[at].sent.clear();
        lab.feed(at, Input::Connected { conn, peer, dialled: false, address: Lab::address(2), exporter: EXPORTER });
        let hello = lab.hello(2);
        lab.say(at, conn, &hello);
        let sent: Vec<u16> = lab.devices[at].sent.iter().filter(|(to, _)| *to == conn).map(|(_, f)| f.kind).collect();
        assert_eq!(sent, [kind::REVOKED]);
        assert_eq!(lab.closed_with(at, conn), Some(CloseCode::Suspended));
        assert_eq!(lab.engine(at).roster.heads(), heads);
    }
}

/// It is looked for until it knows, and met again when it is readmitted.
#[test]
fn others_look_for_a_suspended_device_that_was_not_told_and_for_one_that_is_in_again() {
    let mut lab = Lab::account(53, 2);
    lab.unplug(1);
    let sought = |lab: &Lab| lab.engine(0).wanted_peers().contains(&lab.id(1));
    assert_eq!(lab.suspend(0, 1), Ok(Reply::Done));
    assert!(sought(&lab));
    lab.connect(1, 0);
    assert!(!sought(&lab), "it was told");
    assert!(lab.engine(1).wanted_peers().contains(&lab.id(0)), "it asks whether it is in again");
    assert_eq!(lab.readmit(0, 1), Ok(Reply::Done));
    assert!(sought(&lab));
}

/// One that was suspended, and heard of that, is revoked: that is for good.
#[test]
fn a_suspended_device_that_is_revoked_erases_its_keys() {
    let mut lab = Lab::account(54, 3);
    let session = lab.session(2);
    lab.unplug(2);
    assert!(lab.put(2, session, "k", b"never seen").is_ok());
    assert_eq!(lab.suspend(0, 2), Ok(Reply::Done));
    lab.connect(1, 2);
    assert!(!lab.engine(2).local.out);
    assert!(lab.revoke(1, 2).is_ok());
    lab.connect(0, 2);
    assert_eq!((lab.status(0, 2), lab.status(2, 2)), (Some(Status::Revoked), Some(Status::Revoked)));
    assert!(lab.engine(2).local.out && lab.engine(2).keyring.iter().count() == 0);
    assert_eq!(kind_of(lab.readmit(0, 2)), Some(ErrorKind::Refused));
}

#[test]
fn who_suspends_and_readmits_whom() {
    let mut lab = Lab::account(56, 3);
    let (member, session) = (lab.id(2), lab.session(0));
    lab.order(0, Command::SetRole { device: member, role: crate::roster::Role::Member }).unwrap();
    assert_eq!(kind_of(lab.suspend(0, 0)), Some(ErrorKind::Refused));
    assert_eq!(kind_of(lab.suspend(2, 0)), Some(ErrorKind::NotOwner));
    assert_eq!(kind_of(lab.readmit(0, 1)), Some(ErrorKind::Refused));
    let nobody = DeviceId([9; 32]);
    assert_eq!(kind_of(lab.order(0, Command::Readmit(nobody))), Some(ErrorKind::NotFound));
    assert_eq!(lab.suspend(0, 1), Ok(Reply::Done));
    assert_eq!(kind_of(lab.suspend(0, 1)), Some(ErrorKind::Refused));
    assert_eq!(kind_of(lab.readmit(2, 1)), Some(ErrorKind::NotOwner));
    assert_eq!(kind_of(lab.readmit(1, 1)), Some(ErrorKind::Locked));
    assert_eq!(kind_of(lab.put(1, session, "k", b"v")), Some(ErrorKind::Locked));
    assert!(lab.revoke(0, 2).is_ok());
    assert_eq!(kind_of(lab.suspend(0, 2)), Some(ErrorKind::Refused));
}

//! Thirty devices, and one write that reaches all.

use super::*;

const DEVICES: usize = 30;

/// All have met the first, and none is connected.
fn thirty(seed: u64) -> (Lab, SessionId) {
    let mut lab = Lab::new(seed, DEVICES);
    for joiner in 1..DEVICES {
        lab.link(0, joiner);
        lab.connect(0, joiner);
    }
    let session = lab.session(0);
    lab.count();
    (0..DEVICES).for_each(|device| lab.unplug(device));
    (lab, session)
}

fn write(mut lab: Lab, session: SessionId) -> Work {
    lab.count();
    assert_eq!(lab.put(0, session, "k", &[7; 100]), Ok(Reply::Done));
    lab.work
}

fn count(work: &Work, kind: u16) -> usize {
    work.frames().filter(|sent| sent.kind == kind).count()
}

#[test]
fn a_write_reaches_a_full_mesh_at_once_and_crosses_no_link_twice() {
    let (mut lab, session) = thirty(7);
    for one in 0..DEVICES {
        for other in one + 1..DEVICES {
            lab.connect(one, other);
        }
    }
    let work = write(lab, session);
    for other in 1..DEVICES {
        assert_eq!(work.kinds(0, other), ["journal"]);
        assert_eq!((work.shown(other), work.commits(other)), ((1, 1), 1));
        assert_eq!(work.signatures(other), (0, 1));
    }
    assert_eq!((work.commits(0), work.signatures(0)), (1, (1, 0)));
    // Beside the content, that it came. The others know that their peers hear it from its author.
    assert_eq!(count(&work, kind::JOURNAL), DEVICES - 1);
    assert_eq!(count(&work, kind::HAVE), DEVICES - 1);
    assert_eq!(work.frames().count(), 2 * (DEVICES - 1));
}

/// Its author was cut off, and nobody else has noticed: the peer that was told of it passes it on with its next report.
#[test]
fn a_write_reaches_also_those_who_only_seem_to_hear_its_author() {
    let mut lab = Lab::account(10, 3);
    let session = lab.session(0);
    lab.count();
    lab.lose(0, 2);
    assert_eq!(lab.put(0, session, "k", b"v"), Ok(Reply::Done));
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
    assert_eq!(lab.work.kinds(1, 2), Vec::<&str>::new(), "it seems to be connected with the author");
    let counter = |lab: &Lab, at: usize| lab.engine(at).reports[&lab.id(0)].content.counter;
    lab.pass(limits::REPORT_QUIET);
    lab.pass(limits::PUSH);
    assert_eq!(lab.read(2, session, "k"), Some(b"v".to_vec()));
    // Its report comes when the third device notices that it hears it no longer.
    assert!(counter(&lab, 2) < counter(&lab, 1));
    lab.unplug_from(2, 0);
    assert_eq!(counter(&lab, 2), counter(&lab, 1));
}

#[test]
fn a_write_goes_along_a_chain_and_crosses_each_link_once() {
    let (mut lab, session) = thirty(8);
    for device in 1..DEVICES {
        lab.connect(device - 1, device);
    }
    let work = write(lab, session);
    assert_eq!(work.kinds(0, 1), ["journal"]);
    assert_eq!(work.shown(1), (1, 1));
    for device in 2..DEVICES {
        assert_eq!(work.kinds(device - 1, device), ["have", "journal"]);
        assert_eq!(work.kinds(device, device - 1), ["want", "have"]);
        // Who does not hear it from its author asks for it: one round trip more for each link.
        let hops = 3 * u32::try_from(device).unwrap() - 2;
        assert_eq!((work.shown(device), work.commits(device)), ((1, hops), 1));
        assert_eq!(work.signatures(device), (0, 1));
    }
    assert_eq!(count(&work, kind::JOURNAL), DEVICES - 1);
}

/// What is said of a write later: each device's report, from itself to each.
#[test]
fn a_report_crosses_no_link_of_a_mesh_twice() {
    const MESH: usize = 10;
    let mut lab = Lab::account(9, MESH);
    let session = lab.session(0);
    lab.count();
    assert_eq!(lab.put(0, session, "k", &[7; 100]), Ok(Reply::Done));
    lab.work = Work::default();
    lab.pass(limits::REPORT_QUIET);
    lab.pass(limits::REPORT_QUIET);
    assert_eq!(count(&lab.work, kind::REPORTS), lab.work.frames().count());
    assert_eq!(count(&lab.work, kind::REPORTS), MESH * (MESH - 1));
    for at in 0..MESH {
        assert_eq!(lab.work.commits(at), 1, "its own report, and the others along with it or later");
        assert_eq!(lab.work.signatures(at), (1, MESH - 1));
    }
}

/// Along a chain each report goes on, and those that come at once go on in one frame.
#[test]
fn reports_go_along_a_chain_together() {
    let (mut lab, session) = thirty(11);
    for device in 1..DEVICES {
        lab.connect(device - 1, device);
    }
    lab.count();
    let before = lab.engine(DEVICES - 1).reports[&lab.id(0)].content.counter;
    assert_eq!(lab.put(0, session, "k", &[7; 100]), Ok(Reply::Done));
    lab.work = Work::default();
    // Each ticks behind the one before it, so that one round goes all along.
    lab.pass(limits::REPORT_QUIET);
    (0..DEVICES).for_each(|_| lab.pass(limits::TELL));
    for at in 0..DEVICES {
        assert_eq!(lab.engine(at).reports[&lab.id(0)].content.counter, before + 1);
        assert_eq!(lab.engine(0).reports[&lab.id(at)], lab.engine(at).reports[&lab.id(at)]);
    }
    assert_eq!(count(&lab.work, kind::REPORTS), lab.work.frames().count());
    // As many as thirty reports on twenty-nine links would be, were each to go alone: 870.
    assert_eq!(count(&lab.work, kind::REPORTS), 492);
}

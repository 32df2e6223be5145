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
    // Beside the content, how far it came: from each to each.
    assert_eq!(count(&work, kind::JOURNAL), DEVICES - 1);
    assert_eq!(count(&work, kind::HAVE), (DEVICES - 1) * (DEVICES - 1));
    assert_eq!(work.frames().count(), (DEVICES - 1) * DEVICES);
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

/// What is said of a write later: each device's report, which everybody passes on to everybody.
#[test]
fn a_report_crosses_each_link_of_a_mesh_once_in_each_direction_at_most() {
    const MESH: usize = 10;
    let mut lab = Lab::account(9, MESH);
    let session = lab.session(0);
    lab.count();
    assert_eq!(lab.put(0, session, "k", &[7; 100]), Ok(Reply::Done));
    lab.work = Work::default();
    lab.pass(limits::REPORT_QUIET);
    lab.pass(limits::REPORT_QUIET);
    // To nine, and from each of these to eight others.
    assert_eq!(count(&lab.work, kind::REPORTS), lab.work.frames().count());
    assert_eq!(count(&lab.work, kind::REPORTS), MESH * (MESH - 1) * (MESH - 1));
    for at in 0..MESH {
        assert_eq!(lab.work.commits(at), MESH);
        assert_eq!(lab.work.signatures(at), (1, MESH - 1));
    }
}

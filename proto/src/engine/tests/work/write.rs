//! One write, until another device shows it.

use super::*;

/// Two devices that are connected, and have nothing to say.
fn pair() -> (Lab, SessionId) {
    let mut lab = Lab::account(4, 2);
    let session = lab.session(0);
    assert_eq!(lab.put(0, session, "k", &[6; 100]), Ok(Reply::Done));
    lab.count();
    (lab, session)
}

#[test]
fn one_write_is_one_frame_and_durable_on_both_sides_before_it_is_shown() {
    let (mut lab, session) = pair();
    assert_eq!(lab.put(0, session, "k", &[7; 100]), Ok(Reply::Done));
    assert_eq!(
        lab.work.story(),
        ["0 commits", "0 shows", "0 answers", "0 -> 1: journal", "1 commits", "1 shows", "1 -> 0: have"]
    );
    assert_eq!(lab.work.shown(1), (1, 1), "half a round trip");
    assert_eq!(lab.work.bytes(), 673);
    assert_eq!([lab.work.signatures(0), lab.work.signatures(1)], [(1, 0), (0, 1)]);
}

/// What is said of it later, when it was shown long ago: a report of each side.
#[test]
fn a_burst_of_writes_costs_one_report_a_side() {
    let (mut lab, session) = pair();
    for n in 0..10 {
        assert_eq!(lab.put(0, session, &format!("k {n}"), &[7; 100]), Ok(Reply::Done));
    }
    lab.work = Work::default();
    lab.pass(limits::REPORT_QUIET);
    lab.pass(limits::REPORT_QUIET);
    assert_eq!(lab.work.story(), ["0 commits", "0 -> 1: reports", "1 commits", "1 -> 0: reports"]);
    assert_eq!([lab.work.signatures(0), lab.work.signatures(1)], [(1, 1), (1, 1)]);
}

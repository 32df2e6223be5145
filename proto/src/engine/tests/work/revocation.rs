//! A revocation, until its device is cut off and everybody has applied it.

use super::*;

/// The revoker, ten that stay, and the one that goes, all connected with one another.
const STAY: usize = 11;
const OUT: usize = STAY;

fn revoked() -> Lab {
    let mut lab = Lab::account(6, STAY + 1);
    lab.count();
    let out = lab.id(OUT);
    assert_eq!(lab.revoke(0, OUT), Ok(Reply::Revoked(vec![out])));
    lab
}

#[test]
fn a_device_is_cut_off_one_commit_and_half_a_round_trip_after_the_order() {
    let lab = revoked();
    assert_eq!(lab.work.story()[..3], ["0 commits", "0 -> 11: revoked", "0 cuts 11"]);
    // It erases its keys for that, and asks nobody.
    let story = lab.work.story();
    assert_eq!(story.iter().filter(|line| *line == "11 commits").count(), 1);
    assert_eq!(lab.work.signatures(OUT), (0, 1));
}

/// One commit holds the revocation and the word that it was applied; from whomever a device hears of it first.
#[test]
fn a_device_has_applied_a_revocation_one_commit_after_it_heard() {
    let lab = revoked();
    let story = lab.work.story();
    for at in 1..STAY {
        let (commits, says) = (format!("{at} commits"), format!("{at} -> 0: statements"));
        let first = story.iter().position(|line| *line == commits).unwrap();
        let said = story.iter().position(|line| *line == says).unwrap();
        assert!(first < said && !story[first + 1..said].contains(&commits));
        let sent = lab.work.frames().find(|sent| (sent.from, sent.to, sent.kind) == (at, 0, kind::STATEMENTS)).unwrap();
        assert_eq!(sent.hop, 2, "half a round trip to hear, half a one to say so");
    }
}

/// The revoker hears from each that it was applied; the others are connected with it, and have nothing to pass on.
#[test]
fn a_revocation_costs_one_statement_to_and_from_each() {
    let lab = revoked();
    for (one, other) in (0..STAY).flat_map(|one| (0..STAY).map(move |other| (one, other))).filter(|(a, b)| a != b) {
        let kinds = lab.work.kinds(one, other);
        match (one, other) {
            (0, _) => assert_eq!(kinds, ["statements", "epochs"]),
            (_, 0) => assert_eq!(kinds, ["statements"]),
            _ => assert_eq!(kinds, [""; 0], "{one} -> {other}"),
        }
    }
    // Its own two; what each of the others says that keeps and tells again.
    assert_eq!((lab.work.commits(0), lab.work.signatures(0)), (1, (2, 2 + (STAY - 1))));
    for at in 1..STAY {
        // The revocation and that it was applied, then the key of the epoch.
        assert_eq!((lab.work.commits(at), lab.work.signatures(at)), (2, (1, 3)));
    }
    assert_eq!(lab.work.bytes(), 44_867);
}

/// That it was applied everybody hears from each, when the revoker has heard it.
#[test]
fn everybody_hears_where_a_revocation_was_applied() {
    let mut lab = revoked();
    lab.work = Work::default();
    lab.pass(limits::TELL);
    for (one, other) in (1..STAY).flat_map(|one| (0..STAY).map(move |other| (one, other))).filter(|(a, b)| a != b) {
        let said: &[&str] = if other == 0 { &[] } else { &["statements"] };
        assert_eq!(lab.work.kinds(one, other), said, "{one} -> {other}");
    }
    assert_eq!(lab.work.bytes(), 27_108);
    for at in 0..STAY {
        assert_eq!(lab.work.commits(at), 0);
        let evaluation = lab.engine(at).roster.evaluation();
        assert_eq!(evaluation.device(lab.id(OUT)).map(|out| out.applied_by.len()), Some(STAY));
    }
}

/// The revoker is not connected with everybody: the others know, and pass it on at once, with the key of the epoch.
#[test]
fn a_revocation_goes_through_a_third_device_at_once() {
    let mut lab = Lab::account(12, 4);
    let session = lab.session(0);
    lab.unplug_from(0, 2);
    lab.count();
    assert!(lab.revoke(0, 3).is_ok());
    assert_eq!(lab.status(2, 3), Some(Status::Revoked));
    assert_eq!(lab.work.kinds(1, 2), ["statements", "epochs"]);
    assert_eq!(lab.put(2, session, "k", b"v"), Ok(Reply::Done));
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

/// What the revoker sends to one of them is lost, and nobody has noticed: that one hears that it was applied elsewhere, asks for
/// what that builds upon, and then for the key.
#[test]
fn a_revocation_that_was_lost_on_its_way_comes_through_a_third_device() {
    let mut lab = Lab::account(13, 4);
    let session = lab.session(0);
    lab.count();
    lab.lose(0, 2);
    assert!(lab.revoke(0, 3).is_ok());
    assert_eq!(lab.status(2, 3), Some(Status::Linked));
    lab.pass(limits::TELL);
    assert_eq!(lab.status(2, 3), Some(Status::Revoked));
    assert_eq!(lab.work.kinds(2, 1).first(), Some(&"have"), "{:?}", lab.work.story());
    lab.pass(limits::TELL);
    assert_eq!(lab.engine(2).epochs().collect::<Vec<_>>(), lab.engine(1).epochs().collect::<Vec<_>>());
    assert_eq!(lab.put(1, session, "k", b"v"), Ok(Reply::Done));
    assert_eq!(lab.read(2, session, "k"), Some(b"v".to_vec()));
}

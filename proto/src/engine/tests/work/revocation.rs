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

/// Who stays hears of the revocation, the next epoch and ten words that it was applied. Nobody can know who is connected with whom,
/// so each passes on to each what is new: a statement crosses a link once in each direction at most.
#[test]
fn a_statement_crosses_a_link_once_in_each_direction_at_most() {
    const SAID: usize = 2 + (STAY - 1);
    let lab = revoked();
    for (one, other) in (0..STAY).flat_map(|one| (0..STAY).map(move |other| (one, other))).filter(|(a, b)| a != b) {
        let kinds = lab.work.kinds(one, other);
        let count = |kind: &str| kinds.iter().filter(|sent| **sent == kind).count();
        assert!(count("statements") <= SAID, "{one} -> {other}: {kinds:?}");
        assert!(count("epochs") <= 1, "{one} -> {other}: {kinds:?}");
    }
    assert_eq!(lab.work.commits(0), STAY);
    assert_eq!(lab.work.signatures(0), (2, SAID));
    for at in 1..STAY {
        // Its own two share one; with the keys of the epoch as many as there are statements.
        assert_eq!(lab.work.commits(at), SAID);
        assert_eq!(lab.work.signatures(at), (1, SAID));
    }
    assert_eq!(lab.work.bytes(), 584_645);
}

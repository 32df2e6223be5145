//! Linking, from the challenge to the first hello.

use super::*;

/// The person types the code between accept and linked: each side answers the other twice.
#[test]
fn linking_takes_two_round_trips_and_one_commit_a_side_to_hold() {
    let mut lab = Lab::new(5, 2);
    let (pairing, code) = lab.agree(0, 1);
    assert_eq!(
        lab.work.story(),
        [
            "0 answers",
            "1 answers",
            "1 -> 0: claim",
            "0 -> 1: offer",
            // What it agreed to, in case it is stopped before it hears that it is linked.
            "1 commits",
            "1 -> 0: accept",
            "1 answers",
            "1 answers"
        ]
    );
    assert_eq!(lab.work.bytes(), 103 + 1633 + 1371);
    assert_eq!([lab.work.signatures(0), lab.work.signatures(1)], [(4, 1), (1, 3)]);

    lab.work = Work::default();
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    assert_eq!(lab.work.story(), ["0 commits", "0 -> 1: linked", "0 answers", "1 commits", "1 -> 0: done", "1 cuts 0"]);
    assert_eq!(lab.work.bytes(), 4666 + 6);
    assert_eq!([lab.work.signatures(0), lab.work.signatures(1)], [(2, 4), (0, 8)]);
}

/// They hold the same already: nothing follows the hellos but a report of each, later. That they met for the first time is stored.
#[test]
fn the_first_hello_finds_nothing_to_send() {
    let mut lab = Lab::new(5, 2);
    lab.link(0, 1);
    lab.work = Work::default();
    lab.connect(1, 0);
    assert_eq!(lab.work.story(), ["1 commits", "1 -> 0: hello", "0 commits", "0 -> 1: hello"]);
    assert_eq!(lab.work.bytes(), 2 * 177);
    assert_eq!([lab.work.signatures(0), lab.work.signatures(1)], [(0, 0), (0, 0)]);
}

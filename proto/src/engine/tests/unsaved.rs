//! What others tell again, and where they are, is no commit of its own.

use super::floods::report;
use super::*;

/// Device 0, which took in a newer report of device 2 than it has on its disk.
fn with_a_report(seed: u64) -> (Lab, SessionId) {
    let mut lab = Lab::account(seed, 3);
    let session = lab.session(0);
    lab.count();
    let from = lab.puppet(0, 2);
    let newer = report(&lab, 2, 1000, 0);
    lab.say(0, from, &Message::Reports(vec![newer]));
    assert_eq!((counter(&lab), lab.work.commits(0)), (1000, 0));
    (lab, session)
}

fn counter(lab: &Lab) -> u64 {
    lab.engine(0).reports[&lab.id(2)].content.counter
}

#[test]
fn it_goes_to_the_disk_with_the_next_commit_or_after_a_while() {
    let (mut lab, _) = with_a_report(90);
    lab.restart(0);
    assert_ne!(counter(&lab), 1000, "the power went: its device, or another, tells it again");

    let (mut lab, session) = with_a_report(90);
    assert_eq!(lab.put(0, session, "k", b"v"), Ok(Reply::Done));
    lab.restart(0);
    assert_eq!(counter(&lab), 1000);

    let (mut lab, _) = with_a_report(90);
    assert!(lab.engine(0).deadline().is_some_and(|due| due <= lab.now.mono.after(limits::SAVE)));
    lab.pass(limits::SAVE);
    lab.restart(0);
    assert_eq!(counter(&lab), 1000);
}

/// What another device applied is in no row of its own, and what builds upon it never comes to the disk without it.
#[test]
fn statements_come_to_the_disk_in_order() {
    let mut lab = Lab::account(91, 4);
    assert!(lab.revoke(0, 3).is_ok());
    let heads = lab.engine(0).roster.heads();
    let (mut stored, before) = (lab.devices[0].store.snapshot(), lab.engine(0).roster.statements().count());
    let load = |store: &mut MemoryStore, lab: &mut Lab| {
        let config = lab.devices[0].config.clone();
        let mut cx = Cx { now: lab.now, entropy: &mut lab.rng, store };
        Engine::load(config, &mut cx).unwrap()
    };
    assert_eq!(load(&mut stored, &mut lab).roster.statements().count(), before - 2, "two say that they applied it");
    assert!(lab.revoke(0, 2).is_ok());
    let mut stored = lab.devices[0].store.snapshot();
    let loaded = load(&mut stored, &mut lab);
    assert!(heads.iter().all(|head| loaded.roster.statement(head.id).is_some()));
}

//! Statements in bytes: what is kept as it is, and what is refused.

use super::super::RosterError;
use super::super::statement::Draft;
use super::*;
use crate::limits::STATEMENT_BYTES;
use crate::wire::DecodeError;
use crate::wire::object::{Extension, Extensions};

/// Offset of the parents: envelope, account, author, number, previous.
const PARENTS_AT: usize = 8 + 32 + 32 + 4 + 32;

fn story() -> Story {
    Story::tell(
        "ga A genesis\nlb A link B owner\nlc B link C member\nsc A suspend C\nmc B readmit C\nra A revoke C 5\nea A epoch A B\nap B applied ra",
    )
}

/// A statement of A behind `story` with what `change` makes of it.
fn drafted(story: &Story, action: Action, change: impl FnOnce(&mut Draft)) -> Statement {
    let view = story.roster(0);
    let last = view.heads().into_iter().find(|head| head.author == identity("A").device()).unwrap();
    let mut draft = Draft {
        account: view.account().unwrap(),
        number: last.number + 1,
        previous: last.id,
        parents: view.heads().into_iter().filter(|head| head.author != last.author).collect(),
        time: Wall(7),
        action,
        ext: Extensions::default(),
    };
    change(&mut draft);
    draft.sign(&identity("A"))
}

fn leave() -> Action {
    revoke(identity("A").device())
}

#[test]
fn every_statement_comes_back_as_it_went() {
    for statement in story().statements {
        assert_eq!(Statement::decode(&statement.bytes), Ok(statement));
    }
}

#[test]
fn truncated_longer_and_altered_statements_are_refused() {
    for statement in story().statements {
        for len in (0..statement.bytes.len()).step_by(13) {
            assert!(matches!(Statement::decode(&statement.bytes[..len]), Err(DecodeError::Truncated(_))), "{len}");
        }
        let longer = [&statement.bytes[..], &[0]].concat();
        assert_eq!(Statement::decode(&longer), Err(DecodeError::Trailing(1)));
        for at in (8..statement.bytes.len()).step_by(17) {
            let mut altered = statement.bytes.clone();
            altered[at] ^= 1;
            assert!(Statement::decode(&altered).is_err(), "byte {at}");
        }
    }
}

#[test]
fn what_is_not_sorted_too_long_or_numbered_wrongly_is_refused_though_signed() {
    let story = story();
    let refused = |action, change: &dyn Fn(&mut Draft)| {
        let statement = drafted(&story, action, change);
        Statement::decode(&statement.bytes).expect_err("must be refused")
    };
    let c = story.get("lc").reference();
    let other = super::super::statement::Parent { author: DeviceId([0xff; 32]), ..c };
    assert_eq!(refused(leave(), &|d| d.parents = vec![other, c]), DecodeError::Unsorted("parents"));
    assert_eq!(refused(leave(), &|d| d.parents = vec![c, c]), DecodeError::Unsorted("parents"));
    let own = story.get("lb").reference();
    assert_eq!(refused(leave(), &|d| d.parents = vec![own]), DecodeError::Invalid("parents"));
    assert_eq!(refused(leave(), &|d| d.number = 0), DecodeError::Invalid("number"));
    assert_eq!(refused(leave(), &|d| d.number = 1), DecodeError::Invalid("number"));
    assert_eq!(refused(leave(), &|d| d.previous = StatementId::NONE), DecodeError::Invalid("number"));
    assert_eq!(refused(leave(), &|d| d.account = AccountId::NONE), DecodeError::Invalid("account"));
    let twice = vec![StatementId([2; 32]), StatementId([2; 32])];
    assert_eq!(refused(Action::Applied { revocations: twice }, &|_| {}), DecodeError::Unsorted("revocations"));
    let Action::Revoke(mut wordy) = leave() else { unreachable!() };
    wordy.text = "x".repeat(201);
    assert!(matches!(refused(Action::Revoke(wordy), &|_| {}), DecodeError::TooLarge { what: "reason", .. }));
    let many = (0..70).map(|i| super::super::statement::Parent { author: DeviceId([i; 32]), ..c }).collect::<Vec<_>>();
    assert!(matches!(refused(leave(), &|d| d.parents = many.clone()), DecodeError::TooLarge { what: "parents", .. }));
    let huge = Action::Unknown { kind: 7, body: vec![0; STATEMENT_BYTES] };
    assert!(matches!(refused(huge, &|_| {}), DecodeError::TooLarge { what: "statement", .. }));
    let unsorted = [2, 1].map(|kind| Extension { kind, value: vec![] });
    assert_eq!(refused(leave(), &|d| d.ext = Extensions(unsorted.to_vec())), DecodeError::Unsorted("extensions"));
}

#[test]
fn a_link_without_the_consent_of_its_device_is_refused() {
    let story = story();
    let account = story.roster(0).account().unwrap();
    let refused = |change: &dyn Fn(&mut Link)| {
        let Action::Link(mut link) = link(account, &identity("D"), Role::Member) else { unreachable!() };
        change(&mut link);
        let statement = drafted(&story, Action::Link(link), |_| {});
        Statement::decode(&statement.bytes).err()
    };
    let signature = Some(DecodeError::Signature("consent"));
    assert_eq!(refused(&|_| {}), None);
    assert_eq!(refused(&|link| link.role = Role::Owner), signature);
    assert_eq!(refused(&|link| link.custody = Custody::Shared), signature);
    assert_eq!(refused(&|link| link.device = identity("E").device()), signature);
    assert_eq!(refused(&|link| link.hpke[7] ^= 1), signature);
    assert_eq!(refused(&|link| link.challenge = ChallengeId([6; 32])), signature);
}

#[test]
fn what_is_not_known_is_kept_byte_for_byte() {
    let story = story();
    let ext = Extensions(vec![Extension { kind: 0x0123, value: b"kept".to_vec() }]);
    let extended = drafted(&story, leave(), |d| d.ext = ext);
    let future = drafted(&story, Action::Unknown { kind: 0x8999, body: b"future".to_vec() }, |_| {});
    for (statement, needed) in [(extended, false), (future, true)] {
        let mut roster = story.roster(0);
        let before = roster.heads();
        roster.insert(std::slice::from_ref(&statement.bytes)).unwrap();
        assert_eq!(roster.evaluation().update_needed, needed);
        let relayed: Vec<&[u8]> = roster.missing(&before).into_iter().map(|s| &s.bytes[..]).collect();
        assert_eq!(relayed, [&statement.bytes[..]]);
    }
}

#[test]
fn a_grant_with_a_condition_that_is_not_understood_is_none_and_a_removal_is_one() {
    let story = story();
    let ext = || Extensions(vec![Extension { kind: 0x8123, value: b"unless".to_vec() }]);
    let account = story.roster(0).account().unwrap();
    let with = |action| {
        let mut roster = story.roster(0);
        roster.insert(&[drafted(&story, action, |d| d.ext = ext()).bytes]).unwrap();
        assert!(roster.evaluation().update_needed);
        roster
    };
    assert!(with(link(account, &identity("D"), Role::Owner)).evaluation().device(identity("D").device()).is_none());
    assert!(!with(revoke(identity("B").device())).evaluation().is_linked(identity("B").device()));
}

#[test]
fn a_newer_format_is_left_out_and_the_rest_taken_in() {
    let story = story();
    let mut newer = story.get("ap").bytes.clone();
    newer[0] = 2;
    let mut roster = Roster::new();
    roster.insert(&[story.bytes(), vec![newer]].concat()).unwrap();
    assert!(roster.evaluation().update_needed);
    assert_eq!(roster.evaluation().devices, story.roster(0).evaluation().devices);
}

#[test]
fn a_batch_with_one_bad_signature_is_refused_whole() {
    let story = story();
    let mut batch = story.bytes();
    let last = batch[4].len() - 1;
    batch[4][last] ^= 1;
    let mut roster = Roster::new();
    let error = DecodeError::Signature("statement");
    assert_eq!(roster.insert(&batch), Err(RosterError::Malformed { index: 4, error }));
    assert_eq!((roster.account(), roster.statements().count()), (None, 0));
    assert_eq!(roster.insert(&story.bytes()).map(|ids| ids.len()), Ok(8), "nothing of it was kept");
}

#[test]
fn a_statement_that_misnames_what_it_builds_upon_is_refused_with_its_batch() {
    let story = story();
    let good = drafted(&story, leave(), |_| {});
    let wrong_number = drafted(&story, leave(), |d| d.parents[0].number += 1);
    let wrong_chain = drafted(&story, leave(), |d| d.number += 1);
    let others_chain = drafted(&story, leave(), |d| d.previous = story.get("ap").id);
    for bad in [wrong_number, wrong_chain, others_chain] {
        let mut roster = story.roster(0);
        let before = roster.evaluation().clone();
        assert_eq!(roster.insert(&[good.bytes.clone(), bad.bytes]), Err(RosterError::Inconsistent(bad.id)));
        assert_eq!((roster.evaluation(), roster.statement(good.id)), (&before, None));
    }
}

#[test]
fn nothing_of_another_account_gets_in() {
    let other = Story::tell("gb B genesis\nla B link A owner");
    let mut roster = story().roster(0);
    for statement in other.statements {
        let waits = !matches!(statement.action, Action::Genesis(_));
        let taken = roster.insert(&[statement.bytes]);
        assert_eq!(taken, if waits { Ok(vec![]) } else { Err(RosterError::WrongAccount(statement.id)) });
    }
}

#[test]
fn the_author_of_the_genesis_cannot_contradict_it() {
    let story = story();
    let second = drafted(&story, leave(), |d| (d.number, d.previous) = (1, StatementId::NONE));
    let mut roster = story.roster(0);
    assert_eq!(roster.insert(&[second.bytes]), Err(RosterError::Inconsistent(second.id)));
}

#[test]
fn statements_wait_for_what_they_build_upon() {
    let story = story();
    let (first, rest) = story.statements.split_first().unwrap();
    let mut roster = Roster::new();
    for statement in rest.iter().rev() {
        assert_eq!(roster.insert(std::slice::from_ref(&statement.bytes)), Ok(vec![]));
        assert_eq!(roster.account(), None);
    }
    assert_eq!(roster.insert(std::slice::from_ref(&first.bytes)).unwrap().len(), 8);
    assert_eq!(roster.insert(&story.bytes()), Ok(vec![]), "again changes nothing");
}

#[test]
fn only_so_many_may_wait() {
    let author = identity("A");
    let mut roster = Roster::new();
    let orphan = |i: u32| {
        let (previous, parents) = (StatementId([1; 32]), Vec::new());
        let (account, action) = (AccountId([1; 32]), leave());
        let ext = Extensions::default();
        Draft { account, number: i + 2, previous, parents, time: Wall(1), action, ext }.sign(&author).bytes
    };
    let batch: Vec<Vec<u8>> = (0..257).map(orphan).collect();
    assert_eq!(roster.insert(&batch), Err(RosterError::TooManyWaiting(257)));
    assert_eq!(roster.insert(&batch[..256]), Ok(vec![]));
    assert_eq!(roster.insert(&batch[256..]), Err(RosterError::TooManyWaiting(257)));
}

#[test]
fn the_layout_is_that_of_the_protocol() {
    let story = story();
    let statement = story.get("lc");
    assert_eq!(statement.bytes[..4], [1, 0x80, 0x01, 1], "format, type, suite");
    assert_eq!(statement.bytes[8..40], statement.account.0);
    assert_eq!(statement.bytes[40..72], statement.author.0);
    assert_eq!(statement.bytes[PARENTS_AT], 1, "one parent: A's link of B");
    assert_eq!(statement.bytes[PARENTS_AT + 1..PARENTS_AT + 33], identity("A").device().0);
    assert_eq!(statement.parents[0], story.get("lb").reference());
}

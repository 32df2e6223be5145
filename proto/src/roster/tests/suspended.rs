//! Suspensions and readmissions: the rules E1 to E5 and E8 for removals that can be lifted, and the epochs around them.

use super::*;

/// Two owners and two others.
const START: &str = "ga A genesis
    lb A link B owner
    lc A link C owner
    ld A link D member
    ";

fn tell(text: &str) -> Story {
    Story::tell(&format!("{START}{text}"))
}

#[test]
fn e1_an_owner_suspends_another_and_an_owner_readmits_it() {
    tell("sd A suspend D\n= sd effective\n= D suspended member");
    tell("sd A suspend D\nmd B readmit D\n= md effective\n= D linked member");
    tell("sd A suspend D\nmd B readmit D\ns2 C suspend D\n= D suspended");
    tell("sd A suspend D\nmd B readmit D\ns2 C suspend D\nm2 A readmit D\n= D linked");
}

#[test]
fn e1_a_member_suspends_and_readmits_nobody() {
    tell("sc D suspend C\n= sc void E1\n= C linked");
    tell("sc A suspend C\nmc D readmit C\n= mc void E1\n= C suspended");
}

#[test]
fn e1_nobody_suspends_or_readmits_itself() {
    tell("sb B suspend B\n= sb void E1\n= B linked");
    tell("sb A suspend B\nmb B readmit B\n= mb void E3\n= B suspended");
    // Nor in advance, nor with old parents.
    tell("mb B readmit B < ld\nsb A suspend B < ld\n= mb void E1\n= B suspended");
}

#[test]
fn e1_a_suspended_owner_has_no_rights_until_it_is_readmitted() {
    let start = "sb A suspend B
         x1 B link E member
         x2 B revoke A
         x3 B suspend C
         x4 B role D owner
         x5 B epoch B
         x6 B applied ga
         x7 B revoke B
         ";
    let claims = (1..=7).map(|n| format!("= x{n} void E3\n")).collect::<String>();
    tell(&format!("{start}{claims}= B suspended owner\n= A linked\n= C linked\n= D linked member"));
    // What it said meanwhile stays void; what it says from then on counts.
    tell(&format!("{start}mb C readmit B\nle B link E member\n{claims}= B linked owner\n= le effective\n= E linked"));
}

#[test]
fn e2_what_a_device_says_beside_its_suspension_is_void_also_once_it_is_readmitted() {
    let start = "sb A suspend B  < ld
         t1 B revoke C   < ld
         t2 B link E member < t1
         ";
    tell(&format!("{start}= t1 void E2\n= t2 void E2\n= C linked\n= E unconfirmed\n= B suspended"));
    // It may be the work of whoever had the device: nobody who readmits it can have looked at what is still to come.
    tell(&format!("{start}mb C readmit B < sb\n= t1 void E2\n= B linked\n= E unconfirmed"));
    tell(&format!("{start}mb C readmit B < sb\nl2 B link E member < t2 mb\n= l2 effective\n= E linked member"));
}

#[test]
fn e2_a_suspension_beside_a_readmission_wins_and_one_that_was_seen_is_lifted() {
    tell("s1 A suspend D < ld\ns2 B suspend D < ld\nmd C readmit D < s1\n= md effective\n= D suspended");
    tell("s1 A suspend D < ld\ns2 B suspend D < ld\nmd C readmit D < s1 s2\n= D linked");
    // Two readmissions of which each saw one of them.
    tell("s1 A suspend D < ld\ns2 B suspend D < ld\nm1 C readmit D < s1\nm2 B readmit D < s2\n= D linked");
}

#[test]
fn e3_a_readmission_lasts_though_its_author_goes_and_not_if_it_was_going() {
    let start = "sd A suspend D\nmd B readmit D\n";
    tell(&format!("{start}rb A revoke B\n= md effective\n= D linked"));
    tell(&format!("{start}rb A revoke B < sd\n= md void E2\n= D suspended"));
    tell(&format!("{start}sb A suspend B < sd\n= md void E2\n= D suspended"));
}

#[test]
fn e4_a_suspension_is_not_kept_by_having_been_seen() {
    // A suspends D, which C saw; B, who had not heard of that, revokes A.
    tell("sd A suspend D < ld\nap C applied sd < sd\nra B revoke A < ld\n= sd void E2\n= D linked\n= A revoked");
    // A revocation that was applied outlives that its author is suspended.
    tell("rd A revoke D < ld\nap C applied rd < rd\nsa B suspend A < ld\n= rd effective\n= D revoked\n= A suspended");
}

#[test]
fn e5_two_owners_that_suspend_each_other_are_both_suspended_and_a_third_readmits() {
    let start = "sa B suspend A < ld\nsb A suspend B < ld\n";
    tell(&format!("{start}= sa contested\n= sb contested\n= A suspended\n= B suspended"));
    tell(&format!("{start}ma C readmit A\n= A linked\n= B suspended"));
    tell(&format!("{start}ma C readmit A\nmb C readmit B\n= A linked\n= B linked"));
    tell(&format!("{start}rb C revoke B\n= sa void E2\n= A linked\n= B revoked"));
}

#[test]
fn e5_a_revocation_against_a_suspension_is_settled_by_a_third() {
    let start = "sa B suspend A < ld\nrb A revoke B < ld\n";
    tell(&format!("{start}= sa contested\n= rb contested\n= A suspended\n= B suspended"));
    tell(&format!("{start}ra C revoke A\n= rb void E2\n= A revoked\n= B linked"));
}

#[test]
fn e5_a_contested_revocation_is_lifted_from_whom_a_third_readmits_and_puts_nobody_out() {
    let start = "ra B revoke A < ld\nrb A revoke B < ld\nma C readmit A\n";
    tell(&format!("{start}= ra contested\n= rb contested\n= ma effective\n= A linked\n= B suspended"));
    // The one that is in again can say the last word.
    tell(&format!("{start}r2 A revoke B\n= r2 effective\n= B revoked\n= A linked"));
    tell(&format!("{start}mb C readmit B\n= A linked\n= B linked"));
}

#[test]
fn e5_neither_of_the_two_readmits_the_other() {
    tell("ra B revoke A < ld\nrb A revoke B < ld\nma B readmit A\n= ma void E3\n= A suspended\n= B suspended");
}

#[test]
fn e6_a_suspension_counts_though_its_author_contradicted_it() {
    let story = tell("sd A suspend D\nle A link E member < ld\n= sd effective\n= le void E6\n= D suspended");
    assert_eq!(story.get("sd").number, story.get("le").number);
}

#[test]
fn e7_a_revocation_is_never_lifted_and_a_suspended_device_is_not_linked_anew() {
    tell("rd A revoke D\nmd B readmit D\n= md effective\n= D revoked");
    tell("sd A suspend D\nrd B revoke D\nmd C readmit D\n= D revoked");
    tell("sd A suspend D\nl2 B link D owner\n= l2 void E7\n= D suspended member");
}

#[test]
fn e7_a_device_that_leaves_beside_its_suspension_is_suspended() {
    // What it would honour of its own journals is no more to be believed than what it writes.
    tell("sd A suspend D < ld\nlv D revoke D < ld\n= lv void E2\n= D suspended");
}

#[test]
fn a_suspension_wants_an_epoch_and_a_readmission_does_not() {
    let start = "e1 A epoch A B C D\nsd A suspend D\n";
    tell(&format!("{start}= e1 unfit"));
    tell(&format!("{start}e2 A epoch A B C\n= e1 unfit\n= e2 fit"));
    tell(&format!("{start}e2 B epoch A B C < e1\n= e2 unfit"));
    // It is sealed to the readmitted again, and so does not keep it out a second time.
    let again = format!("{start}e2 A epoch A B C\nmd B readmit D\n");
    tell(&format!("{again}= e1 fit\n= e2 fit"));
    tell(&format!("{again}s2 B suspend D\n= e1 unfit\n= e2 unfit"));
    tell(&format!("{again}s2 B suspend D\ne3 B epoch A B C\n= e2 unfit\n= e3 fit"));
    // Being revoked later is no news to an epoch that was made without it.
    tell(&format!("{start}e2 A epoch A B C\nrd A revoke D\n= e2 fit"));
}

#[test]
fn the_proof_alone_convinces_the_suspended() {
    let story = tell("sd A suspend D\ne2 A epoch A B C");
    let d = identity("D").device();
    let mut told = Roster::new();
    let proof: Vec<Vec<u8>> = story.roster(0).proof_of_removal(d).iter().map(|s| s.bytes.clone()).collect();
    told.insert(&proof).unwrap();
    let device = told.evaluation().device(d).unwrap();
    let removal = device.removal.as_ref().unwrap();
    assert_eq!((device.status, removal.by, removal.reason_code), (Status::Suspended, identity("A").device(), 6));
    assert_eq!((removal.text.as_str(), removal.seen_at.len()), ("two of it", 1));
    assert!(device.revocations.is_empty() && device.honoured.is_empty(), "nothing is deleted");
}

#[test]
fn a_suspension_with_a_condition_that_is_not_understood_counts_and_a_readmission_does_not() {
    use super::super::statement::Draft;
    use crate::wire::object::{Extension, Extensions};
    let with = |text: &str, action: Action| {
        let mut roster = tell(text).roster(0);
        let ext = Extensions(vec![Extension { kind: 0x8123, value: b"unless".to_vec() }]);
        let heads = roster.heads();
        let author = identity("A");
        let last = heads.iter().find(|head| head.author == author.device()).unwrap();
        let parents = heads.iter().filter(|head| head.author != author.device()).copied().collect();
        let (number, previous, account) = (last.number + 1, last.id, roster.account().unwrap());
        let draft = Draft { account, number, previous, parents, time: Wall(9), action, ext };
        roster.insert(&[draft.sign(&author).bytes]).unwrap();
        roster.evaluation().device(identity("D").device()).unwrap().status
    };
    let d = identity("D").device();
    assert_eq!(with("", suspend(d)), Status::Suspended);
    assert_eq!(with("sd B suspend D", Action::Readmit { device: d }), Status::Suspended);
}

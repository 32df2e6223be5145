//! Rule E10, and what the PIN does in the others.

use super::*;

#[test]
fn e10_where_a_pin_is_set_nobody_is_linked_revoked_or_given_a_role_without_it() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C member
         l1 B link D member
         p1 A pin one
         x1 B link E member
         x2 B revoke C
         x3 B role C owner
         x4 A link F member
         x5 B link E member +two
         x6 B role A member
         = l1 effective
         = x1 void E10
         = x2 void E10
         = x3 void E10
         = x4 void E10
         = x5 void E10
         = x6 void E10
         = C linked member
         = A linked owner
         = E unknown
         = pin one",
    );
}

#[test]
fn e10_with_it_everything_goes_on() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C member
         p1 A pin one
         l1 B link D owner +one
         r1 B role C owner +one
         v1 C revoke B +one
         = D linked owner
         = C linked owner
         = B revoked",
    );
}

#[test]
fn e10_the_pin_is_changed_and_removed_by_who_knows_it_only() {
    let start = "ga A genesis
         lb A link B owner
         p1 A pin one
         ";
    Story::tell(&format!(
        "{start}x1 B pin thief\nx2 B pin none\nx3 B pin thief +thief\n= x1 void E10\n= x2 void E10\n= x3 void E10\n= pin one"
    ));
    Story::tell(&format!(
        "{start}p2 B pin two +one\nx1 A link C member +one\nl1 A link D member +two\n= x1 void E10\n= D linked\n= pin two"
    ));
    Story::tell(&format!("{start}p2 B pin none +one\nl1 A link C member\n= C linked\n= pin none"));
    Story::tell("ga A genesis\nlb A link B member\nx1 B pin thief\n= x1 void E1\n= pin none");
}

#[test]
fn e10_what_daemons_do_by_themselves_needs_no_pin() {
    // A device leaves, a lease of a guest is over, and a device never completed.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C guest
         p1 A pin one
         ld A link D member +one
         le B link E member +one
         rc B revoke C
         rd A revoke D
         v1 B revoke B
         = C revoked
         = D revoked
         = B left",
    );
    // Not so a device that has said something, nor one that somebody else linked.
    Story::tell(
        "ga A genesis
         lb A link B owner
         p1 A pin one
         ld A link D member +one
         le B link E member +one
         ad D applied p1
         x1 A revoke D
         x2 A revoke E
         = x1 void E10
         = x2 void E10
         = D linked
         = E linked",
    );
}

#[test]
fn e10_a_thief_who_leaves_the_pin_out_of_what_he_names_is_held_to_it() {
    // B had said that it counts with the PIN, or something else that builds upon it; then it names only what was before.
    for said in ["ab B applied p1", "eb B epoch A B C", "ub B unknown 0777"] {
        Story::tell(&format!(
            "ga A genesis
             lb A link B owner
             lc A link C owner
             p1 A pin one
             {said}
             ac C applied p1
             x1 B link D owner < lc
             x2 B revoke A     < lc
             x3 B role C guest < lc
             x4 B pin thief    < lc
             x5 B link E owner +thief < x4
             = x1 void E10
             = x2 void E10
             = x3 void E10
             = x4 void E10
             = x5 void E10
             = A linked owner
             = C linked owner
             = D unknown
             = E unknown
             = pin one",
        ));
    }
}

#[test]
fn e10_in_an_account_of_two_the_word_of_the_thief_s_own_device_is_enough() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         p1 A pin one
         ab B applied p1
         x1 B revoke A  < lb
         x2 B pin thief < lb
         = x1 void E10
         = x2 void E10
         = A linked owner
         = pin one",
    );
}

#[test]
fn e10_a_thief_of_the_device_that_set_it_does_not_contradict_it() {
    // Another PIN, or anything else, under the number of the PIN; and a link as if the PIN had not been set.
    for other in ["x1 A pin thief < lb", "x1 A unknown 0777 < lb", "x1 A pin none < lb"] {
        let story = Story::tell(&format!(
            "ga A genesis
             lb A link B owner
             p1 A pin one
             ab B applied p1
             {other}
             x2 A link C owner < lb
             x3 A link D owner +thief < x1
             = x2 void E10
             = x3 void E10
             = C unknown
             = D unknown
             = pin one",
        ));
        assert_eq!(story.get("x1").number, story.get("p1").number);
    }
}

#[test]
fn e10_who_had_not_heard_of_the_pin_is_not_held_to_it() {
    // B was away when the PIN was set. What it said counts as before; a thief of it can do no more, and is revoked with the PIN.
    let away = "ga A genesis
         lb A link B owner
         lc A link C owner
         p1 A pin one
         ac C applied p1
         l1 B link D member < lc
         r1 B revoke C      < l1
         ";
    Story::tell(&format!("{away}= D linked\n= C revoked\n= pin one"));
    Story::tell(&format!(
        "{away}rb A revoke B +one < ac\n= l1 void E2\n= r1 void E2\n= D unconfirmed\n= C linked\n= B revoked"
    ));
}

#[test]
fn e10_a_pin_set_in_hindsight_does_not_undo_what_its_author_said_before() {
    // A thief of B contradicts it under an old number, with a PIN that only he has; C believes that first.
    Story::tell(
        "ga A genesis
         lb A link B owner
         u0 B unknown 0777
         lc B link C owner
         ld B link D owner
         rd B revoke D
         xp B pin thief < lb
         ac C applied xp
         = C linked owner
         = D revoked",
    );
}

#[test]
fn e10_of_pins_that_were_set_without_knowing_of_one_another_any_counts() {
    // No order could tell which the user means: whoever sets one could arrange to come first.
    Story::tell(
        "ga A genesis
         lb A link B owner
         p1 A pin one < lb
         p2 B pin two < lb
         l1 A link C member +one
         l2 B link D member +two
         x1 B link E member
         = C linked
         = D linked
         = x1 void E10
         = pin one two",
    );
    let merged = "ga A genesis\nlb A link B owner\np1 A pin one < lb\np2 B pin two < lb\n";
    Story::tell(&format!("{merged}p3 A pin three +two\n= pin three"));
    Story::tell(&format!("{merged}p3 A pin none +one\n= pin none"));
}

#[test]
fn e10_a_pin_that_is_changed_while_somebody_removes_it_stays() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         p1 A pin one
         p2 A pin two  +one < p1
         p3 B pin none +one < p1
         x1 B link C member
         = x1 void E10
         = pin two",
    );
}

#[test]
fn e2_a_pin_that_a_thief_sets_while_he_is_revoked_counts_for_nothing() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         xp B pin thief < lc
         rb A revoke B  < lc
         ld A link D member
         = xp void E2
         = B revoked
         = D linked
         = pin none",
    );
}

#[test]
fn e4_a_pin_that_a_third_device_counts_with_outlives_its_author() {
    let start = "ga A genesis
         lb A link B owner
         lc A link C owner
         p1 A pin one  < lc
         ra B revoke A < lc
         ";
    Story::tell(&format!("{start}= p1 void E2\n= pin none\n= A revoked"));
    Story::tell(&format!("{start}ac C applied p1 < p1\n= p1 effective\n= pin one\n= A revoked"));
    Story::tell(&format!("{start}ac C applied p1 < p1 ra\n= p1 void E2\n= pin none"));
}

#[test]
fn e5_of_two_owners_that_revoke_each_other_the_one_with_the_pin_wins() {
    // B was away when the PIN was set, and C was not.
    let start = "ga A genesis
         lb A link B owner
         lc A link C owner
         u0 B unknown 0777
         p1 A pin one
         ac C applied p1
         ra B revoke A      < u0
         ";
    Story::tell(&format!(
        "{start}rb A revoke B +one < ac\n= ra void E2\n= rb effective\n= B revoked\n= A linked owner\n= pin one"
    ));
    // Another's PIN is none.
    Story::tell(&format!("{start}rb A revoke B +two < ac\n= rb void E10\n= A revoked\n= B linked"));
    // Nobody else counted with it before: it is the word of one of the two.
    let alone = start.replace("ac C applied p1", "");
    Story::tell(&format!(
        "{alone}rb A revoke B +one < p1\n= ra contested\n= rb contested\n= A suspended\n= B suspended"
    ));
}

#[test]
fn e5_a_pin_that_a_thief_sets_for_the_quarrel_does_not_win_it() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         xp B pin thief        < lc
         ra B revoke A +thief  < xp
         rb A revoke B         < lc
         = ra contested
         = rb contested
         = A suspended
         = B suspended
         = C linked",
    );
}

#[test]
fn e5_in_a_ring_those_with_the_pin_win() {
    // A and B know of the PIN, C and D were away; each revokes the next.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D owner
         le A link E member
         p1 A pin one
         ae E applied p1
         ab B applied p1
         rb A revoke B +one < ab
         rc B revoke C +one < ab
         rd C revoke D      < le
         ra D revoke A      < le
         = rd void E5
         = ra void E5
         = rb effective
         = rc void E2
         = B revoked
         = A linked
         = C linked
         = D linked",
    );
}

#[test]
fn e5_what_only_counts_if_it_does_not_is_settled_the_same_everywhere() {
    // B saw the PIN and revokes C without it; C, away, revokes A, who set it: if C's counts there is no PIN and B's counts, too.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         p1 A pin one   < lc
         rc B revoke C  < p1
         ra C revoke A  < lc
         = rc effective
         = ra void E2
         = C revoked
         = A linked
         = pin one",
    );
    // A witness settles it: the PIN outlives its author.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D member
         p1 A pin one   < ld
         ad D applied p1
         rc B revoke C  < p1
         ra C revoke A  < ld
         = rc void E10
         = ra effective
         = C linked
         = A revoked
         = pin one",
    );
}

#[test]
fn a_pin_has_bounds_that_a_device_can_bear() {
    let with = |change: &dyn Fn(&mut PinSetting)| {
        let Action::Pin(Some(mut setting)) = set_pin("one") else { unreachable!() };
        change(&mut setting);
        let story = Story::tell("ga A genesis");
        let action = Action::Pin(Some(setting));
        let statement = story.roster(0).draft(&identity("A"), Wall(2), action, &mut rng(1));
        Statement::decode(&statement.bytes).map(|read| assert_eq!(read, statement))
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|pin| pin.memory = 1024 * 1024), Ok(()));
    let refused = Err(crate::wire::DecodeError::Invalid("PIN key"));
    assert_eq!(with(&|pin| pin.memory = 64 * 1024 - 1), refused);
    assert_eq!(with(&|pin| pin.memory = 1024 * 1024 + 1), refused);
    assert_eq!(with(&|pin| pin.passes = 2), refused);
    assert_eq!(with(&|pin| pin.passes = 17), refused);
    assert_eq!(with(&|pin| pin.lanes = 0), refused);
    assert_eq!(with(&|pin| pin.lanes = 5), refused);
    // A point of small order verifies for anybody.
    let mut weak = [0; 32];
    weak[0] = 1;
    assert_eq!(with(&|pin| pin.key = crate::id::PinKey(weak)), refused);
}

#[test]
fn a_countersignature_covers_all_that_is_said_and_is_covered_by_the_signature() {
    let story = Story::tell("ga A genesis\nlb A link B owner\np1 A pin one\nlc B link C member +one");
    let said = story.get("lc");
    assert_eq!((said.countersign, Statement::decode(&said.bytes).as_ref()), (1, Ok(said)));
    assert!(said.is_countersigned(&pin("one").public()) && !said.is_countersigned(&pin("two").public()));
    let at = said.bytes.len() - 128;
    assert_eq!(said.bytes[at - 1], 1, "the kind");
    let mut stripped = said.bytes.clone();
    stripped.drain(at..at + 64);
    stripped[at - 1] = 0;
    let len = u32::try_from(stripped.len() - 8).unwrap();
    stripped[4..8].copy_from_slice(&len.to_be_bytes());
    assert_eq!(Statement::decode(&stripped), Err(crate::wire::DecodeError::Signature("statement")));
}

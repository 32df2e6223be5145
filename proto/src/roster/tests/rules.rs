//! Each rule of PROTOCOL.md section 5.4, and the attacks that it is there for.

use super::*;

#[test]
fn e1_a_member_cannot_link_revoke_or_promote_but_makes_epochs_and_leaves() {
    Story::tell(
        "ga A genesis
         lb A link B member
         lc A link C guest
         x1 B link D member
         x2 B revoke C
         x3 B role B owner
         eb B epoch A B
         x4 C epoch A
         ap C applied ga
         lv B revoke B
         = x1 void E1
         = x2 void E1
         = x3 void E1
         = x4 void E1
         = eb effective
         = ap effective
         = B left
         = C linked guest
         = D unknown",
    );
}

#[test]
fn e1_a_stranger_says_nothing() {
    Story::tell(
        "ga A genesis
         x1 Z link Z owner
         x2 Z revoke A
         = x1 void E1
         = x2 void E1
         = A linked owner
         = Z unknown",
    );
}

#[test]
fn e2_what_a_thief_says_with_old_parents_is_void() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         rb A revoke B     < lc
         t1 B revoke C     < lc
         t2 B role A guest < t1
         t3 B epoch B      < t2
         = t1 void E2
         = t2 void E2
         = t3 void E2
         = rb effective
         = B revoked
         = C linked owner
         = A linked owner",
    );
}

#[test]
fn e2_a_revocation_before_which_nothing_was_seen_is_still_final() {
    // B revokes A back, having seen everything but its own revocation: a third owner had not.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         rb C revoke B < lc
         t1 B revoke A < lc
         = B revoked
         = A linked
         = t1 void E2",
    );
}

#[test]
fn e3_what_a_revoked_device_said_before_stays_and_what_it_says_after_is_void() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc B link C member
         rb A revoke B
         t1 B link D member
         = lc effective
         = C linked member
         = t1 void E3
         = D unknown",
    );
}

#[test]
fn e4_what_a_third_device_had_applied_outlives_its_author() {
    // B revokes C, D applies that, and A, who had heard of neither, revokes B.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D member
         rc B revoke C  < ld
         ap D applied rc < rc
         rb A revoke B  < ld
         = rc effective
         = C revoked
         = B revoked",
    );
}

#[test]
fn e4_does_not_help_without_a_third_device_or_when_it_knew_better() {
    let start = "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D member
         rc B revoke C  < ld
         rb A revoke B  < ld
         ";
    let void = "= rc void E2
         = C linked";
    // Nobody; the author itself; the target; one that had heard of the revocation of the author.
    for applied in ["", "ap B applied rc < rc\n", "ap C applied rc < rc\n", "ap D applied rc < rc rb\n"] {
        Story::tell(&format!("{start}{applied}{void}"));
    }
    // One that another owner linked meanwhile: it was in when neither was said.
    let meanwhile = start.replace("rc B", "lg A link G owner\nrc B").replace("< ld", "< lg");
    Story::tell(&format!("{meanwhile}lf G link F member < lg\nap F applied rc < rc lf\n{void}\n= ap effective"));
    // One that the author linked for the purpose.
    Story::tell(&format!("{start}le B link E member < rc\nap E applied rc < le\n{void}\n= E unconfirmed"));
}

#[test]
fn e4_a_witness_that_is_being_revoked_by_the_target_does_not_help() {
    // Either B's revocation stands by D's word and voids C's of D, or C's stands and D's word is void: B is being revoked.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D member
         rb A revoke B   < ld
         rc B revoke C   < ld
         rd C revoke D   < ld
         ap D applied rc < rc
         = rc void E2
         = rd effective
         = B revoked
         = C linked
         = D revoked",
    );
}

#[test]
fn e5_two_owners_that_revoke_each_other_are_both_suspended() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ra B revoke A  < lc
         rb A revoke B  < lc
         la A link D member < lc rb
         = ra contested
         = rb contested
         = A suspended
         = B suspended
         = la void E2
         = D unconfirmed
         = C linked",
    );
}

#[test]
fn e5_a_third_owner_settles_who_was_right() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ra B revoke A  < lc
         rb A revoke B  < lc
         tb C revoke B
         = tb effective
         = ra void E2
         = rb effective
         = B revoked
         = A linked owner",
    );
}

#[test]
fn e5_a_third_owner_can_judge_against_both() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ra B revoke A  < lc
         rb A revoke B  < lc
         ta C revoke A
         tb C revoke B
         = A revoked
         = B revoked
         = C linked",
    );
}

#[test]
fn e5_a_third_owner_linked_by_one_of_them_meanwhile_settles_nothing() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         ra B revoke A  < lb
         rb A revoke B  < lb
         lc B link C owner < ra
         tc C revoke A < lc rb
         = A suspended
         = B suspended
         = C unconfirmed",
    );
}

#[test]
fn e5_in_a_chain_the_first_decides_for_the_third() {
    // A revokes B; B revokes C; C revokes D; none had heard of another: B's is void, so C's counts.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D owner
         rb A revoke B  < ld
         rc B revoke C  < ld
         rd C revoke D  < ld
         = rb effective
         = rc void E2
         = rd effective
         = B revoked
         = C linked
         = D revoked",
    );
}

#[test]
fn e5_three_in_a_ring_are_all_suspended_and_what_hangs_on_the_ring_falls_with_it() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D owner
         rb A revoke B  < ld
         rc B revoke C  < ld
         ra C revoke A  < ld
         rd C revoke D  < ld ra
         = A suspended
         = B suspended
         = C suspended
         = rd void E2
         = D linked",
    );
}

#[test]
fn e5_a_straw_man_linked_meanwhile_cannot_strike_back() {
    // B, being revoked, links C with old parents, and C revokes A.
    Story::tell(
        "ga A genesis
         lb A link B owner
         rb A revoke B   < lb
         lc B link C owner < lb
         ra C revoke A   < lc
         = rb effective
         = B revoked
         = C unconfirmed
         = ra void E1
         = A linked owner",
    );
}

#[test]
fn e6_two_statements_under_one_number_count_for_nothing() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         l1 B link C member < lb
         l2 B link D member < lb
         l3 B link E member < l1
         = l1 void E6
         = l2 void E6
         = l3 effective
         = C unknown
         = D unknown
         = E linked",
    );
    assert_eq!(story.get("l1").number, story.get("l2").number);
}

#[test]
fn e6_a_revoked_key_cannot_unlink_others_by_saying_something_else_in_hindsight() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         lc B link C owner
         rb A revoke B
         bd B link D owner < lb
         = lc effective
         = bd void E2
         = C linked owner
         = D unconfirmed",
    );
    assert_eq!(story.get("lc").number, story.get("bd").number);
}

#[test]
fn e6_nor_can_the_one_that_made_the_revoker_what_it_is() {
    // A made B an owner and is revoked by B; then A contradicts that link under its number.
    Story::tell(
        "ga A genesis
         lb A link B owner
         ra B revoke A
         x1 A link C owner < ga
         = lb effective
         = ra effective
         = x1 void E2
         = A revoked
         = B linked owner",
    );
}

#[test]
fn e6_a_revocation_counts_though_its_author_contradicted_it() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         r1 B revoke A
         r2 B revoke A     < lb
         x1 A link C owner < ga
         = r1 effective
         = r2 effective
         = lb effective
         = x1 void E2
         = A revoked",
    );
}

#[test]
fn e6_what_an_old_disk_says_undoes_no_revocation() {
    // B revoked C, was set back, and says something else under that number.
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C member
         rc B revoke C
         ld B link D member < lc
         = rc effective
         = ld void E6
         = C revoked
         = D unknown",
    );
    assert_eq!(story.get("rc").number, story.get("ld").number);
}

#[test]
fn e6_a_device_that_leaves_twice_has_left() {
    Story::tell(
        "ga A genesis
         lb A link B member
         v1 B revoke B < lb
         v2 B revoke B < lb
         = B left",
    );
}

#[test]
fn e6_double_statements_that_rest_on_each_other_count_for_nothing() {
    // B and C promote each other after both were demoted; each then says something else under that number, which only the
    // other's promotion allows: either both promotions stand by the other's fall, or neither does.
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         ld A link D owner
         dc A role C member < ld
         db D role B member < ld
         s1 B role C owner  < dc
         u1 C role B owner  < db
         s2 B link X member < u1 dc
         u2 C link Y member < s1 db
         = s1 void E5
         = u1 void E5
         = s2 void E1
         = u2 void E1
         = B linked member
         = C linked member",
    );
}

#[test]
fn e7_a_revoked_key_never_comes_back() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         lc A link C owner
         rb A revoke B
         l2 A link B member
         l3 C link B member < lc
         = l2 void E7
         = l3 void E7
         = B revoked",
    );
}

#[test]
fn e7_of_concurrent_links_the_one_with_the_lower_id_counts() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         l1 A link C member < lb
         l2 B link C guest  < lb
         = C linked",
    );
    let (low, high) = if story.get("l1").id < story.get("l2").id { ("l1", "l2") } else { ("l2", "l1") };
    let roster = story.roster(1);
    story.check(&roster, &format!("= {low} effective"), 1);
    story.check(&roster, &format!("= {high} void E7"), 1);
    assert_eq!(roster.evaluation().device(identity("C").device()).unwrap().link, story.get(low).id);
}

#[test]
fn e8_what_was_linked_by_a_device_that_was_being_revoked_waits_for_an_owner() {
    let story = "ga A genesis
         lb A link B owner
         rb A revoke B     < lb
         lc B link C owner < lb
         xc C link D member < lc
         ";
    Story::tell(&format!("{story}= C unconfirmed\n= xc void E1\n= D unknown"));
    Story::tell(&format!("{story}l2 A link C member\n= C linked member\n= l2 effective\n= xc void E1"));
}

#[test]
fn e9_of_concurrent_roles_the_lower_counts_and_of_others_the_later() {
    let start = "ga A genesis
         lb A link B owner
         lc A link C member
         r1 A role C owner  < lc
         r2 B role C guest  < lc
         ";
    Story::tell(&format!("{start}= C linked guest"));
    Story::tell(&format!("{start}r3 B role C owner\n= C linked owner"));
    Story::tell(&format!("{start}r3 A role C member < r1\n= C linked guest"));
}

#[test]
fn e9_a_demotion_takes_what_it_takes_from_what_is_said_after_it() {
    Story::tell(
        "ga A genesis
         lb A link B owner
         db A role B member
         x1 B link C member
         = x1 void E1
         = B linked member",
    );
}

#[test]
fn of_several_revocations_the_highest_position_is_honoured() {
    for (first, second) in [(9, 7), (7, 9)] {
        let story = Story::tell(&format!(
            "ga A genesis
             lb A link B owner
             lc A link C member
             r1 A revoke C {first}  < lc
             r2 B revoke C {second} < lc
             lv C revoke C 99 < lc
             ap B applied r1
             = C revoked
             = lv void E2",
        ));
        let roster = story.roster(0);
        let device = roster.evaluation().device(identity("C").device()).unwrap();
        assert_eq!(device.honoured[&1].size, 9, "and what a leaver claims against its revocation is not");
        assert_eq!(device.revocations, [story.get("r1").id, story.get("r2").id].into());
        assert_eq!(device.applied_by, ["A", "B"].map(|name| identity(name).device()).into());
        assert_eq!(device.removal.as_ref().map(|r| (r.reason_code, r.text.as_str())), Some((1, "why")));
    }
}

#[test]
fn what_must_be_understood_and_is_not_stops_writing_unless_it_is_void() {
    let known = "ga A genesis\nlb A link B owner\n";
    let needed = |text: &str| Story::tell(&format!("{known}{text}")).roster(0).evaluation().update_needed;
    assert!(!needed("u1 B unknown 0777"));
    assert!(needed("u1 B unknown 8777"));
    assert!(needed("u1 B unknown 8007"), "reserved is not known");
    assert!(!needed("rb A revoke B < lb\nu1 B unknown 8777 < lb"), "a thief must not stop the others");
    assert!(!needed("u1 Z unknown 8777"));
}

//! What honest people see, bad networks included.

use super::*;
use crate::link::shower::RECLAIMS;

#[test]
fn the_code_is_the_same_on_both_sides_and_links() {
    let mut w = World::new(1);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    let shown = w.joiner.offer(offer).unwrap();
    assert_eq!((shown.account, shown.label.as_str(), shown.name.as_str()), (ACCOUNT, "Ada", "tower"));
    assert_eq!((shown.role, shown.custody, shown.statements), (Role::Member, Custody::Personal, params().statements));
    assert_eq!(w.joiner.code(), None, "nothing to show before the user agreed");

    let accept = w.make_accept();
    let peer = w.shower.accept(1, accept).unwrap();
    assert_eq!((peer.device, peer.name.as_str(), &peer.hpke[..]), (w.j.device(), "laptop", w.j.hpke_public()));
    assert_eq!(w.shower.state().stage, ShowerStage::Code);

    let code = w.joiner.code().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
    let right = Confirm::Right { peer: Box::new(peer), challenge: w.challenge.id() };
    assert_eq!(w.shower.confirm(w.now, &code), right);
    assert_eq!(w.shower.spent(), Some(CloseCode::Used));
    assert_eq!(w.joiner.linked(&Default::default()), Ok(LinkedOutcome::Linked));
    assert_eq!(w.joiner.stage(), JoinerStage::Linked);
}

#[test]
fn a_wrong_code_brings_another_one_that_links() {
    let mut w = World::new(2);
    let first = w.reach_code(1, &X);
    let second = w.next_code(1);
    let third = w.next_code(1);
    assert!(first != second && second != third && first != third, "{first} {second} {third}");
    assert_eq!((w.shower.state().tries_left, w.joiner.tries_left()), (1, 1));
    assert!(matches!(w.shower.confirm(w.now, &third), Confirm::Right { .. }));
}

#[test]
fn an_earlier_code_is_a_wrong_code() {
    let mut w = World::new(3);
    let first = w.reach_code(1, &X);
    w.next_code(1);
    assert!(matches!(w.shower.confirm(w.now, &first), Confirm::Wrong { tries_left: 1, .. }));
}

#[test]
fn the_third_wrong_code_ends_the_attempt() {
    let mut w = World::new(4);
    w.reach_code(1, &X);
    w.next_code(1);
    let code = w.next_code(1);
    assert_eq!(w.shower.confirm(w.now, &other_than(&code)), Confirm::TooMany(CloseCode::WrongCode));
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::Ended(CloseCode::WrongCode));
    assert_eq!(w.shower.connection(), Some(1), "who is to be told");
    w.joiner.refused(CloseCode::WrongCode);
    assert_eq!(w.joiner.stage(), JoinerStage::Ended(CloseCode::WrongCode));
}

#[test]
fn what_is_not_a_code_is_not_a_try() {
    let mut w = World::new(5);
    assert_eq!(w.shower.confirm(w.now, "123456"), Confirm::NotReady);
    let code = w.reach_code(1, &X);
    for typed in ["", "12345", "1234567", "12345x", "١٢٣٤٥٦", "no"] {
        assert_eq!(w.shower.confirm(w.now, typed), Confirm::Malformed, "{typed:?}");
    }
    assert_eq!(w.shower.state().tries_left, limits::CODE_TRIES);
    let spaced = format!(" {} -{}\n", &code[..3], &code[3..]);
    assert!(matches!(w.shower.confirm(w.now, &spaced), Confirm::Right { .. }), "{spaced:?}");
}

#[test]
fn no_code_is_taken_while_the_next_one_is_agreed_on() {
    let mut w = World::new(6);
    let code = w.reach_code(1, &X);
    assert!(matches!(w.shower.confirm(w.now, &other_than(&code)), Confirm::Wrong { tries_left: 2, .. }));
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::NotReady);
    assert_eq!(w.shower.state().tries_left, 2);
}

#[test]
fn the_same_device_may_connect_again_and_wrong_codes_add_up() {
    let mut w = World::new(7);
    let first = w.reach_code(1, &X);
    w.next_code(1);
    w.joiner.disconnected();
    assert_eq!(w.joiner.stage(), JoinerStage::Dialling);

    assert_eq!(w.claim(2, &OTHER_X), ClaimVerdict::Reclaimed { superseded: Some(1) });
    w.shower.disconnected(1);
    let offer = w.make_offer();
    let view = w.joiner.offer(offer).unwrap();
    assert_eq!(w.joiner.agreed(), Some(&view), "the user need not be asked again");
    let accept = w.make_accept();
    w.shower.accept(2, accept).unwrap();
    assert_ne!(w.joiner.code().unwrap(), first);
    w.next_code(2);
    let code = w.joiner.code().unwrap();
    assert_eq!(w.shower.confirm(w.now, &other_than(&code)), Confirm::TooMany(CloseCode::WrongCode));
}

#[test]
fn a_shown_code_can_be_typed_after_the_connection_is_lost() {
    let mut w = World::new(8);
    let code = w.reach_code(1, &X);
    w.shower.disconnected(1);
    assert_eq!(w.shower.connection(), None);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

#[test]
fn a_wrong_code_typed_without_a_connection_needs_a_new_one() {
    let mut w = World::new(9);
    let code = w.reach_code(1, &X);
    w.shower.disconnected(1);
    assert!(matches!(w.shower.confirm(w.now, &other_than(&code)), Confirm::Wrong { tries_left: 2, .. }));
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::NotReady);
    assert_eq!(w.shower.state().stage, ShowerStage::Claimed, "nothing is being agreed on meanwhile");
    w.joiner.disconnected();
    let code = w.reach_code(2, &OTHER_X);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

#[test]
fn connecting_again_and_again_is_no_way_to_search_for_a_code() {
    let mut w = World::new(10);
    for n in 0..=RECLAIMS {
        w.reach_code(n.into(), &[n; 32]);
        w.joiner.disconnected();
    }
    assert_eq!(w.claim(99, &[99; 32]), ClaimVerdict::Ended(CloseCode::Protocol));
    assert_eq!(w.shower.spent(), Some(CloseCode::Protocol));
}

#[test]
fn only_the_showers_clock_decides_when_a_challenge_is_over() {
    let mut w = World::new(11);
    assert!(w.challenge.looks_expired(crate::time::Wall(u64::MAX)), "the joiner's clock may say anything");
    w.now = Mono(w.shower.deadline().0 - 1);
    let code = w.reach_code(1, &X);
    assert!(!w.shower.expired(w.now));
    w.now = w.shower.deadline();
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::Ended(CloseCode::Expired));

    let mut w = World::new(12);
    w.now = w.shower.deadline();
    assert_eq!(w.claim(1, &X), ClaimVerdict::Expired);
    let mut w = World::new(13);
    assert!(w.shower.expired(w.shower.deadline()) && !w.shower.expired(w.shower.deadline()), "said once");
    w.now = OPENED;
    assert_eq!(w.claim(1, &X), ClaimVerdict::Ended(CloseCode::Expired), "and it stays so");
}

#[test]
fn late_claims_are_told_why_and_only_if_they_saw_the_challenge() {
    type End = fn(&mut World);
    let ends: [(CloseCode, End); 4] = [
        (CloseCode::Used, |w| {
            let code = w.reach_code(1, &X);
            assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
        }),
        (CloseCode::Cancelled, |w| w.shower.cancel()),
        (CloseCode::TooManyDevices, |w| w.shower.end(CloseCode::TooManyDevices)),
        (CloseCode::Declined, |w| {
            w.reach_code(1, &X);
            assert!(!w.shower.refused(2, CloseCode::Cancelled), "a stranger cannot end it");
            assert!(w.shower.refused(1, CloseCode::Declined));
        }),
    ];
    for (reason, end) in ends {
        let mut w = World::new(14);
        end(&mut w);
        let (thief, mut late) = w.thief();
        let claim = claim(&late.connected(&X, &mut w.rng).unwrap());
        assert_eq!(w.judge(3, thief.device(), &X, &claim), ClaimVerdict::Ended(reason));
        assert_eq!(w.judge(4, thief.device(), &OTHER_X, &claim), ClaimVerdict::BadProof { blocked: false });
        assert_eq!(w.shower.spent(), Some(reason), "the first reason stays");
    }
}

#[test]
fn a_cancel_that_crosses_the_link_is_told_apart() {
    let mut w = World::new(15);
    w.reach_code(1, &X);
    assert_eq!(received(&w.joiner.cancel().unwrap()), Message::Cancel);
    assert_eq!(w.joiner.code(), None);
    let wrong = message::WrongCode { tries_left: 2 };
    assert_eq!(w.joiner.wrong_code(wrong, &mut w.rng), Ok(None), "was on its way");
    assert_eq!(w.joiner.linked(&Default::default()), Ok(LinkedOutcome::AfterCancel));

    let mut w = World::new(16);
    w.reach_code(1, &X);
    assert!(w.joiner.cancel().is_some() && w.joiner.cancel().is_none());
    assert!(w.shower.refused(1, CloseCode::Cancelled));
    w.joiner.refused(w.shower.spent().unwrap());
    assert_eq!(w.joiner.stage(), JoinerStage::Ended(CloseCode::Cancelled));
    assert_eq!(World::new(17).joiner.cancel(), None, "nobody to tell before there is a connection");
}

#[test]
fn a_cancel_after_the_link_does_not_undo_it() {
    let mut w = World::new(21);
    let code = w.reach_code(1, &X);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
    assert!(!w.shower.refused(1, CloseCode::Cancelled), "it is told of the link instead");
    w.shower.cancel();
    assert!(!w.shower.expired(w.shower.deadline()));
    assert_eq!(w.shower.spent(), Some(CloseCode::Used));
}

#[test]
fn a_right_code_whose_link_was_not_made_is_not_called_used() {
    let mut w = World::new(22);
    let code = w.reach_code(1, &X);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
    w.shower.end(CloseCode::TooManyDevices);
    assert_eq!(w.shower.spent(), Some(CloseCode::TooManyDevices));
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::Ended(CloseCode::TooManyDevices));
}

#[test]
fn declining_ends_the_attempt_on_both_sides() {
    let mut w = World::new(18);
    assert_eq!(w.joiner.decline(), None);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    w.joiner.offer(offer).unwrap();
    assert_eq!(received(&w.joiner.decline().unwrap()), Message::Refused(CloseCode::Declined));
    assert_eq!(w.joiner.stage(), JoinerStage::Ended(CloseCode::Declined));
    assert_eq!(w.joiner.connected(&OTHER_X, &mut w.rng), Err(CloseCode::Declined));
}

#[test]
fn nothing_secret_shows_in_debug_output() {
    let mut w = World::new(19);
    let code = w.reach_code(1, &X);
    let shown = format!("{:?} {:?}", w.shower, w.joiner);
    assert!(!shown.contains(&code), "{shown}");
    assert!(!shown.contains(&format!("{X:?}")), "{shown}");
}

#[test]
fn a_device_does_not_answer_itself() {
    let w = World::new(20);
    let own = Joiner::start(w.challenge.clone(), w.s.device());
    assert_eq!(own.unwrap_err(), crate::wire::challenge::ChallengeError::Own);
}

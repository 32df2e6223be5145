//! Each attack and its own verdict, on the side that it is aimed at.

use super::*;
use crate::link::message::Nonce;
use crate::link::proof;
use crate::wire::frame::CloseCode::{BadCommitment, BadConsent, BadProof, Protocol, SecondClaimant};

const REFUSED: ClaimVerdict<u32> = ClaimVerdict::BadProof { blocked: false };

#[test]
fn a_claim_without_the_secret_is_refused() {
    let mut w = World::new(1);
    let other = Challenge::sign(&w.s, terms(Role::Member), &mut w.rng);
    let mut guesser = Joiner::start(other, w.j.device()).unwrap();
    let mut guess = claim(&guesser.connected(&X, &mut w.rng).unwrap());
    assert_eq!(w.judge(1, w.j.device(), &X, &guess), REFUSED, "an older challenge of the same shower");
    guess.challenge = w.challenge.id();
    assert_eq!(w.judge(2, w.j.device(), &X, &guess), REFUSED);
    assert_eq!(w.claim(3, &X), ClaimVerdict::Accepted, "the real one is not hurt");
}

#[test]
fn a_valid_mac_does_not_cover_another_challenge_id() {
    let mut w = World::new(2);
    let mut claim = w.make_claim(&X);
    claim.challenge.0[0] ^= 1;
    assert_eq!(w.judge(1, w.j.device(), &X, &claim), REFUSED);
}

#[test]
fn a_claim_holds_for_one_session_one_key_and_one_commitment() {
    let mut w = World::new(3);
    let (thief, _) = w.thief();
    let claim = w.make_claim(&X);
    assert_eq!(w.judge(1, w.j.device(), &OTHER_X, &claim), REFUSED, "replayed in another TLS session");
    assert_eq!(w.judge(2, thief.device(), &X, &claim), REFUSED, "by another key");
    let mut other = claim.clone();
    other.commitment.0[31] ^= 1;
    assert_eq!(w.judge(3, w.j.device(), &X, &other), REFUSED, "with another commitment");
    assert_eq!(w.judge(4, w.j.device(), &X, &claim), ClaimVerdict::Accepted);
}

#[test]
fn a_claim_to_another_role_is_refused() {
    let mut w = World::new(4);
    let mut owner = w.challenge.clone();
    owner.terms.role = Role::Owner;
    let mut climber = Joiner::start(owner, w.j.device()).unwrap();
    let claim = claim(&climber.connected(&X, &mut w.rng).unwrap());
    assert_eq!(w.judge(1, w.j.device(), &X, &claim), REFUSED);
}

#[test]
fn a_second_device_that_saw_the_challenge_cancels_the_attempt() {
    for at_code in [false, true] {
        let mut w = World::new(5);
        let code = if at_code { w.reach_code(1, &X) } else { String::from("123456") };
        if !at_code {
            assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
        }
        let (thief, mut second) = w.thief();
        let claim = claim(&second.connected(&OTHER_X, &mut w.rng).unwrap());
        let verdict = w.judge(2, thief.device(), &OTHER_X, &claim);
        assert_eq!(
            (verdict, verdict.refusal()),
            (ClaimVerdict::SecondClaimant { first: Some(1) }, Some(SecondClaimant))
        );
        assert_eq!(w.shower.confirm(w.now, &code), Confirm::Ended(SecondClaimant));
        let offer = w.shower.offer(params(), &w.s, &mut w.rng);
        assert_eq!(offer.unwrap_err(), SecondClaimant);
        assert_eq!(w.judge(3, thief.device(), &OTHER_X, &claim), ClaimVerdict::Ended(SecondClaimant));
    }
}

#[test]
fn a_second_device_is_noticed_while_the_first_is_away() {
    let mut w = World::new(6);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    w.shower.disconnected(1);
    let (thief, mut second) = w.thief();
    let claim = claim(&second.connected(&OTHER_X, &mut w.rng).unwrap());
    assert_eq!(w.judge(2, thief.device(), &OTHER_X, &claim), ClaimVerdict::SecondClaimant { first: None });
}

#[test]
fn bad_proofs_cost_their_source_only() {
    let mut w = World::new(7);
    let good = w.make_claim(&X);
    let mut bad = good.clone();
    bad.mac[0] ^= 1;
    for n in 1..=limits::BAD_PROOFS {
        let blocked = n == limits::BAD_PROOFS;
        assert_eq!(w.judge(66, w.j.device(), &X, &bad), ClaimVerdict::BadProof { blocked }, "number {n}");
    }
    assert!(w.shower.blocked(&source(66)) && !w.shower.blocked(&source(1)));
    assert_eq!(w.judge(66, w.j.device(), &X, &good), ClaimVerdict::BadProof { blocked: true }, "no longer listened to");
    assert_eq!(w.judge(1, w.j.device(), &X, &good), ClaimVerdict::Accepted);
}

#[test]
fn bad_proofs_do_not_disturb_an_attempt_under_way() {
    let mut w = World::new(8);
    let code = w.reach_code(1, &X);
    let (thief, mut second) = w.thief();
    let claim = claim(&second.connected(&X, &mut w.rng).unwrap());
    assert_eq!(w.judge(2, thief.device(), &OTHER_X, &claim), REFUSED);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

#[test]
fn a_nonce_that_was_not_committed_to_is_refused() {
    let mut w = World::new(9);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    w.joiner.offer(offer).unwrap();
    let mut accept = w.make_accept();
    accept.nonce = Nonce([7; 32]);
    assert_eq!(w.shower.accept(1, accept), Err(BadCommitment));
    assert_eq!(w.shower.confirm(w.now, &w.joiner.code().unwrap()), Confirm::NotReady);
}

#[test]
fn a_later_nonce_that_was_not_committed_to_is_refused() {
    let mut w = World::new(10);
    let code = w.reach_code(1, &X);
    assert!(matches!(w.shower.confirm(w.now, &other_than(&code)), Confirm::Wrong { .. }));
    let frame = w.joiner.wrong_code(message::WrongCode { tries_left: 2 }, &mut w.rng).unwrap().unwrap();
    let Message::Recommit(recommit) = received(&frame) else { panic!("no Recommit") };
    w.shower.recommit(1, recommit, &mut w.rng).unwrap();
    assert_eq!(w.shower.opened(1, Nonce([7; 32])), Err(BadCommitment));
    assert_eq!(w.shower.confirm(w.now, &code), Confirm::NotReady);
}

#[test]
fn a_consent_holds_for_one_account_role_key_device_and_challenge() {
    type Forge = fn(&mut World, &mut Accept);
    let forgeries: [(&str, Forge); 6] = [
        ("another account", |w, accept| {
            accept.consent = consent(&w.j, &w.challenge, AccountId([1; 32]), &accept.hpke);
        }),
        ("another role", |w, accept| {
            let mut owner = w.challenge.clone();
            owner.terms.role = Role::Owner;
            accept.consent = consent_named(&w.j, &owner, w.challenge.id(), ACCOUNT, &accept.hpke);
        }),
        ("another custody", |w, accept| {
            let mut hosted = w.challenge.clone();
            hosted.terms.custody = Custody::Hosted;
            accept.consent = consent_named(&w.j, &hosted, w.challenge.id(), ACCOUNT, &accept.hpke);
        }),
        ("another challenge", |w, accept| {
            let other = Challenge::sign(&w.s, terms(Role::Member), &mut w.rng);
            accept.consent = consent(&w.j, &other, ACCOUNT, &accept.hpke);
        }),
        ("another device", |w, accept| {
            let (thief, _) = w.thief();
            accept.consent = consent(&thief, &w.challenge, ACCOUNT, &accept.hpke);
        }),
        ("another key", |w, accept| {
            let (thief, _) = w.thief();
            accept.hpke = thief.hpke_public().to_vec();
        }),
    ];
    for (what, forge) in forgeries {
        let mut w = World::new(11);
        assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
        let offer = w.make_offer();
        w.joiner.offer(offer).unwrap();
        let mut accept = w.make_accept();
        forge(&mut w, &mut accept);
        assert_eq!(w.shower.accept(1, accept), Err(BadConsent), "{what}");
        assert_eq!(w.shower.state().peer, None);
    }
}

fn consent(by: &Identity, challenge: &Challenge, account: AccountId, hpke: &[u8]) -> [u8; 64] {
    consent_named(by, challenge, challenge.id(), account, hpke)
}

/// A consent to what `challenge` says under the name of another.
fn consent_named(
    by: &Identity,
    challenge: &Challenge,
    id: crate::id::ChallengeId,
    account: AccountId,
    hpke: &[u8],
) -> [u8; 64] {
    let mut message = proof::consent_message(challenge, account, by.device(), hpke);
    let at = message.len() - 32;
    message[at..].copy_from_slice(id.as_bytes());
    by.sign("consent", &message)
}

#[test]
fn an_offer_that_was_altered_or_is_anothers_is_refused() {
    type Forge = fn(&mut World, &mut Offer);
    let forgeries: [(&str, CloseCode, Forge); 9] = [
        ("another key", BadProof, |w, offer| {
            let (thief, _) = w.thief();
            *offer = signed(&thief, w, offer.clone(), &X, w.j.device());
        }),
        ("another session", BadProof, |w, offer| *offer = signed(&w.s, w, offer.clone(), &OTHER_X, w.j.device())),
        ("another joiner", BadProof, |w, offer| *offer = signed(&w.s, w, offer.clone(), &X, w.s.device())),
        ("another account", BadProof, |_, offer| offer.account = AccountId([1; 32])),
        ("another label", BadProof, |_, offer| offer.label.push('!')),
        ("another roster", BadProof, |_, offer| offer.statements.clear()),
        ("another nonce", BadProof, |_, offer| offer.nonce.0[0] ^= 1),
        ("signed, with another role", Protocol, |w, offer| {
            offer.role = Role::Owner;
            *offer = signed(&w.s, w, offer.clone(), &X, w.j.device());
        }),
        ("signed, with another custody", Protocol, |w, offer| {
            offer.custody = Custody::Hosted;
            *offer = signed(&w.s, w, offer.clone(), &X, w.j.device());
        }),
    ];
    for (what, verdict, forge) in forgeries {
        let mut w = World::new(12);
        assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
        let mut offer = w.make_offer();
        forge(&mut w, &mut offer);
        assert_eq!(w.joiner.offer(offer).unwrap_err(), verdict, "{what}");
        assert_eq!(w.joiner.stage(), JoinerStage::Ended(verdict), "{what}");
        assert!(w.joiner.accept(&w.j, describe(), &mut w.rng).is_err(), "{what}");
    }
}

fn signed(by: &Identity, w: &World, mut offer: Offer, x: &[u8; 32], joiner: DeviceId) -> Offer {
    let message = proof::offer_message(&crate::key::Secret(*x), w.challenge.id(), joiner, &offer);
    offer.signature = by.sign("offer", &message);
    offer
}

#[test]
fn a_relay_between_two_sessions_is_refused_on_both_sides() {
    let mut w = World::new(13);
    let (relay, mut own) = w.thief();
    // The joiner's claim, made in its session with the relay, is worth nothing in the relay's session with the shower.
    let claim_j = w.make_claim(&X);
    assert_eq!(w.judge(1, relay.device(), &OTHER_X, &claim_j), REFUSED);
    // The relay saw the challenge itself and claims in its own name: the offer that it gets is not for the joiner.
    let claim_r = claim(&own.connected(&OTHER_X, &mut w.rng).unwrap());
    assert_eq!(w.judge(2, relay.device(), &OTHER_X, &claim_r), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    assert_eq!(w.joiner.offer(offer).unwrap_err(), BadProof);
}

#[test]
fn even_with_the_showers_key_a_relay_shows_two_codes() {
    let mut w = World::new(14);
    let (relay, mut own) = w.thief();
    let claim_r = claim(&own.connected(&OTHER_X, &mut w.rng).unwrap());
    assert_eq!(w.judge(1, relay.device(), &OTHER_X, &claim_r), ClaimVerdict::Accepted);
    let real = w.make_offer();
    own.offer(real.clone()).unwrap();
    let accept_r = accept(&own.accept(&relay, describe(), &mut w.rng).unwrap());
    w.shower.accept(1, accept_r).unwrap();

    // Towards the joiner it signs with the shower's stolen key and repeats the shower's nonce.
    w.make_claim(&X);
    let forged = signed(&w.s, &w, real, &X, w.j.device());
    w.joiner.offer(forged).unwrap();
    w.make_accept();
    let shown = w.joiner.code().unwrap();
    assert_ne!(own.code().unwrap(), shown);
    assert!(matches!(w.shower.confirm(w.now, &shown), Confirm::Wrong { .. }));
}

/// Somebody who gets a joiner to scan another challenge than the one that is shown knows the code that it shows. As the
/// claimant at the real shower it speaks last there, and must not be able to reach that code by trying names.
#[test]
fn nothing_but_the_nonce_that_it_is_bound_to_lets_a_claimant_choose_the_code() {
    let mut w = World::new(18);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    w.joiner.offer(offer).unwrap();
    let mut accept = w.make_accept();
    let code = w.joiner.code().unwrap();
    accept.name = "tried".into();
    accept.platform = "many".into();
    accept.replaces = Some(w.s.device());
    accept.ext = crate::wire::object::Extensions::grease([1, 2, 3, 4]);
    w.shower.accept(1, accept).unwrap();
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

#[test]
fn a_shower_cannot_have_more_tries_than_there_are() {
    for tries_left in [0, limits::CODE_TRIES, u8::MAX] {
        let mut w = World::new(15);
        w.reach_code(1, &X);
        assert_eq!(w.joiner.wrong_code(message::WrongCode { tries_left }, &mut w.rng), Err(Protocol));
        assert_eq!(w.joiner.stage(), JoinerStage::Ended(Protocol));
    }
    let mut w = World::new(16);
    w.reach_code(1, &X);
    w.next_code(1);
    assert_eq!(
        w.joiner.wrong_code(message::WrongCode { tries_left: 2 }, &mut w.rng),
        Err(Protocol),
        "it does not rise"
    );
}

#[test]
fn a_superseded_connection_has_no_say() {
    let mut w = World::new(17);
    assert_eq!(w.claim(1, &X), ClaimVerdict::Accepted);
    w.joiner.disconnected();
    let code = w.reach_code(2, &OTHER_X);
    assert_eq!(w.shower.opened(1, Nonce([7; 32])), Err(Protocol));
    assert!(!w.shower.refused(1, CloseCode::Cancelled));
    w.shower.disconnected(1);
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

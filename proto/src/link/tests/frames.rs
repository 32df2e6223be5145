//! Frames that are malformed, too large, or not awaited.

use proptest::prelude::*;

use super::*;
use crate::link::message::{Linked, Nonce, Recommit, WrongCode, close_code, kind};
use crate::wire::DecodeError;
use crate::wire::object::{Extension, Extensions};

/// One of each.
fn all() -> Vec<Message> {
    let mut w = World::new(1);
    let claim = w.make_claim(&X);
    assert_eq!(w.judge(1, w.j.device(), &X, &claim), ClaimVerdict::Accepted);
    let offer = w.make_offer();
    w.joiner.offer(offer.clone()).unwrap();
    let mut accept = w.make_accept();
    accept.replaces = Some(w.s.device());
    accept.ext = Extensions::grease([1, 2, 3, 4]);
    vec![
        Message::Claim(claim),
        Message::Offer(Box::new(offer)),
        Message::Accept(Box::new(accept)),
        Message::WrongCode(WrongCode { tries_left: 2 }),
        Message::Recommit(Recommit { commitment: crate::id::Hash([4; 32]) }),
        Message::Nonce(Nonce([5; 32])),
        Message::Open(Nonce([6; 32])),
        Message::Linked(Box::new(Linked { epochs: vec![vec![1]], histories: vec![vec![2]], ..Linked::default() })),
        Message::Done,
        Message::Refused(CloseCode::TooManyDevices),
        Message::Cancel,
    ]
}

#[test]
fn every_frame_comes_back_as_it_went_and_no_other_length_does() {
    for (n, message) in all().into_iter().enumerate() {
        let frame = message.to_frame();
        assert_eq!(usize::from(frame.kind), 0x8101 + [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10][n], "{message:?}");
        assert_eq!(Message::from_frame(&frame), Ok(Some(message.clone())));
        for len in 0..frame.body.len() {
            let short = Frame { kind: frame.kind, body: frame.body.slice(..len) };
            assert!(matches!(Message::from_frame(&short), Err(DecodeError::Truncated(_))), "{message:?} cut to {len}");
        }
        let mut long = frame;
        long.alter(|body| body.push(0));
        assert_eq!(Message::from_frame(&long), Err(DecodeError::Trailing(1)), "{message:?}");
    }
}

#[test]
fn only_the_shower_may_send_large_frames() {
    for message in all() {
        let mut frame = message.to_frame();
        let large = matches!(frame.kind, kind::OFFER | kind::LINKED);
        let max = if large { limits::FRAME_SHOWER } else { limits::FRAME_STRANGER };
        frame.alter(|body| body.resize(max + 1, 0));
        let error = Message::from_frame(&frame).unwrap_err();
        assert_eq!(error, DecodeError::TooLarge { what: "frame", len: max + 1, max }, "{message:?}");
        assert_eq!(close_code(&error), CloseCode::Protocol);
    }
    let mut w = World::new(2);
    w.claim(1, &X);
    let mut offer = w.make_offer();
    offer.statements = vec![vec![7; limits::STATEMENT_BYTES]; 100];
    assert_eq!(received(&Message::Offer(Box::new(offer.clone())).to_frame()), Message::Offer(Box::new(offer)));
}

#[test]
fn lists_have_their_bounds() {
    let mut w = World::new(3);
    w.claim(1, &X);
    let mut offer = w.make_offer();
    offer.addresses = vec![source(1); limits::ADDRESSES + 1];
    let error = Message::from_frame(&Message::Offer(Box::new(offer)).to_frame()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { what: "addresses", .. }));
    let linked = Linked { statements: vec![vec![]; limits::STATEMENTS + 1], ..Linked::default() };
    let error = Message::from_frame(&Message::Linked(Box::new(linked)).to_frame()).unwrap_err();
    assert!(matches!(error, DecodeError::TooLarge { what: "statements", .. }));
}

#[test]
fn a_roomy_shower_offers_as_many_addresses_as_may_be() {
    let mut w = World::new(4);
    w.claim(1, &X);
    let many = OfferParams { addresses: vec![source(1); 40], label: "ü".repeat(300), ..params() };
    let frame = w.shower.offer(many, &w.s, &mut w.rng).unwrap();
    let Message::Offer(offer) = received(&frame) else { panic!("no offer") };
    assert_eq!(offer.addresses.len(), limits::ADDRESSES);
    assert!(w.joiner.offer(*offer).is_ok(), "what was cut is what was signed");
}

#[test]
fn long_names_are_cut_alike_on_both_sides() {
    let mut w = World::new(5);
    w.claim(1, &X);
    let offer = w.make_offer();
    w.joiner.offer(offer).unwrap();
    let long = AcceptParams { name: "é".repeat(400), ..describe() };
    let accept = accept(&w.joiner.accept(&w.j, long, &mut w.rng).unwrap());
    w.shower.accept(1, accept).unwrap();
    let code = w.joiner.code().unwrap();
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

#[test]
fn unknown_elements_are_skipped_unless_critical() {
    assert_eq!(Message::from_frame(&Frame::new(0x0166, vec![1])), Ok(None));
    let error = Message::from_frame(&Frame::new(0x8166, vec![1])).unwrap_err();
    assert_eq!(close_code(&error), CloseCode::UpdateNeeded);
    for (kind, taken) in [(0x0123, true), (0x8123, false)] {
        let mut w = World::new(6);
        let mut claim = w.make_claim(&X);
        claim.ext = Extensions(vec![Extension { kind, value: vec![1, 2] }]);
        let read = Message::from_frame(&Message::Claim(claim).to_frame());
        assert_eq!(read.is_ok(), taken, "{read:?}");
    }
}

#[test]
fn now_and_then_an_unknown_extension_is_sent() {
    let greased = (0..64).filter(|seed| !World::new(*seed).make_claim(&X).ext.0.is_empty()).count();
    assert!((1..64).contains(&greased), "{greased} of 64");
}

/// Brings a shower to a state; the connection is 1.
type Bring = fn(&mut World);

const SHOWER_STATES: [(&str, Bring, &str); 5] = [
    ("waiting", |_| {}, ""),
    ("claimed", |w| assert_eq!(w.claim(1, &X).refusal(), None), ""),
    ("offered", offered, "accept"),
    ("code", |w| assert!(!w.reach_code(1, &X).is_empty()), ""),
    ("retry", retry, "recommit"),
];

fn offered(w: &mut World) {
    assert_eq!(w.claim(1, &X).refusal(), None);
    let offer = w.make_offer();
    w.joiner.offer(offer).unwrap();
}

fn retry(w: &mut World) {
    let code = w.reach_code(1, &X);
    assert!(matches!(w.shower.confirm(w.now, &other_than(&code)), Confirm::Wrong { .. }));
}

#[test]
fn the_shower_takes_no_frame_that_it_does_not_await() {
    for (state, bring, awaited) in SHOWER_STATES {
        for sent in ["accept", "recommit", "open"].into_iter().filter(|sent| *sent != awaited) {
            let mut w = World::new(7);
            bring(&mut w);
            let result = match sent {
                "accept" => w.shower.accept(1, some_accept()).map(|_| ()),
                "recommit" => {
                    w.shower.recommit(1, Recommit { commitment: crate::id::Hash([0; 32]) }, &mut w.rng).map(|_| ())
                }
                _ => w.shower.opened(1, Nonce([0; 32])),
            };
            assert_eq!(result, Err(CloseCode::Protocol), "{sent} while {state}");
            assert_eq!(w.shower.spent(), None, "costs the connection, not the attempt");
            w.shower.disconnected(1);
            w.joiner.disconnected();
            let code = w.reach_code(2, &OTHER_X);
            assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }), "{sent} while {state}");
        }
    }
}

fn some_accept() -> Accept {
    let mut w = World::new(8);
    offered(&mut w);
    w.make_accept()
}

#[test]
fn the_joiner_takes_no_frame_that_it_does_not_await() {
    let states: [(&str, Bring, &[&str]); 5] = [
        ("dialling", |_| {}, &[]),
        ("claimed", |w| assert_eq!(w.claim(1, &X).refusal(), None), &["offer"]),
        ("offered", offered, &[]),
        ("code", |w| assert!(!w.reach_code(1, &X).is_empty()), &["wrong", "linked"]),
        (
            "retrying",
            |w| {
                w.reach_code(1, &X);
                w.joiner.wrong_code(WrongCode { tries_left: 2 }, &mut w.rng).unwrap();
            },
            &["nonce"],
        ),
    ];
    for (state, bring, awaited) in states {
        for sent in ["offer", "wrong", "nonce", "linked"].into_iter().filter(|sent| !awaited.contains(sent)) {
            let mut w = World::new(9);
            bring(&mut w);
            let result = match sent {
                "offer" => w.joiner.offer(some_offer()).map(|_| ()),
                "wrong" => w.joiner.wrong_code(WrongCode { tries_left: 1 }, &mut w.rng).map(|_| ()),
                "nonce" => w.joiner.nonce(&Nonce([0; 32])).map(|_| ()),
                _ => w.joiner.linked(&Linked::default()).map(|_| ()),
            };
            assert_eq!(result, Err(CloseCode::Protocol), "{sent} while {state}");
            assert_eq!(w.joiner.stage(), JoinerStage::Ended(CloseCode::Protocol), "{sent} while {state}");
        }
    }
}

fn some_offer() -> Offer {
    let mut w = World::new(10);
    w.claim(1, &X);
    w.make_offer()
}

#[test]
fn orders_out_of_place_change_nothing() {
    let mut w = World::new(11);
    assert_eq!(w.joiner.accept(&w.j, describe(), &mut w.rng).unwrap_err(), CloseCode::Protocol);
    assert_eq!(w.shower.offer(params(), &w.s, &mut w.rng).unwrap_err(), CloseCode::Protocol);
    offered(&mut w);
    assert_eq!(w.joiner.connected(&OTHER_X, &mut w.rng).unwrap_err(), CloseCode::Duplicate);
    assert_eq!(w.joiner.accept(&w.s, describe(), &mut w.rng).unwrap_err(), CloseCode::Internal, "another identity");
    let accept = w.make_accept();
    assert!(w.shower.accept(1, accept).is_ok());
    assert_eq!(w.shower.offer(params(), &w.s, &mut w.rng).unwrap_err(), CloseCode::Protocol);
    let code = w.joiner.code().unwrap();
    assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }));
}

proptest! {
    #[test]
    fn what_decodes_has_one_encoding(kind in 0x8100_u16..0x810d, body in proptest::collection::vec(any::<u8>(), 0..400)) {
        let frame = Frame::new(kind, body);
        if let Ok(Some(message)) = Message::from_frame(&frame) {
            prop_assert_eq!(message.to_frame(), frame);
        }
    }

    #[test]
    fn an_altered_frame_keeps_its_one_encoding_or_is_refused(n in 0_usize..11, at in any::<proptest::sample::Index>(), xor in 1_u8..) {
        let mut frame = all().swap_remove(n).to_frame();
        if !frame.body.is_empty() {
            let at = at.index(frame.body.len());
            frame.alter(|body| body[at] ^= xor);
        }
        if let Ok(Some(message)) = Message::from_frame(&frame) {
            prop_assert_eq!(message.to_frame(), frame);
        }
    }
}

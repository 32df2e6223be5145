//! The code, against PROTOCOL.md's formula written out by hand.

use super::*;
use crate::id::{ChallengeId, Hash};
use crate::key::{Secret, sha256};
use crate::link::message::Nonce;
use crate::link::proof::{code, transcript};
use crate::wire::Encode;

fn claim_of(byte: u8) -> Claim {
    let (challenge, commitment) = (ChallengeId([byte; 32]), Hash([2; 32]));
    Claim { challenge, commitment, mac: [3; 32], ext: Default::default() }
}

fn offer_of(label: &str) -> Offer {
    Offer {
        nonce: Nonce([4; 32]),
        account: ACCOUNT,
        label: label.into(),
        name: String::new(),
        platform: String::new(),
        role: Role::Member,
        custody: Custody::Personal,
        lease: 0,
        statements: Vec::new(),
        addresses: Vec::new(),
        ext: Default::default(),
        signature: [5; 64],
    }
}

#[test]
fn the_code_is_what_the_protocol_says() {
    let (claim, offer) = (claim_of(1), offer_of("a"));
    let t = transcript(&Secret(X), &claim, &offer);
    assert_eq!(t, sha256(&[b"\x19kinlink/1 link transcript", &X, &claim.to_bytes(), &offer.to_bytes()]));
    for attempt in 0..=200 {
        let hash = sha256(&[b"\x0ekinlink/1 code", &t.0, &[4; 32], &[6; 32], &[attempt]]);
        let number = hash.0[..8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)) % 1_000_000;
        let shown = code(t, &Nonce([4; 32]), &Nonce([6; 32]), attempt);
        assert_eq!((shown.len(), shown.parse::<u64>()), (6, Ok(number)));
    }
}

#[test]
fn what_was_said_before_the_nonces_met_is_in_the_transcript() {
    let of = |x, c, o| transcript(&Secret(x), &claim_of(c), &offer_of(o));
    let this = of(X, 1, "a");
    for other in [of(OTHER_X, 1, "a"), of(X, 9, "a"), of(X, 1, "z")] {
        assert_ne!(this, other);
    }
}

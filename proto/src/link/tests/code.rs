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

fn accept_of(name: &str) -> Accept {
    Accept {
        nonce: Nonce([6; 32]),
        hpke: vec![7; crate::key::HPKE_PUBLIC],
        name: name.into(),
        platform: String::new(),
        replaces: None,
        ext: Default::default(),
        consent: [8; 64],
    }
}

#[test]
fn the_code_is_what_the_protocol_says() {
    let (claim, offer, accept) = (claim_of(1), offer_of("a"), accept_of("b"));
    let t = transcript(&Secret(X), &claim, &offer, &accept);
    let (c, o, a) = (claim.to_bytes(), offer.to_bytes(), accept.to_bytes());
    assert_eq!(t, sha256(&[b"\x19kinlink/1 link transcript", &X, &c, &o, &a]));
    for attempt in 0..=200 {
        let hash = sha256(&[b"\x0ekinlink/1 code", &t.0, &[4; 32], &[6; 32], &[attempt]]);
        let number = hash.0[..8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)) % 1_000_000;
        let shown = code(t, &Nonce([4; 32]), &Nonce([6; 32]), attempt);
        assert_eq!((shown.len(), shown.parse::<u64>()), (6, Ok(number)));
    }
}

#[test]
fn everything_that_was_said_is_in_the_transcript() {
    let of = |x, c, o, a| transcript(&Secret(x), &claim_of(c), &offer_of(o), &accept_of(a));
    let this = of(X, 1, "a", "b");
    for other in [of(OTHER_X, 1, "a", "b"), of(X, 9, "a", "b"), of(X, 1, "z", "b"), of(X, 1, "a", "z")] {
        assert_ne!(this, other);
    }
}

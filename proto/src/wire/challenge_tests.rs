//! What a scanner, a terminal or an attacker can do to a challenge's text.

use std::net::SocketAddr;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;

const V4: &str = "192.168.178.255:65535";
const V6: &str = "[fd00:1:2:3:4:5:6:7]:4242";

fn shower(seed: u64) -> (Identity, ChaCha20Rng) {
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    (Identity::random(&mut rng), rng)
}

fn address(text: &str) -> Address {
    text.parse::<SocketAddr>().unwrap().into()
}

fn terms(addresses: &[&str]) -> Terms {
    Terms {
        role: Role::Guest,
        custody: Custody::Shared,
        anywhere: true,
        expires: 1_900_000_000,
        addresses: addresses.iter().map(|text| address(text)).collect(),
    }
}

/// Bytes with a valid signature, whatever they say.
fn signed(identity: &Identity, unsigned: &[u8]) -> Vec<u8> {
    [unsigned, &identity.sign("challenge", unsigned)].concat()
}

fn text_of(bytes: &[u8]) -> String {
    format!("{TEXT_PREFIX}{}", BASE64URL_NOPAD.encode(bytes))
}

#[test]
fn both_texts_name_the_same_attempt() {
    let (identity, mut rng) = shower(1);
    let challenge = Challenge::sign(&identity, terms(&[V6, V4, "10.0.0.1:1"]), &mut rng);
    let copied = Challenge::parse(&challenge.to_text()).unwrap();
    let scanned = Challenge::parse(&challenge.to_qr(&identity)).unwrap();
    assert_eq!(copied, challenge);
    assert_eq!((scanned.id(), scanned.link_key()), (challenge.id(), challenge.link_key()));
    assert_eq!(scanned.terms, terms(&[V4]), "the first address that fits");
}

#[test]
fn the_qr_fits_version_6_and_its_alphabet() {
    let (identity, mut rng) = shower(2);
    for (addresses, chars) in [(&[][..], 180), (&[V4], 192), (&[V6], 180), (&[V6, V4, V4], 192)] {
        let qr = Challenge::sign(&identity, terms(addresses), &mut rng).to_qr(&identity);
        assert!(qr.len() == chars && chars <= QR_CHARS, "{} characters with {addresses:?}", qr.len());
        let alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
        assert!(qr.chars().all(|c| alphabet.contains(c)), "{qr}");
        assert!(Challenge::parse(&qr).is_ok());
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let (identity, mut rng) = shower(3);
    let bytes = Challenge::sign(&identity, terms(&[V4]), &mut rng).to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < 8 { ChallengeError::Newer } else { ChallengeError::Signature };
        assert_eq!(Challenge::parse(&text_of(&wrong)), Err(expected), "bit {bit}");
    }
}

#[test]
fn every_altered_character_of_the_qr_is_refused() {
    let (identity, mut rng) = shower(4);
    let qr = Challenge::sign(&identity, terms(&[]), &mut rng).to_qr(&identity);
    for at in 0..qr.len() {
        for other in ["0", "Z", ":", " ", "a"] {
            let wrong = format!("{}{other}{}", &qr[..at], &qr[at + 1..]);
            assert!(wrong == qr || Challenge::parse(&wrong).is_err(), "{wrong}");
        }
    }
}

#[test]
fn a_challenge_has_one_text_only() {
    let (identity, mut rng) = shower(12);
    let mut offered = terms(&[]);
    offered.addresses = vec![Address::Other { kind: 9, value: vec![1] }];
    let qr = Challenge::sign(&identity, offered, &mut rng).to_qr(&identity);
    assert!(Challenge::parse(&qr).is_ok());
    // The last byte of an odd number stands in two characters that have room for more: RFC 9285 section 6.
    let alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
    let digits: Vec<usize> = qr[qr.len() - 2..].chars().map(|c| alphabet.find(c).unwrap()).collect();
    let more = digits[0] + 45 * digits[1] + 256;
    let pair = [more % 45, more / 45].map(|digit| alphabet.as_bytes()[digit]);
    let other = format!("{}{}", &qr[..qr.len() - 2], std::str::from_utf8(&pair).unwrap());
    assert_eq!(Challenge::parse(&other), Err(ChallengeError::Damaged), "{other}");
}

#[test]
fn truncated_texts_and_trailing_bytes_are_refused() {
    let (identity, mut rng) = shower(5);
    let bytes = Challenge::sign(&identity, terms(&[V4]), &mut rng).to_bytes();
    for len in 0..bytes.len() {
        let error = Challenge::parse(&text_of(&bytes[..len])).unwrap_err();
        let expected = if len < FIXED + SIGNATURE { ChallengeError::Damaged } else { ChallengeError::Signature };
        assert_eq!(error, expected, "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Challenge::parse(&text_of(&longer)), Err(ChallengeError::Signature));
    let cut = signed(&identity, &[&bytes[..bytes.len() - SIGNATURE], &[1, 6, 1]].concat());
    assert_eq!(Challenge::parse(&text_of(&cut)), Err(ChallengeError::Damaged), "signed, and half an address");
}

#[test]
fn what_a_newer_version_signs_asks_for_an_update() {
    let (identity, mut rng) = shower(6);
    let bytes = Challenge::sign(&identity, terms(&[V4]), &mut rng).to_bytes();
    let unsigned = &bytes[..bytes.len() - SIGNATURE];
    let with = |at: usize, value: u8| {
        let mut other = unsigned.to_vec();
        other[at] = value;
        Challenge::parse(&text_of(&signed(&identity, &other)))
    };
    assert!(with(1, 0b0000_1010).is_ok(), "the largest role and custody of today");
    for (at, value) in [(0, 0x20), (0, 0x11), (1, 0b0000_0011), (1, 0b0000_1100), (1, 0b0010_0000), (1, 0b1000_0000)] {
        assert_eq!(with(at, value), Err(ChallengeError::Newer), "byte {at} is {value:#010b}");
    }
    let many = signed(&identity, &[&unsigned[..FIXED], &[77, 0].repeat(9)].concat());
    assert_eq!(Challenge::parse(&text_of(&many)), Err(ChallengeError::Newer));
}

#[test]
fn unknown_addresses_are_carried() {
    let (identity, mut rng) = shower(7);
    let other = Address::Other { kind: 9, value: vec![1, 2, 3] };
    let mut offered = terms(&[V4]);
    offered.addresses.insert(0, other.clone());
    let challenge = Challenge::sign(&identity, offered, &mut rng);
    assert_eq!(Challenge::parse(&challenge.to_text()).unwrap().terms.addresses[0], other);
}

#[test]
fn white_space_and_quotes_around_a_challenge_do_not_matter() {
    let (identity, mut rng) = shower(8);
    let challenge = Challenge::sign(&identity, terms(&[V4]), &mut rng);
    let (text, qr) = (challenge.to_text(), challenge.to_qr(&identity));
    let wrapped = text.as_bytes().chunks(40).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>();
    for good in [format!("\n \"{text}\"\r\n"), format!("'{qr}' \t\n"), format!("\u{feff}{qr}"), wrapped.join("\n  ")] {
        assert_eq!(Challenge::parse(&good).map(|read| read.id()), Ok(challenge.id()), "{good:?}");
    }
}

#[test]
fn what_is_not_a_challenge_is_told_apart_from_a_damaged_one() {
    let (identity, mut rng) = shower(9);
    let qr = Challenge::sign(&identity, terms(&[]), &mut rng).to_qr(&identity);
    let long = format!("{TEXT_PREFIX}{}", "A".repeat(10_000));
    for other in ["", "https://example.org", "KL", "WIFI:S:home;;", &qr.to_lowercase(), &long] {
        assert_eq!(Challenge::parse(other), Err(ChallengeError::NotAChallenge), "{other:?}");
    }
    for damaged in ["KL:", "kinlink:", "KL:abc", "kinlink:!", "KL:::::", &format!("KL:{}", &qr[10..])] {
        let error = Challenge::parse(damaged).unwrap_err();
        assert!(matches!(error, ChallengeError::Damaged | ChallengeError::Newer), "{damaged:?}: {error}");
    }
}

#[test]
fn the_secret_does_not_show() {
    let (identity, mut rng) = shower(10);
    let challenge = Challenge::sign(&identity, terms(&[V4]), &mut rng);
    let shown = format!("{challenge:?}");
    assert!(shown.contains("ChallengeSecret(…)"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", challenge.secret.as_bytes())), "{shown}");
}

#[test]
fn expiry_is_only_looked_at() {
    let (identity, mut rng) = shower(11);
    let challenge = Challenge::sign(&identity, Terms { expires: 10, ..terms(&[]) }, &mut rng);
    assert!(!challenge.looks_expired(Wall(10_999)) && challenge.looks_expired(Wall(11_000)));
    assert!(Challenge::parse(&challenge.to_text()).is_ok(), "a clock that is wrong does not refuse");
}

proptest! {
    #[test]
    fn no_text_panics(text in "(KL:|kinlink:|)(\\PC*|[0-9A-Z $%*+./:-]{0,300}|[A-Za-z0-9_-]{0,300})") {
        prop_assert!(Challenge::parse(&text).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Challenge::verified(&bytes).is_err());
        let mut right_version = bytes;
        right_version.insert(0, VERSION_AND_KIND);
        prop_assert!(Challenge::verified(&right_version).is_err());
    }

    #[test]
    fn signed_bytes_mean_one_thing_or_nothing(seed in any::<u64>(), flags in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..60)) {
        let identity = Identity::random(&mut ChaCha20Rng::seed_from_u64(seed));
        let unsigned = [&[VERSION_AND_KIND, flags], &identity.device().0[..], &[7; 20], &tail].concat();
        let bytes = signed(&identity, &unsigned);
        if let Ok(challenge) = Challenge::verified(&bytes) {
            prop_assert_eq!(challenge.to_bytes(), bytes);
        }
    }
}

//! The linking protocol against an attacker who controls the network: every order of everything that it, the network
//! and both users can do, within bounds, over the state machines that ship. And copies of these with one check taken
//! out each, in which the same search has to find the attack.
//!
//! The attacker has keys of its own, connects as it likes, cuts connections, answers joiners where it can prove to be
//! who was asked for, repeats and takes apart what it hears, and computes whatever follows from what it knows. TLS
//! itself is taken to be sound: it reads and writes the sessions that it is an end of, and each has its own exporter.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]
#![allow(unreachable_pub, reason = "the same modules are part of several others")]

#[path = "link_model/parts.rs"]
mod parts;

#[path = "link_model/sound.rs"]
mod sound;

/// The same with one flaw each: `link_model/flaws.rs`, and `build.rs` makes them.
#[allow(warnings, clippy::all, clippy::pedantic, clippy::restriction, reason = "copies with checks taken out")]
mod flawed {
    include!(concat!(env!("OUT_DIR"), "/link_model.rs"));
}

use parts::{Attacker, Parts};

/// Two sessions of the joiner's and one of the attacker's. Its user agrees to whatever is offered, and types one wrong
/// code at most beside those that a joiner has shown.
fn network() -> Attacker {
    Attacker {
        scans: vec![0],
        challenges: 1,
        dials: 2,
        sessions: [1, 0],
        frames: 4,
        mistakes: 1,
        ..Attacker::default()
    }
}

/// One that has also photographed what the shower shows, and has two keys to use it with.
fn photographer() -> Attacker {
    Attacker { photos: vec![0], dials: 1, sessions: [1, 1], ..network() }
}

/// One that is who the joiner connects to, and claims at the shower itself.
fn middle() -> Attacker {
    Attacker { sessions: [1, 0], answers: 3, ..photographer() }
}

/// The joiner's user scans what the attacker shows in place of the shower.
fn swapper() -> Attacker {
    Attacker { scans: vec![Parts::ATTACKERS], ..middle() }
}

/// It has stolen the shower's identity.
fn impostor() -> Attacker {
    Attacker { has_showers_key: true, answers: 2, ..middle() }
}

/// The first challenge was photographed, and over before the second is shown.
fn latecomer() -> Attacker {
    Attacker { scans: vec![0, 1], challenges: 2, photos: vec![0], frames: 2, mistakes: 0, ..network() }
}

/// Searches all that there is.
///
/// Of codes with six digits two are equal now and then. That is the guess that an attacker has, and it does not come
/// again with other keys and nonces; an attack does.
fn holds(who: &str, attacker: &Attacker, can_link: bool) {
    for salt in 0..3 {
        let found = sound::model::search(attacker, salt);
        println!("{who}: {} states", found.states);
        if found.broken.is_empty() {
            assert_eq!(found.linked, can_link, "{who}: whether anybody is ever linked");
            return;
        }
        assert!(salt < 2, "{who}: {:#?}", found.broken);
    }
}

#[test]
fn who_controls_the_network_gains_nothing() {
    holds("the network", &network(), true);
}

#[test]
fn who_photographed_the_challenge_links_nothing_and_is_noticed() {
    holds("a photograph", &photographer(), true);
}

#[test]
fn who_has_its_own_challenge_scanned_has_no_choice_of_codes() {
    holds("a challenge that was swapped", &swapper(), false);
}

#[test]
fn even_the_showers_key_does_not_link_another_device() {
    holds("the shower's key", &impostor(), true);
}

#[test]
fn a_second_challenge_has_nothing_of_the_first() {
    holds("two challenges", &latecomer(), true);
}

/// What one of these checks stops the other would stop as well: both are there.
#[test]
fn some_checks_stand_behind_one_another() {
    let reader = Attacker { photos: vec![], ..impostor() };
    let searched = [
        sound::model::search(&Attacker { is_not_checked: true, answers: 2, dials: 1, ..network() }, 0).broken,
        flawed::offer_not_verified::model::search(&Attacker { dials: 1, ..network() }, 0).broken,
        flawed::mac_of_no_session::model::search(&reader, 0).broken,
        flawed::mac_of_no_joiner::model::search(&reader, 0).broken,
    ];
    for broken in searched {
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

macro_rules! found {
    ($($flaw:ident, $attacker:expr, $claim:expr;)*) => { $(
        #[test]
        fn $flaw() {
            for salt in 0..2 {
                let found = flawed::$flaw::model::search(&$attacker, salt);
                println!("{}: {} states", stringify!($flaw), found.states);
                let names: Vec<&str> = found.broken.iter().map(|(name, _)| *name).collect();
                assert!(names.contains(&$claim), "{names:?}");
            }
        }
    )* };
}

/// Each check that is taken out lets an attack through, and the search finds it.
mod finds {
    use super::*;

    const CODES: &str = "who speaks last has no choice of codes";
    const PROOFS: &str = "a proof is of who makes it, where it is made";
    const ONCE: &str = "a challenge links once and in time";

    found! {
        nonce_not_held_to_its_commitment, photographer(), CODES;
        later_nonce_not_held_to_its_commitment, middle(), CODES;
        what_is_said_last_is_in_the_code, swapper(), CODES;
        mac_of_neither_session_nor_joiner, Attacker { photos: vec![], ..impostor() }, PROOFS;
        mac_not_looked_at, network(), PROOFS;
        second_claimant_takes_over, Attacker { sessions: [1, 0], ..photographer() }, "a second claimant ends it";
        tries_counted_by_connection, Attacker { mistakes: 4, sessions: [0, 0], ..network() }, "three wrong codes end it";
        challenge_not_used_up, network(), ONCE;
        code_taken_after_expiry, Attacker { time: true, ..network() }, ONCE;
        consent_not_looked_at, photographer(), "what is taken was consented to";
        code_of_no_session, impostor(), "the epoch secret is sealed to the joiner alone";
        offer_not_verified, Attacker { is_not_checked: true, ..middle() }, "who takes itself to be linked is, to what it agreed to";
    }
}

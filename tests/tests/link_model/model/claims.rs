//! What has to hold in every state.

use std::sync::Arc;

use kinlink_proto::key;
use kinlink_proto::limits::CODE_TRIES;
use kinlink_proto::roster::statement::consent_message;
use kinlink_proto::roster::{Custody, Role};
use stateright::Property;

use super::link::message::kind;
use super::{ShowerEvent, State, World, attacker, then};
use crate::parts::{Conn, Parts};

/// Not a claim: that it happens.
pub const LINKED: &str = "somebody is linked";

pub fn all() -> Vec<Property<World>> {
    vec![
        Property::always("the epoch secret is sealed to the joiner alone", secrecy),
        Property::always("who is linked agreed to it, and its code was typed", agreement_at_the_shower),
        Property::always("who takes itself to be linked is, to what it agreed to", agreement_at_the_joiner),
        Property::always("a proof is of who makes it, where it is made", no_replay),
        Property::always("a challenge links once and in time", once),
        Property::always("a second claimant ends it", second_claimant),
        Property::always("three wrong codes end it", three_tries),
        Property::always("who speaks last has no choice of codes", one_code),
        Property::always("what is taken was consented to", consented),
        Property::sometimes(LINKED, |world: &World, state: &State| {
            world.joiner(&state.joiner).linked.is_some_and(|(challenge, _)| challenge != Parts::ATTACKERS)
        }),
    ]
}

/// Whoever is linked is sealed the epoch secret, to the key that it gave, over the connection that it has.
fn secrecy(world: &World, state: &State) -> bool {
    let own = world.parts.joiner.hpke_public();
    world
        .shower(&state.shower)
        .rights
        .iter()
        .all(|right| right.hpke == own && !matches!(right.conn, Some(Conn::Attack { .. } | Conn::Taken(_))))
}

fn agreement_at_the_shower(world: &World, state: &State) -> bool {
    let j = world.joiner(&state.joiner);
    world.shower(&state.shower).rights.iter().all(|right| {
        let agreed = j.agreed.iter().any(|agreed| {
            agreed.challenge == right.challenge
                && agreed.account == Parts::ACCOUNT
                && right.conn.is_none_or(|conn| conn == agreed.conn)
        });
        right.device == world.parts.joiner.device()
            && right.id == world.parts.challenges[right.challenge].id()
            && agreed
            && j.shown.contains(&right.code)
    })
}

/// Where the attacker has the shower's key, it is the shower: what the joiner sees then is the attacker's to say.
fn agreement_at_the_joiner(world: &World, state: &State) -> bool {
    if world.attacker.has_showers_key {
        return true;
    }
    let (s, j) = (world.shower(&state.shower), world.joiner(&state.joiner));
    let agreed = j
        .agreed
        .iter()
        .filter(|agreed| agreed.challenge != Parts::ATTACKERS)
        .all(|agreed| agreed.account == Parts::ACCOUNT && matches!(agreed.conn, Conn::Direct(_)));
    let linked = j.linked.filter(|(challenge, _)| *challenge != Parts::ATTACKERS).is_none_or(|(challenge, conn)| {
        s.rights.iter().any(|right| {
            (right.challenge, right.device, right.conn) == (challenge, world.parts.joiner.device(), Some(conn))
        })
    });
    agreed && linked
}

fn no_replay(world: &World, state: &State) -> bool {
    let j = world.joiner(&state.joiner);
    world.shower(&state.shower).proven.iter().all(|(challenge, conn, device, claim)| match conn {
        Conn::Attack { .. } => world.attacker.photos.contains(challenge),
        _ => {
            *device == world.parts.joiner.device()
                && j.sent.iter().any(|(on, said)| {
                    on == conn && matches!(super::frame(said), super::link::Message::Claim(made) if made == *claim)
                })
        }
    })
}

fn once(world: &World, state: &State) -> bool {
    let rights = &world.shower(&state.shower).rights;
    let twice = |n: usize| rights[..n].iter().any(|right| right.challenge == rights[n].challenge);
    (0..rights.len()).all(|n| !twice(n) && !rights[n].late)
}

fn second_claimant(world: &World, state: &State) -> bool {
    let s = world.shower(&state.shower);
    s.rights.iter().all(|right| {
        s.proven.iter().all(|(challenge, _, device, _)| *challenge != right.challenge || *device == right.device)
    })
}

fn three_tries(world: &World, state: &State) -> bool {
    world.shower(&state.shower).wrong.values().all(|wrong| *wrong <= CODE_TRIES)
}

/// When a claimant has said its last word before a code is typed, every other last word would have led to the same code:
/// it cannot try many until one leads to a code that it knows to be shown elsewhere.
fn one_code(world: &World, state: &State) -> bool {
    let Some((ShowerEvent::Heard(conn @ Conn::Attack { .. }, last), before)) = state.shower.split_last() else {
        return true;
    };
    if !matches!(last.kind, kind::ACCEPT | kind::OPEN) || !world.shower(&state.shower).awaits_code {
        return true;
    }
    let before = Arc::new(before.to_vec());
    let (s, j) = (world.shower(&before), world.joiner(&state.joiner));
    let Some(code) = attacker::tool(world, &s, *conn, s.challenge).code.clone() else { return true };
    let links = |said| {
        let said = then(&before, ShowerEvent::Heard(*conn, said));
        let awaits = world.shower(&said).awaits_code;
        awaits.then(|| world.shower(&then(&said, ShowerEvent::Typed(code.clone()))).rights.len() > s.rights.len())
    };
    let all: Vec<bool> = attacker::to_shower(world, &s, &j, *conn).into_iter().filter_map(links).collect();
    all.iter().all(|links| *links) || all.iter().all(|links| !links)
}

fn consented(world: &World, state: &State) -> bool {
    world.shower(&state.shower).taken.iter().all(|taken| {
        let challenge = world.parts.challenges[taken.challenge].id();
        let (role, custody) = (Role::Member, Custody::Personal);
        let said = consent_message(Parts::ACCOUNT, taken.device, &taken.hpke, role, custody, challenge);
        key::verify(&taken.device, "consent", &said, &taken.consent)
    })
}

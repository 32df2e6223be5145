//! What the attacker can say. It computes whatever follows from what it knows: it runs the joiner's own code with its
//! keys, repeats what it heard, and puts parts of either into the other.

use std::sync::Arc;

use kinlink_proto::id::{AccountId, DeviceId, Hash};
use kinlink_proto::key::{self, Identity};
use kinlink_proto::roster::statement::consent_message;
use kinlink_proto::roster::{Custody, Role};
use kinlink_proto::wire::Encode;
use kinlink_proto::wire::object::Extensions;

use super::link::message::{Accept, Claim, Linked, Nonce, Offer, Recommit, WrongCode, kind};
use super::link::{AcceptParams, Joiner, JoinerStage, Message};
use super::{Action, JoinerEvent, JoinerRun, ShowerEvent, ShowerRun, State, World, frame, wire};
use crate::parts::{Conn, Parts, Wire};

/// An honest joiner's side of one of the attacker's sessions.
#[derive(Debug, Default)]
pub struct Tool {
    /// What it says next: first as it would, then with another name.
    pub next: Vec<Message>,
    /// The code that it shows having said the first.
    pub code: Option<String>,
}

pub fn acts(world: &World, state: &State, s: &ShowerRun, j: &JoinerRun, actions: &mut Vec<Action>) {
    let sent = |conn: Conn| state.shower.iter().filter(|e| matches!(e, ShowerEvent::Heard(c, _) if *c == conn)).count();
    for (key, sessions) in (0_u8..).zip(world.attacker.sessions) {
        // A session is not begun before the one before it: they differ in nothing else.
        let mut begun = true;
        for conn in (0..sessions).map(|n| Conn::Attack { key, n }) {
            if begun && !s.closed.contains(&conn) && sent(conn) < world.attacker.frames {
                let said = to_shower(world, s, j, conn).into_iter();
                actions.extend(said.map(|wire| Action::Shower(ShowerEvent::Heard(conn, wire))));
            }
            begun = sent(conn) > 0;
        }
    }
    if let Some(conn @ Conn::Taken(_)) = j.conn
        && state.joiner.iter().filter(|e| matches!(e, JoinerEvent::Heard(_))).count() < world.attacker.answers
    {
        let said = to_joiner(world, s, j, conn).into_iter();
        actions.extend(said.map(|message| Action::Joiner(JoinerEvent::Heard(wire(&message.to_frame())))));
    }
}

/// Everything worth saying to the shower over one of the attacker's sessions, as it stands.
pub fn to_shower(world: &World, s: &ShowerRun, j: &JoinerRun, conn: Conn) -> Vec<Wire> {
    let heard = heard_on(s, conn);
    let said = match heard.last().map(|wire| wire.kind) {
        None => claims(world, s, j, conn),
        Some(kind::OFFER) => accepts(world, s, j, conn),
        Some(kind::WRONG_CODE) => {
            let own = tool(world, s, conn, s.challenge).next.clone();
            let theirs = commitments(j).into_iter().map(|commitment| Message::Recommit(Recommit { commitment }));
            own.into_iter().chain(theirs).collect()
        }
        Some(kind::NONCE) => {
            let own = tool(world, s, conn, s.challenge).next.clone();
            let others = nonces(j).into_iter().chain([Nonce([7; 32])]).map(Message::Open);
            own.into_iter().chain(others).collect()
        }
        Some(_) => Vec::new(),
    };
    let out_of_turn = heard.last().map(|_| [Message::Open(Nonce([9; 32])), Message::Cancel]);
    let mut wires = Vec::new();
    for message in said.into_iter().chain(out_of_turn.into_iter().flatten()) {
        let said = wire(&message.to_frame());
        if !wires.contains(&said) {
            wires.push(said);
        }
    }
    wires
}

fn claims(world: &World, s: &ShowerRun, j: &JoinerRun, conn: Conn) -> Vec<Message> {
    let parts = &world.parts;
    let now = &parts.challenges[s.challenge];
    let own = |which| match tool(world, s, conn, which).next.first() {
        Some(Message::Claim(claim)) => Some(claim.clone()),
        _ => None,
    };
    let mut claims: Vec<Claim> = Vec::new();
    // As its own challenge would have it, under the name of this one.
    claims.extend(own(Parts::ATTACKERS));
    claims.extend(world.attacker.photos.iter().filter_map(|photo| own(*photo)));
    let theirs = sent_to_attacker(j).filter_map(|message| match message {
        Message::Claim(claim) => Some(claim),
        _ => None,
    });
    for theirs in theirs {
        if world.attacker.photos.contains(&s.challenge) {
            let mac = claim_mac(world, s.challenge, conn, theirs.commitment);
            claims.push(Claim { mac, ..theirs.clone() });
        }
        claims.extend(own(Parts::ATTACKERS).map(|own| Claim { mac: theirs.mac, ..own }));
        claims.push(theirs);
    }
    claims.push(Claim { challenge: now.id(), commitment: Hash([0; 32]), mac: [0; 32], ext: Extensions::default() });
    let id = now.id();
    claims.into_iter().map(|claim| Message::Claim(Claim { challenge: id, ..claim })).collect()
}

fn accepts(world: &World, s: &ShowerRun, j: &JoinerRun, conn: Conn) -> Vec<Message> {
    let mut accepts: Vec<Accept> = Vec::new();
    for message in &tool(world, s, conn, s.challenge).next {
        if let Message::Accept(accept) = message {
            accepts.push((**accept).clone());
        }
    }
    if let Some(own) = accepts.first().cloned() {
        accepts.push(Accept { nonce: Nonce([7; 32]), ..own.clone() });
        accepts.extend(nonces(j).into_iter().map(|nonce| Accept { nonce, ..own.clone() }));
        let me = key_of(world, conn);
        let elsewhere = consent(world, me, AccountId([0xbb; 32]), s.challenge);
        accepts.push(Accept { consent: elsewhere, ..own.clone() });
        let another = consent(world, me, Parts::ACCOUNT, Parts::ATTACKERS);
        accepts.push(Accept { consent: another, ..own });
    }
    accepts.extend(sent_to_attacker(j).filter_map(|message| match message {
        Message::Accept(accept) => Some(*accept),
        _ => None,
    }));
    accepts.into_iter().map(|accept| Message::Accept(Box::new(accept))).collect()
}

fn to_joiner(world: &World, s: &ShowerRun, j: &JoinerRun, conn: Conn) -> Vec<Message> {
    let Some(which) = j.challenge else { return Vec::new() };
    let heard = |pick: fn(Message) -> Option<Nonce>| {
        s.sent.iter().filter(|(to, _)| matches!(to, Conn::Attack { .. })).filter_map(move |(_, said)| pick(frame(said)))
    };
    match j.stage() {
        Some(JoinerStage::Claimed) => {
            let theirs = heard(|said| match said {
                Message::Offer(offer) => Some(offer.nonce),
                _ => None,
            });
            let nonces: Vec<Nonce> = theirs.chain([Nonce([5; 32])]).collect();
            let accounts = [Parts::ACCOUNT, AccountId([0xbb; 32])];
            let offers =
                nonces.iter().flat_map(|nonce| accounts.map(|account| offer(world, which, conn, account, nonce)));
            let verbatim =
                s.sent.iter().filter(|(to, _)| matches!(to, Conn::Attack { .. })).map(|(_, said)| frame(said));
            offers.chain(verbatim.filter(|said| matches!(said, Message::Offer(_)))).collect()
        }
        Some(JoinerStage::Code) => {
            let wrong = [2, 1].map(|tries_left| Message::WrongCode(WrongCode { tries_left }));
            wrong.into_iter().chain([Message::Linked(Box::<Linked>::default())]).collect()
        }
        Some(JoinerStage::Retrying) => {
            let theirs = heard(|said| match said {
                Message::Nonce(nonce) => Some(nonce),
                _ => None,
            });
            theirs.chain([Nonce([5; 32])]).map(Message::Nonce).collect()
        }
        _ => Vec::new(),
    }
}

/// An offer as the shower would make it, signed with the best key that the attacker has for it.
fn offer(world: &World, which: usize, conn: Conn, account: AccountId, nonce: &Nonce) -> Message {
    let parts = &world.parts;
    let shower = which != Parts::ATTACKERS && world.attacker.has_showers_key;
    let signer = if shower { &parts.shower } else { &parts.attackers[0] };
    let mut offer = Offer {
        nonce: nonce.clone(),
        account,
        label: "Ada".into(),
        name: "tower".into(),
        platform: "linux".into(),
        role: Role::Member,
        custody: Custody::Personal,
        lease: 0,
        statements: vec![vec![1]],
        addresses: Vec::new(),
        ext: Extensions::default(),
        signature: [0; 64],
    };
    let (x, id, joiner) = (conn.exporter(), parts.challenges[which].id(), parts.joiner.device());
    let signed = [&x[..], &id.0, joiner.as_bytes(), &offer.unsigned()].concat();
    offer.signature = signer.sign("offer", &signed);
    Message::Offer(Box::new(offer))
}

fn consent(world: &World, me: &Identity, account: AccountId, which: usize) -> [u8; 64] {
    let challenge = world.parts.challenges[which].id();
    let said = consent_message(account, me.device(), me.hpke_public(), Role::Member, Custody::Personal, challenge);
    me.sign("consent", &said)
}

/// PROTOCOL.md section 4, with a secret that was photographed.
fn claim_mac(world: &World, which: usize, conn: Conn, commitment: Hash) -> [u8; 32] {
    let challenge = &world.parts.challenges[which];
    let me = world.parts.client(conn);
    let (role, custody) = (challenge.terms.role.to_bytes(), challenge.terms.custody.to_bytes());
    let x = conn.exporter();
    let said: [&[u8]; 6] = [&x, challenge.shower.as_bytes(), me.as_bytes(), &role, &custody, commitment.as_bytes()];
    key::mac(&challenge.link_key(), "claim", &said)
}

/// The joiner's code in the attacker's hands, with the challenge that it names and all that the shower said to it.
pub fn tool(world: &World, s: &ShowerRun, conn: Conn, which: usize) -> Arc<Tool> {
    let heard = (conn, which, heard_on(s, conn));
    if let Some(tool) = world.tools.lock().unwrap().get(&heard) {
        return Arc::clone(tool);
    }
    let mut tool = Tool::default();
    for name in ["", "tried"] {
        let (said, code) = run(world, &heard, name);
        if !tool.next.contains(&said) {
            tool.next.push(said);
        }
        tool.code = tool.code.or(code);
    }
    let tool = Arc::new(tool);
    world.tools.lock().unwrap().insert(heard, Arc::clone(&tool));
    tool
}

fn run(world: &World, (conn, which, heard): &super::Heard, name: &str) -> (Message, Option<String>) {
    let me = key_of(world, *conn);
    let mut rng = world.parts.rng(3 + u64::from(conn.exporter()[0]));
    // The attacker's own challenge is one that it would refuse to answer itself, as anybody would: it has two keys.
    let mut challenge = world.parts.challenges[*which].clone();
    if challenge.shower == me.device() {
        challenge.shower = DeviceId([1; 32]);
    }
    let mut joiner = Joiner::start(challenge, me.device()).unwrap();
    let mut said = joiner.connected(&conn.exporter(), &mut rng).unwrap();
    for wire in heard {
        let answer = match frame(wire) {
            Message::Offer(offer) => joiner.offer(*offer).and_then(|_| {
                let params = AcceptParams { name: name.into(), ..AcceptParams::default() };
                joiner.accept(me, params, &mut rng).map(Some)
            }),
            Message::WrongCode(wrong) => joiner.wrong_code(wrong, &mut rng),
            Message::Nonce(nonce) => joiner.nonce(&nonce),
            _ => Ok(None),
        };
        said = answer.ok().flatten().unwrap_or(said);
    }
    (Message::from_frame(&said).unwrap().unwrap(), joiner.code())
}

fn key_of(world: &World, conn: Conn) -> &Identity {
    match conn {
        Conn::Attack { key, .. } => &world.parts.attackers[usize::from(key)],
        Conn::Direct(_) | Conn::Taken(_) => &world.parts.attackers[0],
    }
}

fn heard_on(s: &ShowerRun, conn: Conn) -> Vec<Wire> {
    s.sent.iter().filter(|(to, _)| *to == conn).map(|(_, wire)| wire.clone()).collect()
}

/// What the joiner said where the attacker is the other end.
fn sent_to_attacker(j: &JoinerRun) -> impl Iterator<Item = Message> {
    j.sent.iter().filter(|(on, _)| matches!(on, Conn::Taken(_))).map(|(_, said)| frame(said))
}

fn commitments(j: &JoinerRun) -> Vec<Hash> {
    let commitment = |said| match said {
        Message::Claim(claim) => Some(claim.commitment),
        Message::Recommit(recommit) => Some(recommit.commitment),
        _ => None,
    };
    sent_to_attacker(j).filter_map(commitment).collect()
}

fn nonces(j: &JoinerRun) -> Vec<Nonce> {
    let nonce = |said| match said {
        Message::Accept(accept) => Some(accept.nonce),
        Message::Open(nonce) => Some(nonce),
        _ => None,
    };
    sent_to_attacker(j).filter_map(nonce).collect()
}

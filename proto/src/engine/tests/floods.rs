//! Linked devices that flood.

use super::*;
use crate::id::{JournalId, StatementId};
use crate::journal::Position;
use crate::roster::statement::{Action, Draft, Parent};
use crate::sync::report::{Content, Held, Report};
use crate::sync::vector::Want;
use crate::wire::message::kind;
use crate::wire::object::Extensions;

pub(super) fn report(lab: &Lab, of: usize, counter: u64, journals: u32) -> Vec<u8> {
    let device = lab.id(of);
    let held = |generation| Held { journal: JournalId { device, generation }, size: 1, root: crate::id::Hash([1; 32]) };
    let content = Content {
        account: lab.engine(0).account().unwrap(),
        device,
        counter,
        run: RunId([8; 16]),
        time: lab.now.wall,
        heads: Vec::new(),
        journals: (0..journals).map(held).collect(),
        capabilities: 0,
        addresses: Vec::new(),
        ext: Extensions::default(),
    };
    Report::sign(content, &lab.devices[of].config.identity).bytes().to_vec()
}

/// Only the newest of many reports is handed on.
#[test]
fn a_row_of_reports_is_handed_on_as_one() {
    let mut lab = Lab::account(30, 3);
    let (cheat, friend) = (lab.puppet(0, 2), lab.puppet(0, 1));
    let reports = (100..400).map(|counter| report(&lab, 2, counter, 0)).collect();
    lab.devices[0].sent.clear();
    lab.say(0, cheat, &Message::Reports(reports));
    lab.pass(limits::TELL);
    let relayed = lab.devices[0].sent.iter().filter(|(to, f)| *to == friend && f.kind == kind::REPORTS).count();
    assert_eq!(relayed, 1);
    assert_eq!(lab.engine(0).reports[&lab.id(2)].content.counter, 399);
}

/// Long reports do not make a frame that the honest would have to refuse.
#[test]
fn long_reports_do_not_part_the_honest() {
    let mut lab = Lab::account(31, 6);
    for cheat in 2..6 {
        let conn = lab.puppet(0, cheat);
        let long = report(&lab, cheat, 1000, 4096);
        lab.say(0, conn, &Message::Reports(vec![long]));
    }
    lab.connect(0, 1);
    assert!(lab.largest <= limits::FRAME_CONTROL, "{}", lab.largest);
    lab.add(6);
    lab.link(0, 6);
}

/// One frame that asks for one journal a thousand times is answered once.
#[test]
fn asking_a_thousand_times_is_answered_once() {
    let mut lab = Lab::account(32, 3);
    let session = lab.session(0);
    assert!(lab.put(0, session, "k", &[7; 200_000]).is_ok());
    let cheat = lab.puppet(0, 2);
    let own = lab.engine(0).own_journal();
    lab.devices[0].sent.clear();
    lab.say(0, cheat, &Message::Want(vec![Want { journal: own, from: 0 }; 1000]));
    for from in [0, 1].into_iter().cycle().take(1000) {
        lab.say(0, cheat, &Message::Want(vec![Want { journal: own, from }]));
    }
    let bytes: usize = lab.devices[0].sent.iter().map(|(_, frame)| frame.body.len()).sum();
    assert!(bytes < 32 << 20, "{bytes}");
}

/// A peer that says again and again that it lacks something is sent it so many times and no more.
#[test]
fn what_is_asked_for_again_is_not_sent_without_end() {
    let mut lab = Lab::account(35, 3);
    let device = lab.id(1);
    let epochs: Vec<_> = lab.engine(0).epochs().collect();
    for (asked, answer) in [
        (Have { reports: vec![(device, 0)], ..Have::default() }, kind::REPORTS),
        (
            Have { heads: vec![Parent { author: device, number: 9, id: StatementId([9; 32]) }], ..Have::default() },
            kind::STATEMENTS,
        ),
        (Have { lacks: epochs, ..Have::default() }, kind::EPOCHS),
    ] {
        let cheat = lab.puppet(0, 2);
        lab.devices[0].sent.clear();
        for _ in 0..200 {
            lab.say(0, cheat, &Message::Have(Box::new(asked.clone())));
        }
        assert_eq!(lab.closed_with(0, cheat), Some(CloseCode::Protocol));
        let sent = lab.devices[0].sent.iter().filter(|(_, frame)| frame.kind == answer).count();
        assert!((64..=65).contains(&sent), "{sent} of {answer:#06x}");
    }
}

/// What a peer says that it holds is bounded, and of unknown devices it is nothing.
#[test]
fn what_a_peer_claims_to_hold_is_bounded() {
    let mut lab = Lab::account(33, 3);
    let cheat = lab.puppet(0, 2);
    for round in 0..4u32 {
        let position = |n: u32| Position {
            journal: JournalId { device: lab.id(2), generation: round * 4000 + n },
            size: 1,
            root: crate::id::Hash([1; 32]),
            live: 1,
            digest: [0; 16],
        };
        let positions = (0..4000).map(position).collect();
        lab.say(0, cheat, &has(positions));
    }
    let held = lab.engine(0).conns.get(&cheat).map_or(0, |conn| conn.theirs.len() + conn.asked.len());
    assert!(held <= 2 * 4096, "{held}");
}

/// Statements that device 2 chains one behind the other.
fn flood(lab: &Lab, count: usize) -> Vec<Vec<u8>> {
    let (identity, account) = (lab.devices[2].config.identity.clone(), lab.engine(0).account().unwrap());
    let parents: Vec<_> = lab.engine(0).roster.heads().into_iter().filter(|p| p.author != lab.id(2)).collect();
    let first = lab.engine(0).roster.heads().into_iter().find(|p| p.author == lab.id(2));
    let (mut number, mut previous) = first.map_or((0, crate::id::StatementId::NONE), |head| (head.number, head.id));
    let mut flood = Vec::new();
    for _ in 0..count {
        number += 1;
        let action = Action::Applied { revocations: Vec::new() };
        let (parents, ext) = (parents.clone(), Extensions::default());
        let statement = Draft { account, number, previous, parents, time: Wall(1), action, ext }.sign(&identity);
        previous = statement.id;
        flood.push(statement.bytes);
    }
    flood
}

/// A member fills the roster. An owner can still revoke it, and everybody hears of it.
#[test]
fn a_flood_of_statements_leaves_room_for_the_revocation() {
    let mut lab = Lab::account(34, 3);
    let cheat = lab.puppet(0, 2);
    let flood = flood(&lab, limits::STATEMENTS - lab.engine(0).roster.statements().count());
    for piece in flood.chunks(2000) {
        lab.say(0, cheat, &Message::Statements(piece.to_vec()));
    }
    assert_eq!(lab.revoke(0, 2), Ok(Reply::Revoked(vec![lab.id(2)])));
    assert_eq!(lab.status(1, 2), Some(Status::Revoked));
}

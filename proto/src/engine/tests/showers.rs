//! Showers that lie about the account that they link into.

use std::time::Duration;

use super::Lab;
use crate::engine::command::{Command, Reply};
use crate::engine::error::ErrorKind;
use crate::engine::io::Input;
use crate::engine::view::PairingState;
use crate::id::AccountId;
use crate::link::{Claimant, Message, OfferParams, Shower};
use crate::roster::{Custody, Role};
use crate::time::Mono;
use crate::wire::challenge::{Challenge, Terms};
use crate::wire::frame::CloseCode;

/// Device 0 shows a challenge of its own and offers what it likes; device 1 answers it. What device 1 tells its user, and the shower.
fn offer(lab: &mut Lab, account: AccountId, statements: Vec<Vec<u8>>) -> (ErrorKind, CloseCode) {
    let identity = lab.devices[0].config.identity.clone();
    let terms = Terms {
        role: Role::Owner,
        custody: Custody::Personal,
        anywhere: false,
        expires: u32::MAX,
        addresses: vec![Lab::address(0)],
    };
    let challenge = Challenge::sign(&identity, terms, &mut lab.rng);
    let join = Command::Join { challenge: challenge.clone(), name: None, anywhere: false };
    let Ok(Reply::Joining(pairing)) = lab.order(1, join) else { panic!("cannot join") };
    let (conn, exporter) = (lab.new_conn(), [9; 32]);
    let dialled = lab.devices[1].dialled_link.take();
    let (peer, address) = (lab.id(0), Lab::address(0));
    lab.feed(1, Input::LinkConnected { conn, peer, dialled, address: address.clone(), exporter });
    let said = |lab: &Lab| {
        let frames = lab.devices[1].sent.iter().filter(|(to, _)| *to == conn);
        frames.map(|(_, frame)| Message::from_frame(frame).unwrap().unwrap()).collect::<Vec<_>>()
    };
    let Some(Message::Claim(claim)) = said(lab).pop() else { panic!("no claim") };

    let mut shower = Shower::open(challenge, Mono(0), Duration::from_secs(120));
    let claimant = Claimant { conn, joiner: lab.id(1), source: &address, exporter: &exporter };
    assert_eq!(shower.claim(Mono(1), claimant, &claim).refusal(), None);
    let params = OfferParams {
        account,
        label: "Yours".to_owned(),
        name: "liar".to_owned(),
        platform: String::new(),
        lease: 0,
        statements,
        addresses: Vec::new(),
    };
    let frame = shower.offer(params, &identity, &mut lab.rng).unwrap();
    lab.feed(1, Input::Received { conn, frame });
    let Ok(Reply::Pairing(view)) = lab.order(1, Command::Pairing(pairing)) else { panic!("no pairing") };
    assert_eq!(view.state, PairingState::Failed);
    let Some(Message::Refused(code)) = said(lab).pop() else { panic!("the shower is not told") };
    assert!(lab.engine(1).account().is_none() && lab.engine(1).local.pending.is_none(), "nothing is half linked");
    (view.error.unwrap().kind, code)
}

fn statements(lab: &Lab, of: usize) -> (AccountId, Vec<Vec<u8>>) {
    let roster = &lab.engine(of).roster;
    (roster.account().unwrap(), roster.statements().map(|statement| statement.bytes.clone()).collect())
}

#[test]
fn a_shower_that_lies_about_its_account_links_nobody() {
    let mut lab = Lab::new(41, 3);
    lab.session(0);
    lab.session(2);
    let (own, own_statements) = statements(&lab, 0);
    let (theirs, their_statements) = statements(&lab, 2);
    // Somebody else's account, whose roster does not know the shower.
    assert_eq!(offer(&mut lab, theirs, their_statements.clone()), (ErrorKind::NotOwner, CloseCode::NotOwner));
    // Somebody else's account by name, its own by roster; and the other way round.
    assert_eq!(offer(&mut lab, theirs, own_statements.clone()), (ErrorKind::WrongAccount, CloseCode::WrongAccount));
    assert_eq!(offer(&mut lab, own, their_statements), (ErrorKind::WrongAccount, CloseCode::WrongAccount));
    // A roster that was altered.
    let mut altered = own_statements;
    if let Some(byte) = altered[0].last_mut() {
        *byte ^= 1;
    }
    assert_eq!(offer(&mut lab, own, altered).1, CloseCode::Protocol);
}

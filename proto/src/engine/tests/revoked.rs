//! Devices that were revoked and go on, and those that came in through them.

use super::*;
use crate::engine::error::ErrorKind;

/// Between the first offer and the code an app may make a session: the account of the offer is the one that begins.
#[test]
fn a_session_made_while_a_challenge_is_shown_does_not_break_the_link() {
    let mut lab = Lab::new(10, 2);
    let (pairing, code) = lab.agree(0, 1);
    let session = lab.session(0);
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    assert_eq!(lab.status(1, 1), Some(Status::Linked));
    assert_eq!(lab.put(0, session, "k", b"v"), Ok(Reply::Done));
    lab.connect(0, 1);
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

/// A shower that was revoked while its challenge was open links nobody, and the new device hears so.
#[test]
fn a_shower_that_is_revoked_meanwhile_links_nobody() {
    let mut lab = Lab::new(11, 3);
    lab.link(0, 1);
    lab.connect(0, 1);
    let (pairing, code) = lab.agree(1, 2);
    assert_eq!(lab.revoke(0, 1), Ok(Reply::Revoked(vec![lab.id(1)])));
    assert!(lab.confirm(1, pairing, &code).is_err());
    assert_eq!(lab.status(0, 2), None);
    assert!(lab.engine(2).local.pending.is_none(), "the new device waits for nothing");
}

/// B, being revoked by A, links C with old parents: C is cut off the moment that A learns of both.
#[test]
fn a_device_linked_by_one_that_was_being_revoked_is_cut_off() {
    let mut lab = Lab::account(12, 3);
    // Device 1 (an owner) links 3, which connects to 2, who has not heard of any revocation.
    lab.add(3);
    lab.unplug(0);
    lab.link(1, 3);
    let (_, at_two) = lab.connect(3, 2);
    assert_eq!(lab.status(2, 3), Some(Status::Linked));
    assert_eq!(lab.revoke(0, 1), Ok(Reply::Revoked(vec![lab.id(1)])));
    lab.connect(0, 2);
    assert_eq!(lab.status(2, 3), Some(Status::Unconfirmed));
    assert!(lab.closed_with(2, at_two).is_some(), "an unconfirmed device stays connected");
}

/// A revoked device reconnects: it gets its revocation, and nothing that it says counts.
#[test]
fn a_revoked_device_that_comes_back_is_told_and_not_listened_to() {
    let mut lab = Lab::account(13, 3);
    lab.unplug(2);
    assert!(lab.revoke(0, 2).is_ok());
    let conn = lab.new_conn();
    let peer = lab.id(2);
    let heads = lab.engine(0).roster.heads();
    lab.devices[0].sent.clear();
    lab.feed(0, Input::Connected { conn, peer, dialled: false, address: Lab::address(2), exporter: EXPORTER });
    let hello = lab.hello(2);
    lab.say(0, conn, &hello);
    let sent: Vec<u16> = lab.devices[0].sent.iter().filter(|(to, _)| *to == conn).map(|(_, f)| f.kind).collect();
    assert_eq!(sent, [crate::wire::message::kind::REVOKED]);
    assert_eq!(lab.closed_with(0, conn), Some(CloseCode::Revoked));
    assert_eq!(lab.engine(0).roster.heads(), heads);
}

/// A pending device that was revoked before it ever came back is told, and waits no longer.
#[test]
fn a_pending_device_that_was_revoked_waits_no_longer() {
    let mut lab = Lab::new(14, 3);
    lab.link(0, 1);
    let (pairing, code) = lab.agree(0, 2);
    lab.unplug(2);
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    assert!(lab.revoke(0, 2).is_ok());
    lab.connect(0, 2);
    assert!(lab.engine(2).local.pending.is_none(), "it asks for ever");
    assert!(lab.order(2, Command::CreateSession { app: "a".into(), title: String::new(), expires: Wall(0) }).is_ok());
}

/// What a stream under way brings behind the honoured position is not taken, whoever relays it.
#[test]
fn an_open_transfer_ends_at_the_revocation() {
    let mut lab = Lab::account(15, 3);
    let session = lab.session(2);
    lab.unplug(2);
    for n in 0..1100 {
        assert!(lab.put(2, session, &format!("k{n}"), b"v").is_ok());
    }
    let journal = lab.engine(2).own_journal();
    let store = lab.devices[2].store.snapshot();
    lab.add(3);
    lab.link(0, 3);
    let conn = lab.puppet(3, 1);
    let mut outgoing = Outgoing::new(&store, journal, 0, None).unwrap().unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = outgoing.frame(&store).unwrap() {
        frames.push(frame);
    }
    assert!(frames.len() > 2, "a header and two segments");
    let last = frames.pop().unwrap();
    for frame in frames {
        lab.feed(3, Input::Transfer { conn, stream: 9, frame, prepared: None });
    }
    assert_eq!(lab.engine(3).journals.size(journal), 1024);
    let revocation = lab.engine(3).journals.position(journal).copied().unwrap();
    let honoured =
        std::iter::once((1, crate::roster::statement::Honoured { size: revocation.size, root: revocation.root }));
    let revoke = crate::roster::statement::Revoke {
        device: lab.id(2),
        reason_code: 0,
        text: String::new(),
        with_linked: false,
        honoured: honoured.collect(),
    };
    let owner = lab.devices[0].config.identity.clone();
    let statement = lab.devices[3].engine.roster.draft(
        &owner,
        lab.now.wall,
        crate::roster::statement::Action::Revoke(revoke),
        &mut lab.rng,
    );
    lab.say(3, conn, &Message::Statements(vec![statement.bytes]));
    assert_eq!(lab.status(3, 2), Some(Status::Revoked));
    lab.feed(3, Input::Transfer { conn, stream: 9, frame: last, prepared: None });
    assert_eq!(lab.engine(3).journals.size(journal), 1024, "what does not count was taken");
}

/// A key that was revoked is refused at its claim, and again at the code.
#[test]
fn a_revoked_key_does_not_come_back_through_linking() {
    let mut lab = Lab::account(16, 3);
    lab.unplug(2);
    assert!(lab.revoke(0, 2).is_ok());
    // Its machine pretends to be new.
    lab.devices[2].store = MemoryStore::new();
    lab.restart(2);
    let open = Command::OpenPairing {
        timeout: Duration::from_secs(120),
        anywhere: false,
        label: None,
        name: None,
        addresses: vec![Lab::address(0)],
    };
    let Ok(Reply::Opened { pairing, text, .. }) = lab.order(0, open) else { panic!("no challenge") };
    let challenge = Challenge::parse(&text).unwrap();
    assert!(lab.order(2, Command::Join { challenge, name: None, anywhere: false }).is_ok());
    let (at_shower, at_joiner) = (lab.new_conn(), lab.new_conn());
    lab.wires.insert((0, at_shower), (2, at_joiner));
    lab.wires.insert((2, at_joiner), (0, at_shower));
    let dialled = lab.devices[2].dialled_link.take();
    let (s, j) = (lab.id(0), lab.id(2));
    let link = |conn, peer, dialled, address| Input::LinkConnected { conn, peer, dialled, address, exporter: [7; 32] };
    lab.feed(0, link(at_shower, j, None, Lab::address(2)));
    lab.feed(2, link(at_joiner, s, dialled, Lab::address(0)));
    assert_eq!(lab.closed_with(0, at_shower), Some(CloseCode::RevokedKey));
    assert!(lab.confirm(0, pairing, "000000").is_err());
}

/// What this version does not understand must not keep an owner from revoking who said it, nor outlive that.
#[test]
fn nobody_is_kept_from_revoking_by_what_they_do_not_understand() {
    let mut lab = Lab::account(17, 3);
    let session = lab.session(0);
    let conn = lab.puppet(0, 2);
    let member = lab.devices[2].config.identity.clone();
    let action = crate::roster::statement::Action::Unknown { kind: 0x8777, body: vec![1] };
    let statement = lab.devices[2].engine.roster.draft(&member, lab.now.wall, action, &mut lab.rng);
    lab.say(0, conn, &Message::Statements(vec![statement.bytes.clone()]));
    let mut newer = statement.bytes;
    newer[0] = 2;
    lab.say(0, conn, &Message::Statements(vec![newer]));
    assert_eq!(lab.put(0, session, "k", b"v").unwrap_err().kind, ErrorKind::UpdateNeeded);
    assert_eq!(lab.revoke(0, 2), Ok(Reply::Revoked(vec![lab.id(2)])));
    assert_eq!(lab.put(0, session, "k", b"v"), Ok(Reply::Done), "the revoked device still decides who writes");
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

/// What a revoked device still holds goes after a week, whatever else it had been looking after.
#[test]
fn the_ciphertext_of_a_revoked_owner_goes_after_a_week() {
    let mut lab = Lab::account(18, 2);
    lab.add(2);
    let session = lab.session(1);
    assert!(lab.put(1, session, "k", b"v").is_ok());
    let (pairing, code) = lab.agree(1, 2);
    lab.unplug(2);
    assert!(lab.confirm(1, pairing, &code).is_ok());
    assert!(lab.revoke(0, 1).is_ok());
    assert!(lab.engine(1).local.out && !lab.engine(1).journals.vector().is_empty());
    for _ in 0..8 * 48 {
        lab.pass(3 * limits::AGE_STEP);
    }
    assert!(lab.engine(1).journals.vector().is_empty());
}

/// A device that an owner made a member stays one: only one that nobody has decided about becomes an owner by itself.
#[test]
fn a_device_that_was_made_a_member_is_not_promoted() {
    let mut lab = Lab::account(19, 3);
    let (member, set) = (lab.id(2), |device, role| Command::SetRole { device, role });
    assert!(lab.order(0, set(member, crate::roster::Role::Owner)).is_ok());
    assert!(lab.order(0, set(member, crate::roster::Role::Member)).is_ok());
    for _ in 0..60 {
        lab.pass(3 * limits::AGE_STEP);
    }
    assert_eq!(lab.engine(0).roster.evaluation().role(member), Some(crate::roster::Role::Member));
}

/// The revoker names how far it honours the revoked device's journal. Who holds more forgets it, and what that had
/// replaced is read again.
#[test]
fn what_a_revoked_device_wrote_behind_its_honoured_position_does_not_count() {
    let mut lab = Lab::account(20, 3);
    let session = lab.session(0);
    assert!(lab.put(2, session, "key", b"honoured").is_ok());
    assert_eq!(lab.read(0, session, "key").as_deref(), Some(&b"honoured"[..]));
    lab.unplug_from(0, 1);
    lab.unplug_from(0, 2);
    assert!(lab.put(2, session, "key", b"behind").is_ok());
    assert!(lab.put(2, session, "other", b"behind, too").is_ok());
    assert_eq!(lab.read(1, session, "key").as_deref(), Some(&b"behind"[..]));
    assert!(lab.revoke(0, 2).is_ok());
    lab.connect(0, 1);
    assert_eq!(lab.status(1, 2), Some(Status::Revoked));
    for at in [0, 1] {
        assert_eq!(lab.read(at, session, "key").as_deref(), Some(&b"honoured"[..]), "device {at}");
        assert_eq!(lab.read(at, session, "other"), None, "device {at}");
    }
    let held = |lab: &Lab, at| lab.engine(at).journals.vector();
    assert_eq!(held(&lab, 0), held(&lab, 1));
    // It is forgotten on disk as well.
    lab.restart(1);
    assert_eq!(lab.read(1, session, "key").as_deref(), Some(&b"honoured"[..]));
}

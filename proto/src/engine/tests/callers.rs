//! Clients of one device, and strangers on its linking socket.

use super::*;
use crate::engine::command::Seen;
use crate::engine::error::ErrorKind;
use crate::engine::view::PairingState;

const OTHER: Caller = Caller { id: CallerId(2), kind: CallerKind::User };

fn order_as(lab: &mut Lab, at: usize, caller: Caller, command: Command) -> Result<Reply, CommandError> {
    lab.devices[at].replies.clear();
    lab.feed(at, Input::Command { id: CommandId(9), caller, command });
    lab.devices[at].replies.remove(0)
}

/// A pairing is its owner's: nobody else reads, confirms, accepts or cancels it.
#[test]
fn another_client_has_no_part_in_a_pairing() {
    let mut lab = Lab::new(40, 2);
    let (pairing, code) = lab.agree(0, 1);
    let joining = lab.engine(1).join.as_ref().unwrap().id;
    let tries = [
        (0, Command::ConfirmCode { pairing, code: code.clone() }),
        (0, Command::Pairing(pairing)),
        (0, Command::CancelPairing(pairing)),
        (1, Command::Code(joining)),
        (1, Command::AcceptOffer { pairing: joining, sessions: OldSessions::Discard }),
        (1, Command::CancelPairing(joining)),
    ];
    for (at, command) in tries {
        assert_eq!(order_as(&mut lab, at, OTHER, command).unwrap_err().kind, ErrorKind::NotFound);
    }
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
}

/// An app in a sandbox neither links nor revokes, nor sees what is not its own.
#[test]
fn a_sandboxed_app_reaches_its_own_sessions_only() {
    let mut lab = Lab::account(41, 2);
    let session = lab.session(0);
    let app = |name: &str| Caller { id: CallerId(3), kind: CallerKind::Sandboxed(name.to_owned()) };
    let get = Command::Get { session, key: b"k".to_vec() };
    let devices = vec![lab.id(1)];
    for (caller, command, kind) in [
        (app("other"), get.clone(), ErrorKind::NotFound),
        (app(""), get, ErrorKind::NotFound),
        (app("other"), Command::Changes { session, cursor: None, limit: 9 }, ErrorKind::NotFound),
        (
            // Not even whether there is such a key.
            app("other"),
            Command::Put { session, key: b"k".to_vec(), value: vec![], only_if: Some(Seen::Absent) },
            ErrorKind::NotFound,
        ),
        (app("app"), Command::Revoke { devices, reason: String::new() }, ErrorKind::NotAllowed),
        (app("app"), Command::Erase, ErrorKind::NotAllowed),
        (
            app(""),
            Command::CreateSession { app: String::new(), title: String::new(), expires: Wall(0) },
            ErrorKind::InvalidArgument,
        ),
    ] {
        assert_eq!(order_as(&mut lab, 0, caller, command).unwrap_err().kind, kind);
    }
    assert_eq!(lab.status(0, 1), Some(Status::Linked));
}

/// Whoever shows a challenge and goes away leaves nothing open, and nobody waiting.
#[test]
fn a_challenge_ends_with_the_client_that_shows_it() {
    let mut lab = Lab::new(42, 2);
    let (pairing, code) = lab.agree(0, 1);
    lab.feed(0, Input::CallerGone(USER.id));
    assert!(lab.confirm(0, pairing, &code).is_err());
    assert!(lab.engine(1).local.pending.is_none());
    assert_eq!(lab.engine(0).account(), None, "no account came of it");
}

/// The code may be typed after the connection broke; the link completes at the next contact.
#[test]
fn a_code_typed_after_the_connection_broke_links() {
    let mut lab = Lab::new(43, 2);
    let (pairing, code) = lab.agree(0, 1);
    lab.unplug(1);
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    assert!(lab.engine(1).local.pending.is_some());
    lab.connect(0, 1);
    assert_eq!(lab.status(1, 1), Some(Status::Linked));
}

/// A second key that saw the challenge ends the attempt, also for the first.
#[test]
fn a_second_claimant_ends_the_attempt_for_both() {
    let mut lab = Lab::new(44, 3);
    let (pairing, code) = lab.agree(0, 1);
    let challenge = lab.engine(0).show.as_ref().unwrap().shower.challenge().clone();
    assert!(lab.order(2, Command::Join { challenge, name: None, anywhere: false }).is_ok());
    let dialled = lab.devices[2].dialled_link.take();
    let (at_shower, at_joiner) = (lab.new_conn(), lab.new_conn());
    lab.wires.insert((0, at_shower), (2, at_joiner));
    lab.wires.insert((2, at_joiner), (0, at_shower));
    let (s, j) = (lab.id(0), lab.id(2));
    let link = |conn, peer, dialled, address| Input::LinkConnected { conn, peer, dialled, address, exporter: [8; 32] };
    lab.feed(0, link(at_shower, j, None, Lab::address(2)));
    lab.feed(2, link(at_joiner, s, dialled, Lab::address(0)));
    assert_eq!(lab.confirm(0, pairing, &code).unwrap_err().kind, ErrorKind::SecondClaimant);
    assert!(lab.engine(1).local.pending.is_none());
    let Ok(Reply::Pairing(view)) = lab.order(0, Command::Pairing(pairing)) else { panic!("no pairing") };
    assert_eq!(view.state, PairingState::Failed);
}

/// Taken back too late: the device leaves the account that it never came to, and keeps what it had.
#[test]
fn a_join_that_was_taken_back_too_late_costs_nothing() {
    let mut lab = Lab::new(45, 2);
    let session = lab.session(1);
    assert!(lab.put(1, session, "k", b"v").is_ok());
    let (pairing, code) = lab.agree(0, 1);
    let joining = lab.engine(1).join.as_ref().unwrap().id;
    // The wire is dead, and neither side knows.
    lab.wires.clear();
    assert_eq!(lab.order(1, Command::CancelPairing(joining)), Ok(Reply::Done));
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    lab.pass(limits::LINK_ANSWER + Duration::from_secs(1));
    lab.connect(0, 1);
    assert_eq!(lab.status(0, 1), Some(Status::Left));
    assert!(lab.engine(1).local.pending.is_none() && !lab.engine(1).local.out);
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

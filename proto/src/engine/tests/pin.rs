//! The PIN: what wants it, what wrong ones cost, and who is held to it.

use std::time::Duration;

use super::Lab;
use crate::engine::command::{Command, Reply};
use crate::engine::error::{CommandError, ErrorKind};
use crate::id::StatementId;
use crate::key::{self, PinSigner, Secret};
use crate::limits;
use crate::roster::statement::{Action, PinSetting, Revoke};
use crate::roster::tests::link;
use crate::roster::{Role, Status, VoidReason};
use crate::store::{Read, Table};
use crate::time::Wall;
use crate::wire::message::Message;

fn seed(pin: &str) -> Secret {
    Secret(key::sha256(&[pin.as_bytes()]).0)
}

fn setting(pin: &str) -> PinSetting {
    let key = PinSigner::from_seed(&seed(pin)).public();
    PinSetting {
        key,
        salt: [1; 16],
        memory: *limits::PIN_MEMORY.start(),
        passes: *limits::PIN_PASSES.start(),
        lanes: 1,
    }
}

impl Lab {
    fn with_pin(&mut self, at: usize, pin: &str, command: Command) -> Result<Reply, CommandError> {
        self.order(at, Command::WithPin { seeds: vec![seed(pin)], command: Box::new(command) })
    }

    fn try_pin(&mut self, at: usize, pin: &str) -> Result<Reply, ErrorKind> {
        self.with_pin(at, pin, Command::VerifyPin).map_err(|error| error.kind)
    }

    fn set_pin(&mut self, at: usize, pin: &str) {
        assert_eq!(self.order(at, Command::SetPin(Some(setting(pin)))), Ok(Reply::Done));
    }

    fn revocation(&self, device: usize) -> Command {
        Command::Revoke { devices: vec![self.id(device)], reason: String::new() }
    }

    /// The rule that voids a statement, if it is.
    fn void(&self, at: usize, id: StatementId) -> Option<VoidReason> {
        self.engine(at).roster.evaluation().void.get(&id).copied()
    }
}

fn kind(result: Result<Reply, CommandError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

#[test]
fn linking_revoking_and_roles_want_the_pin_where_one_is_set() {
    let mut lab = Lab::account(301, 3);
    lab.set_pin(0, "secret");
    lab.add(3);
    // The code is right, and still is after the PIN was forgotten and mistyped.
    let (pairing, code) = lab.agree(1, 3);
    assert_eq!(kind(lab.confirm(1, pairing, &code)), Some(ErrorKind::PinRequired));
    let confirm = Command::ConfirmCode { pairing, code };
    assert_eq!(kind(lab.with_pin(1, "wrong", confirm.clone())), Some(ErrorKind::PinWrong));
    assert_eq!(lab.status(0, 3), None);
    assert_eq!(lab.with_pin(1, "secret", confirm), Ok(Reply::Done));
    assert_eq!(lab.status(0, 3), Some(Status::Linked));

    assert_eq!(kind(lab.revoke(1, 2)), Some(ErrorKind::PinRequired));
    let promote = Command::SetRole { device: lab.id(2), role: Role::Owner };
    assert_eq!(kind(lab.order(1, promote.clone())), Some(ErrorKind::PinRequired));
    assert_eq!(lab.with_pin(1, "secret", promote), Ok(Reply::Done));
    assert_eq!(lab.engine(0).roster.evaluation().role(lab.id(2)), Some(Role::Owner));
    let others = Command::RevokeOthers { reason: String::new() };
    assert_eq!(kind(lab.order(1, others)), Some(ErrorKind::PinRequired));
    assert!(lab.with_pin(1, "secret", lab.revocation(2)).is_ok());
    assert_eq!((lab.status(0, 2), lab.status(1, 2)), (Some(Status::Revoked), Some(Status::Revoked)));
    // Whoever leaves takes nobody else out.
    assert_eq!(lab.order(1, Command::Leave { reason: String::new() }), Ok(Reply::Done));
}

#[test]
fn the_pin_is_changed_and_removed_with_the_pin_only() {
    let mut lab = Lab::account(302, 3);
    assert_eq!(kind(lab.order(2, Command::SetPin(Some(setting("mine"))))), Some(ErrorKind::NotOwner));
    assert_eq!(lab.order(0, Command::SetPin(None)), Ok(Reply::Done), "there is none");
    assert_eq!(lab.try_pin(0, "secret"), Err(ErrorKind::Refused));
    lab.set_pin(0, "secret");
    assert_eq!(kind(lab.order(1, Command::SetPin(Some(setting("thief"))))), Some(ErrorKind::PinRequired));
    assert_eq!(kind(lab.order(1, Command::SetPin(None))), Some(ErrorKind::PinRequired));
    assert_eq!(lab.with_pin(1, "secret", Command::SetPin(Some(setting("other")))), Ok(Reply::Done));
    assert_eq!(lab.try_pin(0, "secret"), Err(ErrorKind::PinWrong));
    assert_eq!(lab.try_pin(0, "other"), Ok(Reply::Done));
    assert_eq!(lab.with_pin(1, "other", Command::SetPin(None)), Ok(Reply::Done));
    assert!(lab.engine(0).view().status.two_step.is_none());
    assert!(lab.revoke(0, 2).is_ok());
}

#[test]
fn wrong_pins_are_counted_waited_for_and_told_to_the_others() {
    let mut lab = Lab::account(303, 2);
    lab.set_pin(0, "secret");
    let told = |lab: &Lab| lab.engine(0).view().devices.iter().find(|d| d.id == lab.id(1)).map(|d| d.wrong_pins);
    for wrong in 1..=limits::PIN_FREE {
        assert_eq!(lab.try_pin(1, "wrong"), Err(ErrorKind::PinWrong));
        assert_eq!(told(&lab), Some(wrong));
    }
    // The right one does not help before its time, nor do a restart or another clock.
    assert_eq!(lab.try_pin(1, "secret"), Err(ErrorKind::PinWrong));
    lab.restart(1);
    lab.drain();
    lab.now.wall = Wall(lab.now.wall.0 + 1_000_000_000);
    assert_eq!(lab.try_pin(1, "secret"), Err(ErrorKind::PinWrong));
    lab.pass(limits::PIN_WAIT - Duration::from_secs(1));
    assert_eq!(lab.try_pin(1, "secret"), Err(ErrorKind::PinWrong));
    assert_eq!(told(&lab), Some(limits::PIN_FREE), "what was not looked at is not counted");
    lab.pass(Duration::from_secs(1));
    // One more wrong one doubles it.
    assert_eq!(lab.try_pin(1, "wrong"), Err(ErrorKind::PinWrong));
    lab.pass(2 * limits::PIN_WAIT - Duration::from_secs(1));
    assert_eq!(lab.try_pin(1, "secret"), Err(ErrorKind::PinWrong));
    lab.pass(Duration::from_secs(1));
    assert_eq!(lab.try_pin(1, "secret"), Ok(Reply::Done));
    lab.connect(0, 1);
    assert_eq!(told(&lab), Some(0), "a right one ends it");
    assert_eq!(lab.try_pin(1, "wrong"), Err(ErrorKind::PinWrong));
    assert_eq!(lab.try_pin(1, "secret"), Ok(Reply::Done), "and begins anew");
}

#[test]
fn the_longest_wait_is_an_hour() {
    let mut lab = Lab::account(304, 2);
    lab.set_pin(0, "secret");
    for _ in 0..limits::PIN_FREE + 40 {
        lab.try_pin(0, "wrong").unwrap_err();
        lab.hours(1);
    }
    assert_eq!(lab.try_pin(0, "secret"), Ok(Reply::Done));
}

#[test]
fn every_device_says_that_it_counts_with_the_pin_and_a_new_one_does_at_once() {
    let mut lab = Lab::account(305, 3);
    lab.set_pin(0, "secret");
    let known = |lab: &Lab, at| lab.engine(at).view().status.two_step.as_ref().map(|two| (two.known_on, two.known_of));
    lab.pass(Duration::from_secs(5));
    assert_eq!((known(&lab, 0), known(&lab, 2)), (Some((3, 3)), Some((3, 3))));
    lab.add(3);
    let (pairing, code) = lab.agree(0, 3);
    assert_eq!(lab.with_pin(0, "secret", Command::ConfirmCode { pairing, code }), Ok(Reply::Done));
    lab.connect(0, 3);
    lab.pass(Duration::from_secs(5));
    assert_eq!((known(&lab, 0), known(&lab, 1)), (Some((4, 4)), Some((4, 4))));
}

#[test]
fn with_the_pin_a_new_device_is_an_owner_at_once_and_nobody_becomes_one_by_waiting() {
    let mut lab = Lab::account(306, 3);
    lab.set_pin(0, "secret");
    lab.add(3);
    let (pairing, code) = lab.agree(0, 3);
    assert_eq!(lab.with_pin(0, "secret", Command::ConfirmCode { pairing, code }), Ok(Reply::Done));
    let role = |lab: &Lab, of| lab.engine(1).roster.evaluation().role(lab.id(of));
    assert_eq!((role(&lab, 2), role(&lab, 3)), (Some(Role::Member), Some(Role::Owner)));
    lab.hours(26);
    assert_eq!(role(&lab, 2), Some(Role::Member), "it was linked without the PIN");
}

#[test]
fn a_device_that_never_completed_is_revoked_without_the_pin() {
    let mut lab = Lab::account(307, 3);
    lab.set_pin(0, "secret");
    lab.add(3);
    let (pairing, code) = lab.agree(0, 3);
    lab.unplug(3);
    assert_eq!(lab.with_pin(0, "secret", Command::ConfirmCode { pairing, code }), Ok(Reply::Done));
    lab.hours(25);
    assert_eq!(lab.status(1, 3), Some(Status::Revoked));
}

/// Device 1 runs a program of its own: it signs whatever it likes, with the parents that it likes.
#[test]
fn peers_refuse_what_a_cheat_says_without_the_pin() {
    let mut lab = Lab::account(308, 3);
    lab.add(3);
    let before = lab.engine(1).roster.clone();
    lab.set_pin(0, "secret");
    lab.pass(Duration::from_secs(5));
    // What it says from now on the last one hears from the first.
    lab.unplug_from(2, 1);
    lab.pass(Duration::from_secs(5));
    let after = lab.engine(1).roster.clone();
    assert!(after.statements().count() > before.statements().count() + 1, "it said that it counts with the PIN");
    let at = lab.puppet(0, 1);
    let cheat = lab.devices[1].config.identity.clone();
    let revoke = Action::Revoke(Revoke {
        device: lab.id(2),
        reason_code: 0,
        text: String::new(),
        with_linked: false,
        honoured: std::collections::BTreeMap::new(),
    });
    let link = link(before.account().unwrap(), &lab.devices[3].config.identity, Role::Owner);
    let role = Action::Role { device: lab.id(0), role: Role::Member };
    let pin = Action::Pin(Some(setting("thief")));
    let thief = PinSigner::from_seed(&seed("thief"));
    let now = lab.now.wall;
    for action in [link, revoke, role, pin] {
        for (view, signer) in [(&after, None), (&after, Some(&thief)), (&before, None)] {
            let said = view.draft_countersigned(&cheat, signer, now, action.clone(), &mut lab.rng);
            lab.say(0, at, &Message::Statements(vec![said.bytes]));
            assert_eq!(lab.void(0, said.id), Some(VoidReason::NotCountersigned), "{action:?}");
            assert_eq!(lab.void(2, said.id), Some(VoidReason::NotCountersigned), "those who are told say the same");
        }
    }
    assert_eq!((lab.status(0, 2), lab.status(0, 3)), (Some(Status::Linked), None));
    assert_eq!(lab.engine(0).roster.evaluation().role(lab.id(0)), Some(Role::Owner));
    assert!(lab.with_pin(0, "secret", lab.revocation(1)).is_ok());
    assert_eq!(lab.status(2, 1), Some(Status::Revoked));
}

#[test]
fn what_the_pin_gives_is_not_in_the_store() {
    let mut lab = Lab::account(309, 2);
    lab.set_pin(0, "secret");
    assert_eq!(lab.try_pin(0, "secret"), Ok(Reply::Done));
    assert_eq!(lab.try_pin(0, "wrong"), Err(ErrorKind::PinWrong));
    let mut rows = Vec::new();
    for table in Table::ALL {
        lab.devices[0]
            .store
            .each(table, &[], &[0xff; 64], &mut |key, value| {
                rows.extend([key.to_vec(), value.to_vec()]);
                Ok(())
            })
            .unwrap();
    }
    assert!(!rows.is_empty());
    for secret in [seed("secret"), seed("wrong")] {
        assert!(!rows.iter().any(|row| row.windows(32).any(|window| window == secret.0)));
    }
}

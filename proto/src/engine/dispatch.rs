//! From a command to what carries it out: one row each.

use super::command::{Caller, CallerKind, Command, CommandId, Reply};
use super::error::ErrorKind;
use super::io::Output;
use super::out::reason;
use super::view::RevokedBy;
use super::{Cx, Engine, Fail, refuse};
use crate::store::StoreError;
use crate::wire::frame::CloseCode;

impl Engine {
    pub(super) fn command(
        &mut self,
        cx: &mut Cx<'_>,
        id: CommandId,
        caller: &Caller,
        command: Command,
    ) -> Result<(), StoreError> {
        let result = match authorise(caller, &command).and_then(|()| self.carry_out(cx, id, caller, command)) {
            Ok(Reply::Later) => return Ok(()),
            Ok(reply) => Ok(reply),
            Err(Fail::Refused(error)) => Err(error),
            Err(Fail::Store(error)) => return Err(error),
            Err(Fail::Peer(code)) => Err(super::error::CommandError::new(
                ErrorKind::Internal,
                format!("this device refused its own act: {}", text(code)),
            )),
        };
        self.outputs.push_back(Output::Reply { id, result });
        Ok(())
    }

    pub(super) fn carry_out(
        &mut self,
        cx: &mut Cx<'_>,
        id: CommandId,
        caller: &Caller,
        command: Command,
    ) -> Result<Reply, Fail> {
        if self.local.out && about_a_session(&command) {
            let RevokedBy { name, reason, .. } = self.removal_of(self.device());
            let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            return refuse(
                ErrorKind::Revoked,
                format!("this device was put out by {name}{why}; its keys are gone and nothing here can be read"),
            );
        }
        match command {
            Command::OpenPairing { timeout, anywhere, label, name, addresses } => {
                self.open_pairing(cx, caller.id, timeout, anywhere, label, name, &addresses)
            }
            Command::Join { challenge, name, anywhere } => self.join(cx, caller.id, challenge, name, anywhere),
            Command::AcceptOffer { pairing, sessions } => self.accept_offer(cx, caller.id, pairing, sessions),
            Command::ConfirmCode { pairing, code } => self.confirm_code(cx, caller.id, pairing, &code),
            Command::Code(pairing) => self.code(caller.id, pairing),
            Command::CancelPairing(pairing) => self.cancel_pairing(cx, caller.id, pairing),
            Command::Pairing(pairing) => self.pairing(caller.id, pairing),
            Command::Rename { device, name } => self.rename(cx, device, &name),
            Command::Ping(device) => self.ping(cx, id, device),
            Command::AddAddress { device, address } => self.give_address(cx, device, address),
            Command::RemoveAddress { device, address } => self.take_address(cx, device, &address),
            Command::SetPort(port) => {
                self.listens_on(port);
                Ok(Reply::Done)
            }
            Command::Dismiss(device) => self.dismiss(cx, device),
            Command::Revoke { devices, reason } => self.revoke(cx, &devices, &reason),
            Command::RevokeOthers { reason } => self.revoke_others(cx, &reason),
            Command::Suspend { device, reason } => self.suspend(cx, device, reason::UNSAID, &reason, Vec::new()),
            Command::Readmit(device) => self.readmit(cx, device),
            Command::SetRole { device, role } => self.set_role(cx, device, role),
            Command::WithPin { seeds, command } => self.with_pin(cx, id, caller, &seeds, *command),
            Command::VerifyPin => self.require_pin(true).map(|()| Reply::Done),
            Command::SetPin(setting) => self.set_pin(cx, setting),
            Command::Leave { reason } => self.leave(cx, &reason),
            Command::Erase => self.erase(),
            Command::CreateSession { app, title, expires } => self.create_session(cx, caller, &app, &title, expires),
            Command::Sessions(filter) => Ok(self.list_sessions(caller, &filter)),
            Command::Session(session) => self.one_session(caller, session),
            Command::EndSession { session, reason } => self.end_session(cx, caller, session, &reason),
            Command::Put { session, key, value, only_if } => self.put(cx, caller, session, &key, Some(&value), only_if),
            Command::Delete { session, key, only_if } => self.put(cx, caller, session, &key, None, only_if),
            Command::Get { session, key } => self.get(cx, caller, session, &key),
            Command::List { session, prefix, after, limit } => {
                self.list(cx, caller, session, &prefix, after.as_deref(), limit)
            }
            Command::Changes { session, cursor, limit } => self.changes_since(cx, caller, session, cursor, limit),
        }
    }
}

/// What a sandboxed app may do: sessions, and of those its own. What is not listed is refused.
fn authorise(caller: &Caller, command: &Command) -> Result<(), Fail> {
    if caller.kind == CallerKind::User {
        return Ok(());
    }
    if about_a_session(command) {
        return Ok(());
    }
    refuse(ErrorKind::NotAllowed, "a sandboxed app may use its own sessions only")
}

fn about_a_session(command: &Command) -> bool {
    matches!(
        command,
        Command::CreateSession { .. }
            | Command::Sessions(_)
            | Command::Session(_)
            | Command::EndSession { .. }
            | Command::Put { .. }
            | Command::Delete { .. }
            | Command::Get { .. }
            | Command::List { .. }
            | Command::Changes { .. }
    )
}

fn text(code: CloseCode) -> &'static str {
    code.text()
}

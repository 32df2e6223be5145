//! Telling a peer that it is out, or that this device is: the revocation, with the statements that prove it.

use std::time::Duration;

use super::io::{ConnId, Output};
use super::{Cx, Engine};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::Status;
use crate::roster::statement::{Action, Statement};
use crate::store::StoreError;
use crate::wire::frame::{CloseCode, Frame};
use crate::wire::message::Message;

impl Engine {
    /// Who linked a device.
    pub(super) fn linker_of(&self, device: DeviceId) -> DeviceId {
        self.roster.evaluation().device(device).map_or(device, |device| device.linked_by)
    }

    /// A revoked or suspended key gets what says so and the statements that prove it, and nothing else; one that was linked
    /// by a key that was being removed gets that removal.
    pub(super) fn hand_over_removal(&mut self, id: ConnId, device: DeviceId) {
        self.say_who_is_out(id, device);
        self.told(device);
    }

    /// Hands a peer the removal of a device, which may be another, and closes.
    pub(super) fn say_who_is_out(&mut self, id: ConnId, device: DeviceId) {
        self.send_proof(id, device);
        let suspended = self.roster.evaluation().device(device).is_some_and(|out| out.status == Status::Suspended);
        let code = if suspended { CloseCode::Suspended } else { CloseCode::Revoked };
        self.close(id, code, limits::REVOKED_WAIT);
    }

    fn send_proof(&mut self, id: ConnId, device: DeviceId) {
        let proof: Vec<Vec<u8>> =
            self.roster.proof_of_removal(device).into_iter().map(|statement| statement.bytes.clone()).collect();
        for piece in super::account::pieces(&proof) {
            self.outputs.push_back(Output::Send { conn: id, frame: Message::Revoked(piece).to_frame() });
        }
    }

    /// A device that is out talks to nobody, but says why to those who still count on it: whoever knows no other
    /// device learns it here, and what else happened with it.
    pub(super) fn say_why_out(&mut self, id: ConnId) {
        self.send_proof(id, self.device());
        // One that left stays for the answer: until somebody knows, it has not left for the others.
        if !self.local.untold {
            self.close(id, CloseCode::Revoked, limits::REVOKED_WAIT);
        }
    }

    /// A peer that hands this device its own leaving keeps it from now on.
    pub(super) fn told_of_leaving(&mut self, cx: &mut Cx<'_>, id: ConnId, frame: &Frame) -> Result<(), StoreError> {
        let me = self.device();
        let out = |bytes: &Vec<u8>| {
            Statement::decode(bytes)
                .is_ok_and(|said| matches!(said.action, Action::Revoke(revoke) if revoke.device == me))
        };
        if !matches!(Message::from_frame(frame), Ok(Some(Message::Revoked(proof))) if proof.iter().any(out)) {
            return Ok(());
        }
        self.local.untold = false;
        self.local.save(cx.store)?;
        self.close(id, CloseCode::Done, Duration::ZERO);
        Ok(())
    }

    /// Cuts the connections of a device that is out, after having handed it the proof.
    pub(super) fn close_device(&mut self, device: DeviceId) {
        let conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, conn)| conn.peer == device && !conn.closing).map(|(id, _)| *id).collect();
        for id in conns {
            self.hand_over_removal(id, device);
        }
    }
}

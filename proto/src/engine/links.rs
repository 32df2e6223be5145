//! Connections on `kinlink-link/1`, whichever side dialled: from them to the attempt that they belong to.

use std::time::Duration;

use super::command::PairingId;
use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail};
use crate::id::DeviceId;
use crate::limits;
use crate::link::Message;
use crate::store::StoreError;
use crate::time::Mono;
use crate::wire::Address;
use crate::wire::frame::{CloseCode, Frame};

/// How long a refusal may take to reach the other side of a linking connection.
const REFUSAL: Duration = Duration::from_secs(1);

/// The peer of a linking connection.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) peer: DeviceId,
    pub(super) address: Address,
    pub(super) exporter: [u8; 32],
    /// This side dialled: the peer is the shower.
    pub(super) dialled: bool,
    pub(super) claim_by: Option<Mono>,
}

impl Engine {
    pub(super) fn link_connected(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        peer: DeviceId,
        dialled: Option<PairingId>,
        address: Address,
        exporter: [u8; 32],
    ) -> Result<(), StoreError> {
        let claim_by = dialled.is_none().then(|| cx.now.mono.after(limits::HELLO));
        self.links
            .insert(conn, Stranger { peer, address: address.clone(), exporter, dialled: dialled.is_some(), claim_by });
        match dialled {
            Some(pairing) => self.shower_reached(cx, conn, pairing, &address, &exporter),
            None if self.show.is_none() => self.refuse_link(conn, CloseCode::PairingClosed),
            None => {}
        }
        Ok(())
    }

    pub(super) fn send_link(&mut self, conn: ConnId, message: &Message) {
        self.outputs.push_back(Output::Send { conn, frame: message.to_frame() });
    }

    /// Says why, and closes.
    pub(super) fn refuse_link(&mut self, conn: ConnId, code: CloseCode) {
        if self.links.contains_key(&conn) {
            self.send_link(conn, &Message::Refused(code));
            self.close_link(conn, code);
        }
    }

    pub(super) fn close_link(&mut self, conn: ConnId, code: CloseCode) {
        if self.links.remove(&conn).is_some() {
            self.outputs.push_back(Output::Close { conn, code, linger: REFUSAL });
        }
    }

    pub(super) fn link_received(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: &Frame) -> Result<(), StoreError> {
        let message = match Message::from_frame(frame) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.link_broken(conn, crate::link::message::close_code(&error));
                return Ok(());
            }
        };
        let result = match self.links.get(&conn).map(|link| link.dialled) {
            Some(true) => self.shower_said(cx, conn, message),
            Some(false) => self.joiner_said(cx, conn, message),
            None => Ok(()),
        };
        match result {
            Err(Fail::Store(error)) => Err(error),
            Err(Fail::Peer(code)) => {
                self.link_broken(conn, code);
                Ok(())
            }
            Err(Fail::Refused(_)) | Ok(()) => Ok(()),
        }
    }

    /// The peer of a linking connection did what it must not.
    fn link_broken(&mut self, conn: ConnId, code: CloseCode) {
        let dialled = self.links.get(&conn).is_some_and(|link| link.dialled);
        self.refuse_link(conn, code);
        if dialled {
            self.join_failed(conn, code);
        } else {
            self.claimant_gone(conn);
        }
    }

    pub(super) fn link_disconnected(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        code: Option<CloseCode>,
    ) -> Result<(), StoreError> {
        let Some(link) = self.links.remove(&conn) else { return Ok(()) };
        if link.dialled {
            return self.shower_lost(cx, conn, code);
        }
        self.claimant_gone(conn);
        Ok(())
    }
}

//! What a joiner says to the side that shows the challenge, and the code that its user types: up to the commit that links.

use super::command::{CallerId, PairingId, Reply};
use super::error::ErrorKind;
use super::io::{ConnId, Output};
use super::refusals::pairing_error;
use super::show::genesis_label;
use super::{Cx, Engine, Fail, refuse};
use crate::id::{ChallengeId, DeviceId};
use crate::link::message::{Claim, Linked};
use crate::link::{ClaimVerdict, Claimant, Confirm, Message, OfferParams, Peer};
use crate::roster::statement::{Action, Link};
use crate::roster::{Custody, Role, Status};
use crate::wire::Address;
use crate::wire::frame::CloseCode;

impl Engine {
    pub(super) fn joiner_said(&mut self, cx: &mut Cx<'_>, conn: ConnId, message: Message) -> Result<(), Fail> {
        let Some(show) = self.show.as_mut() else { return Err(Fail::Peer(CloseCode::PairingClosed)) };
        match message {
            Message::Claim(claim) => return self.claimed(cx, conn, &claim),
            Message::Accept(accept) => {
                show.shower.accept(conn, *accept).map_err(Fail::Peer)?;
            }
            Message::Recommit(recommit) => {
                let frame = show.shower.recommit(conn, recommit, cx.entropy).map_err(Fail::Peer)?;
                self.outputs.push_back(Output::Send { conn, frame });
            }
            Message::Open(nonce) => show.shower.opened(conn, nonce).map_err(Fail::Peer)?,
            Message::Done => self.close_link(conn, CloseCode::Done),
            Message::Cancel => self.joiner_stopped(cx, conn, CloseCode::Cancelled),
            Message::Refused(code) => self.joiner_stopped(cx, conn, code),
            _ => return Err(Fail::Peer(CloseCode::Protocol)),
        }
        self.tell_show();
        Ok(())
    }

    fn claimed(&mut self, cx: &mut Cx<'_>, conn: ConnId, claim: &Claim) -> Result<(), Fail> {
        let (Some(show), Some(link)) = (self.show.as_mut(), self.links.get_mut(&conn)) else { return Ok(()) };
        link.claim_by = None;
        let joiner = link.peer;
        let claimant = Claimant { conn, joiner, source: &link.address, exporter: &link.exporter };
        let verdict = show.shower.claim(cx.now.mono, claimant, claim);
        match verdict {
            ClaimVerdict::SecondClaimant { first: Some(first) } => self.refuse_link(first, CloseCode::SecondClaimant),
            ClaimVerdict::Reclaimed { superseded: Some(old) } => self.close_link(old, CloseCode::Duplicate),
            _ => {}
        }
        if let Some(code) = verdict.refusal() {
            self.refuse_link(conn, code);
            self.end_show(cx.now.mono);
            return Ok(());
        }
        if let Some(code) = self.barred(joiner) {
            self.stop_show(cx.now.mono, code);
            self.refuse_link(conn, code);
            return Ok(());
        }
        self.make_offer(cx, conn)
    }

    /// Why the roster does not let a device be linked.
    fn barred(&self, joiner: DeviceId) -> Option<CloseCode> {
        match self.roster.evaluation().device(joiner).map(|device| device.status) {
            Some(Status::Linked) => Some(CloseCode::AlreadyLinked),
            Some(Status::Revoked | Status::Left | Status::Suspended) => Some(CloseCode::RevokedKey),
            Some(Status::Unconfirmed) | None => match self.may_link() {
                Ok(()) => None,
                Err(Fail::Refused(error)) if error.kind == ErrorKind::TooManyDevices => Some(CloseCode::TooManyDevices),
                Err(_) => Some(CloseCode::NotOwner),
            },
        }
    }

    fn make_offer(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> Result<(), Fail> {
        let genesis = self.show.as_ref().and_then(|show| show.genesis.clone());
        let (account, label, statements) = match &genesis {
            Some(genesis) => (genesis.id.into(), genesis_label(genesis), vec![genesis.bytes.clone()]),
            None => match self.account() {
                Some(account) => (account, self.label(), self.roster_bytes()),
                None => return Err(Fail::Peer(CloseCode::Internal)),
            },
        };
        let params = OfferParams {
            account,
            label,
            name: self.own_name(),
            platform: self.config.platform.clone(),
            lease: 0,
            statements,
            addresses: self.addresses.clone(),
        };
        let Some(show) = self.show.as_mut() else { return Ok(()) };
        let frame = show.shower.offer(params, &self.config.identity, cx.entropy).map_err(Fail::Peer)?;
        self.outputs.push_back(Output::Send { conn, frame });
        self.tell_show();
        Ok(())
    }

    /// Every statement that counts, parents first.
    fn roster_bytes(&self) -> Vec<Vec<u8>> {
        self.roster.missing(&[]).into_iter().map(|statement| statement.bytes.clone()).collect()
    }

    /// The new device's user took it back, or that device cannot go on. It is told how it stands: cancelled for good, or linked already.
    fn joiner_stopped(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: CloseCode) {
        let Some(show) = self.show.as_mut() else { return };
        if show.shower.refused(conn, code) {
            self.end_show(cx.now.mono);
            self.refuse_link(conn, code);
        } else {
            self.close_link(conn, CloseCode::Done);
        }
    }

    pub(super) fn claimant_gone(&mut self, conn: ConnId) {
        if let Some(show) = self.show.as_mut() {
            show.shower.disconnected(conn);
            self.tell_show();
        }
    }

    pub(super) fn confirm_code(
        &mut self,
        cx: &mut Cx<'_>,
        caller: CallerId,
        pairing: PairingId,
        code: &str,
    ) -> Result<Reply, Fail> {
        if !self.show.as_ref().is_some_and(|show| show.id == pairing && show.owner == caller) {
            return refuse(ErrorKind::NotFound, "there is no such pairing");
        }
        // Before the code: a forgotten PIN is no wrong code.
        self.require_pin(true)?;
        let Some(show) = self.show.as_mut() else { return refuse(ErrorKind::NotFound, "there is no such pairing") };
        let conn = show.shower.connection();
        match show.shower.confirm(cx.now.mono, code) {
            Confirm::Right { peer, challenge } => {
                let result = self.link(cx, conn, &peer, challenge);
                if result.is_err() {
                    self.stop_show(cx.now.mono, CloseCode::Internal);
                }
                result
            }
            Confirm::Wrong { tries_left, frame } => {
                if let Some(conn) = conn.filter(|conn| self.links.contains_key(conn)) {
                    self.outputs.push_back(Output::Send { conn, frame });
                }
                self.tell_show();
                let tries = if tries_left == 1 { "one try is left" } else { "two tries are left" };
                refuse(
                    ErrorKind::WrongCode,
                    format!("that is not the code that the new device shows; it shows a new one now, {tries}"),
                )
            }
            Confirm::TooMany(code) => {
                self.stop_show(cx.now.mono, code);
                refuse(ErrorKind::TooManyTries, "the code was wrong three times; nothing was linked")
            }
            Confirm::Malformed => {
                refuse(ErrorKind::InvalidArgument, "the code has six digits; this was not counted as a try")
            }
            Confirm::NotReady => {
                refuse(ErrorKind::PairingClosed, "there is no code to type yet; wait until the new device shows one")
            }
            Confirm::Ended(code) => {
                self.end_show(cx.now.mono);
                Err(pairing_error(code).into())
            }
        }
    }

    /// The commit point: `link`, with everything that the new device needs, in this one transaction.
    fn link(
        &mut self,
        cx: &mut Cx<'_>,
        conn: Option<ConnId>,
        peer: &Peer,
        challenge: ChallengeId,
    ) -> Result<Reply, Fail> {
        if let Some(code) = self.barred(peer.device) {
            self.stop_show(cx.now.mono, code);
            return Err(pairing_error(code).into());
        }
        let genesis = self.show.as_mut().and_then(|show| show.genesis.take());
        if let (Some(genesis), None) = (&genesis, self.account()) {
            self.adopt_genesis(cx, genesis)?;
        }
        self.write_epoch(cx)?;
        let action = self.link_action(peer, challenge);
        self.state(cx, action)?;
        self.note_linked(cx, peer.device)?;
        let sealed = self.seal_for(cx, peer.device);
        let (epochs, histories) =
            sealed.map_or((Vec::new(), Vec::new()), |(epoch, history)| (vec![epoch], vec![history]));
        if let Some(conn) = conn.filter(|conn| self.links.contains_key(conn)) {
            let linked = Linked {
                statements: self.roster_bytes(),
                epochs,
                histories,
                reports: self.reports_to_link(),
                addresses: self.addresses.clone(),
                ..Linked::default()
            };
            self.send_link(conn, &Message::Linked(Box::new(linked)));
        }
        if let Some(show) = self.show.as_mut() {
            show.linked = Some(peer.device);
        }
        self.end_show(cx.now.mono);
        Ok(Reply::Done)
    }

    fn link_action(&self, peer: &Peer, challenge: ChallengeId) -> Action {
        let show = self.show.as_ref();
        let terms = show.map(|show| &show.shower.challenge().terms);
        let origin = show.and_then(|show| show.shower.state().source);
        Action::Link(Box::new(Link {
            device: peer.device,
            hpke: peer.hpke.clone(),
            role: terms.map_or(Role::Member, |terms| terms.role),
            custody: terms.map_or(Custody::Personal, |terms| terms.custody),
            holder: String::new(),
            lease: 0,
            name: peer.name.clone(),
            platform: peer.platform.clone(),
            origin: origin.unwrap_or_else(Address::none),
            replaces: peer.replaces.unwrap_or(DeviceId::NONE),
            challenge,
            consent: peer.consent,
        }))
    }
}

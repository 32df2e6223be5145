//! The side that answers a challenge, and what makes this device part of an account.

use super::command::{CallerId, OldSessions, PairingId, Reply};
use super::error::{CommandError, ErrorKind};
use super::io::{ConnId, Event, Output};
use super::local::Pending;
use super::refusals::joining_error;
use super::view::{AddressSource, Direction, PairingState, PairingView};
use super::{Cx, Engine, Fail, refuse};
use crate::discovery::Key;
use crate::limits;
use crate::link::{AcceptParams, Joiner, JoinerStage, Message, OfferView};
use crate::names::clean;
use crate::roster::{Role, Roster, Status};
use crate::store::StoreError;
use crate::time::{Mono, Wall};
use crate::wire::Address;
use crate::wire::challenge::Challenge;
use crate::wire::frame::CloseCode;

/// An attempt to join an account.
#[derive(Debug)]
pub(super) struct Join {
    pub(super) id: PairingId,
    pub(super) owner: CallerId,
    pub(super) joiner: Joiner,
    conn: Option<ConnId>,
    address: Option<Address>,
    offer: Option<OfferView>,
    /// Said in place of what the close code would say.
    error: Option<CommandError>,
    /// When the shower's machine must have answered.
    answer_by: Option<Mono>,
}

impl Join {
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.joiner.stage(), JoinerStage::Linked | JoinerStage::Ended(_))
    }

    fn has_consented(&self) -> bool {
        matches!(self.joiner.stage(), JoinerStage::Code | JoinerStage::Retrying | JoinerStage::Cancelling)
    }

    /// Taken back by the user; only the shower's answer is missing, which *pending* gets in any case.
    fn is_cancelled(&self) -> bool {
        self.joiner.stage() == JoinerStage::Cancelling
    }
}

impl Engine {
    pub(super) fn join(
        &mut self,
        cx: &mut Cx<'_>,
        owner: CallerId,
        challenge: Challenge,
        name: Option<String>,
        anywhere: bool,
    ) -> Result<Reply, Fail> {
        self.may_join()?;
        let (shower, addresses) = (challenge.shower, challenge.terms.addresses.clone());
        // Both sides must allow it: the challenge alone comes from whoever made it.
        let anywhere = anywhere && challenge.terms.anywhere;
        let key = Key::of_challenge(&challenge);
        let joiner = match Joiner::start(challenge, self.device()) {
            Ok(joiner) => joiner,
            Err(error) => return refuse(ErrorKind::BadChallenge, error.to_string()),
        };
        if let Some(name) = name.filter(|name| !clean(name).is_empty()) {
            self.rename(cx, self.device(), &name)?;
        }
        if let Some(conn) = self.join.take().and_then(|cancelled| cancelled.conn) {
            self.close_link(conn, CloseCode::Cancelled);
        }
        let pairing = self.next_pairing();
        self.join = Some(Join {
            id: pairing,
            owner,
            joiner,
            conn: None,
            address: None,
            offer: None,
            error: None,
            answer_by: None,
        });
        self.outputs.push_back(Output::DialLink { pairing, shower, addresses, anywhere, key });
        Ok(Reply::Joining(pairing))
    }

    fn may_join(&self) -> Result<(), Fail> {
        if self.own_status() == Some(Status::Unconfirmed) {
            return refuse(
                ErrorKind::LeaveFirst,
                "this device was linked by one that was being revoked; `kinctl erase` lets it be linked anew",
            );
        }
        self.may_write()?;
        if self.roster.evaluation().linked().count() > 1 {
            return refuse(
                ErrorKind::LeaveFirst,
                "this device is linked with others already; `kinctl leave` takes it out of that account first",
            );
        }
        if self.join.as_ref().is_some_and(|join| join.is_active() && !join.is_cancelled()) {
            return refuse(ErrorKind::PairingOpen, "this device is joining already; cancel that first");
        }
        if self.show.as_ref().is_some_and(super::show::Show::is_open) {
            return refuse(ErrorKind::PairingOpen, "this device shows a challenge itself; cancel that first");
        }
        Ok(())
    }

    pub(super) fn shower_reached(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        pairing: PairingId,
        address: &Address,
        exporter: &[u8; 32],
    ) {
        let Some(join) = self.join.as_mut().filter(|join| join.id == pairing) else {
            return self.close_link(conn, CloseCode::Cancelled);
        };
        match join.joiner.connected(exporter, cx.entropy) {
            Ok(frame) => {
                join.conn = Some(conn);
                join.address = Some(address.clone());
                join.answer_by = Some(cx.now.mono.after(limits::LINK_ANSWER));
                self.outputs.push_back(Output::Send { conn, frame });
            }
            Err(code) => self.close_link(conn, code),
        }
        self.tell_join();
    }

    pub(super) fn shower_said(&mut self, cx: &mut Cx<'_>, conn: ConnId, message: Message) -> Result<(), Fail> {
        let Some(join) = self.join.as_mut().filter(|join| join.conn == Some(conn)) else {
            return Err(Fail::Peer(CloseCode::Protocol));
        };
        let answer = match message {
            Message::Offer(offer) => {
                join.answer_by = None;
                let offer = join.joiner.offer(*offer).map_err(Fail::Peer)?;
                self.offered(offer)?;
                None
            }
            Message::WrongCode(wrong) => join.joiner.wrong_code(wrong, cx.entropy).map_err(Fail::Peer)?,
            Message::Nonce(nonce) => join.joiner.nonce(&nonce).map_err(Fail::Peer)?,
            Message::Linked(linked) => return self.linked(cx, conn, &linked),
            Message::Refused(code) => return self.refused(cx, conn, code),
            Message::Cancel => return self.refused(cx, conn, CloseCode::Cancelled),
            _ => return Err(Fail::Peer(CloseCode::Protocol)),
        };
        if let Some(frame) = answer {
            self.outputs.push_back(Output::Send { conn, frame });
        }
        self.tell_join();
        Ok(())
    }

    /// The shower must be an owner of the account that it names, by statements that verify.
    fn offered(&mut self, offer: OfferView) -> Result<(), Fail> {
        let mut roster = Roster::new();
        roster.insert(&offer.statements).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        if roster.account() != Some(offer.account) {
            return Err(Fail::Peer(CloseCode::WrongAccount));
        }
        let Some(join) = self.join.as_mut() else { return Ok(()) };
        let evaluation = roster.evaluation();
        if evaluation.role(join.joiner.challenge().shower) != Some(Role::Owner) {
            return Err(Fail::Peer(CloseCode::NotOwner));
        }
        match evaluation.device(self.config.identity.device()).map(|device| device.status) {
            Some(Status::Linked) => return Err(Fail::Peer(CloseCode::AlreadyLinked)),
            Some(Status::Revoked | Status::Left | Status::Suspended) => return Err(Fail::Peer(CloseCode::RevokedKey)),
            Some(Status::Unconfirmed) | None => {}
        }
        join.offer = Some(offer);
        Ok(())
    }

    /// *Pending* is stored before the consent leaves: from then on only the shower's commit decides.
    pub(super) fn accept_offer(
        &mut self,
        cx: &mut Cx<'_>,
        caller: CallerId,
        pairing: PairingId,
        sessions: OldSessions,
    ) -> Result<Reply, Fail> {
        let (name, platform) = (self.own_name(), self.config.platform.clone());
        // What cannot be read now could not be brought along later either.
        self.bring_along(cx, sessions)?;
        let join = self.join.as_mut().filter(|join| join.id == pairing && join.owner == caller);
        let Some(join) = join else { return refuse(ErrorKind::NotFound, "there is no such pairing") };
        let (Some(offer), Some(conn), JoinerStage::Offered) = (&join.offer, join.conn, join.joiner.stage()) else {
            return refuse(ErrorKind::PairingClosed, "there is no offer to accept");
        };
        let params = AcceptParams { name, platform, replaces: None };
        let pending = Pending {
            account: offer.account,
            label: offer.label.clone(),
            shower: join.joiner.challenge().shower,
            addresses: offer.addresses.clone(),
            statements: offer.statements.clone(),
            bring: sessions == OldSessions::Bring,
            cancelled: false,
            earlier: self.local.pending.as_ref().is_some_and(|earlier| earlier.account == offer.account),
        };
        let frame = join
            .joiner
            .accept(&self.config.identity, params, cx.entropy)
            .map_err(|code| Fail::from(joining_error(code)))?;
        self.remember(pending.shower, &pending.addresses, AddressSource::Reported);
        self.local.pending = Some(pending);
        self.local.save(cx.store)?;
        self.outputs.push_back(Output::Send { conn, frame });
        self.changed.view = true;
        self.admit();
        self.tell_join();
        Ok(Reply::Done)
    }

    pub(super) fn code(&self, caller: CallerId, pairing: PairingId) -> Result<Reply, Fail> {
        let join = self.join.as_ref().filter(|join| join.id == pairing && join.owner == caller);
        match join.map(|join| join.joiner.code()) {
            Some(Some(code)) => Ok(Reply::Code(code)),
            Some(None) => refuse(ErrorKind::PairingClosed, "there is no code to show now"),
            None => refuse(ErrorKind::NotFound, "there is no such pairing"),
        }
    }

    /// The shower says that no link was made and none will be.
    fn refused(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: CloseCode) -> Result<(), Fail> {
        let consented = self.join.as_ref().is_some_and(Join::has_consented);
        if let Some(join) = self.join.as_mut() {
            join.joiner.refused(code);
        }
        // That nothing came of this attempt says nothing about an earlier one.
        let earlier = self.local.pending.as_ref().is_some_and(|pending| pending.earlier);
        if consented && !earlier && code != CloseCode::AlreadyLinked {
            self.forget_pending(cx)?;
        }
        self.reach_out(cx.now.mono);
        self.close_link(conn, CloseCode::Done);
        self.tell_join();
        Ok(())
    }

    /// The shower broke the protocol, or this side would not go on.
    pub(super) fn join_failed(&mut self, conn: ConnId, code: CloseCode) {
        if let Some(join) = self.join.as_mut().filter(|join| join.conn == Some(conn)) {
            join.joiner.end(code);
            self.tell_join();
        }
    }

    pub(super) fn shower_lost(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        code: Option<CloseCode>,
    ) -> Result<(), StoreError> {
        let Some(join) = self.join.as_mut().filter(|join| join.conn == Some(conn)) else { return Ok(()) };
        join.conn = None;
        if !join.is_active() {
            return Ok(());
        }
        join.joiner.disconnected();
        join.joiner.end(code.unwrap_or(CloseCode::Internal));
        if self.local.pending.is_some() {
            join.error = Some(CommandError::new(
                ErrorKind::Unreachable,
                "the connection broke after this device had agreed; if the other device approves, the link completes by itself",
            ));
            self.reach_out(cx.now.mono);
        }
        self.tell_join();
        Ok(())
    }

    pub(super) fn link_dial_failed(&mut self, pairing: PairingId, code: Option<CloseCode>, reason: &str) {
        let Some(join) = self.join.as_mut().filter(|join| join.id == pairing && join.is_active()) else { return };
        join.error = Some(match code {
            Some(code) => joining_error(code),
            None => CommandError::new(
                ErrorKind::Unreachable,
                format!(
                    "the device that shows the challenge does not answer ({reason}); is the challenge still shown, and are both on one network?"
                ),
            ),
        });
        join.joiner.end(code.unwrap_or(CloseCode::PairingClosed));
        self.tell_join();
    }

    pub(super) fn join_due(&self) -> Option<Mono> {
        self.join.as_ref().filter(|join| join.is_active()).and_then(|join| join.answer_by)
    }

    pub(super) fn expire_join(&mut self, now: Mono) {
        let Some(join) = self.join.as_mut().filter(|join| join.is_active()) else { return };
        if join.answer_by.is_some_and(|due| due <= now) {
            join.error = Some(CommandError::new(
                ErrorKind::Unreachable,
                "the device that shows the challenge stopped answering",
            ));
            join.joiner.end(CloseCode::Internal);
            let conn = join.conn.take();
            if let Some(conn) = conn {
                self.close_link(conn, CloseCode::Cancelled);
            }
            self.tell_join();
        }
    }

    /// Takes an attempt back. If the consent has left, the shower says how it stands; without an answer this device
    /// leaves as soon as it learns that it was linked.
    fn cancel_join(&mut self, cx: &mut Cx<'_>) -> Result<Reply, Fail> {
        let Some(join) = self.join.as_mut().filter(|join| join.is_active()) else {
            return refuse(ErrorKind::PairingClosed, "that pairing is over already");
        };
        let frame = match join.joiner.stage() {
            JoinerStage::Offered => join.joiner.decline(),
            _ => join.joiner.cancel(),
        };
        let conn = join.conn;
        join.answer_by = Some(cx.now.mono.after(limits::LINK_ANSWER));
        if let Some(pending) = self.local.pending.as_mut() {
            pending.cancelled = true;
            self.local.save(cx.store)?;
        }
        if let (Some(conn), Some(frame)) = (conn, frame) {
            self.outputs.push_back(Output::Send { conn, frame });
        }
        self.tell_join();
        Ok(Reply::Done)
    }

    pub(super) fn join_caller_gone(&mut self, cx: &mut Cx<'_>, caller: CallerId) -> Result<(), StoreError> {
        if self.join.as_ref().is_none_or(|join| join.owner != caller || !join.is_active()) {
            return Ok(());
        }
        match self.cancel_join(cx) {
            Err(Fail::Store(error)) => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn cancel_pairing(
        &mut self,
        cx: &mut Cx<'_>,
        caller: CallerId,
        pairing: PairingId,
    ) -> Result<Reply, Fail> {
        if self.show.as_ref().is_some_and(|show| show.id == pairing && show.owner == caller) {
            return self.cancel_show(cx.now.mono);
        }
        if self.join.as_ref().is_some_and(|join| join.id == pairing && join.owner == caller) {
            return self.cancel_join(cx);
        }
        refuse(ErrorKind::NotFound, "there is no such pairing")
    }

    pub(super) fn pairing(&self, caller: CallerId, pairing: PairingId) -> Result<Reply, Fail> {
        let show = self.show.as_ref().filter(|show| show.id == pairing && show.owner == caller);
        let join = self.join.as_ref().filter(|join| join.id == pairing && join.owner == caller);
        match (show, join) {
            (Some(show), _) => Ok(Reply::Pairing(self.show_view(show))),
            (_, Some(join)) => Ok(Reply::Pairing(join_view(join))),
            _ => refuse(ErrorKind::NotFound, "there is no such pairing"),
        }
    }

    pub(super) fn tell_join(&mut self) {
        if let Some(join) = &self.join {
            let event = Event::Pairing { pairing: join.id, owner: join.owner, view: join_view(join) };
            self.emit(event);
        }
    }
}

fn join_view(join: &Join) -> PairingView {
    let terms = &join.joiner.challenge().terms;
    let offer = join.offer.as_ref();
    let ended = match join.joiner.stage() {
        JoinerStage::Ended(code) => Some(joining_error(code)),
        _ => None,
    };
    PairingView {
        direction: Direction::Join,
        state: pairing_state(join.joiner.stage()),
        peer: Some(join.joiner.challenge().shower),
        peer_name: offer.map(|offer| offer.name.clone()).unwrap_or_default(),
        peer_platform: offer.map(|offer| offer.platform.clone()).unwrap_or_default(),
        peer_address: join.address.clone(),
        account: offer.map(|offer| offer.account),
        label: offer.map(|offer| offer.label.clone()).unwrap_or_default(),
        role: terms.role,
        custody: terms.custody,
        expires: Wall(u64::from(terms.expires) * 1000),
        tries_left: join.joiner.tries_left(),
        error: ended.map(|by_code| join.error.clone().unwrap_or(by_code)),
    }
}

fn pairing_state(stage: JoinerStage) -> PairingState {
    match stage {
        JoinerStage::Dialling | JoinerStage::Claimed => PairingState::Dialling,
        JoinerStage::Offered => PairingState::Offered,
        JoinerStage::Code => PairingState::Code,
        JoinerStage::Retrying => PairingState::Accepted,
        JoinerStage::Linked => PairingState::Linked,
        JoinerStage::Cancelling | JoinerStage::Ended(CloseCode::Cancelled | CloseCode::Declined) => {
            PairingState::Cancelled
        }
        JoinerStage::Ended(_) => PairingState::Failed,
    }
}

//! The side that shows a challenge, and the strangers on the linking socket.

use std::time::Duration;

use super::command::{CallerId, PairingId, Reply};
use super::error::ErrorKind;
use super::io::{ConnId, Event, Output};
use super::refusals::pairing_error;
use super::view::{Direction, PairingState, PairingView};
use super::{Cx, Engine, Fail, refuse};
use crate::discovery::Key;
use crate::id::{ChallengeId, DeviceId};
use crate::limits;
use crate::link::message::{Claim, Linked};
use crate::link::{ClaimVerdict, Claimant, Confirm, Message, OfferParams, Peer, Shower, ShowerStage};
use crate::names::clean;
use crate::roster::statement::{Action, Link, Statement};
use crate::roster::{Custody, Role, Status};
use crate::session::account_session;
use crate::session::content::Space;
use crate::time::{Mono, Wall};
use crate::wire::Address;
use crate::wire::challenge::{Challenge, Terms};
use crate::wire::frame::CloseCode;

/// An open challenge, or one that ended not long ago.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) id: PairingId,
    pub(super) owner: CallerId,
    pub(super) shower: Shower<ConnId>,
    /// The account's first statement, if this link makes the account: kept nowhere else before.
    pub(super) genesis: Option<Statement>,
    expires: Wall,
    /// The device that was linked.
    linked: Option<DeviceId>,
    /// When the linking socket closes, once the challenge is used up.
    lingers: Option<Mono>,
}

impl Show {
    pub(super) fn is_open(&self) -> bool {
        self.shower.spent().is_none()
    }
}

impl Engine {
    #[expect(clippy::too_many_arguments, reason = "one for each field of the command")]
    pub(super) fn open_pairing(
        &mut self,
        cx: &mut Cx<'_>,
        owner: CallerId,
        timeout: Duration,
        anywhere: bool,
        label: Option<String>,
        name: Option<String>,
        addresses: &[Address],
    ) -> Result<Reply, Fail> {
        self.may_open()?;
        if timeout < limits::CHALLENGE_MIN || timeout > limits::CHALLENGE_MAX {
            let (min, max) = (limits::CHALLENGE_MIN.as_secs(), limits::CHALLENGE_MAX.as_secs());
            return refuse(ErrorKind::InvalidArgument, format!("a challenge stays open for {min} to {max} seconds"));
        }
        if let Some(name) = name.filter(|name| !clean(name).is_empty()) {
            self.rename(cx, self.device(), &name)?;
        }
        let genesis = match self.account() {
            Some(account) => {
                self.relabel(cx, account, label.as_deref())?;
                None
            }
            None => Some(self.new_genesis(cx, &clean(label.as_deref().unwrap_or_default()))),
        };
        // A new owner is a member first, unless there is nobody else who could vouch for it.
        let alone = self.roster.evaluation().linked().count() <= 1;
        let expires = Wall(cx.now.wall.0.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
        let terms = Terms {
            role: if alone { Role::Owner } else { Role::Member },
            custody: Custody::Personal,
            anywhere,
            expires: u32::try_from(expires.0 / 1000).unwrap_or(u32::MAX),
            addresses: addresses.to_vec(),
        };
        let challenge = Challenge::sign(&self.config.identity, terms, cx.entropy);
        let reply = Reply::Opened {
            pairing: self.next_pairing(),
            qr: challenge.to_qr(&self.config.identity),
            text: challenge.to_text(),
            expires,
        };
        self.outputs.push_back(Output::AnnounceLinking(Key::of_challenge(&challenge)));
        let shower = Shower::open(challenge, cx.now.mono, timeout);
        self.show =
            Some(Show { id: PairingId(self.pairings), owner, shower, genesis, expires, linked: None, lingers: None });
        self.changed.view = true;
        Ok(reply)
    }

    fn may_open(&self) -> Result<(), Fail> {
        self.may_write()?;
        if self.local.pending.is_some() || self.join.as_ref().is_some_and(super::join::Join::is_active) {
            return refuse(ErrorKind::Refused, "this device is joining an account itself; wait for that, or cancel it");
        }
        if self.show.as_ref().is_some_and(Show::is_open) {
            return refuse(ErrorKind::PairingOpen, "a challenge is open already; cancel it, or wait until it expires");
        }
        self.may_link()
    }

    fn may_link(&self) -> Result<(), Fail> {
        let evaluation = self.roster.evaluation();
        if self.account().is_some() && evaluation.role(self.device()) != Some(Role::Owner) {
            return refuse(ErrorKind::NotOwner, "only an owner links devices; this one is not an owner");
        }
        if evaluation.linked().count() >= self.config.devices {
            let most = self.config.devices;
            return refuse(
                ErrorKind::TooManyDevices,
                format!("{most} devices are linked; revoke one that is not used any more"),
            );
        }
        Ok(())
    }

    fn relabel(&mut self, cx: &mut Cx<'_>, account: crate::id::AccountId, label: Option<&str>) -> Result<(), Fail> {
        match label.map(clean).filter(|label| !label.is_empty()) {
            Some(label) => self.write(cx, account_session(account), Space::Entry, b"label", Some(label.as_bytes())),
            None => Ok(()),
        }
    }

    pub(super) fn next_pairing(&mut self) -> PairingId {
        self.pairings += 1;
        PairingId(self.pairings)
    }

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
        let show = self.show.as_mut().filter(|show| show.id == pairing && show.owner == caller);
        let Some(show) = show else { return refuse(ErrorKind::NotFound, "there is no such pairing") };
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

    /// Ends the attempt for a reason of this side, and tells the claimant.
    pub(super) fn stop_show(&mut self, now: Mono, code: CloseCode) {
        let Some(show) = self.show.as_mut() else { return };
        show.shower.end(code);
        let conn = show.shower.connection();
        self.end_show(now);
        if let Some(conn) = conn {
            self.refuse_link(conn, code);
        }
    }

    /// If the challenge is used up: tells its owner, and lets the linking socket linger.
    fn end_show(&mut self, now: Mono) {
        let Some(show) = self.show.as_mut() else { return };
        if show.shower.spent().is_some() && show.lingers.is_none() {
            show.lingers = Some(now.after(limits::CHALLENGE_LINGER));
            self.changed.view = true;
        }
        self.tell_show();
    }

    pub(super) fn show_due(&self) -> Option<Mono> {
        let claims = self.links.values().filter_map(|link| link.claim_by).min();
        let show = self
            .show
            .as_ref()
            .map(|show| show.lingers.unwrap_or(show.shower.deadline()))
            .filter(|due| due.0 != u64::MAX);
        [claims, show].into_iter().flatten().min()
    }

    pub(super) fn expire_show(&mut self, now: Mono) {
        let late: Vec<ConnId> = self
            .links
            .iter()
            .filter(|(_, link)| link.claim_by.is_some_and(|due| due <= now))
            .map(|(id, _)| *id)
            .collect();
        for conn in late {
            self.refuse_link(conn, CloseCode::Protocol);
        }
        let Some(show) = self.show.as_mut() else { return };
        if show.shower.expired(now) {
            let conn = show.shower.connection();
            self.end_show(now);
            if let Some(conn) = conn {
                self.refuse_link(conn, CloseCode::Expired);
            }
        } else if show.lingers.is_some_and(|due| due <= now) {
            show.lingers = Some(Mono(u64::MAX));
            self.close_linking();
        }
    }

    /// Nothing listens on the linking socket any more.
    fn close_linking(&mut self) {
        let strangers: Vec<ConnId> = self.links.iter().filter(|(_, link)| !link.dialled).map(|(id, _)| *id).collect();
        for conn in strangers {
            self.close_link(conn, CloseCode::PairingClosed);
        }
        self.outputs.push_back(Output::CloseLinking);
    }

    pub(super) fn show_caller_gone(&mut self, now: Mono, caller: CallerId) {
        if self.show.as_ref().is_some_and(|show| show.owner == caller && show.is_open()) {
            self.stop_show(now, CloseCode::Cancelled);
        }
    }

    pub(super) fn cancel_show(&mut self, now: Mono) -> Result<Reply, Fail> {
        if !self.show.as_ref().is_some_and(Show::is_open) {
            return refuse(ErrorKind::PairingClosed, "that pairing is over already");
        }
        self.stop_show(now, CloseCode::Cancelled);
        Ok(Reply::Done)
    }

    fn tell_show(&mut self) {
        if let Some(show) = &self.show {
            let event = Event::Pairing { pairing: show.id, owner: show.owner, view: self.show_view(show) };
            self.emit(event);
        }
    }

    pub(super) fn show_view(&self, show: &Show) -> PairingView {
        let state = show.shower.state();
        let terms = &show.shower.challenge().terms;
        let label = show.genesis.as_ref().map_or_else(|| self.label(), genesis_label);
        let peer = state.peer.as_ref();
        PairingView {
            direction: Direction::Show,
            state: if show.linked.is_some() { PairingState::Linked } else { pairing_state(state.stage) },
            peer: state.claimant,
            peer_name: peer.map(|peer| peer.name.clone()).unwrap_or_default(),
            peer_platform: peer.map(|peer| peer.platform.clone()).unwrap_or_default(),
            peer_address: state.source.clone(),
            account: self.account().or(show.genesis.as_ref().map(|genesis| genesis.id.into())),
            label,
            role: terms.role,
            custody: terms.custody,
            expires: show.expires,
            tries_left: state.tries_left,
            error: show.shower.spent().filter(|_| show.linked.is_none()).map(pairing_error),
        }
    }
}

fn genesis_label(genesis: &Statement) -> String {
    match &genesis.action {
        Action::Genesis(genesis) => clean(&genesis.label),
        _ => String::new(),
    }
}

fn pairing_state(stage: ShowerStage) -> PairingState {
    match stage {
        ShowerStage::Waiting => PairingState::Waiting,
        // While the next code is being agreed on there is none to type.
        ShowerStage::Claimed | ShowerStage::Retrying => PairingState::Claimed,
        ShowerStage::Code => PairingState::Code,
        ShowerStage::Ended(CloseCode::Cancelled | CloseCode::Declined) => PairingState::Cancelled,
        ShowerStage::Ended(_) => PairingState::Failed,
    }
}

//! The side that shows a challenge, from its opening to its end.

use std::time::Duration;

use super::command::{CallerId, PairingId, Reply};
use super::error::ErrorKind;
use super::io::{ConnId, Event, Output};
use super::refusals::pairing_error;
use super::view::{Direction, PairingState, PairingView};
use super::{Cx, Engine, Fail, refuse};
use crate::discovery::Key;
use crate::id::DeviceId;
use crate::limits;
use crate::link::{Shower, ShowerStage};
use crate::names::clean;
use crate::roster::statement::{Action, Statement};
use crate::roster::{Custody, Role};
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
    pub(super) linked: Option<DeviceId>,
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
        // A new owner is a member first, unless there is nobody else who could vouch for it, or the PIN will be asked for.
        let at_once = self.roster.evaluation().linked().count() <= 1 || self.is_two_step();
        let expires = Wall(cx.now.wall.0.saturating_add(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)));
        let terms = Terms {
            role: if at_once { Role::Owner } else { Role::Member },
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

    pub(super) fn may_link(&self) -> Result<(), Fail> {
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
    pub(super) fn end_show(&mut self, now: Mono) {
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

    pub(super) fn tell_show(&mut self) {
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

pub(super) fn genesis_label(genesis: &Statement) -> String {
    match &genesis.action {
        Action::Genesis(genesis) => clean(&genesis.label),
        _ => String::new(),
    }
}

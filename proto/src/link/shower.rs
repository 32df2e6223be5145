//! The side that shows the challenge.

mod awaited;
mod verdict;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use awaited::{AwaitAccept, AwaitCode, AwaitOpen, AwaitRecommit, Claimed};
pub use verdict::{ClaimVerdict, Claimant, Confirm, OfferParams, Peer, ShowerStage, ShowerState};

use super::message::{Accept, Claim, Message, Nonce, Recommit, WrongCode};
use super::proof::{self, Exporter};
use crate::id::DeviceId;
use crate::key::{self, Entropy, Identity};
use crate::limits;
use crate::time::Mono;
use crate::wire::address::Address;
use crate::wire::challenge::Challenge;
use crate::wire::frame::{CloseCode, Frame};

/// How often the claimant may connect again. Each new connection could abort before its code is typed, so
/// without a bound it could search for a code; a bad network never needs as many within a challenge's time.
pub const RECLAIMS: u8 = 16;
/// Sources whose bad proofs are counted. Beyond them a bad proof still costs its connection.
const BAD_SOURCES: usize = 1024;

/// One open challenge, from the first claim to the typed code.
///
/// After each call, [`Self::spent`] says whether the attempt is over, and [`Self::connection`] whom to tell.
///
/// | state | awaits | then |
/// | --- | --- | --- |
/// | `Waiting` | a valid claim | `Claimed` |
/// | `Claimed` | [`Self::offer`] | `Offered` |
/// | `Offered` | Accept | `Code` |
/// | `Code` | the user: right, wrong, third wrong | `Spent`, `Retry`, `Spent` |
/// | `Retry` | Recommit | `Opening` |
/// | `Opening` | Open | `Code` |
/// | `Away` | the same key again | `Claimed` |
/// | `Spent` | nothing | |
#[derive(Debug)]
pub struct Shower<C> {
    challenge: Challenge,
    deadline: Mono,
    claimant: Option<DeviceId>,
    source: Option<Address>,
    conn: Option<C>,
    peer: Option<Peer>,
    tries_left: u8,
    reclaims: u8,
    bad_proofs: BTreeMap<IpAddr, u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Claimed(Claimed),
    Offered(Box<AwaitAccept>),
    Code(AwaitCode),
    Retry(AwaitRecommit),
    Opening(AwaitOpen),
    Away,
    Spent(CloseCode),
}

impl<C: Copy + PartialEq> Shower<C> {
    /// Opens `challenge` for `timeout` from `opened`: only this clock decides when it expires.
    #[must_use]
    pub fn open(challenge: Challenge, opened: Mono, timeout: Duration) -> Self {
        Self {
            challenge,
            deadline: opened.after(timeout),
            claimant: None,
            source: None,
            conn: None,
            peer: None,
            tries_left: limits::CODE_TRIES,
            reclaims: 0,
            bad_proofs: BTreeMap::new(),
            state: State::Waiting,
        }
    }

    /// What is shown.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// The claimant's connection, while there is one; it stays named when the attempt has ended.
    #[must_use]
    pub fn connection(&self) -> Option<C> {
        self.conn
    }

    /// When the challenge expires.
    #[must_use]
    pub fn deadline(&self) -> Mono {
        self.deadline
    }

    /// Why the challenge is used up; `None` while it is open.
    #[must_use]
    pub fn spent(&self) -> Option<CloseCode> {
        match self.state {
            State::Spent(code) => Some(code),
            _ => None,
        }
    }

    /// A snapshot for people.
    #[must_use]
    pub fn state(&self) -> ShowerState {
        ShowerState {
            stage: self.stage(),
            claimant: self.claimant,
            source: self.source.clone(),
            peer: self.peer.clone(),
            tries_left: self.tries_left,
            deadline: self.deadline,
        }
    }

    fn stage(&self) -> ShowerStage {
        match self.state {
            State::Waiting => ShowerStage::Waiting,
            State::Claimed(_) | State::Offered(_) | State::Away => ShowerStage::Claimed,
            State::Code(_) => ShowerStage::Code,
            State::Retry(_) | State::Opening(_) => ShowerStage::Retrying,
            State::Spent(code) => ShowerStage::Ended(code),
        }
    }

    /// Whether `source` sent too many bad proofs to be listened to.
    #[must_use]
    pub fn blocked(&self, source: &Address) -> bool {
        source.socket().and_then(|addr| self.bad_proofs.get(&addr.ip())).is_some_and(|n| *n >= limits::BAD_PROOFS)
    }

    /// Judges a claim. Also answers late ones: a valid claim is told why the challenge is used up.
    #[must_use]
    pub fn claim(&mut self, now: Mono, from: Claimant<'_, C>, claim: &Claim) -> ClaimVerdict<C> {
        let exporter = key::Secret(*from.exporter);
        if self.blocked(from.source) || !self.proves(from.joiner, &exporter, claim) {
            return ClaimVerdict::BadProof { blocked: self.count_bad_proof(from.source) };
        }
        if let Some(code) = self.spent() {
            return ClaimVerdict::Ended(code);
        }
        if self.expired(now) {
            return ClaimVerdict::Expired;
        }
        let verdict = self.admit(from.joiner);
        if verdict.refusal().is_none() {
            self.claimant = Some(from.joiner);
            self.source = Some(from.source.clone());
            self.conn = Some(from.conn);
            self.peer = None;
            self.state = State::Claimed(Claimed { exporter, claim: claim.clone() });
        }
        verdict
    }

    fn proves(&self, joiner: DeviceId, exporter: &Exporter, claim: &Claim) -> bool {
        let mac = proof::claim_mac(&self.challenge, joiner, exporter, claim.commitment);
        key::same(&mac, &claim.mac) && claim.challenge == self.challenge.id()
    }

    fn count_bad_proof(&mut self, source: &Address) -> bool {
        let Some(addr) = source.socket() else { return false };
        if self.bad_proofs.len() < BAD_SOURCES || self.bad_proofs.contains_key(&addr.ip()) {
            let count = self.bad_proofs.entry(addr.ip()).or_default();
            *count = count.saturating_add(1);
        }
        self.blocked(source)
    }

    /// Whether a proven claim by `joiner` goes on, given who claimed before.
    fn admit(&mut self, joiner: DeviceId) -> ClaimVerdict<C> {
        match self.claimant {
            None => ClaimVerdict::Accepted,
            Some(first) if first != joiner => {
                self.finish(CloseCode::SecondClaimant);
                ClaimVerdict::SecondClaimant { first: self.conn }
            }
            Some(_) if self.reclaims == RECLAIMS => {
                self.finish(CloseCode::Protocol);
                ClaimVerdict::Ended(CloseCode::Protocol)
            }
            Some(_) => {
                self.reclaims += 1;
                ClaimVerdict::Reclaimed { superseded: self.conn }
            }
        }
    }

    /// Answers the claim that was just accepted.
    ///
    /// # Errors
    /// [`CloseCode::Protocol`] if none is waiting for an offer, or why the challenge is used up.
    pub fn offer(
        &mut self,
        params: OfferParams,
        identity: &Identity,
        entropy: Entropy<'_>,
    ) -> Result<Frame, CloseCode> {
        let (Some(joiner), State::Claimed(_)) = (self.claimant, &self.state) else {
            return Err(self.spent().unwrap_or(CloseCode::Protocol));
        };
        let State::Claimed(claimed) = self.take()? else { return Err(CloseCode::Protocol) };
        let next = claimed.offer(&self.challenge, joiner, params, identity, entropy);
        let frame = Message::Offer(Box::new(next.offer.clone())).to_frame();
        self.state = State::Offered(Box::new(next));
        Ok(frame)
    }

    /// The claimant accepted: it opens its nonce and consents.
    ///
    /// # Errors
    /// The code to close the connection with; the claimant may connect again.
    pub fn accept(&mut self, conn: C, accept: Accept) -> Result<Peer, CloseCode> {
        let joiner = self.current(conn)?;
        let State::Offered(awaiting) = self.take()? else { return Err(CloseCode::Protocol) };
        let (next, peer) = awaiting.accept(&self.challenge, joiner, accept)?;
        self.peer = Some(peer.clone());
        self.state = State::Code(next);
        Ok(peer)
    }

    /// The user typed `code`; white space and dashes in it do not count.
    #[must_use]
    pub fn confirm(&mut self, now: Mono, code: &str) -> Confirm {
        if self.expired(now) {
            return Confirm::Ended(CloseCode::Expired);
        }
        if let Some(code) = self.spent() {
            return Confirm::Ended(code);
        }
        let (State::Code(awaiting), Some(peer)) = (&self.state, &self.peer) else { return Confirm::NotReady };
        let Some(digits) = six_digits(code) else { return Confirm::Malformed };
        if !key::same(awaiting.code().as_bytes(), digits.as_bytes()) {
            return self.wrong();
        }
        let right = Confirm::Right { peer: Box::new(peer.clone()), challenge: self.challenge.id() };
        self.finish(CloseCode::Used);
        right
    }

    fn wrong(&mut self) -> Confirm {
        self.tries_left = self.tries_left.saturating_sub(1);
        if self.tries_left == 0 {
            self.finish(CloseCode::WrongCode);
            return Confirm::TooMany(CloseCode::WrongCode);
        }
        if let Ok(State::Code(AwaitCode { transcript, attempt, .. })) = self.take()
            && self.conn.is_some()
        {
            self.state = State::Retry(AwaitRecommit { transcript, attempt });
        }
        let tries_left = self.tries_left;
        Confirm::Wrong { tries_left, frame: Message::WrongCode(WrongCode { tries_left }).to_frame() }
    }

    /// The claimant committed anew after a wrong code.
    ///
    /// # Errors
    /// As for [`Self::accept`].
    pub fn recommit(&mut self, conn: C, recommit: Recommit, entropy: Entropy<'_>) -> Result<Frame, CloseCode> {
        self.current(conn)?;
        let State::Retry(AwaitRecommit { transcript, attempt }) = self.take()? else { return Err(CloseCode::Protocol) };
        let shower = Nonce::random(entropy);
        let frame = Message::Nonce(shower.clone()).to_frame();
        self.state = State::Opening(AwaitOpen { transcript, attempt, commitment: recommit.commitment, shower });
        Ok(frame)
    }

    /// The claimant opened its commitment: the next code can be typed.
    ///
    /// # Errors
    /// As for [`Self::accept`].
    pub fn opened(&mut self, conn: C, joiner: Nonce) -> Result<(), CloseCode> {
        let device = self.current(conn)?;
        let State::Opening(awaiting) = self.take()? else { return Err(CloseCode::Protocol) };
        self.state = State::Code(awaiting.open(device, joiner)?);
        Ok(())
    }

    /// The claimant's user said no, or its device cannot go on: the attempt is over. `Message::Cancel` counts as
    /// [`CloseCode::Cancelled`]. Returns whether this ended it: not if `conn` is not the claimant's, or if it was
    /// over before.
    pub fn refused(&mut self, conn: C, code: CloseCode) -> bool {
        let ends = self.conn == Some(conn) && self.spent().is_none();
        if ends {
            self.finish(code);
        }
        ends
    }

    /// A connection ended. A code that is already shown can still be typed.
    pub fn disconnected(&mut self, conn: C) {
        if self.conn != Some(conn) {
            return;
        }
        self.conn = None;
        if !matches!(self.state, State::Code(_) | State::Spent(_)) {
            self.state = State::Away;
        }
    }

    /// The user cancels.
    pub fn cancel(&mut self) {
        self.finish(CloseCode::Cancelled);
    }

    /// Ends the attempt for a reason that only the roster knows. If the right code was typed and the link could not
    /// be made, this is the reason from then on; any other first reason stays.
    pub fn end(&mut self, code: CloseCode) {
        if matches!(self.spent(), None | Some(CloseCode::Used)) {
            self.state = State::Spent(code);
        }
    }

    fn finish(&mut self, code: CloseCode) {
        if self.spent().is_none() {
            self.state = State::Spent(code);
        }
    }

    /// Ends the attempt if its time is over. Returns whether it ended just now.
    pub fn expired(&mut self, now: Mono) -> bool {
        let over = now >= self.deadline && self.spent().is_none();
        if over {
            self.finish(CloseCode::Expired);
        }
        over
    }

    /// The claimant, if `conn` is its connection.
    fn current(&self, conn: C) -> Result<DeviceId, CloseCode> {
        if let Some(code) = self.spent() {
            return Err(code);
        }
        self.claimant.filter(|_| self.conn == Some(conn)).ok_or(CloseCode::Protocol)
    }

    /// Takes the state out for a transition. If that fails, the claimant has to connect again.
    fn take(&mut self) -> Result<State, CloseCode> {
        match self.spent() {
            Some(code) => Err(code),
            None if self.claimant.is_none() => Err(CloseCode::Protocol),
            None => Ok(std::mem::replace(&mut self.state, State::Away)),
        }
    }
}

/// What was typed, without white space and dashes, if it is six digits.
fn six_digits(typed: &str) -> Option<String> {
    let digits: String = typed.chars().filter(|c| !c.is_whitespace() && *c != '-').collect();
    (digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(digits)
}

//! The side that scans the challenge.

mod awaited;
mod view;

use awaited::{AwaitNonce, AwaitOffer, AwaitVerdict, Offered};
pub use view::{AcceptParams, JoinerStage, LinkedOutcome, OfferView};

use super::message::{self, Claim, Linked, Message, Nonce, Offer, Recommit, WrongCode};
use super::proof;
use crate::id::DeviceId;
use crate::key::{self, Entropy, Identity};
use crate::limits;
use crate::wire::challenge::{Challenge, ChallengeError};
use crate::wire::frame::{CloseCode, Frame};

/// One attempt to join, over as many connections as it takes.
///
/// | state | awaits | then |
/// | --- | --- | --- |
/// | `Dialling` | a connection | `Claimed` |
/// | `Claimed` | Offer | `Offered` |
/// | `Offered` | the user, who agrees | `Code` |
/// | `Code` | WrongCode, or Linked | `Recommitted`, `Linked` |
/// | `Recommitted` | Nonce | `Code` |
/// | `Cancelling` | Refused or Linked, whatever else was on the way | `Ended`, `Linked` |
/// | `Linked`, `Ended` | nothing | |
///
/// A lost connection leads back to `Dialling`.
#[derive(Debug)]
pub struct Joiner {
    challenge: Challenge,
    device: DeviceId,
    tries_left: u8,
    agreed: Option<OfferView>,
    state: State,
}

#[derive(Debug)]
enum State {
    Dialling,
    Claimed(AwaitOffer),
    Offered(Box<Offered>),
    Code(AwaitVerdict),
    Recommitted(AwaitNonce),
    Cancelling,
    Linked,
    Ended(CloseCode),
}

impl Joiner {
    /// Answers `challenge` as `device`.
    ///
    /// # Errors
    /// If this very device shows it.
    pub fn start(challenge: Challenge, device: DeviceId) -> Result<Self, ChallengeError> {
        if challenge.shower == device {
            return Err(ChallengeError::Own);
        }
        Ok(Self { challenge, device, tries_left: limits::CODE_TRIES, agreed: None, state: State::Dialling })
    }

    /// What is being answered.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    /// Where the attempt stands.
    #[must_use]
    pub fn stage(&self) -> JoinerStage {
        match self.state {
            State::Dialling => JoinerStage::Dialling,
            State::Claimed(_) => JoinerStage::Claimed,
            State::Offered(_) => JoinerStage::Offered,
            State::Code(_) => JoinerStage::Code,
            State::Recommitted(_) => JoinerStage::Retrying,
            State::Cancelling => JoinerStage::Cancelling,
            State::Linked => JoinerStage::Linked,
            State::Ended(code) => JoinerStage::Ended(code),
        }
    }

    /// What the user agreed to, so that the same offer on the next connection need not be asked about again.
    #[must_use]
    pub fn agreed(&self) -> Option<&OfferView> {
        self.agreed.as_ref()
    }

    /// Tries that the shower's user has left at the code.
    #[must_use]
    pub fn tries_left(&self) -> u8 {
        self.tries_left
    }

    /// The six digits to show; `None` while there are none.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match &self.state {
            State::Code(awaiting) => Some(awaiting.code.clone()),
            _ => None,
        }
    }

    /// A connection to the pinned shower stands: the claim to send.
    ///
    /// # Errors
    /// Why the attempt is over; [`CloseCode::Duplicate`] if another connection is at work.
    pub fn connected(&mut self, exporter: &[u8; 32], entropy: Entropy<'_>) -> Result<Frame, CloseCode> {
        match self.state {
            State::Dialling => {}
            State::Ended(code) => return Err(code),
            State::Cancelling => return Err(CloseCode::Cancelled),
            _ => return Err(CloseCode::Duplicate),
        }
        let exporter = key::Secret(*exporter);
        let nonce = Nonce::random(entropy);
        let commitment = proof::commitment(&nonce, self.device);
        let mac = proof::claim_mac(&self.challenge, self.device, &exporter, commitment);
        let claim = Claim { challenge: self.challenge.id(), commitment, mac, ext: message::grease(entropy) };
        let frame = Message::Claim(claim.clone()).to_frame();
        self.state = State::Claimed(AwaitOffer { exporter, claim, nonce });
        Ok(frame)
    }

    /// The shower's offer: verified, to be evaluated and shown.
    ///
    /// # Errors
    /// The code to close the connection with; the attempt is over then, as the shower is pinned and will not do better.
    pub fn offer(&mut self, offer: Offer) -> Result<OfferView, CloseCode> {
        let State::Claimed(awaiting) = self.take()? else { return self.fail(CloseCode::Protocol) };
        let signed = proof::offer_message(&awaiting.exporter, self.challenge.id(), self.device, &offer);
        if !key::verify(&self.challenge.shower, "offer", &signed, &offer.signature) {
            return self.fail(CloseCode::BadProof);
        }
        if (offer.role, offer.custody) != (self.challenge.terms.role, self.challenge.terms.custody) {
            return self.fail(CloseCode::Protocol);
        }
        let view = OfferView::from(&offer);
        let AwaitOffer { exporter, claim, nonce } = awaiting;
        self.state = State::Offered(Box::new(Offered { exporter, claim, nonce, offer }));
        Ok(view)
    }

    /// The user agrees to the offer. The frame may leave only after *pending* is durable.
    ///
    /// # Errors
    /// If no offer is on the table, or why the attempt is over.
    pub fn accept(
        &mut self,
        identity: &Identity,
        params: AcceptParams,
        entropy: Entropy<'_>,
    ) -> Result<Frame, CloseCode> {
        if identity.device() != self.device {
            return Err(CloseCode::Internal);
        }
        match std::mem::replace(&mut self.state, State::Dialling) {
            State::Offered(offered) => {
                self.agreed = Some(OfferView::from(&offered.offer));
                let (next, accept) = offered.accept(&self.challenge, identity, params, entropy);
                self.state = State::Code(next);
                Ok(Message::Accept(Box::new(accept)).to_frame())
            }
            other => {
                self.state = other;
                Err(self.over().unwrap_or(CloseCode::Protocol))
            }
        }
    }

    /// The shower's user typed another code: commits to the next one. `None` if this side has cancelled meanwhile.
    ///
    /// # Errors
    /// The code to close the connection with; the attempt is over then.
    pub fn wrong_code(&mut self, wrong: WrongCode, entropy: Entropy<'_>) -> Result<Option<Frame>, CloseCode> {
        let AwaitVerdict { transcript, attempt, .. } = match self.take()? {
            State::Code(awaiting) => awaiting,
            State::Cancelling => return self.still_cancelling(),
            _ => return self.fail(CloseCode::Protocol),
        };
        // The shower says "refused" after the last try: there is never one more than there were.
        if wrong.tries_left == 0 || wrong.tries_left >= self.tries_left {
            return self.fail(CloseCode::Protocol);
        }
        self.tries_left = wrong.tries_left;
        let nonce = Nonce::random(entropy);
        let commitment = proof::commitment(&nonce, self.device);
        self.state = State::Recommitted(AwaitNonce { transcript, attempt, nonce });
        Ok(Some(Message::Recommit(Recommit { commitment }).to_frame()))
    }

    /// The shower's fresh nonce: opens the commitment and shows the next code. `None` as for [`Self::wrong_code`].
    ///
    /// # Errors
    /// As for [`Self::wrong_code`].
    pub fn nonce(&mut self, shower: &Nonce) -> Result<Option<Frame>, CloseCode> {
        let AwaitNonce { transcript, attempt, nonce } = match self.take()? {
            State::Recommitted(awaiting) => awaiting,
            State::Cancelling => return self.still_cancelling(),
            _ => return self.fail(CloseCode::Protocol),
        };
        let attempt = attempt.saturating_add(1);
        let code = proof::code(transcript, shower, &nonce, attempt);
        self.state = State::Code(AwaitVerdict { transcript, attempt, code });
        Ok(Some(Message::Open(nonce).to_frame()))
    }

    /// The shower says that it linked this device. Whether it did, the roster in `linked` has to show.
    ///
    /// # Errors
    /// As for [`Self::wrong_code`].
    pub fn linked(&mut self, _linked: &Linked) -> Result<LinkedOutcome, CloseCode> {
        let outcome = match self.take()? {
            State::Code(_) => LinkedOutcome::Linked,
            State::Cancelling => LinkedOutcome::AfterCancel,
            _ => return self.fail(CloseCode::Protocol),
        };
        self.state = State::Linked;
        Ok(outcome)
    }

    /// The shower will not go on.
    pub fn refused(&mut self, code: CloseCode) {
        self.end(code);
    }

    /// The connection ended: the next one starts over, if the attempt is not over.
    pub fn disconnected(&mut self) {
        match self.state {
            State::Linked | State::Ended(_) => {}
            State::Cancelling => self.end(CloseCode::Cancelled),
            _ => self.state = State::Dialling,
        }
    }

    /// The user cancels. The frame to send, if the shower may be linking this device by now or will ask why: then
    /// its answer decides, see [`Self::linked`] and [`Self::refused`].
    pub fn cancel(&mut self) -> Option<Frame> {
        let connected = match self.state {
            State::Linked | State::Ended(_) | State::Cancelling => return None,
            State::Dialling => false,
            _ => true,
        };
        self.state = if connected { State::Cancelling } else { State::Ended(CloseCode::Cancelled) };
        connected.then(|| Message::Cancel.to_frame())
    }

    /// The user says no to the offer: the frame to send. The attempt is over.
    pub fn decline(&mut self) -> Option<Frame> {
        let offered = matches!(self.state, State::Offered(_));
        if offered {
            self.end(CloseCode::Declined);
        }
        offered.then(|| Message::Refused(CloseCode::Declined).to_frame())
    }

    /// Ends the attempt for a reason that only the roster knows. The first reason stays.
    pub fn end(&mut self, code: CloseCode) {
        if self.over().is_none() {
            self.state = State::Ended(code);
        }
    }

    /// Why the attempt is over.
    fn over(&self) -> Option<CloseCode> {
        match self.state {
            State::Ended(code) => Some(code),
            State::Linked => Some(CloseCode::Done),
            _ => None,
        }
    }

    fn fail<T>(&mut self, code: CloseCode) -> Result<T, CloseCode> {
        self.end(code);
        Err(code)
    }

    fn still_cancelling<T>(&mut self) -> Result<Option<T>, CloseCode> {
        self.state = State::Cancelling;
        Ok(None)
    }

    /// Takes the state out for a transition.
    fn take(&mut self) -> Result<State, CloseCode> {
        match self.over() {
            Some(code) => Err(code),
            None => Ok(std::mem::replace(&mut self.state, State::Dialling)),
        }
    }
}

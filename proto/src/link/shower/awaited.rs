//! The messages that the shower awaits: each has the state that only it can consume.

use super::{OfferParams, Peer};
use crate::id::{DeviceId, Hash};
use crate::key::{self, Entropy, Identity};
use crate::limits;
use crate::link::message::{self, Accept, Claim, Nonce, Offer};
use crate::link::proof::{self, Exporter};
use crate::names;
use crate::wire::challenge::Challenge;
use crate::wire::frame::CloseCode;

/// A valid claim, not answered yet.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) exporter: Exporter,
    pub(super) claim: Claim,
}

/// The offer is out.
#[derive(Debug)]
pub(super) struct AwaitAccept {
    pub(super) exporter: Exporter,
    pub(super) claim: Claim,
    pub(super) offer: Offer,
}

/// Both nonces are known, and so is the code.
#[derive(Debug)]
pub(super) struct AwaitCode {
    pub(super) transcript: Hash,
    pub(super) shower: Nonce,
    pub(super) joiner: Nonce,
    pub(super) attempt: u8,
}

/// A wrong code was typed.
#[derive(Debug)]
pub(super) struct AwaitRecommit {
    pub(super) transcript: Hash,
    pub(super) attempt: u8,
}

/// The claimant is bound to its next nonce and knows ours.
#[derive(Debug)]
pub(super) struct AwaitOpen {
    pub(super) transcript: Hash,
    pub(super) attempt: u8,
    pub(super) commitment: Hash,
    pub(super) shower: Nonce,
}

impl Claimed {
    pub(super) fn offer(
        self,
        challenge: &Challenge,
        joiner: DeviceId,
        params: OfferParams,
        identity: &Identity,
        entropy: Entropy<'_>,
    ) -> AwaitAccept {
        let mut offer = Offer {
            nonce: Nonce::random(entropy),
            account: params.account,
            label: params.label,
            name: params.name,
            platform: params.platform,
            role: challenge.terms.role,
            custody: challenge.terms.custody,
            lease: params.lease,
            statements: params.statements,
            addresses: params.addresses,
            ext: message::grease(entropy),
            signature: [0; 64],
        };
        offer.addresses.truncate(limits::ADDRESSES);
        let signed = proof::offer_message(&self.exporter, challenge.id(), joiner, &offer);
        offer.signature = identity.sign("offer", &signed);
        AwaitAccept { exporter: self.exporter, claim: self.claim, offer }
    }
}

impl AwaitAccept {
    pub(super) fn accept(
        self,
        challenge: &Challenge,
        joiner: DeviceId,
        accept: Accept,
    ) -> Result<(AwaitCode, Peer), CloseCode> {
        if proof::commitment(&accept.nonce, joiner) != self.claim.commitment {
            return Err(CloseCode::BadCommitment);
        }
        let consent = proof::consent_message(challenge, self.offer.account, joiner, &accept.hpke);
        if !key::verify(&joiner, "consent", &consent, &accept.consent) {
            return Err(CloseCode::BadConsent);
        }
        let transcript = proof::transcript(&self.exporter, &self.claim, &self.offer);
        let peer = Peer {
            device: joiner,
            hpke: accept.hpke,
            name: names::clean(&accept.name),
            platform: names::clean(&accept.platform),
            replaces: accept.replaces,
            consent: accept.consent,
        };
        Ok((AwaitCode { transcript, shower: self.offer.nonce, joiner: accept.nonce, attempt: 0 }, peer))
    }
}

impl AwaitCode {
    pub(super) fn code(&self) -> String {
        proof::code(self.transcript, &self.shower, &self.joiner, self.attempt)
    }
}

impl AwaitOpen {
    pub(super) fn open(self, device: DeviceId, joiner: Nonce) -> Result<AwaitCode, CloseCode> {
        if proof::commitment(&joiner, device) != self.commitment {
            return Err(CloseCode::BadCommitment);
        }
        Ok(AwaitCode {
            transcript: self.transcript,
            shower: self.shower,
            joiner,
            attempt: self.attempt.saturating_add(1),
        })
    }
}

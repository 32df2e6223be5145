//! The messages that the joiner awaits: each has the state that only it can consume.

use super::AcceptParams;
use crate::id::Hash;
use crate::key::{Entropy, Identity};
use crate::link::message::{self, Accept, Claim, Nonce, Offer};
use crate::link::proof::{self, Exporter};
use crate::wire::challenge::Challenge;

/// The claim is out.
#[derive(Debug)]
pub(super) struct AwaitOffer {
    pub(super) exporter: Exporter,
    pub(super) claim: Claim,
    pub(super) nonce: Nonce,
}

/// The offer is verified; the user is asked.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) exporter: Exporter,
    pub(super) claim: Claim,
    pub(super) nonce: Nonce,
    pub(super) offer: Offer,
}

/// Both nonces are known: the code is shown.
pub(super) struct AwaitVerdict {
    pub(super) transcript: Hash,
    pub(super) attempt: u8,
    pub(super) code: String,
}

impl std::fmt::Debug for AwaitVerdict {
    /// Without the code: only the shower's user may learn it, by looking at the screen.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AwaitVerdict(try {})", self.attempt)
    }
}

/// Bound to the next nonce, and waiting for the shower's.
#[derive(Debug)]
pub(super) struct AwaitNonce {
    pub(super) transcript: Hash,
    pub(super) attempt: u8,
    pub(super) nonce: Nonce,
}

impl Offered {
    pub(super) fn accept(
        self,
        challenge: &Challenge,
        identity: &Identity,
        params: AcceptParams,
        entropy: Entropy<'_>,
    ) -> (AwaitVerdict, Accept) {
        let hpke = identity.hpke_public().to_vec();
        let consent = proof::consent_message(challenge, self.offer.account, identity.device(), &hpke);
        let accept = Accept {
            nonce: self.nonce,
            hpke,
            name: params.name,
            platform: params.platform,
            replaces: params.replaces,
            ext: message::grease(entropy),
            consent: identity.sign("consent", &consent),
        };
        let transcript = proof::transcript(&self.exporter, &self.claim, &self.offer);
        let code = proof::code(transcript, &self.offer.nonce, &accept.nonce, 0);
        (AwaitVerdict { transcript, attempt: 0, code }, accept)
    }
}

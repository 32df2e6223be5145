//! What both sides compute: the claim's mac, commitments, consent, the transcript and the code.

use crate::id::{AccountId, ChallengeId, DeviceId, Hash};
use crate::key;
use crate::link::message::{Claim, Nonce, Offer};
use crate::roster::statement;
use crate::wire::Encode;
use crate::wire::challenge::Challenge;

/// `X` of PROTOCOL.md section 2: the TLS exporter of one linking connection.
pub type Exporter = key::Secret;

/// `H("commit", nonce, J)`.
#[must_use]
pub(super) fn commitment(nonce: &Nonce, joiner: DeviceId) -> Hash {
    key::hash("commit", &[&nonce.0, joiner.as_bytes()])
}

/// The claim's mac: whoever can make it saw the challenge and holds `joiner` in this TLS session.
#[must_use]
pub(super) fn claim_mac(challenge: &Challenge, joiner: DeviceId, exporter: &Exporter, commitment: Hash) -> [u8; 32] {
    let (role, custody) = (challenge.terms.role.to_bytes(), challenge.terms.custody.to_bytes());
    let parts: [&[u8]; 6] =
        [&exporter.0, challenge.shower.as_bytes(), joiner.as_bytes(), &role, &custody, commitment.as_bytes()];
    key::mac(&challenge.link_key(), "claim", &parts)
}

/// What an offer's signature covers.
#[must_use]
pub(super) fn offer_message(exporter: &Exporter, challenge: ChallengeId, joiner: DeviceId, offer: &Offer) -> Vec<u8> {
    [&exporter.0, &challenge.0[..], joiner.as_bytes(), &offer.unsigned()].concat()
}

/// What J's consent covers: joining `account` with its keys, as what the challenge says.
#[must_use]
pub(super) fn consent_message(challenge: &Challenge, account: AccountId, joiner: DeviceId, hpke: &[u8]) -> Vec<u8> {
    let terms = &challenge.terms;
    statement::consent_message(account, joiner, hpke, terms.role, terms.custody, challenge.id())
}

/// `T`: the session and everything that was said in it before J knew S's nonce.
///
/// Accept is not in it. J says that last, knowing both nonces: with any of its text in the code, whoever claims could
/// try names until the code is one that somebody else shows. The session covers it: X is that of S and J alone.
#[must_use]
pub(super) fn transcript(exporter: &Exporter, claim: &Claim, offer: &Offer) -> Hash {
    key::hash("link transcript", &[&exporter.0, &claim.to_bytes(), &offer.to_bytes()])
}

/// The six digits of one try.
#[must_use]
pub(super) fn code(transcript: Hash, shower: &Nonce, joiner: &Nonce, attempt: u8) -> String {
    let hash = key::hash("code", &[transcript.as_bytes(), &shower.0, &joiner.0, &[attempt]]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.0[..8]);
    format!("{:06}", u64::from_be_bytes(first) % 1_000_000)
}

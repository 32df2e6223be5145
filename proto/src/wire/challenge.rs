//! The signed, one-time, expiring offer to link: PROTOCOL.md section 3.

use data_encoding::BASE64URL_NOPAD;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::address::Address;
use super::codec::{Decode, DecodeError, Encode, Reader, Writer};
use crate::id::{ChallengeId, DeviceId};
use crate::key::{self, Entropy, Identity, Secret};
use crate::limits;
use crate::roster::{Custody, Role};
use crate::time::Wall;

/// What the QR's text begins with.
pub const QR_PREFIX: &str = "KL:";
/// What the copied text begins with.
pub const TEXT_PREFIX: &str = "kinlink:";
/// Characters that a QR code of version 6, level L holds in alphanumeric mode: what an 80x24 terminal
/// can draw in half-blocks.
pub const QR_CHARS: usize = 195;

/// Version 1 in the high nibble; kind 0, "shown by the linked device", in the low one.
const VERSION_AND_KIND: u8 = 0x10;
/// Bytes before the addresses.
const FIXED: usize = 1 + 1 + 32 + 16 + 4;
/// Bytes of a signature.
const SIGNATURE: usize = 64;
/// Characters of the longest text that can be a challenge: 8 addresses of 257 bytes, in base64.
const TEXT_CHARS: usize = 4096;

/// Why a text cannot be used as a challenge, and what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// Something else altogether.
    #[error(
        "this is not a Kinlink challenge; it begins with KL: or kinlink:. Open pairing on a linked device and scan or copy what that shows"
    )]
    NotAChallenge,
    /// The beginning of one, or one with a slip in it.
    #[error("the challenge is incomplete or damaged; scan or copy all of it again")]
    Damaged,
    /// A version, kind or flag that this version does not know.
    #[error("the challenge was made by a newer Kinlink; update Kinlink on this device")]
    Newer,
    /// Well-formed, and not what the shower signed.
    #[error(
        "the challenge's signature is wrong: it was misread or altered; scan it again, straight from the linked device"
    )]
    Signature,
    /// Shown by the device that reads it.
    #[error("this challenge was made by this very device; scan it with the device that is to be linked")]
    Own,
}

/// The secret of a challenge: to know it is to have seen the QR. 16 random bytes, wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ChallengeSecret([u8; 16]);

impl ChallengeSecret {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for ChallengeSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ChallengeSecret(…)")
    }
}

impl PartialEq for ChallengeSecret {
    fn eq(&self, other: &Self) -> bool {
        key::same(&self.0, &other.0)
    }
}

impl Eq for ChallengeSecret {}

/// What a shower offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// As what the new device is linked.
    pub role: Role,
    /// In whose custody it is.
    pub custody: Custody,
    /// Whether devices beyond this network may answer.
    pub anywhere: bool,
    /// When it ends, in seconds since the Unix epoch: for display only.
    pub expires: u32,
    /// Where the linking socket listens, best first; those past [`limits::ADDRESSES`] are left out.
    pub addresses: Vec<Address>,
}

/// An offer to link, signed by the device that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// What is offered.
    pub terms: Terms,
    /// Who shows it.
    pub shower: DeviceId,
    /// The proof of having seen it.
    pub secret: ChallengeSecret,
    signature: [u8; SIGNATURE],
}

impl Challenge {
    /// A fresh one, signed by the shower.
    #[must_use]
    pub fn sign(identity: &Identity, terms: Terms, entropy: Entropy<'_>) -> Self {
        Self::signed(identity, terms, ChallengeSecret(key::random(entropy)))
    }

    fn signed(identity: &Identity, mut terms: Terms, secret: ChallengeSecret) -> Self {
        terms.addresses.truncate(limits::ADDRESSES);
        let mut challenge = Self { terms, shower: identity.device(), secret, signature: [0; SIGNATURE] };
        challenge.signature = identity.sign("challenge", &challenge.unsigned());
        challenge
    }

    /// Names the attempt: the same for the QR and the copied text, whatever addresses they carry.
    #[must_use]
    pub fn id(&self) -> ChallengeId {
        let mut w = Writer::new();
        self.encode_fixed(&mut w);
        ChallengeId(key::hash("challenge id", &[&Zeroizing::new(w.finish())]).0)
    }

    /// The key of the claim's mac: `KDF(challenge secret, ChallengeId, "link")`.
    #[must_use]
    pub fn link_key(&self) -> Secret {
        key::derive(&self.secret.0, self.id().as_bytes(), "link", &[])
    }

    /// Whether the offer looks over by this device's clock, which may be wrong: a reason to warn, not to refuse.
    #[must_use]
    pub fn looks_expired(&self, now: Wall) -> bool {
        now.0 / 1000 > u64::from(self.terms.expires)
    }

    /// The text for the QR: `KL:` and Base45 (RFC 9285), at most [`QR_CHARS`] characters, signed anew by
    /// its shower with the first address that fits, or none.
    #[must_use]
    pub fn to_qr(&self, identity: &Identity) -> String {
        let with = |addresses: Vec<Address>| {
            let terms = Terms { addresses, ..self.terms.clone() };
            let bytes = Zeroizing::new(Self::signed(identity, terms, self.secret.clone()).to_bytes());
            format!("{QR_PREFIX}{}", base45::encode(bytes.as_slice()))
        };
        let one = self.terms.addresses.iter().find(|address| fits_qr(address)).cloned();
        with(one.into_iter().collect())
    }

    /// The text for copying: `kinlink:` and unpadded base64url, with every address.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{TEXT_PREFIX}{}", BASE64URL_NOPAD.encode(&Zeroizing::new(self.to_bytes())))
    }

    /// Reads either text and checks the signature. White space and quotes around it are ignored, and white
    /// space within the copied text, which terminals and mail programs break into lines.
    ///
    /// # Errors
    /// Each says what to do.
    pub fn parse(text: &str) -> Result<Self, ChallengeError> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '\u{feff}'));
        if text.len() > TEXT_CHARS {
            return Err(ChallengeError::NotAChallenge);
        }
        Self::verified(&bytes_of(text)?)
    }

    /// From its bytes; see [`Self::parse`].
    fn verified(bytes: &[u8]) -> Result<Self, ChallengeError> {
        // First, as a later version may stand on other signatures.
        if *bytes.first().ok_or(ChallengeError::Damaged)? != VERSION_AND_KIND {
            return Err(ChallengeError::Newer);
        }
        let (signed, signature) = bytes.split_last_chunk::<SIGNATURE>().ok_or(ChallengeError::Damaged)?;
        let shower = signed.get(2..34).and_then(|id| id.try_into().ok()).map(DeviceId);
        let shower = shower.filter(|_| signed.len() >= FIXED).ok_or(ChallengeError::Damaged)?;
        if !key::verify(&shower, "challenge", signed, signature) {
            return Err(ChallengeError::Signature);
        }
        // What is signed and still not understood was not damaged on the way.
        Self::fields(&mut Reader::new(&signed[1..]), *signature).map_err(|error| match error {
            DecodeError::Newer { .. } => ChallengeError::Newer,
            _ => ChallengeError::Damaged,
        })
    }

    fn fields(r: &mut Reader<'_>, signature: [u8; SIGNATURE]) -> Result<Self, DecodeError> {
        let (role, custody, anywhere) = flags(r.u8()?)?;
        let (shower, secret, expires) = (DeviceId::decode(r)?, ChallengeSecret(r.array()?), r.u32()?);
        let terms = Terms { role, custody, anywhere, expires, addresses: addresses(r)? };
        Ok(Self { terms, shower, secret, signature })
    }

    fn encode_fixed(&self, w: &mut Writer) {
        w.u8(VERSION_AND_KIND);
        w.u8(code(&self.terms.role) | code(&self.terms.custody) << 2 | u8::from(self.terms.anywhere) << 4);
        self.shower.encode(w);
        w.raw(&self.secret.0);
        w.u32(self.terms.expires);
    }

    /// Everything that the signature covers.
    fn unsigned(&self) -> Zeroizing<Vec<u8>> {
        let mut w = Writer::new();
        self.encode_fixed(&mut w);
        self.terms.addresses.iter().for_each(|address| address.encode(&mut w));
        Zeroizing::new(w.finish())
    }
}

impl Encode for Challenge {
    fn encode(&self, w: &mut Writer) {
        w.raw(&self.unsigned());
        w.raw(&self.signature);
    }
}

/// Whether the QR has room for `address`: Base45 makes three characters of two bytes.
fn fits_qr(address: &Address) -> bool {
    let bytes = FIXED + address.to_bytes().len() + SIGNATURE;
    QR_PREFIX.len() + bytes / 2 * 3 + bytes % 2 * 2 <= QR_CHARS
}

/// The bytes behind either prefix.
fn bytes_of(text: &str) -> Result<Zeroizing<Vec<u8>>, ChallengeError> {
    if let Some(base45) = text.strip_prefix(QR_PREFIX) {
        let bytes = base45::decode(base45).map(Zeroizing::new).map_err(|_| ChallengeError::Damaged)?;
        // The decoder takes some texts that no encoder writes; there is one text for each challenge.
        return if base45::encode(bytes.as_slice()) == base45 { Ok(bytes) } else { Err(ChallengeError::Damaged) };
    }
    let base64 = text.strip_prefix(TEXT_PREFIX).ok_or(ChallengeError::NotAChallenge)?;
    let joined: Zeroizing<String> = Zeroizing::new(base64.chars().filter(|c| !c.is_whitespace()).collect());
    BASE64URL_NOPAD.decode(joined.as_bytes()).map(Zeroizing::new).map_err(|_| ChallengeError::Damaged)
}

/// Role, custody and "anywhere".
fn flags(byte: u8) -> Result<(Role, Custody, bool), DecodeError> {
    let newer = DecodeError::Newer { what: "flags", value: byte.into() };
    let (role, custody) = (Role::from_bytes(&[byte & 3]), Custody::from_bytes(&[byte >> 2 & 3]));
    match (role, custody, byte >> 5) {
        (Ok(role), Ok(custody), 0) => Ok((role, custody, byte >> 4 & 1 == 1)),
        _ => Err(newer),
    }
}

/// The one byte that `value` is on the wire; 0 to 2 for roles and custodies.
fn code(value: &impl Encode) -> u8 {
    value.to_bytes().first().copied().unwrap_or_default() & 3
}

/// Addresses up to the end; more than there may be are of a newer version.
fn addresses(r: &mut Reader<'_>) -> Result<Vec<Address>, DecodeError> {
    let mut all = Vec::new();
    while r.remaining() > 0 {
        all.push(Address::decode(r)?);
    }
    match u32::try_from(all.len()) {
        Ok(value) if all.len() > limits::ADDRESSES => Err(DecodeError::Newer { what: "addresses", value }),
        _ => Ok(all),
    }
}

#[cfg(test)]
#[path = "challenge_tests.rs"]
mod tests;

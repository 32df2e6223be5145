//! The frames of linking: PROTOCOL.md section 4.
//!
//! There is one encoding of each value, so what a side hashes or verifies is what came over the wire.

use bytes::Bytes;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{AccountId, ChallengeId, DeviceId, Hash};
use crate::key::{self, Entropy, HPKE_PUBLIC};
use crate::limits;
use crate::roster::{Custody, Role};
use crate::wire::address::Address;
use crate::wire::frame::{CloseCode, Frame};
use crate::wire::object::Extensions;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Types of frames on a linking stream.
pub mod kind {
    /// J proves that it saw the challenge.
    pub const CLAIM: u16 = 0x8101;
    /// S says which account, as what.
    pub const OFFER: u16 = 0x8102;
    /// J consents.
    pub const ACCEPT: u16 = 0x8103;
    /// The code that was typed at S is not the one that J shows.
    pub const WRONG_CODE: u16 = 0x8104;
    /// J commits to a fresh nonce.
    pub const RECOMMIT: u16 = 0x8105;
    /// S's fresh nonce.
    pub const NONCE: u16 = 0x8106;
    /// J opens its commitment.
    pub const OPEN: u16 = 0x8107;
    /// S has linked J.
    pub const LINKED: u16 = 0x8108;
    /// That is durable at J.
    pub const DONE: u16 = 0x8109;
    /// Why the sender will not go on.
    pub const REFUSED: u16 = 0x810a;
    /// The sender's user cancelled.
    pub const CANCEL: u16 = 0x810b;
}

/// Objects in one list; the frame's own limit binds first.
const OBJECTS: usize = limits::STATEMENTS;

/// 32 random bytes that the code depends on: hidden in `Debug`, wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// A fresh one.
    #[must_use]
    pub fn random(entropy: Entropy<'_>) -> Self {
        Self(key::random(entropy))
    }
}

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(…)")
    }
}

/// J proves that it saw the challenge and commits to a nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which challenge.
    pub challenge: ChallengeId,
    /// `H("commit", nonce_J, J)`.
    pub commitment: Hash,
    /// Over both identities, the TLS session, role, custody and the commitment.
    pub mac: [u8; 32],
    /// Not understood, and not critical.
    pub ext: Extensions,
}

/// S says which account it would link J to, as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// S's share of the code.
    pub nonce: Nonce,
    /// The account.
    pub account: AccountId,
    /// Its label.
    pub label: String,
    /// S's own name.
    pub name: String,
    /// S's platform.
    pub platform: String,
    /// J's role there.
    pub role: Role,
    /// J's custody.
    pub custody: Custody,
    /// Seconds that J may go on without an owner; 0 is the default.
    pub lease: u32,
    /// The roster, parents first.
    pub statements: Vec<Vec<u8>>,
    /// Where S can be reached later.
    pub addresses: Vec<Address>,
    /// Not understood, and not critical.
    pub ext: Extensions,
    /// `Sign(S, "offer", X ‖ ChallengeId ‖ J ‖ all before)`.
    pub signature: [u8; 64],
}

/// J's user agreed: its device record and its consent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// What the claim committed to.
    pub nonce: Nonce,
    /// Where epochs are sealed to: [`HPKE_PUBLIC`] bytes.
    pub hpke: Vec<u8>,
    /// J's name, chosen by itself.
    pub name: String,
    /// J's platform.
    pub platform: String,
    /// The device that J says it replaces.
    pub replaces: Option<DeviceId>,
    /// Not understood, and not critical.
    pub ext: Extensions,
    /// `Sign(J, "consent", account ‖ J ‖ hpke ‖ role ‖ custody ‖ ChallengeId)`.
    pub consent: [u8; 64],
}

/// The typed code was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongCode {
    /// How many tries are left, at least one.
    pub tries_left: u8,
}

/// J commits to a fresh nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recommit {
    /// As in [`Claim`].
    pub commitment: Hash,
}

/// J is linked; everything that it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// The roster with J's link, parents first.
    pub statements: Vec<Vec<u8>>,
    /// Epochs sealed to J.
    pub epochs: Vec<Vec<u8>>,
    /// The epochs before.
    pub histories: Vec<Vec<u8>>,
    /// The newest report of each device: where the others are, should S be gone by the time J looks for it.
    pub reports: Vec<Vec<u8>>,
    /// Where S can be reached.
    pub addresses: Vec<Address>,
    /// Not understood, and not critical.
    pub ext: Extensions,
}

/// A frame of linking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Claim`].
    Claim(Claim),
    /// See [`Offer`].
    Offer(Box<Offer>),
    /// See [`Accept`].
    Accept(Box<Accept>),
    /// See [`WrongCode`].
    WrongCode(WrongCode),
    /// See [`Recommit`].
    Recommit(Recommit),
    /// S's fresh nonce.
    Nonce(Nonce),
    /// J opens what it committed to anew.
    Open(Nonce),
    /// See [`Linked`].
    Linked(Box<Linked>),
    /// Linked is durable at J.
    Done,
    /// Why the sender will not go on.
    Refused(CloseCode),
    /// The sender's user cancelled.
    Cancel,
}

impl Message {
    /// As a frame.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        let mut w = Writer::new();
        self.encode(&mut w);
        Frame::new(self.kind(), w.finish())
    }

    /// From a frame; `None` for an unknown type that may be skipped.
    ///
    /// # Errors
    /// For malformed bodies and ones over their limit, and [`DecodeError::Newer`] for an unknown critical type.
    pub fn from_frame(frame: &Frame) -> Result<Option<Self>, DecodeError> {
        bounded(frame)?;
        let mut r = Reader::new(&frame.body);
        let message = match frame.kind {
            kind::CLAIM => Self::Claim(Claim::decode(&mut r)?),
            kind::OFFER => Self::Offer(Box::new(Offer::decode(&mut r)?)),
            kind::ACCEPT => Self::Accept(Box::new(Accept::decode(&mut r)?)),
            kind::WRONG_CODE => Self::WrongCode(WrongCode { tries_left: r.u8()? }),
            kind::RECOMMIT => Self::Recommit(Recommit { commitment: Hash::decode(&mut r)? }),
            kind::NONCE => Self::Nonce(Nonce(r.array()?)),
            kind::OPEN => Self::Open(Nonce(r.array()?)),
            kind::LINKED => Self::Linked(Box::new(Linked::decode(&mut r)?)),
            kind::DONE => Self::Done,
            kind::REFUSED => Self::Refused(CloseCode::from_code(r.u16()?)),
            kind::CANCEL => Self::Cancel,
            other if frame.critical() => return Err(DecodeError::Newer { what: "frame", value: other.into() }),
            _ => return Ok(None),
        };
        r.finish()?;
        Ok(Some(message))
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Claim(_) => kind::CLAIM,
            Self::Offer(_) => kind::OFFER,
            Self::Accept(_) => kind::ACCEPT,
            Self::WrongCode(_) => kind::WRONG_CODE,
            Self::Recommit(_) => kind::RECOMMIT,
            Self::Nonce(_) => kind::NONCE,
            Self::Open(_) => kind::OPEN,
            Self::Linked(_) => kind::LINKED,
            Self::Done => kind::DONE,
            Self::Refused(_) => kind::REFUSED,
            Self::Cancel => kind::CANCEL,
        }
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Claim(claim) => claim.encode(w),
            Self::Offer(offer) => offer.encode(w),
            Self::Accept(accept) => accept.encode(w),
            Self::WrongCode(wrong) => w.u8(wrong.tries_left),
            Self::Recommit(recommit) => recommit.commitment.encode(w),
            Self::Nonce(nonce) | Self::Open(nonce) => w.raw(&nonce.0),
            Self::Linked(linked) => linked.encode(w),
            Self::Done | Self::Cancel => {}
            Self::Refused(code) => w.u16(code.code()),
        }
    }
}

/// The code with which a linking connection closes over a frame that does not decode.
#[must_use]
pub fn close_code(error: &DecodeError) -> CloseCode {
    match error {
        DecodeError::Newer { .. } => CloseCode::UpdateNeeded,
        _ => CloseCode::Protocol,
    }
}

/// Only what a pinned shower sends may be large.
fn bounded(frame: &Frame) -> Result<(), DecodeError> {
    let max =
        if matches!(frame.kind, kind::OFFER | kind::LINKED) { limits::FRAME_SHOWER } else { limits::FRAME_STRANGER };
    match frame.body.len() {
        len if len > max => Err(DecodeError::TooLarge { what: "frame", len, max }),
        _ => Ok(()),
    }
}

impl Encode for Claim {
    fn encode(&self, w: &mut Writer) {
        self.challenge.encode(w);
        self.commitment.encode(w);
        w.raw(&self.mac);
        self.ext.encode(w);
    }
}

impl Decode for Claim {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            challenge: ChallengeId::decode(r)?,
            commitment: Hash::decode(r)?,
            mac: r.array()?,
            ext: understood(r)?,
        })
    }
}

impl Offer {
    /// Everything that the signature covers, but what it is prefixed with.
    #[must_use]
    pub fn unsigned(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.encode_unsigned(&mut w);
        w.finish()
    }

    fn encode_unsigned(&self, w: &mut Writer) {
        w.raw(&self.nonce.0);
        self.account.encode(w);
        w.t8(&self.label);
        w.t8(&self.name);
        w.t8(&self.platform);
        self.role.encode(w);
        self.custody.encode(w);
        w.u32(self.lease);
        write_objects(w, &self.statements);
        w.n8(&self.addresses);
        self.ext.encode(w);
    }
}

impl Encode for Offer {
    fn encode(&self, w: &mut Writer) {
        self.encode_unsigned(w);
        w.raw(&self.signature);
    }
}

impl Decode for Offer {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            nonce: Nonce(r.array()?),
            account: AccountId::decode(r)?,
            label: r.t8()?,
            name: r.t8()?,
            platform: r.t8()?,
            role: Role::decode(r)?,
            custody: Custody::decode(r)?,
            lease: r.u32()?,
            statements: objects(r, "statements")?,
            addresses: r.n8("addresses", limits::ADDRESSES)?,
            ext: understood(r)?,
            signature: r.array()?,
        })
    }
}

impl Encode for Accept {
    fn encode(&self, w: &mut Writer) {
        w.raw(&self.nonce.0);
        w.raw(&self.hpke);
        w.t8(&self.name);
        w.t8(&self.platform);
        self.replaces.unwrap_or(DeviceId::NONE).encode(w);
        self.ext.encode(w);
        w.raw(&self.consent);
    }
}

impl Decode for Accept {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            nonce: Nonce(r.array()?),
            hpke: r.take(HPKE_PUBLIC)?.to_vec(),
            name: r.t8()?,
            platform: r.t8()?,
            replaces: Some(DeviceId::decode(r)?).filter(|device| *device != DeviceId::NONE),
            ext: understood(r)?,
            consent: r.array()?,
        })
    }
}

impl Encode for Linked {
    fn encode(&self, w: &mut Writer) {
        write_objects(w, &self.statements);
        write_objects(w, &self.epochs);
        write_objects(w, &self.histories);
        write_objects(w, &self.reports);
        w.n8(&self.addresses);
        self.ext.encode(w);
    }
}

impl Decode for Linked {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            statements: objects(r, "statements")?,
            epochs: objects(r, "sealed epochs")?,
            histories: objects(r, "histories")?,
            reports: objects(r, "reports")?,
            addresses: r.n8("addresses", limits::ADDRESSES)?,
            ext: understood(r)?,
        })
    }
}

fn understood(r: &mut Reader<'_>) -> Result<Extensions, DecodeError> {
    let ext = Extensions::decode(r)?;
    ext.understood()?;
    Ok(ext)
}

fn objects(r: &mut Reader<'_>, what: &'static str) -> Result<Vec<Vec<u8>>, DecodeError> {
    Ok(r.n16::<Bytes>(what, OBJECTS)?.into_iter().map(Vec::from).collect())
}

fn write_objects(w: &mut Writer, items: &[Vec<u8>]) {
    // Bounded by `limits::STATEMENTS`, which is below 2^16.
    w.u16(u16::try_from(items.len()).unwrap_or(u16::MAX));
    items.iter().take(usize::from(u16::MAX)).for_each(|item| w.v32(item));
}

/// Now and then one extension that nobody knows, so that skipping is exercised.
pub(super) fn grease(entropy: Entropy<'_>) -> Extensions {
    match key::random::<5>(entropy) {
        [seldom, random @ ..] if seldom < 64 => Extensions::grease(random),
        _ => Extensions::default(),
    }
}

//! The envelope of everything that is signed or sealed, and extensions.

use super::codec::{Decode, DecodeError, Encode, Reader, Writer, sorted};
use crate::limits::EXTENSIONS;

/// The format that this implementation writes.
pub const FORMAT: u8 = 1;
/// The suite that this implementation uses: PROTOCOL.md section 1.
pub const SUITE: u8 = 1;
/// Set in a type that must be understood.
pub const CRITICAL: u16 = 0x8000;
/// Bytes of an envelope before the body.
pub const ENVELOPE: usize = 8;

/// Types of objects.
pub mod kind {
    /// A statement of the roster.
    pub const STATEMENT: u16 = 0x8001;
    /// An epoch's secret, sealed to one device.
    pub const SEALED_EPOCH: u16 = 0x8010;
    /// The secrets of earlier epochs, sealed under a later one.
    pub const EPOCH_HISTORY: u16 = 0x8011;
    /// An operation of a journal.
    pub const OPERATION: u16 = 0x8020;
    /// The signed head of a journal.
    pub const HEAD: u16 = 0x8021;
    /// A device's report.
    pub const REPORT: u16 = 0x8022;
}

/// Wraps what `body` writes in an envelope of type `kind`.
#[must_use]
pub fn wrap(kind: u16, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut inner = Writer::new();
    body(&mut inner);
    let mut w = Writer::new();
    header(&mut w, kind, inner.written().len());
    w.raw(inner.written());
    w.finish()
}

/// Wraps what `body` writes, followed by a signature of 64 bytes over everything before it.
#[must_use]
pub fn wrap_signed(kind: u16, body: impl FnOnce(&mut Writer), sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
    let mut inner = Writer::new();
    body(&mut inner);
    let mut w = Writer::new();
    header(&mut w, kind, inner.written().len() + 64);
    w.raw(inner.written());
    let signature = sign(w.written());
    w.raw(&signature);
    w.finish()
}

/// The kind of a countersignature, and what makes it of what it is about.
pub type Countersign<'a> = (u8, &'a dyn Fn(&[u8]) -> [u8; 64]);

/// As [`wrap_signed`], with room for a countersignature before the signature: none, or its kind and what makes it of everything
/// before the kind.
#[must_use]
pub fn wrap_countersigned(
    kind: u16,
    body: impl FnOnce(&mut Writer),
    countersign: Option<Countersign<'_>>,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> Vec<u8> {
    let mut inner = Writer::new();
    body(&mut inner);
    let mut w = Writer::new();
    header(&mut w, kind, inner.written().len() + 1 + 64 + if countersign.is_some() { 64 } else { 0 });
    w.raw(inner.written());
    match countersign {
        Some((by, countersign)) => {
            let signature = countersign(w.written());
            w.u8(by);
            w.raw(&signature);
        }
        None => w.u8(0),
    }
    let signature = sign(w.written());
    w.raw(&signature);
    w.finish()
}

fn header(w: &mut Writer, kind: u16, len: usize) {
    w.u8(FORMAT);
    w.u16(kind);
    w.u8(SUITE);
    // Bodies are bounded far below 4 GiB by `limits`.
    w.u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// A reader over the body of an object of type `kind`.
///
/// The reader covers the whole object, so that `since(0)` is "all before, envelope included".
///
/// # Errors
/// [`DecodeError::Newer`] for a format, suite or type that this version does not know, and errors
/// for a length that is not exactly that of the body.
pub fn open(bytes: &[u8], expected: u16) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(bytes);
    let (format, kind, suite) = (r.u8()?, r.u16()?, r.u8()?);
    if format != FORMAT {
        return Err(DecodeError::Newer { what: "format", value: format.into() });
    }
    if kind != expected {
        return Err(DecodeError::Newer { what: "object type", value: kind.into() });
    }
    if suite != SUITE {
        return Err(DecodeError::Newer { what: "suite", value: suite.into() });
    }
    let len = r.u32()? as usize;
    match r.remaining() {
        left if left == len => Ok(r),
        left if left < len => Err(DecodeError::Truncated(len - left)),
        left => Err(DecodeError::Trailing(left - len)),
    }
}

/// One extension that this version does not know. It is carried on unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its type; [`CRITICAL`] may be set.
    pub kind: u16,
    /// Its content.
    pub value: Vec<u8>,
}

/// The extensions at the end of a body, ascending by type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(pub Vec<Extension>);

impl Extensions {
    /// Whether one must be understood and is not: update needed.
    #[must_use]
    pub fn critical(&self) -> Option<u16> {
        self.0.iter().map(|ext| ext.kind).find(|kind| kind & CRITICAL != 0)
    }

    /// Refuses a critical one, in messages, where nothing is kept.
    ///
    /// # Errors
    /// [`DecodeError::Newer`].
    pub fn understood(&self) -> Result<(), DecodeError> {
        match self.critical() {
            Some(kind) => Err(DecodeError::Newer { what: "extension", value: kind.into() }),
            None => Ok(()),
        }
    }

    /// A single unknown extension, so that skipping is exercised every day.
    #[must_use]
    pub fn grease(random: [u8; 4]) -> Self {
        let kind = u16::from_be_bytes([random[0], random[1]]) & !CRITICAL;
        Self(vec![Extension { kind, value: random[2..].to_vec() }])
    }
}

impl Encode for Extension {
    fn encode(&self, w: &mut Writer) {
        w.u16(self.kind);
        w.v16(&self.value);
    }
}

impl Decode for Extension {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { kind: r.u16()?, value: r.v16("extension", usize::from(u16::MAX))?.to_vec() })
    }
}

impl Encode for Extensions {
    fn encode(&self, w: &mut Writer) {
        w.n8(&self.0);
    }
}

impl Decode for Extensions {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let items = r.n8("extensions", EXTENSIONS)?;
        sorted("extensions", &items, |ext: &Extension| ext.kind)?;
        Ok(Self(items))
    }
}

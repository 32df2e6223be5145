//! The messages of sync: PROTOCOL.md section 10.

use bytes::Bytes;

use super::codec::{Decode, DecodeError, Encode, Reader, Writer, sorted};
use super::frame::{CloseCode, Frame};
use super::object::Extensions;
use crate::id::{AccountId, DeviceId, EpochId, RunId};
use crate::journal::Position;
use crate::limits;
use crate::roster::statement::Parent;
use crate::sync::vector::Want;

/// The protocol version that this implementation speaks.
pub const VERSION: u16 = 1;

/// Types of frames on a control stream and on transfer streams.
pub mod kind {
    /// The first frame of both sides.
    pub const HELLO: u16 = 0x8201;
    /// Statements of the roster.
    pub const STATEMENTS: u16 = 0x8202;
    /// Sealed epochs and histories.
    pub const EPOCHS: u16 = 0x8203;
    /// Reports, the newest of each device.
    pub const REPORTS: u16 = 0x8204;
    /// Asks for journals.
    pub const WANT: u16 = 0x8205;
    /// A small range of a journal, whole.
    pub const JOURNAL: u16 = 0x8206;
    /// What changed of what the sender holds, and of whom it hears from.
    pub const HAVE: u16 = 0x8207;
    /// The peer's revocation and its past.
    pub const REVOKED: u16 = 0x8208;
    /// A refusal.
    pub const REFUSED: u16 = 0x820a;
    /// Shows that an unknown key belongs to a device that was given the account's keys.
    pub const INTRODUCTION: u16 = 0x820b;
    /// Asks for a sign of life.
    pub const PING: u16 = 0x820c;
    /// The sign of life.
    pub const PONG: u16 = 0x820d;
    /// The header of a transfer, on a stream of its own.
    pub const TRANSFER_HEADER: u16 = 0x8210;
    /// A segment of a transfer.
    pub const SEGMENT: u16 = 0x8211;
}

/// What a device has and holds, said first on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// The account that the sender belongs to, or is about to join.
    pub account: AccountId,
    /// The sender's run.
    pub run: RunId,
    /// Reserved; 0.
    pub capabilities: u64,
    /// The newest statement of each author.
    pub heads: Vec<Parent>,
    /// What it holds of each journal.
    pub journals: Vec<Position>,
    /// The newest report of each device.
    pub reports: Vec<(DeviceId, u64)>,
    /// The epochs whose secret it holds.
    pub epochs: Vec<EpochId>,
    /// Extensions.
    pub ext: Extensions,
}

/// What changed since the hello, as far as the peer cannot know it. An empty list says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Have {
    /// What it holds of journals by now.
    pub journals: Vec<Position>,
    /// The newest statement of every author that it holds: it lacks something, and asks for what is not in their past.
    pub heads: Vec<Parent>,
    /// The newest reports that it holds of some devices: newer ones are wanted.
    pub reports: Vec<(DeviceId, u64)>,
    /// Epochs whose secret it lacks though it is among their recipients.
    pub lacks: Vec<EpochId>,
    /// Devices that it is connected with by now.
    pub joined: Vec<DeviceId>,
    /// Devices that it is no longer connected with.
    pub lost: Vec<DeviceId>,
}

/// A message on a control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Hello`].
    Hello(Box<Hello>),
    /// Statements in an order in which parents come first.
    Statements(Vec<Vec<u8>>),
    /// Epochs sealed to the receiver, and what earlier epochs they open.
    Epochs {
        /// Sealed epochs.
        sealed: Vec<Vec<u8>>,
        /// Histories.
        histories: Vec<Vec<u8>>,
    },
    /// Reports.
    Reports(Vec<Vec<u8>>),
    /// Asks for journals.
    Want(Vec<Want>),
    /// A transfer header and all its segments.
    Journal {
        /// The header.
        header: Vec<u8>,
        /// The segments.
        segments: Vec<Bytes>,
    },
    /// See [`Have`].
    Have(Box<Have>),
    /// The receiver's revocation and its past.
    Revoked(Vec<Vec<u8>>),
    /// Why the sender will not go on.
    Refused(CloseCode),
    /// Asks for a [`Message::Pong`] with the same number.
    Ping(u64),
    /// The answer.
    Pong(u64),
    /// The first frame of a device that the receiver does not know yet; statements that link it follow.
    Introduction(Introduction),
}

/// Proof that a newcomer was given keys of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// A mac under each of some epochs that the newcomer holds, ascending by epoch: it does not know which of them the
    /// receiver holds. See [`crate::roster::keyring::Keyring::introduction`].
    pub macs: Vec<(EpochId, [u8; 32])>,
    /// Extensions.
    pub ext: Extensions,
}

/// Epochs named in a hello: every revocation makes one.
const EPOCHS: usize = 4096;
/// Journals named in a vector: all generations of all authors.
const JOURNALS: usize = 4096;
/// Objects in one frame; the frame's own limit binds first.
const OBJECTS: usize = 8192;

impl Message {
    /// As a frame.
    #[must_use]
    pub fn to_frame(&self) -> Frame {
        let mut w = Writer::new();
        let kind = self.encode(&mut w);
        Frame::new(kind, w.finish())
    }

    /// From a frame; `None` for an unknown type that may be skipped.
    ///
    /// # Errors
    /// For malformed bodies, and [`DecodeError::Newer`] for an unknown critical type.
    pub fn from_frame(frame: &Frame) -> Result<Option<Self>, DecodeError> {
        let mut r = Reader::sharing(&frame.body);
        let message = match frame.kind {
            kind::HELLO => Self::Hello(Box::new(Hello::decode(&mut r)?)),
            kind::STATEMENTS => Self::Statements(blobs(&mut r)?),
            kind::EPOCHS => Self::Epochs { sealed: blobs(&mut r)?, histories: blobs(&mut r)? },
            kind::REPORTS => Self::Reports(blobs(&mut r)?),
            kind::WANT => Self::Want(r.n16("wants", JOURNALS)?),
            kind::JOURNAL => Self::Journal {
                header: r.v32("header", limits::FRAME_CONTROL)?.to_vec(),
                segments: r.n16("objects", OBJECTS)?,
            },
            kind::HAVE => Self::Have(Box::new(Have::decode(&mut r)?)),
            kind::REVOKED => Self::Revoked(blobs(&mut r)?),
            kind::REFUSED => Self::Refused(CloseCode::from_code(r.u16()?)),
            kind::INTRODUCTION => Self::Introduction(Introduction::decode(&mut r)?),
            kind::PING => Self::Ping(r.u64()?),
            kind::PONG => Self::Pong(r.u64()?),
            other if frame.critical() => return Err(DecodeError::Newer { what: "frame", value: other.into() }),
            _ => return Ok(None),
        };
        r.finish()?;
        Ok(Some(message))
    }

    fn encode(&self, w: &mut Writer) -> u16 {
        match self {
            Self::Hello(hello) => {
                hello.encode(w);
                kind::HELLO
            }
            Self::Statements(items) => write_blobs(w, items, kind::STATEMENTS),
            Self::Epochs { sealed, histories } => {
                write_blobs(w, sealed, kind::EPOCHS);
                write_blobs(w, histories, kind::EPOCHS)
            }
            Self::Reports(items) => write_blobs(w, items, kind::REPORTS),
            Self::Want(items) => {
                w.n16(items);
                kind::WANT
            }
            Self::Journal { header, segments } => {
                w.v32(header);
                w.n16(segments);
                kind::JOURNAL
            }
            Self::Have(have) => {
                have.encode(w);
                kind::HAVE
            }
            Self::Revoked(items) => write_blobs(w, items, kind::REVOKED),
            Self::Refused(code) => {
                w.u16(code.code());
                kind::REFUSED
            }
            Self::Introduction(introduction) => {
                introduction.encode(w);
                kind::INTRODUCTION
            }
            Self::Ping(number) => {
                w.u64(*number);
                kind::PING
            }
            Self::Pong(number) => {
                w.u64(*number);
                kind::PONG
            }
        }
    }
}

fn blobs(r: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    Ok(r.n16::<Bytes>("objects", OBJECTS)?.into_iter().map(Vec::from).collect())
}

fn write_blobs(w: &mut Writer, items: &[Vec<u8>], kind: u16) -> u16 {
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    w.u16(count);
    items.iter().take(usize::from(count)).for_each(|item| w.v32(item));
    kind
}

fn positions(r: &mut Reader<'_>) -> Result<Vec<Position>, DecodeError> {
    let items = r.n16("journals", JOURNALS)?;
    sorted("journals", &items, |p: &Position| p.journal)?;
    Ok(items)
}

impl Encode for (EpochId, [u8; 32]) {
    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
        w.raw(&self.1);
    }
}

impl Decode for (EpochId, [u8; 32]) {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((EpochId::decode(r)?, r.array()?))
    }
}

impl Encode for Introduction {
    fn encode(&self, w: &mut Writer) {
        w.n8(&self.macs);
        self.ext.encode(w);
    }
}

impl Decode for Introduction {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let macs = r.n8("epochs of an introduction", limits::INTRODUCTION_EPOCHS)?;
        let introduction = Self { macs, ext: Extensions::decode(r)? };
        sorted("epochs of an introduction", &introduction.macs, |(epoch, _)| *epoch)?;
        introduction.ext.understood()?;
        Ok(introduction)
    }
}

impl Encode for (DeviceId, u64) {
    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
        w.u64(self.1);
    }
}

impl Decode for (DeviceId, u64) {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((DeviceId::decode(r)?, r.u64()?))
    }
}

impl Encode for Hello {
    fn encode(&self, w: &mut Writer) {
        w.u16(self.version);
        self.account.encode(w);
        self.run.encode(w);
        w.u64(self.capabilities);
        w.n8(&self.heads);
        w.n16(&self.journals);
        w.n8(&self.reports);
        w.n16(&self.epochs);
        self.ext.encode(w);
    }
}

impl Decode for Hello {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hello = Self {
            version: r.u16()?,
            account: AccountId::decode(r)?,
            run: RunId::decode(r)?,
            capabilities: r.u64()?,
            heads: r.n8("heads", limits::AUTHORS)?,
            journals: positions(r)?,
            reports: r.n8("reports", limits::AUTHORS)?,
            epochs: r.n16("epochs", EPOCHS)?,
            ext: Extensions::decode(r)?,
        };
        sorted("heads", &hello.heads, |head| head.author)?;
        sorted("reports", &hello.reports, |report| report.0)?;
        sorted("epochs", &hello.epochs, |epoch| *epoch)?;
        hello.ext.understood()?;
        Ok(hello)
    }
}

impl Encode for Have {
    fn encode(&self, w: &mut Writer) {
        w.n16(&self.journals);
        w.n8(&self.heads);
        w.n8(&self.reports);
        w.n16(&self.lacks);
        w.n8(&self.joined);
        w.n8(&self.lost);
    }
}

impl Decode for Have {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let have = Self {
            journals: positions(r)?,
            heads: r.n8("heads", limits::AUTHORS)?,
            reports: r.n8("reports", limits::AUTHORS)?,
            lacks: r.n16("epochs", EPOCHS)?,
            joined: r.n8("devices", limits::AUTHORS)?,
            lost: r.n8("devices", limits::AUTHORS)?,
        };
        sorted("heads", &have.heads, |head| head.author)?;
        sorted("reports", &have.reports, |report| report.0)?;
        sorted("epochs", &have.lacks, |epoch| *epoch)?;
        sorted("devices", &have.joined, |device| *device)?;
        sorted("devices", &have.lost, |device| *device)?;
        Ok(have)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JournalId;

    fn hello() -> Hello {
        let journal = JournalId { device: DeviceId([1; 32]), generation: 1 };
        Hello {
            version: VERSION,
            account: AccountId([2; 32]),
            run: RunId([3; 16]),
            capabilities: 0,
            heads: Vec::new(),
            journals: vec![Position { journal, size: 4, root: crate::id::Hash([5; 32]), live: 3, digest: [6; 16] }],
            reports: vec![(DeviceId([1; 32]), 9)],
            epochs: vec![EpochId([7; 32]), EpochId([8; 32])],
            ext: Extensions::grease([1, 2, 3, 4]),
        }
    }

    #[test]
    fn every_message_comes_back_as_it_went() {
        let journal = JournalId { device: DeviceId([1; 32]), generation: 2 };
        let all = [
            Message::Hello(Box::new(hello())),
            Message::Statements(vec![vec![1], vec![]]),
            Message::Epochs { sealed: vec![vec![1]], histories: vec![vec![2, 3]] },
            Message::Reports(vec![]),
            Message::Want(vec![Want { journal, from: 7 }]),
            Message::Journal { header: vec![1], segments: vec![vec![2].into()] },
            Message::Have(Box::new(Have {
                journals: hello().journals,
                heads: hello().heads,
                reports: hello().reports,
                lacks: hello().epochs,
                joined: vec![DeviceId([4; 32])],
                lost: vec![DeviceId([5; 32]), DeviceId([6; 32])],
            })),
            Message::Revoked(vec![vec![9]]),
            Message::Refused(CloseCode::WrongAccount),
            Message::Introduction(Introduction {
                macs: vec![(EpochId([1; 32]), [2; 32]), (EpochId([3; 32]), [4; 32])],
                ext: Extensions::grease([1, 2, 3, 4]),
            }),
            Message::Ping(7),
            Message::Pong(u64::MAX),
        ];
        for message in all {
            let frame = message.to_frame();
            assert_eq!(Message::from_frame(&frame), Ok(Some(message)));
            let mut longer = frame.clone();
            longer.alter(|body| body.push(0));
            assert_eq!(Message::from_frame(&longer), Err(DecodeError::Trailing(1)));
        }
    }

    #[test]
    fn unknown_frames_are_skipped_unless_critical() {
        assert_eq!(Message::from_frame(&Frame::new(0x0777, vec![1])), Ok(None));
        assert!(matches!(Message::from_frame(&Frame::new(0x8777, vec![])), Err(DecodeError::Newer { .. })));
    }

    #[test]
    fn an_unsorted_hello_is_refused() {
        let mut wrong = hello();
        wrong.epochs.reverse();
        let frame = Message::Hello(Box::new(wrong)).to_frame();
        assert_eq!(Message::from_frame(&frame), Err(DecodeError::Unsorted("epochs")));
    }
}

//! How a range of a journal travels: a header that announces hashes under a signed head, then segments that
//! verify, commit and resume alone. PROTOCOL.md section 7.

mod incoming;
mod outgoing;
mod prepared;
#[cfg(test)]
mod tests;

pub use incoming::{Applied, Incoming, Limit, TransferError};
pub use outgoing::{Inline, Outgoing, inline};
pub use prepared::{Prepared, Preparer, Worked};

use crate::id::Hash;
pub use crate::journal::Item;
use crate::journal::head::HEAD_BYTES;
use crate::journal::operation::level;
use crate::limits::SEGMENT_LEVEL;
use crate::wire::object::Extensions;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Items of a segment: one for each operation of a full one.
const ITEMS: usize = 1 << SEGMENT_LEVEL;

/// What comes before the segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferHeader {
    /// The signed head, as it came.
    pub head: Vec<u8>,
    /// The first number that follows.
    pub from: u64,
    /// log2 of the operations in a full segment.
    pub level: u8,
    /// The roots of the complete segments from the one that holds `from` on.
    pub roots: Vec<Hash>,
    /// The roots of the perfect subtrees behind the last complete segment, largest first.
    pub tail: Vec<Hash>,
    /// Extensions.
    pub ext: Extensions,
}

impl Encode for TransferHeader {
    fn encode(&self, w: &mut Writer) {
        w.v16(&self.head);
        w.u64(self.from);
        w.u8(self.level);
        w.n16(&self.roots);
        w.n8(&self.tail);
        self.ext.encode(w);
    }
}

impl Decode for TransferHeader {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let header = Self {
            head: r.v16("head", HEAD_BYTES)?.to_vec(),
            from: r.u64()?,
            level: level(r)?,
            roots: r.n16("roots", usize::from(u16::MAX))?,
            tail: r.n8("tail", usize::from(SEGMENT_LEVEL))?,
            ext: Extensions::decode(r)?,
        };
        header.ext.understood()?;
        Ok(header)
    }
}

/// A part of a range that verifies alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first number.
    pub from: u64,
    /// What it carries, in order.
    pub items: Vec<Item>,
}

impl Encode for Segment {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.from);
        w.n16(&self.items);
    }
}

impl Decode for Segment {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { from: r.u64()?, items: r.n16("items", ITEMS)? })
    }
}

/// Where the segment that holds `number` ends.
fn segment_end(number: u64, level: u8, size: u64) -> u64 {
    size.min(((number >> level) + 1) << level)
}

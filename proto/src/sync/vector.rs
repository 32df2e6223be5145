//! Comparing what two devices hold.

use std::collections::BTreeMap;

use crate::id::JournalId;
use crate::journal::Position;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// A range of a journal that a device asks for: from a number to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which journal.
    pub journal: JournalId,
    /// The first number.
    pub from: u64,
}

impl Encode for Want {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        w.u64(self.from);
    }
}

impl Decode for Want {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { journal: JournalId::decode(r)?, from: r.u64()? })
    }
}

/// What to ask the peer for, given what either side holds: the rest of each journal in which it is ahead, and the whole of one
/// that is as long here but of which it holds more content.
#[must_use]
pub fn wants(mine: &[Position], theirs: &[Position]) -> Vec<Want> {
    let mine: BTreeMap<JournalId, &Position> = mine.iter().map(|position| (position.journal, position)).collect();
    theirs.iter().filter_map(|their| want(mine.get(&their.journal).copied(), their)).collect()
}

fn want(mine: Option<&Position>, theirs: &Position) -> Option<Want> {
    let from = match mine {
        None if theirs.size > 0 => 0,
        Some(mine) if theirs.size > mine.size => mine.size,
        Some(mine) if lacks_content(mine, theirs) => 0,
        _ => return None,
    };
    Some(Want { journal: theirs.journal, from })
}

fn lacks_content(mine: &Position, theirs: &Position) -> bool {
    (mine.size, mine.root) == (theirs.size, theirs.root) && mine.digest != theirs.digest && mine.live < theirs.live
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{DeviceId, Hash};

    fn position(device: u8, size: u64, live: u64) -> Position {
        let journal = JournalId { device: DeviceId([device; 32]), generation: 1 };
        let digest = u128::from(live).to_be_bytes();
        Position { journal, size, root: Hash([u8::try_from(size).unwrap(); 32]), live, digest }
    }

    fn asked(mine: &[Position], theirs: &[Position]) -> Vec<(u8, u64)> {
        wants(mine, theirs).iter().map(|want| (want.journal.device.0[0], want.from)).collect()
    }

    #[test]
    fn what_the_peer_is_ahead_in_is_asked_for_from_where_we_are() {
        let mine = [position(1, 5, 5), position(2, 7, 7), position(3, 9, 9)];
        let theirs = [position(1, 8, 8), position(2, 7, 7), position(3, 2, 2), position(4, 1, 1), position(5, 0, 0)];
        assert_eq!(asked(&mine, &theirs), [(1, 5), (4, 0)]);
        assert_eq!(asked(&theirs, &mine), [(3, 2)]);
    }

    #[test]
    fn content_that_the_peer_holds_and_we_dropped_is_asked_for_from_the_start() {
        assert_eq!(asked(&[position(1, 5, 3)], &[position(1, 5, 5)]), [(1, 0)]);
        assert_eq!(asked(&[position(1, 5, 5)], &[position(1, 5, 3)]), []);
    }

    #[test]
    fn a_want_comes_back_as_it_went() {
        let want = Want { journal: position(1, 0, 0).journal, from: u64::MAX };
        assert_eq!(Want::from_bytes(&want.to_bytes()), Ok(want));
        assert_eq!(Want::from_bytes(&[&want.to_bytes()[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
    }
}

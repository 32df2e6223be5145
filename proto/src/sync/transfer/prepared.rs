//! What costs most of a segment, done before anybody who owns the state waits for it: hashing and opening.
//!
//! It decides nothing. That the hashes lead to a signed head, and that this device still holds the key, is looked at by
//! whoever takes the segment in; all that is saved there is the arithmetic.

use std::ops::Range;

use bytes::Bytes;

use super::{Segment, TransferHeader};
use crate::id::{EpochId, Hash, JournalId, SessionId};
use crate::journal::operation::Header;
use crate::journal::{Head, Item};
use crate::key::{self, Secret};
use crate::roster::keyring::Keyring;
use crate::wire::{Decode, Encode};

/// Follows a transfer, for [`Prepared`] segments of it.
#[derive(Debug, Default)]
pub struct Preparer(Option<JournalId>);

/// A segment, with what was worked out.
#[derive(Debug)]
pub struct Prepared {
    journal: JournalId,
    segment: Segment,
    worked: Worked,
}

/// What was worked out of a segment's items. Nothing, for one that was not prepared.
#[derive(Debug, Default)]
pub struct Worked {
    /// Level and root of each item's subtree.
    subtrees: Vec<(u8, Hash)>,
    /// Where the content of an operation lies in `plain`, by its number, ascending.
    contents: Vec<(u64, Range<usize>)>,
    plain: Vec<u8>,
}

impl Preparer {
    /// Takes note of a transfer's header, which is not believed yet.
    pub fn header(&mut self, header: &[u8]) {
        let head = TransferHeader::from_bytes(header).and_then(|header| Head::stored(&header.head));
        self.0 = head.ok().map(|head| head.journal);
    }

    /// Works a segment out, opening what `keys` open. `None` where there is nothing to go by: whoever takes it in finds out
    /// why.
    #[must_use]
    pub fn segment(&self, segment: &Bytes, keys: &Keyring) -> Option<Prepared> {
        let (journal, plain) = (self.0?, Vec::with_capacity(segment.len()));
        let segment = Segment::from_buffer(segment).ok()?;
        let (subtrees, contents) = (Vec::with_capacity(segment.items.len()), Vec::with_capacity(segment.items.len()));
        let mut worked = Worked { subtrees, contents, plain };
        let mut key: Option<(EpochId, SessionId, Option<Secret>)> = None;
        let mut number = segment.from;
        for item in &segment.items {
            worked.subtrees.push(item.subtree(journal, number));
            if let Item::Content(sealed) = item {
                let (epoch, session) = (sealed.epoch(), sealed.session());
                if key.as_ref().is_none_or(|(e, s, _)| (*e, *s) != (epoch, session)) {
                    key = Some((epoch, session, keys.session_key(epoch, session)));
                }
                if let Some((.., Some(key))) = &key {
                    let header = Header { journal, number, session, epoch };
                    worked.open(key, &header, sealed.ciphertext());
                }
            }
            number = number.checked_add(item.count())?;
        }
        Some(Prepared { journal, segment, worked })
    }
}

impl Prepared {
    /// The segment and what was worked out, if it is one of `journal`.
    #[must_use]
    pub fn of(self, journal: JournalId) -> Option<(Segment, Worked)> {
        (self.journal == journal).then_some((self.segment, self.worked))
    }
}

impl Worked {
    fn open(&mut self, key: &Secret, header: &Header, ciphertext: &[u8]) {
        if let Some(content) = key::open_behind(key, &header.to_bytes(), ciphertext, &mut self.plain) {
            self.contents.push((header.number, content));
        }
    }

    /// Level and root of the subtree that the item at this place is.
    pub(super) fn subtree(&self, item: usize) -> Option<(u8, Hash)> {
        self.subtrees.get(item).copied()
    }

    /// The content of the operation of this number, if it was opened.
    #[must_use]
    pub fn content(&self, number: u64) -> Option<&[u8]> {
        let at = self.contents.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.plain.get(self.contents.get(at)?.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::id::{AccountId, DeviceId};
    use crate::journal::Sealed;

    const EPOCH: EpochId = EpochId([3; 32]);
    const SESSION: SessionId = SessionId([4; 16]);

    fn journal(device: u8) -> JournalId {
        JournalId { device: DeviceId([device; 32]), generation: 0 }
    }

    /// A segment from 6 on: content, two dropped operations, content that is another journal's, content of another session.
    fn segment(keys: &Keyring) -> Segment {
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let mut sealed = |device: u8, number: u64, session: SessionId| {
            let header = Header { journal: journal(device), number, session, epoch: EPOCH };
            let key = keys.session_key(EPOCH, session).unwrap();
            let content = format!("content of {number}");
            Item::Content(Sealed::new(
                session,
                EPOCH,
                &key::seal(&key, &header.to_bytes(), content.as_bytes(), &mut rng),
            ))
        };
        let dropped = Item::Dropped { level: 1, hash: Hash([9; 32]) };
        let items = vec![sealed(1, 6, SESSION), dropped, sealed(2, 9, SESSION), sealed(1, 10, SessionId([5; 16]))];
        Segment { from: 6, items }
    }

    fn keys() -> Keyring {
        let mut keys = Keyring::new(AccountId([7; 32]));
        keys.insert(EPOCH, Secret([8; 32]));
        keys
    }

    #[test]
    fn what_opens_is_opened_and_everything_is_hashed() {
        let segment = segment(&keys());
        let preparer = Preparer(Some(journal(1)));
        let prepared = preparer.segment(&segment.to_bytes().into(), &keys()).unwrap();
        let (same, worked) = prepared.of(journal(1)).unwrap();
        assert_eq!(same, segment);
        assert_eq!(worked.content(6), Some(&b"content of 6"[..]));
        assert_eq!(worked.content(10), Some(&b"content of 10"[..]));
        assert_eq!([7, 8, 9, 11].map(|number| worked.content(number)), [None; 4]);
        let numbers = [6, 7, 9, 10];
        for (place, (item, number)) in segment.items.iter().zip(numbers).enumerate() {
            assert_eq!(worked.subtree(place), Some(item.subtree(journal(1), number)));
        }
        assert_eq!(worked.subtree(4), None);
    }

    #[test]
    fn nothing_opens_without_its_key_and_nothing_passes_for_another_journal() {
        let segment = segment(&keys()).to_bytes().into();
        let preparer = Preparer(Some(journal(1)));
        let (_, worked) = preparer.segment(&segment, &Keyring::default()).unwrap().of(journal(1)).unwrap();
        assert_eq!((worked.content(6), worked.subtree(0).is_some()), (None, true));
        assert!(preparer.segment(&segment, &keys()).unwrap().of(journal(2)).is_none());
        assert!(Preparer::default().segment(&segment, &keys()).is_none());
        assert!(preparer.segment(&segment.slice(1..), &keys()).is_none());
    }
}

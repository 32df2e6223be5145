//! What is certainly not in a tree, without a look.
//!
//! Most rows that a device takes in are new, and each is looked for first: a page of the tree, read at some place of its own,
//! for nothing. So what goes into the tree is noted in a Bloom filter. What it says is true of the keys behind a floor: the
//! last key of the tree when the filter began, so that no row has to be walked over for it. A session's keys begin with
//! a number that rises: those of a new one are all behind the floor.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the filter, in words: 1 MiB, for which one in fifty of a million rows is looked for in vain. More make it
/// worse and never wrong.
const WORDS: usize = 1 << 17;
/// Bits of a row.
const MARKS: u64 = 4;

/// The rows of a tree that may be there. Snapshots share it with later commits: it never forgets.
#[derive(Debug)]
pub(super) struct Known {
    /// Nothing is said of keys up to this one, or of one that is empty.
    floor: Vec<u8>,
    /// Made with the first row that is noted.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl Known {
    /// Of a tree whose last key is `floor`; of an empty one, if that is empty.
    pub(super) fn behind(floor: &[u8]) -> Self {
        Self { floor: floor.to_vec(), words: OnceLock::new() }
    }

    /// Notes a row. To be called before it is in the tree.
    pub(super) fn note(&self, key: &[u8]) {
        if !self.is_of(key) {
            return;
        }
        let words = self.words.get_or_init(|| std::iter::repeat_with(AtomicU64::default).take(WORDS).collect());
        for (word, bit) in marks(key) {
            // Whoever takes a snapshot in which the row is takes a lock after the commit that wrote it.
            words[word].fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Whether the tree has no row under this key.
    pub(super) fn lacks(&self, key: &[u8]) -> bool {
        if !self.is_of(key) {
            return false;
        }
        let Some(words) = self.words.get() else { return true };
        marks(key).any(|(word, bit)| words[word].load(Ordering::Relaxed) & bit == 0)
    }

    fn is_of(&self, key: &[u8]) -> bool {
        key > self.floor.as_slice()
    }
}

/// The words and bits of a key. Its last bytes are random already: a PRF made them.
fn marks(key: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let last = key.len().saturating_sub(8);
    let random = key[last..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    // Two numbers make as many as are needed: Kirsch and Mitzenmacher 2006.
    let (first, step) = (random >> 32, random | 1);
    (0..MARKS).map(move |n| {
        let place = first.wrapping_add(n.wrapping_mul(step)) % (WORDS as u64 * 64);
        (usize::try_from(place / 64).unwrap_or_default(), 1 << (place % 64))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key as the index makes them: a session's number, and bytes that look random.
    fn key(session: u32, n: u64) -> Vec<u8> {
        let random = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let random = (random ^ (random >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        [&session.to_be_bytes()[..], &[0; 4], &(random ^ (random >> 32)).to_be_bytes()].concat()
    }

    #[test]
    fn what_was_noted_is_not_lacked_and_nearly_all_else_is() {
        let known = Known::behind(&key(6, 0));
        assert!(known.lacks(&key(7, 1)));
        (0..100_000).for_each(|n| known.note(&key(7, n)));
        assert!((0..100_000).all(|n| !known.lacks(&key(7, n))));
        let lacked = (100_000..200_000).filter(|n| known.lacks(&key(7, *n))).count();
        assert!(lacked > 99_000, "{lacked} of 100000");
    }

    #[test]
    fn nothing_is_said_about_what_was_there_before() {
        let known = Known::behind(b"m");
        assert!(!known.lacks(b"a") && !known.lacks(b"m") && known.lacks(b"ma"));
        known.note(b"a");
        assert!(!known.lacks(b"a"));
        assert!(Known::behind(&[]).lacks(b"a") && !Known::behind(&[]).lacks(b""));
    }
}

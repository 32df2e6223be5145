//! The Merkle tree of RFC 9162 section 2.1.1, kept as the roots of its perfect subtrees.

use super::operation::Header;
use crate::id::Hash;
use crate::key::sha256;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// The leaf of an operation: its header, and the hash of its ciphertext, so that a leaf outlives the content.
#[must_use]
pub fn leaf(header: &Header, ciphertext: &Hash) -> Hash {
    sha256(&[&[0], &header.to_bytes(), ciphertext.as_bytes()])
}

/// An inner node.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The roots of the perfect subtrees of a tree of [`Peaks::size`] leaves, largest first: one for each bit
/// of the size. All that is needed to go on appending, and to compute the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    size: u64,
    roots: Vec<Hash>,
}

impl Peaks {
    /// Those of no leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From the roots of the perfect subtrees, largest first; `None` if their number does not fit `size`.
    #[must_use]
    pub fn from_roots(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()) == Ok(roots.len())).then_some(Self { size, roots })
    }

    /// How many leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_noting(0, leaf, |_, _| ());
    }

    /// Appends a perfect subtree of 2^`level` leaves. `false`, and nothing is done, if the size is not a multiple of that.
    #[must_use]
    pub fn push_subtree(&mut self, level: u8, hash: Hash) -> bool {
        let fits = aligned(self.size, level) && self.size.checked_add(1 << level).is_some();
        if fits {
            self.push_noting(level, hash, |_, _| ());
        }
        fits
    }

    /// Appends a leaf or an aligned subtree; tells `note` the level and root of each perfect subtree that this completes.
    pub(crate) fn push_noting(&mut self, level: u8, hash: Hash, mut note: impl FnMut(u8, Hash)) {
        debug_assert!(aligned(self.size, level), "subtrees are appended where they are aligned");
        let (mut at, mut hash) = (level, hash);
        note(at, hash);
        while self.size >> at & 1 == 1 {
            let Some(left) = self.roots.pop() else { break };
            hash = node(&left, &hash);
            at += 1;
            note(at, hash);
        }
        self.roots.push(hash);
        self.size += 1 << level;
    }

    /// The root of the tree; of no leaves, the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let folded = self.roots.iter().rev().copied().reduce(|right, left| node(&left, &right));
        folded.unwrap_or_else(|| sha256(&[]))
    }

    /// Those of the first leaves up to the last multiple of 2^`level`.
    #[must_use]
    pub fn at_multiple(&self, level: u8) -> Self {
        let size = self.size >> level << level;
        Self { size, roots: self.roots[..size.count_ones() as usize].to_vec() }
    }

    /// The others: the roots of the perfect subtrees behind that multiple.
    pub(crate) fn behind_multiple(&self, level: u8) -> &[Hash] {
        &self.roots[(self.size >> level).count_ones() as usize..]
    }
}

/// Whether a perfect subtree of 2^`level` leaves can begin at `number`.
#[must_use]
pub fn aligned(number: u64, level: u8) -> bool {
    number.trailing_zeros() >= u32::from(level)
}

impl Encode for Peaks {
    fn encode(&self, w: &mut Writer) {
        w.u64(self.size);
        self.roots.iter().for_each(|root| root.encode(w));
    }
}

impl Decode for Peaks {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let size = r.u64()?;
        let roots = (0..size.count_ones()).map(|_| Hash::decode(r)).collect::<Result<_, _>>()?;
        Ok(Self { size, roots })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9162 section 2.1.1, word for word.
    fn merkle_tree_hash(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [one] => *one,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node(&merkle_tree_hash(&leaves[..k]), &merkle_tree_hash(&leaves[k..]))
            }
        }
    }

    fn leaves(n: usize) -> Vec<Hash> {
        (0..n).map(|i| sha256(&[&i.to_be_bytes()])).collect()
    }

    #[test]
    fn the_root_of_nothing_is_that_of_the_rfc() {
        assert_eq!(Peaks::new().root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// The trees over the eight inputs with which logs of RFC 6962, whose hashing RFC 9162 keeps, are tested everywhere.
    #[test]
    fn roots_are_those_that_certificate_transparency_publishes() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut peaks = Peaks::new();
        for (input, root) in inputs.iter().zip(roots) {
            peaks.push(sha256(&[&[0], input]));
            assert_eq!(peaks.root().to_string(), root);
        }
    }

    proptest! {
        #[test]
        fn roots_are_those_of_the_recursive_definition(n in 0_usize..600) {
            let leaves = leaves(n);
            let mut peaks = Peaks::new();
            leaves.iter().for_each(|leaf| peaks.push(*leaf));
            prop_assert_eq!(peaks.root(), merkle_tree_hash(&leaves));
            prop_assert_eq!(Peaks::from_bytes(&peaks.to_bytes()), Ok(peaks));
        }

        #[test]
        fn subtrees_stand_for_their_leaves(n in 1_usize..600, level in 0_u8..6) {
            let leaves = leaves(n);
            let (mut whole, mut by_subtrees) = (Peaks::new(), Peaks::new());
            leaves.iter().for_each(|leaf| whole.push(*leaf));
            for chunk in leaves.chunks(1 << level) {
                if chunk.len() == 1 << level {
                    prop_assert!(by_subtrees.push_subtree(level, merkle_tree_hash(chunk)));
                } else {
                    prop_assert_eq!(&by_subtrees, &whole.at_multiple(level));
                    chunk.iter().for_each(|leaf| by_subtrees.push(*leaf));
                }
            }
            prop_assert_eq!(whole, by_subtrees);
        }
    }

    #[test]
    fn a_subtree_out_of_place_is_refused() {
        let mut peaks = Peaks::new();
        peaks.push(sha256(&[]));
        assert!(!peaks.push_subtree(1, sha256(&[])));
        assert_eq!(peaks.size(), 1);
    }
}

//! Heads: one signature that vouches for all operations of a journal below a size.

use super::operation::Header;
use crate::id::{AccountId, Hash, JournalId, RunId};
use crate::key::{Identity, verify};
use crate::wire::object::{self, Extension, Extensions, kind};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of a head at most: the fixed part, and room for extensions that are carried unread.
pub const HEAD_BYTES: usize = 4096;

/// Type of the extension that lists [`Branch`]es: `n8 (generation u32, keep u64, size u64, root b32)`.
const BRANCHES: u16 = 0x0001;
/// Branches that a head lists at most: each is a disk that was set back, and the newest matter.
pub const BRANCHES_MAX: usize = 16;

/// Another end of one of the device's earlier journals: signed by it before its disk was set back, or after. It does not
/// count: what was in it has been written again. Who holds exactly that forgets it from `keep` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// Of which generation.
    pub generation: u32,
    /// How many operations it has in common with what counts.
    pub keep: u64,
    /// How many operations it has.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Encode for Branch {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.generation);
        w.u64(self.keep);
        w.u64(self.size);
        self.root.encode(w);
    }
}

impl Decode for Branch {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { generation: r.u32()?, keep: r.u64()?, size: r.u64()?, root: Hash::decode(r)? })
    }
}

/// The signed head of a journal, with the bytes in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Whose account.
    pub account: AccountId,
    /// Which journal; its device is the signer.
    pub journal: JournalId,
    /// The run that signed.
    pub run: RunId,
    /// How many operations it vouches for.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// Ends of earlier generations that do not count.
    pub branches: Vec<Branch>,
    bytes: Vec<u8>,
}

impl Head {
    /// Signs a head of one's own journal, with the newest [`BRANCHES_MAX`] of `branches`.
    #[must_use]
    pub fn sign(author: &Author<'_>, size: u64, root: Hash, branches: &[Branch]) -> Self {
        let branches = branches[branches.len().saturating_sub(BRANCHES_MAX)..].to_vec();
        let journal = author.journal();
        let bytes = object::wrap_signed(
            kind::HEAD,
            |w| {
                author.account.encode(w);
                journal.encode(w);
                author.run.encode(w);
                w.u64(size);
                root.encode(w);
                extensions(&branches).encode(w);
            },
            |message| author.identity.sign("head", message),
        );
        Self { account: author.account, journal, run: author.run, size, root, branches, bytes }
    }

    /// Reads a head and checks its signature.
    ///
    /// # Errors
    /// If the bytes are malformed or too many, hold a critical element that is not known, or are not signed by the device that they name.
    pub fn open(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (head, signed, signature) = Self::read(bytes)?;
        let valid = verify(&head.journal.device, "head", signed, &signature);
        if valid { Ok(head) } else { Err(DecodeError::Signature("head")) }
    }

    /// Reads a head without believing it, or one of this device's own store: what lies there was opened, or signed, before.
    pub(crate) fn stored(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(bytes).map(|(head, ..)| head)
    }

    /// The head, what was signed of it, and the signature.
    fn read(bytes: &[u8]) -> Result<(Self, &[u8], [u8; 64]), DecodeError> {
        if bytes.len() > HEAD_BYTES {
            return Err(DecodeError::TooLarge { what: "head", len: bytes.len(), max: HEAD_BYTES });
        }
        let mut r = object::open(bytes, kind::HEAD)?;
        let mut head = Self {
            account: AccountId::decode(&mut r)?,
            journal: JournalId::decode(&mut r)?,
            run: RunId::decode(&mut r)?,
            size: r.u64()?,
            root: Hash::decode(&mut r)?,
            branches: Vec::new(),
            bytes: bytes.to_vec(),
        };
        let ext = Extensions::decode(&mut r)?;
        ext.understood()?;
        head.branches = branches_in(&ext);
        let signed = r.since(0);
        let signature = r.array()?;
        r.finish()?;
        Ok((head, signed, signature))
    }

    /// The object as it came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn extensions(branches: &[Branch]) -> Extensions {
    if branches.is_empty() {
        return Extensions::default();
    }
    let mut w = Writer::new();
    w.n8(branches);
    Extensions(vec![Extension { kind: BRANCHES, value: w.finish() }])
}

/// The branches that extensions list. The type is not critical: what does not decode is another's grease.
fn branches_in(ext: &Extensions) -> Vec<Branch> {
    let Some(listed) = ext.0.iter().find(|ext| ext.kind == BRANCHES) else { return Vec::new() };
    let mut r = Reader::new(&listed.value);
    let branches = r.n8("branches", BRANCHES_MAX).unwrap_or_default();
    if r.finish().is_ok() { branches } else { Vec::new() }
}

/// Who writes: this device, in this run, in its newest generation.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// Its keys.
    pub identity: &'a Identity,
    /// Its account.
    pub account: AccountId,
    /// This run.
    pub run: RunId,
    /// The generation that it writes.
    pub generation: u32,
}

impl Author<'_> {
    /// The journal that it writes.
    #[must_use]
    pub fn journal(&self) -> JournalId {
        JournalId { device: self.identity.device(), generation: self.generation }
    }

    pub(super) fn header(&self, number: u64, session: crate::id::SessionId, epoch: crate::id::EpochId) -> Header {
        Header { journal: self.journal(), number, session, epoch }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_head_is_believed_as_signed_and_in_no_other_byte(seed: u64, size: u64, root: [u8; 32], generation: u32) {
            let identity = Identity::random(&mut ChaCha20Rng::seed_from_u64(seed));
            let author = Author { identity: &identity, account: AccountId([7; 32]), run: RunId([9; 16]), generation };
            let branch = |n: u32| Branch { generation: n, keep: 1, size: u64::from(n), root: Hash(root) };
            let branches: Vec<Branch> = (0..generation % 20).map(branch).collect();
            let head = Head::sign(&author, size, Hash(root), &branches);
            prop_assert_eq!(head.branches.len(), branches.len().min(BRANCHES_MAX));
            prop_assert_eq!(Head::open(head.bytes()), Ok(head.clone()));
            for at in 0..head.bytes().len() {
                let mut bytes = head.bytes().to_vec();
                bytes[at] ^= 1 << (seed % 8);
                prop_assert!(Head::open(&bytes).is_err(), "byte {at} flipped");
            }
            prop_assert!(Head::open(&[head.bytes(), &[0]].concat()).is_err());
            prop_assert!(Head::open(&vec![0; HEAD_BYTES + 1]).is_err());
        }
    }
}

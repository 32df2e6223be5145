//! The identity and the store key on disk.
//!
//! | file | bytes |
//! | --- | --- |
//! | `key` | `KINLKKEY`, version 1 `u8`, store key 32 |
//! | `identity` | `KINLKIDT`, version 1 `u8`, nonce 24, then sealed under the store key: signing seed 32, HPKE seed 32, tag 16 |
//!
//! The identity has a file of its own so that a damaged store never costs it. The seal is
//! XChaCha20-Poly1305 with the label `identity file` and the file's first nine bytes as associated data.
//!
//! Both change together, by one procedure for making, replacing and resetting:
//!
//! 1. `key.new` is written, whole and durable;
//! 2. `identity` is replaced by one sealed under it;
//! 3. `key` is overwritten, and `key.new` renamed to `key`.
//!
//! Whichever of `key.new` and `key` opens `identity` is the store key, so a crash anywhere leaves a
//! pair that fits: before step 2 the old one, after it the new one.
//!
//! Overwriting is the best that a file system offers: an SSD, a copy-on-write file system or a
//! backup may keep the old key. Who needs more encrypts the disk.

mod error;
mod file;
#[cfg(test)]
mod tests;

use std::path::Path;

use kinlink_proto::key::{Entropy, Identity, Secret, label, open, seal};
use zeroize::Zeroizing;

use crate::paths::{IDENTITY, KEY, STORE};
pub use error::KeyError;
use file::{Dir, Kind};

/// The new store key while it takes over from the old one.
const KEY_NEW: &str = "key.new";

const KEY_KIND: Kind = Kind { magic: *b"KINLKKEY", body: 32 };
/// Nonce, two seeds, tag.
const IDENTITY_KIND: Kind = Kind { magic: *b"KINLKIDT", body: 24 + 64 + 16 };

/// What this device keeps secret.
#[derive(Debug)]
pub struct Keys {
    /// What the store's secrets are sealed under.
    pub store_key: Secret,
    /// This device's keys.
    pub identity: Identity,
}

impl Keys {
    /// The keys in the state directory `dir`; fresh ones if it holds neither keys nor a store. The
    /// caller holds the [`StateLock`](crate::paths::StateLock).
    ///
    /// # Errors
    /// [`KeyError`], which says what to do. An identity is never replaced by a new one because
    /// something is missing or damaged.
    pub fn load_or_create(dir: &Path, entropy: Entropy<'_>) -> Result<Self, KeyError> {
        let dir = Dir::new(dir);
        match dir.read(IDENTITY, IDENTITY_KIND)? {
            Some(sealed) => load(&dir, &sealed),
            None if dir.has(KEY)? || dir.has(STORE)? => Err(KeyError::IdentityMissing(dir.path(IDENTITY))),
            None => {
                let keys = Self::fresh(entropy);
                keys.write(&dir, entropy)?;
                Ok(keys)
            }
        }
    }

    /// A new store key; the identity stays. What is sealed under the old key in the store is lost, which
    /// is how secrets are erased.
    ///
    /// # Errors
    /// [`KeyError`]. These are then the keys that stand, the old or the new ones; but the old store key
    /// may still be on the disk, so this should be done again.
    pub fn replace_store_key(&mut self, dir: &Path, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let next = Self { store_key: Secret::random(entropy), identity: self.identity.clone() };
        self.become_these(next, &Dir::new(dir), entropy)
    }

    /// A new store key and a new identity: a device that was revoked or left links again as another.
    ///
    /// # Errors
    /// As [`replace_store_key`](Self::replace_store_key).
    pub fn reset(&mut self, dir: &Path, entropy: Entropy<'_>) -> Result<(), KeyError> {
        self.become_these(Self::fresh(entropy), &Dir::new(dir), entropy)
    }

    fn fresh(entropy: Entropy<'_>) -> Self {
        Self { store_key: Secret::random(entropy), identity: Identity::random(entropy) }
    }

    /// Writes `next`, and becomes it if the files say so: an error may come after the point of no return.
    fn become_these(&mut self, next: Self, dir: &Dir<'_>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let written = next.write(dir, entropy);
        let stands =
            || dir.read(IDENTITY, IDENTITY_KIND).ok().flatten().and_then(|bytes| seeds(&next.store_key, &bytes));
        if written.is_ok() || stands().is_some() {
            *self = next;
        }
        written
    }

    /// Makes these the keys in `dir`, or leaves those that were there.
    fn write(&self, dir: &Dir<'_>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        dir.write(KEY_NEW, KEY_KIND, &self.store_key.0)?;
        dir.write(IDENTITY, IDENTITY_KIND, &sealed(self, entropy))?;
        settle(dir)
    }
}

/// The keys whose identity is `sealed`; ends a change that was cut short.
fn load(dir: &Dir<'_>, sealed: &[u8]) -> Result<Keys, KeyError> {
    let new = match key(dir, KEY_NEW) {
        // It took its name when it was whole: it was being erased.
        Err(KeyError::NotAKey(_)) => None,
        other => other?,
    };
    if let Some(keys) = new.and_then(|key| opened(key, sealed)) {
        settle(dir)?;
        return Ok(keys);
    }
    let key = key(dir, KEY)?.ok_or_else(|| KeyError::KeyMissing(dir.path(KEY)))?;
    let keys = opened(key, sealed).ok_or_else(|| KeyError::Mismatch(dir.path("")))?;
    dir.erase(KEY_NEW)?;
    Ok(keys)
}

/// Step 3: the new key takes the old one's place.
fn settle(dir: &Dir<'_>) -> Result<(), KeyError> {
    dir.overwrite(KEY);
    dir.rename(KEY_NEW, KEY)
}

fn key(dir: &Dir<'_>, name: &str) -> Result<Option<Secret>, KeyError> {
    let bytes = dir.read(name, KEY_KIND)?;
    Ok(bytes.and_then(|bytes| Some(Secret(*bytes.first_chunk()?))))
}

fn sealed(keys: &Keys, entropy: Entropy<'_>) -> Vec<u8> {
    let (signing, hpke) = keys.identity.seeds();
    let seeds = Zeroizing::new([signing.0, hpke.0].concat());
    seal(&keys.store_key, &aad(), &seeds, entropy)
}

fn opened(store_key: Secret, sealed: &[u8]) -> Option<Keys> {
    let seeds = seeds(&store_key, sealed)?;
    let (signing, hpke) = seeds.split_first_chunk::<32>()?;
    let identity = Identity::from_seeds(&Secret(*signing), &Secret(*hpke.first_chunk()?));
    Some(Keys { store_key, identity })
}

fn seeds(store_key: &Secret, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open(store_key, &aad(), sealed)
}

fn aad() -> Vec<u8> {
    [label("identity file"), IDENTITY_KIND.header().to_vec()].concat()
}

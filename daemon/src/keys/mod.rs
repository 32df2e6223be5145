//! The identity and the store key on disk.
//!
//! | file | bytes |
//! | --- | --- |
//! | `key` | `KINLKKEY`, version 1 `u8`, store key 32; or version 2 `u8`, how it is sealed, then sealed: store key 32 |
//! | `identity` | `KINLKIDT`, version 1 `u8`, nonce 24, then sealed under the store key: signing seed 32, HPKE seed 32, tag 16 |
//!
//! The identity has a file of its own so that a damaged store never costs it. The seal is
//! XChaCha20-Poly1305 with the label `identity file` and the file's first nine bytes as associated data.
//!
//! How a store key is sealed ([`Wrap`]): 1 `u8`, KiB, passes and lanes `u32` each, salt 16, for Argon2id of a passphrase; 2 `u8`,
//! salt 16, for HKDF of a credential; 3 `u8`, item 16, for a key that lies in the keyring. Then nonce 24, ciphertext, tag 16, with the label `store key` and all that stands before as
//! associated data.
//!
//! Both files change together, by one procedure for making, replacing and resetting:
//!
//! 1. `key.new` is written, whole and durable;
//! 2. `identity` is replaced by one sealed under it;
//! 3. `key` is overwritten, and `key.new` renamed to `key`.
//!
//! Whichever of `key.new` and `key` opens `identity` is the store key, so a crash anywhere leaves a
//! pair that fits: before step 2 the old one, after it the new one. A key moves to another place by steps 1 and 3: both hold the
//! same one meanwhile.
//!
//! An item of the keyring that such a change leaves over is noted in `key.old` (`KINLKOLD`, version 1 `u8`, item 16) before step 3,
//! and deleted behind it: at once, or at the next start at which the keyring is open. If that item is still the one in use, since
//! the keyring did not take another one when keys were to be erased, the store key is sealed anew first.
//!
//! Overwriting is the best that a file system offers: an SSD, a copy-on-write file system or a
//! backup may keep the old key. Who needs more encrypts the disk.

mod error;
mod file;
mod keyring;
mod means;
mod passphrase;
mod place;
#[cfg(test)]
mod tests;
mod wrap;

use std::path::Path;

use kinlink_proto::key::{Entropy, Identity, Secret, label, open, seal};
use zeroize::Zeroizing;

use crate::paths::{IDENTITY, KEY, STORE};
pub use error::KeyError;
use file::{Body, Dir, Kind, unfinished};
pub(crate) use keyring::Watch;
pub use keyring::{Item, Keyring, KeyringError, SecretService};
pub use means::{CREDENTIAL, Means};
pub use passphrase::Passphrase;
pub use place::Place;
pub use wrap::Wrap;

/// The new store key while it takes over from the old one.
const KEY_NEW: &str = "key.new";

/// The item of the keyring that is to be deleted.
const KEY_OLD: &str = "key.old";

const OLD_KIND: Kind = Kind { magic: *b"KINLKOLD", bodies: &[(16, 16)] };
const OLD_VERSION: u8 = 1;
const KEY_KIND: Kind = Kind { magic: *b"KINLKKEY", bodies: &[(32, 32), wrap::BODY] };
/// Nonce, two seeds, tag.
const IDENTITY_KIND: Kind = Kind { magic: *b"KINLKIDT", bodies: &[(24 + 64 + 16, 24 + 64 + 16)] };
const IDENTITY_VERSION: u8 = 1;

/// What this device keeps secret.
#[derive(Debug)]
pub struct Keys {
    /// What the store's secrets are sealed under.
    pub store_key: Secret,
    /// This device's keys.
    pub identity: Identity,
    /// Where and how the store key is kept.
    wrap: Wrap,
    /// What it was opened with.
    means: Means,
}

impl Keys {
    /// [`open`](Self::open), where there is nothing but the directory.
    ///
    /// # Errors
    /// As there.
    pub fn load_or_create(dir: &Path, entropy: Entropy<'_>) -> Result<Self, KeyError> {
        Self::open(dir, &Means::default(), entropy)
    }

    /// The keys in the state directory `dir`; fresh ones, in the best place that `means` have, if it holds neither keys nor a
    /// store. The caller holds the [`StateLock`](crate::paths::StateLock).
    ///
    /// # Errors
    /// [`KeyError`], which says what to do. An identity is never replaced by a new one because
    /// something is missing, locked or damaged.
    pub fn open(dir: &Path, means: &Means, entropy: Entropy<'_>) -> Result<Self, KeyError> {
        let dir = Dir::new(dir);
        match dir.read(IDENTITY, IDENTITY_KIND)? {
            Some(sealed) => {
                let mut keys = load(&dir, &sealed.bytes, means)?;
                keys.forget_old(&dir, entropy);
                Ok(keys)
            }
            None if dir.has(KEY)? || dir.has(STORE)? => Err(KeyError::IdentityMissing(dir.path(IDENTITY))),
            None => {
                let keys = Self::fresh(first(means, entropy)?, means, entropy);
                keys.write(&dir, None, entropy)?;
                Ok(keys)
            }
        }
    }

    /// Where the store key is kept.
    #[must_use]
    pub fn place(&self) -> Place {
        self.wrap.place()
    }

    /// Keeps the store key as `wrap` says, and wipes it where it was.
    ///
    /// # Errors
    /// [`KeyError`]. The key is then in one of the two places, or in both.
    pub fn rewrap(&mut self, dir: &Path, wrap: Wrap, entropy: Entropy<'_>) -> Result<(), KeyError> {
        self.move_to(wrap, &Dir::new(dir), entropy)
    }

    /// A new store key; the identity stays. What is sealed under the old key in the store is lost, which
    /// is how secrets are erased.
    ///
    /// # Errors
    /// [`KeyError`]. These are then the keys that stand, the old or the new ones; but the old store key
    /// may still be on the disk, so this should be done again.
    pub fn replace_store_key(&mut self, dir: &Path, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let identity = self.identity.clone();
        let wrap = self.wrap.renewed(&self.means, entropy);
        let next = Self { store_key: Secret::random(entropy), identity, wrap, means: self.means.clone() };
        self.become_these(next, &Dir::new(dir), entropy)
    }

    /// A new store key and a new identity: a device that was revoked or left links again as another.
    ///
    /// # Errors
    /// As [`replace_store_key`](Self::replace_store_key).
    pub fn reset(&mut self, dir: &Path, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let next = Self::fresh(self.wrap.renewed(&self.means, entropy), &self.means, entropy);
        self.become_these(next, &Dir::new(dir), entropy)
    }

    fn fresh(wrap: Wrap, means: &Means, entropy: Entropy<'_>) -> Self {
        // A passphrase is not needed again.
        let means = means.with(None);
        Self { store_key: Secret::random(entropy), identity: Identity::random(entropy), wrap, means }
    }

    /// Writes `next`, and becomes it if the files say so: an error may come after the point of no return.
    fn become_these(&mut self, next: Self, dir: &Dir<'_>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let written = next.write(dir, self.wrap.item(), entropy);
        let stands =
            || dir.read(IDENTITY, IDENTITY_KIND).ok().flatten().and_then(|body| seeds(&next.store_key, &body.bytes));
        if written.is_ok() || stands().is_some() {
            *self = next;
        }
        if written.is_ok() {
            self.forget_item(dir);
        }
        written
    }

    /// Makes these the keys in `dir`, or leaves those that were there.
    fn write(&self, dir: &Dir<'_>, old: Option<Item>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        self.write_key(dir, entropy)?;
        dir.write(IDENTITY, IDENTITY_KIND, IDENTITY_VERSION, &sealed(self, entropy))?;
        note_old(dir, old)?;
        settle(dir)
    }

    /// The move of a key: whichever wrap is found later opens it, and the new one counts from when it is whole.
    fn move_to(&mut self, wrap: Wrap, dir: &Dir<'_>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let before = std::mem::replace(&mut self.wrap, wrap);
        if let Err(error) = self.write_key(dir, entropy) {
            self.wrap = before;
            return Err(error);
        }
        note_old(dir, before.item())?;
        settle(dir)?;
        self.forget_item(dir);
        Ok(())
    }

    /// Ends what a change of keys could not: an item in the keyring that is not needed any more, or that is to be replaced. What
    /// fails is tried again at the next start.
    fn forget_old(&mut self, dir: &Dir<'_>, entropy: Entropy<'_>) {
        match dir.erase(&unfinished(KEY_OLD)).and_then(|()| old(dir)) {
            Ok(None) => {}
            Ok(item) if item == self.wrap.item() => {
                let wrap = self.wrap.renewed(&self.means, entropy);
                if wrap.item() != item
                    && let Err(error) = self.move_to(wrap, dir, entropy)
                {
                    tracing::warn!("the key in the keyring could not be replaced: {error}");
                }
            }
            Ok(_) => self.forget_item(dir),
            Err(error) => tracing::warn!("{error}"),
        }
    }

    /// Deletes the item that was noted, unless it is in use, and the note.
    fn forget_item(&self, dir: &Dir<'_>) {
        let forgotten = old(dir).and_then(|item| match item {
            Some(item) if Some(item) != self.wrap.item() && self.means.forget(&item) => dir.erase(KEY_OLD),
            _ => Ok(()),
        });
        if let Err(error) = forgotten {
            tracing::warn!("{error}");
        }
    }

    fn write_key(&self, dir: &Dir<'_>, entropy: Entropy<'_>) -> Result<(), KeyError> {
        let Body { version, bytes } = self.wrap.seal(&self.store_key, entropy);
        dir.write(KEY_NEW, KEY_KIND, version, &bytes)
    }
}

/// The best that `means` have; if it turns out that the keyring does not take a key, a file.
fn first(means: &Means, entropy: Entropy<'_>) -> Result<Wrap, KeyError> {
    match Wrap::fresh(means.best(), means, entropy) {
        Err(error @ KeyError::NoPlace { place: Place::Keyring, .. }) => {
            tracing::warn!("{error}; it is kept in a file");
            Wrap::fresh(Place::File, means, entropy)
        }
        other => other,
    }
}

/// Notes an item of the keyring that a change leaves over.
fn note_old(dir: &Dir<'_>, item: Option<Item>) -> Result<(), KeyError> {
    item.map_or(Ok(()), |Item(item)| dir.write(KEY_OLD, OLD_KIND, OLD_VERSION, &item))
}

/// The item that was noted.
fn old(dir: &Dir<'_>) -> Result<Option<Item>, KeyError> {
    let body = dir.read(KEY_OLD, OLD_KIND)?;
    Ok(body.and_then(|body| Some(Item(*body.bytes.first_chunk()?))))
}

/// The keys whose identity is `sealed`; ends a change that was cut short.
fn load(dir: &Dir<'_>, sealed: &[u8], means: &Means) -> Result<Keys, KeyError> {
    let new = match opened(dir, KEY_NEW, sealed, means) {
        Ok(Some(keys)) => {
            settle(dir)?;
            return Ok(keys);
        }
        // It took its name when it was whole: it was being erased. Or it is the key of an identity that was not written.
        Ok(None) | Err(KeyError::NotAKey(_) | KeyError::Mismatch(_)) => None,
        Err(error) if error.is_locked() || matches!(error, KeyError::WrongKey(_)) => Some(error),
        Err(error) => return Err(error),
    };
    match (opened(dir, KEY, sealed, means), new) {
        (Ok(Some(keys)), _) => {
            dir.erase(KEY_NEW)?;
            dir.erase(&unfinished(KEY_NEW))?;
            Ok(keys)
        }
        // It was being overwritten, which is done when the new one holds; or never written.
        (Ok(None) | Err(KeyError::NotAKey(_) | KeyError::Mismatch(_) | KeyError::WrongKey(_)), Some(new)) => Err(new),
        (Ok(None), None) => Err(KeyError::KeyMissing(dir.path(KEY))),
        (Err(error), _) => Err(error),
    }
}

/// Step 3: the new key takes the old one's place.
fn settle(dir: &Dir<'_>) -> Result<(), KeyError> {
    dir.overwrite(KEY);
    dir.rename(KEY_NEW, KEY)
}

/// The keys that the key file `name` opens `sealed` to; `None` if there is no such file.
fn opened(dir: &Dir<'_>, name: &str, sealed: &[u8], means: &Means) -> Result<Option<Keys>, KeyError> {
    let Some(body) = dir.read(name, KEY_KIND)? else { return Ok(None) };
    let (store_key, wrap) = Wrap::open(&body, means)?.ok_or_else(|| KeyError::NotAKey(dir.path(name)))?;
    let identity = identity(&store_key, sealed).ok_or_else(|| KeyError::Mismatch(dir.path("")))?;
    Ok(Some(Keys { store_key, identity, wrap, means: means.with(None) }))
}

fn sealed(keys: &Keys, entropy: Entropy<'_>) -> Vec<u8> {
    let (signing, hpke) = keys.identity.seeds();
    let seeds = Zeroizing::new([signing.0, hpke.0].concat());
    seal(&keys.store_key, &aad(), &seeds, entropy)
}

fn identity(store_key: &Secret, sealed: &[u8]) -> Option<Identity> {
    let seeds = seeds(store_key, sealed)?;
    let (signing, hpke) = seeds.split_first_chunk::<32>()?;
    Some(Identity::from_seeds(&Secret(*signing), &Secret(*hpke.first_chunk()?)))
}

fn seeds(store_key: &Secret, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open(store_key, &aad(), sealed)
}

fn aad() -> Vec<u8> {
    [label("identity file"), IDENTITY_KIND.header(IDENTITY_VERSION).to_vec()].concat()
}

//! Finding each other on the local network: DNS-SD (RFC 6763) over Multicast DNS (RFC 6762), PROTOCOL.md section 3 and 12.
//!
//! What is announced names nobody: a random instance, a random host, and one sealed text, which only devices of the
//! account (or those that read the challenge) can open. In it stand who announces and where to reach it, so no address
//! that anybody else claims is ever dialled. [`Mdns`] says what to send and what was heard; [`Recogniser`] opens it.

mod dns;
mod mdns;
mod recognise;
#[cfg(test)]
mod tests;

pub use mdns::{Mdns, Output};
pub use recognise::{Recogniser, Sighting};

use crate::id::{AccountId, DeviceId};
use crate::key::{self, Entropy, NONCE, Secret, TAG};
use crate::limits;
use crate::wire::challenge::Challenge;
use crate::wire::{Address, Decode, Encode, Reader, Writer};

/// Bytes of what is sealed: a device, and as many IPv6 addresses as are carried for one. All announcements are equally
/// long, whatever they say.
const BODY: usize = DeviceId::LEN + 1 + limits::ADDRESSES * 20;
/// Bytes of a sealed announcement: with its key it stays under the 255 bytes of one string of a TXT record.
pub const SEALED: usize = NONCE + BODY + TAG;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Devices of an account, on `kinlink/1`.
    Account,
    /// A device that shows a challenge, on `kinlink-link/1`.
    Link,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Account, Self::Link];

    /// The first label of the service type.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Account => "_kinlink",
            Self::Link => "_kinlink-link",
        }
    }
}

/// What announcements are sealed under. Hidden in `Debug`, compared in constant time, wiped when dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Secret);

impl Key {
    /// That of an epoch: `KDF(epoch secret, account, "discovery")`.
    #[must_use]
    pub fn of_epoch(secret: &Secret, account: AccountId) -> Self {
        Self(key::derive(&secret.0, account.as_bytes(), "discovery", &[]))
    }

    /// That of a challenge: `KDF(challenge secret, ChallengeId, "discovery")`. Both texts of a challenge give the same.
    #[must_use]
    pub fn of_challenge(challenge: &Challenge) -> Self {
        Self(key::derive(challenge.secret.as_bytes(), challenge.id().as_bytes(), "discovery", &[]))
    }

    /// Seals who announces and where it can be reached, best first. Those past [`limits::ADDRESSES`] and those that
    /// are not IP addresses are left out.
    #[must_use]
    pub fn seal(&self, device: DeviceId, addresses: &[Address], entropy: Entropy<'_>) -> Vec<u8> {
        let known = addresses.iter().filter(|address| address.socket().is_some());
        let addresses: Vec<Address> = known.take(limits::ADDRESSES).cloned().collect();
        let mut w = Writer::new();
        device.encode(&mut w);
        w.n8(&addresses);
        let mut body = w.finish();
        body.resize(BODY, 0);
        key::seal(&self.0, &aad(), &body, entropy)
    }

    /// Opens an announcement that was sealed under this key.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<Sighting> {
        if sealed.len() != SEALED {
            return None;
        }
        let body = key::open(&self.0, &aad(), sealed)?;
        let mut r = Reader::new(&body);
        let device = DeviceId::decode(&mut r).ok()?;
        let addresses: Vec<Address> = r.n8("addresses", limits::ADDRESSES).ok()?;
        // What follows is room for a later version.
        Some(Sighting { device, addresses: addresses.iter().filter_map(Address::socket).collect() })
    }
}

fn aad() -> Vec<u8> {
    key::label("announcement")
}

/// What a device of an account announces under and recognises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// This device.
    pub device: DeviceId,
    /// That of the newest epoch that is held.
    pub announce: Key,
    /// Those of every epoch that is held, newest first: a device that was away announces under the one that it has.
    pub recognise: Vec<Key>,
}

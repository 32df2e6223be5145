//! Epoch secrets on their way: sealed to a device, or under a later epoch (PROTOCOL.md section 6).

use super::keyring::Keyring;
use crate::id::{AccountId, DeviceId, EpochId};
use crate::key::{self, Entropy, HPKE_ENC, Identity, NONCE, Secret, TAG};
use crate::wire::codec::sorted;
use crate::wire::object::{self, Extensions, kind};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Bytes of a sealed secret.
const SEALED: usize = 32 + TAG;
/// Epochs in one history: every revocation makes one.
const EPOCHS: usize = 4096;
/// Bytes of a history's ciphertext.
const HISTORY: usize = 2 + EPOCHS * 64 + TAG;

/// An epoch's secret, sealed to one device. Not signed: the receiver checks the epoch's commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedEpoch {
    /// Which epoch.
    pub epoch: EpochId,
    /// For whom.
    pub recipient: DeviceId,
    enc: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// Seals `secret` to a device that is entitled to it; `None` if `hpke_public` is not a key.
#[must_use]
pub fn seal_epoch(
    account: AccountId,
    epoch: EpochId,
    recipient: DeviceId,
    hpke_public: &[u8],
    secret: &Secret,
    entropy: Entropy<'_>,
) -> Option<Vec<u8>> {
    let (enc, ciphertext) = key::seal_to(hpke_public, &info(account, epoch, recipient), &secret.0, entropy)?;
    Some(object::wrap(kind::SEALED_EPOCH, |w| {
        epoch.encode(w);
        recipient.encode(w);
        w.v16(&enc);
        w.v16(&ciphertext);
        Extensions::default().encode(w);
    }))
}

fn info(account: AccountId, epoch: EpochId, recipient: DeviceId) -> Vec<u8> {
    [&key::label("epoch")[..], account.as_bytes(), epoch.as_bytes(), recipient.as_bytes()].concat()
}

impl SealedEpoch {
    /// Reads one.
    ///
    /// # Errors
    /// For bytes that are not one, and [`DecodeError::Newer`] for what must be understood and is not.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = object::open(bytes, kind::SEALED_EPOCH)?;
        let sealed = Self {
            epoch: EpochId::decode(&mut r)?,
            recipient: DeviceId::decode(&mut r)?,
            enc: r.v16("encapsulated key", HPKE_ENC)?.to_vec(),
            ciphertext: r.v16("sealed secret", SEALED)?.to_vec(),
        };
        end(r)?;
        Ok(sealed)
    }

    /// Opens it; `None` if it was not sealed to `identity` for `account`, or was altered. The caller compares
    /// [`super::keyring::commitment`] with that of the epoch's statement.
    #[must_use]
    pub fn open(&self, identity: &Identity, account: AccountId) -> Option<Secret> {
        let info = info(account, self.epoch, self.recipient);
        let plain = identity.open(&info, &self.enc, &self.ciphertext)?;
        plain.as_slice().try_into().ok().map(Secret)
    }
}

/// The secrets of earlier epochs, sealed under a later one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The epoch that it is sealed under.
    pub epoch: EpochId,
    /// Nonce, ciphertext and tag.
    sealed: Vec<u8>,
}

/// Seals every other secret that `keyring` holds under that of `epoch`; `None` without the latter.
#[must_use]
pub fn seal_history(keyring: &Keyring, epoch: EpochId, entropy: Entropy<'_>) -> Option<Vec<u8>> {
    let key = keyring.history_key(epoch)?;
    let plain = zeroize::Zeroizing::new(history_plaintext(keyring, epoch));
    let sealed = key::seal(&key, &history_aad(epoch), &plain, entropy);
    let (nonce, ciphertext) = sealed.split_at_checked(NONCE)?;
    Some(object::wrap(kind::EPOCH_HISTORY, |w| {
        epoch.encode(w);
        w.raw(nonce);
        w.v32(ciphertext);
        Extensions::default().encode(w);
    }))
}

fn history_plaintext(keyring: &Keyring, epoch: EpochId) -> Vec<u8> {
    let others: Vec<(EpochId, &Secret)> = keyring.iter().filter(|(id, _)| *id != epoch).take(EPOCHS).collect();
    let mut w = Writer::new();
    // At most EPOCHS.
    w.u16(u16::try_from(others.len()).unwrap_or(u16::MAX));
    for (id, secret) in others {
        id.encode(&mut w);
        w.raw(&secret.0);
    }
    w.finish()
}

fn history_aad(epoch: EpochId) -> Vec<u8> {
    [&key::label("history")[..], epoch.as_bytes()].concat()
}

impl History {
    /// Reads one.
    ///
    /// # Errors
    /// For bytes that are not one, and [`DecodeError::Newer`] for what must be understood and is not.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = object::open(bytes, kind::EPOCH_HISTORY)?;
        let epoch = EpochId::decode(&mut r)?;
        let nonce: [u8; NONCE] = r.array()?;
        let sealed = [&nonce[..], r.v32("history", HISTORY)?].concat();
        end(r)?;
        Ok(Self { epoch, sealed })
    }

    /// Opens it; `None` without the secret of its epoch, or if it was altered. The caller compares each
    /// secret's [`super::keyring::commitment`] with that of its epoch's statement.
    #[must_use]
    pub fn open(&self, keyring: &Keyring) -> Option<Vec<(EpochId, Secret)>> {
        let plain = key::open(&keyring.history_key(self.epoch)?, &history_aad(self.epoch), &self.sealed)?;
        entries(&plain).ok()
    }
}

fn entries(plain: &[u8]) -> Result<Vec<(EpochId, Secret)>, DecodeError> {
    let mut r = Reader::new(plain);
    let mut out = Vec::new();
    for _ in 0..r.u16()? {
        out.push((EpochId::decode(&mut r)?, Secret(r.array()?)));
    }
    r.finish()?;
    sorted("history", &out, |(epoch, _)| *epoch)?;
    Ok(out)
}

fn end(mut r: Reader<'_>) -> Result<(), DecodeError> {
    Extensions::decode(&mut r)?.understood()?;
    r.finish()
}

//! Keys and the few cryptographic operations that the formats need, in terms of well-known crates.

use std::ops::Range;

use aes_gcm_siv::Aes256GcmSiv;
use chacha20poly1305::aead::{Aead, AeadInOut, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::KdfShake256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::id::{DeviceId, Hash, PinKey};

/// Where randomness comes from: an argument, so that a run can be replayed from a seed.
pub type Entropy<'a> = &'a mut dyn CryptoRng;

/// Bytes of an X-Wing public key.
pub const HPKE_PUBLIC: usize = 1216;
/// Bytes of an X-Wing encapsulated key.
pub const HPKE_ENC: usize = 1120;
/// Bytes of a nonce of XChaCha20-Poly1305: 192 bits, random.
pub const NONCE: usize = 24;
/// Bytes of an authentication tag.
pub const TAG: usize = 16;

/// A key or seed of 32 bytes: wiped when dropped, hidden in `Debug`, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub [u8; 32]);

impl Secret {
    /// A fresh one.
    #[must_use]
    pub fn random(entropy: Entropy<'_>) -> Self {
        let mut bytes = [0; 32];
        entropy.fill_bytes(&mut bytes);
        Self(bytes)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Secret {}

/// `N` random bytes.
#[must_use]
pub fn random<const N: usize>(entropy: Entropy<'_>) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill_bytes(&mut bytes);
    bytes
}

/// Whether two byte strings are equal, in time that does not depend on where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

/// `label` as PROTOCOL.md section 1 writes it: its length, `kinlink/1 ` and the rest.
#[must_use]
pub fn label(text: &str) -> Vec<u8> {
    let full = format!("kinlink/1 {text}");
    debug_assert!(full.len() < 256, "labels are short constants");
    let mut out = vec![u8::try_from(full.len()).unwrap_or(u8::MAX)];
    out.extend_from_slice(full.as_bytes());
    out
}

/// [`label`] in parts that need no memory of their own.
fn labelled(text: &str) -> ([u8; 1], &'static [u8], &[u8]) {
    const PREFIX: &[u8] = b"kinlink/1 ";
    ([u8::try_from(PREFIX.len() + text.len()).unwrap_or(u8::MAX)], PREFIX, text.as_bytes())
}

/// `H(label, parts…)`: SHA-256 with a domain label.
#[must_use]
pub fn hash(text: &str, parts: &[&[u8]]) -> Hash {
    let mut h = Sha256::new();
    let (len, prefix, rest) = labelled(text);
    [&len, prefix, rest].into_iter().for_each(|part| h.update(part));
    parts.iter().for_each(|part| h.update(part));
    Hash(h.finalize().into())
}

/// SHA-256 without a label, for Merkle trees (RFC 9162 separates by its own prefixes).
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut h = Sha256::new();
    parts.iter().for_each(|part| h.update(part));
    Hash(h.finalize().into())
}

/// `KDF(secret, salt, info)`: HKDF-SHA-256 (RFC 5869), 32 bytes; `info` is a label and parts.
#[must_use]
pub fn derive(secret: &[u8], salt: &[u8], text: &str, parts: &[&[u8]]) -> Secret {
    let mut info = label(text);
    parts.iter().for_each(|part| info.extend_from_slice(part));
    let mut out = Secret([0; 32]);
    // 32 bytes are within HKDF's limit of 255 blocks: expand cannot fail.
    let expanded = Hkdf::<Sha256>::new(Some(salt), secret).expand(&info, &mut out.0);
    debug_assert!(expanded.is_ok(), "32 bytes are within HKDF's limit");
    out
}

/// HMAC-SHA-256 (RFC 2104) over a label and parts.
#[must_use]
pub fn mac(key: &Secret, text: &str, parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length: this cannot fail, and an empty result would verify nowhere.
    let Ok(mut mac) = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&key.0) else { return [0; 32] };
    let (len, prefix, rest) = labelled(text);
    [&len, prefix, rest].into_iter().for_each(|part| mac.update(part));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// A device's keys: Ed25519 to sign with, X-Wing to receive keys with.
#[derive(Clone)]
pub struct Identity {
    signing: SigningKey,
    hpke_seed: Secret,
    hpke_public: Vec<u8>,
    device: DeviceId,
}

impl Identity {
    /// From the two seeds that are stored.
    #[must_use]
    pub fn from_seeds(signing: &Secret, hpke_seed: &Secret) -> Self {
        let signing = SigningKey::from_bytes(&signing.0);
        let device = DeviceId(signing.verifying_key().to_bytes());
        let (_, public) = XWing::derive_keypair(&hpke_seed.0);
        Self { signing, hpke_seed: hpke_seed.clone(), hpke_public: public.to_bytes().to_vec(), device }
    }

    /// A fresh one.
    #[must_use]
    pub fn random(entropy: Entropy<'_>) -> Self {
        let signing = Secret::random(entropy);
        Self::from_seeds(&signing, &Secret::random(entropy))
    }

    /// The two seeds, to be sealed and stored: signing, then HPKE.
    #[must_use]
    pub fn seeds(&self) -> (Secret, Secret) {
        (Secret(self.signing.to_bytes()), self.hpke_seed.clone())
    }

    /// The public key that names this device.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The public key to which epochs are sealed: 1216 bytes.
    #[must_use]
    pub fn hpke_public(&self) -> &[u8] {
        &self.hpke_public
    }

    /// `Sign(self, label, message)`.
    #[must_use]
    pub fn sign(&self, text: &str, message: &[u8]) -> [u8; 64] {
        #[cfg(test)]
        work::note(|work| &mut work.made);
        let mut bytes = label(text);
        bytes.extend_from_slice(message);
        self.signing.sign(&bytes).to_bytes()
    }

    /// The identity key in PKCS#8 (RFC 8410), for the TLS certificate.
    #[must_use]
    pub fn pkcs8(&self) -> Zeroizing<Vec<u8>> {
        // RFC 8410 section 7: version 0, id-Ed25519, the seed as an octet string in an octet string.
        const PREFIX: [u8; 16] =
            [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        let mut out = Zeroizing::new(PREFIX.to_vec());
        out.extend_from_slice(self.signing.as_bytes());
        out
    }

    /// Opens what was sealed to this device with [`seal_to`]; `None` if it was not, or was altered.
    #[must_use]
    pub fn open(&self, info: &[u8], enc: &[u8], ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (private, _) = XWing::derive_keypair(&self.hpke_seed.0);
        let enc = <XWing as Kem>::EncappedKey::from_bytes(enc).ok()?;
        hpke::single_shot_open::<ChaCha20Poly1305, KdfShake256, XWing>(
            &OpModeR::Base,
            &private,
            &enc,
            info,
            ciphertext,
            b"",
        )
        .ok()
        .map(Zeroizing::new)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.device)
    }
}

/// Verifies `Sign(device, label, message)` strictly: no small-order keys, no malleable signatures.
#[must_use]
pub fn verify(device: &DeviceId, text: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    #[cfg(test)]
    work::note(|work| &mut work.checked);
    strict(&device.0, text, message, signature)
}

fn strict(public: &[u8; 32], text: &str, message: &[u8], signature: &[u8; 64]) -> bool {
    let mut bytes = label(text);
    bytes.extend_from_slice(message);
    VerifyingKey::from_bytes(public)
        .is_ok_and(|key| key.verify_strict(&bytes, &Signature::from_bytes(signature)).is_ok())
}

/// Whether `bytes` can be a DeviceId: a canonical point that is not of small order.
#[must_use]
pub fn valid_device(device: &DeviceId) -> bool {
    valid(&device.0)
}

/// Whether a PIN's key can be one, likewise.
#[must_use]
pub fn valid_pin(key: &PinKey) -> bool {
    valid(&key.0)
}

fn valid(bytes: &[u8; 32]) -> bool {
    VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak())
}

/// The key that a PIN gives: it countersigns statements. Wiped when dropped.
#[derive(Clone)]
pub struct PinSigner(SigningKey);

impl PinSigner {
    /// From what Argon2id made of the PIN.
    #[must_use]
    pub fn from_seed(seed: &Secret) -> Self {
        Self(SigningKey::from_bytes(&seed.0))
    }

    /// The half that stands in the roster.
    #[must_use]
    pub fn public(&self) -> PinKey {
        PinKey(self.0.verifying_key().to_bytes())
    }

    /// `Sign(self, "countersign", message)`.
    #[must_use]
    pub fn countersign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = label(COUNTERSIGN);
        bytes.extend_from_slice(message);
        self.0.sign(&bytes).to_bytes()
    }
}

impl std::fmt::Debug for PinSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinSigner(…)")
    }
}

/// Verifies [`PinSigner::countersign`], as strictly as [`verify`].
#[must_use]
pub fn verify_countersign(key: &PinKey, message: &[u8], signature: &[u8; 64]) -> bool {
    strict(&key.0, COUNTERSIGN, message, signature)
}

const COUNTERSIGN: &str = "countersign";

/// Seals `plaintext` to an X-Wing public key (HPKE base mode, RFC 9180): the encapsulated key and the
/// ciphertext. `None` if `public` is not a key.
#[must_use]
pub fn seal_to(public: &[u8], info: &[u8], plaintext: &[u8], mut entropy: Entropy<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let public = <XWing as Kem>::PublicKey::from_bytes(public).ok()?;
    let (enc, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, KdfShake256, XWing>(
        &OpModeS::Base,
        &public,
        info,
        plaintext,
        b"",
        &mut entropy,
    )
    .ok()?;
    Some((enc.to_bytes().to_vec(), ciphertext))
}

/// Seals with XChaCha20-Poly1305 under a random nonce: nonce, ciphertext and tag in one.
#[must_use]
pub fn seal(key: &Secret, aad: &[u8], plaintext: &[u8], entropy: Entropy<'_>) -> Vec<u8> {
    let nonce: [u8; NONCE] = random(entropy);
    let cipher = XChaCha20Poly1305::new(&Key::from(key.0));
    // Fails only for more than 256 GiB.
    let sealed = cipher.encrypt(&XNonce::from(nonce), Payload { msg: plaintext, aad }).unwrap_or_default();
    [&nonce[..], &sealed].concat()
}

/// Opens what [`seal`] made; `None` if the key, the associated data or a byte is another.
#[must_use]
pub fn open(key: &Secret, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new(&Key::from(key.0));
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: ciphertext, aad }).ok().map(Zeroizing::new)
}

/// How many signatures this thread made and checked, for tests that count.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    /// Numbers of signatures.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Signatures {
        /// Made.
        pub(crate) made: usize,
        /// Checked, whatever came of it.
        pub(crate) checked: usize,
    }

    thread_local! {
        static DONE: Cell<Signatures> = const { Cell::new(Signatures { made: 0, checked: 0 }) };
    }

    pub(super) fn note(which: impl Fn(&mut Signatures) -> &mut usize) {
        let mut done = DONE.get();
        *which(&mut done) += 1;
        DONE.set(done);
    }

    /// Since the thread began.
    pub(crate) fn done() -> Signatures {
        DONE.get()
    }
}

/// As [`open`], behind what is in `plain` already: whoever opens many keeps one buffer. Where in it that is; `None` leaves it as
/// it was.
#[must_use]
pub fn open_behind(key: &Secret, aad: &[u8], sealed: &[u8], plain: &mut Vec<u8>) -> Option<Range<usize>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
    let start = plain.len();
    plain.extend_from_slice(ciphertext);
    let cipher = XChaCha20Poly1305::new(&Key::from(key.0));
    let content = plain.get_mut(start..)?;
    if cipher.decrypt_inout_detached(&XNonce::from(*nonce), aad, content.into(), &(*tag).into()).is_err() {
        plain.truncate(start);
        return None;
    }
    Some(start..plain.len())
}

/// Seals a row of the index so that the same row is always sealed alike: AES-256-GCM-SIV (RFC 8452), whose nonces may repeat.
/// `place` is the associated data.
#[must_use]
pub fn seal_row(key: &Secret, place: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let cipher = Aes256GcmSiv::new(&Key::from(key.0));
    // Fails only for more than 64 GiB; what does not open later is reported as damaged.
    cipher.encrypt(&ROW_NONCE.into(), Payload { msg: plaintext, aad: place }).unwrap_or_default()
}

/// Opens what [`seal_row`] made; `None` if the key, the place or a byte is another.
#[must_use]
pub fn open_row(key: &Secret, place: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let cipher = Aes256GcmSiv::new(&Key::from(key.0));
    cipher.decrypt(&ROW_NONCE.into(), Payload { msg: sealed, aad: place }).ok().map(Zeroizing::new)
}

/// RFC 8452 section 9: with one nonce for all, what is seen is which rows are equal; places differ, so none are.
const ROW_NONCE: [u8; 12] = [0; 12];

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn sealed_things_open_for_whom_they_are_and_for_nobody_else() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b) = (Identity::random(&mut rng), Identity::random(&mut rng));
        let (enc, ct) = seal_to(a.hpke_public(), b"info", b"secret", &mut rng).unwrap();
        assert_eq!((enc.len(), a.hpke_public().len()), (HPKE_ENC, HPKE_PUBLIC));
        assert_eq!(a.open(b"info", &enc, &ct).unwrap().as_slice(), b"secret");
        assert!(a.open(b"other", &enc, &ct).is_none());
        assert!(b.open(b"info", &enc, &ct).is_none());

        let key = Secret::random(&mut rng);
        let sealed = seal(&key, b"aad", b"text", &mut rng);
        assert_eq!(open(&key, b"aad", &sealed).unwrap().as_slice(), b"text");
        assert!(open(&key, b"aae", &sealed).is_none());
    }

    #[test]
    fn signatures_name_their_purpose() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let a = Identity::random(&mut rng);
        let signature = a.sign("head", b"m");
        assert!(verify(&a.device(), "head", b"m", &signature));
        assert!(!verify(&a.device(), "report", b"m", &signature));
    }
}

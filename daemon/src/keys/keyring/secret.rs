//! Secrets on the bus: `dh-ietf1024-sha256-aes128-cbc-pkcs7` of the Secret Service specification.
//!
//! Who listens on the bus, or records it, learns nothing. The specification authenticates neither side: who is the keyring is what
//! the bus says, and whoever can take its place there is a program of the user's that could ask the keyring itself.

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U256, U1024};
use hkdf::Hkdf;
use kinlink_proto::key::{Entropy, Secret, random};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The name of the algorithm.
pub(super) const ALGORITHM: &str = "dh-ietf1024-sha256-aes128-cbc-pkcs7";

/// The second Oakley group (RFC 2409 section 6.2); its generator is 2.
const PRIME: &str = "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD\
                     EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
                     EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF";

/// Our half of an exchange.
pub(super) struct Half {
    params: FixedMontyParams<{ U1024::LIMBS }>,
    /// Twice as long as the strength of the group.
    exponent: U256,
}

impl Half {
    pub(super) fn new(entropy: Entropy<'_>) -> Self {
        let params = FixedMontyParams::new(Odd::<U1024>::from_be_hex(PRIME));
        let bytes = Zeroizing::new(random::<32>(entropy));
        Self { params, exponent: U256::from_be_slice(&*bytes) }
    }

    /// What the other side is told.
    pub(super) fn public(&self) -> Vec<u8> {
        let power = FixedMontyForm::new(&U1024::from_u8(2), &self.params).pow(&self.exponent);
        power.retrieve().to_be_bytes().as_ref().to_vec()
    }

    /// The key that both have, given what the other side told. `None` if that is none of the group's.
    pub(super) fn agree(self, theirs: &[u8]) -> Option<Session> {
        let significant = theirs.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
        let start = 128_usize.checked_sub(significant.len())?;
        let mut padded = [0; 128];
        padded[start..].copy_from_slice(&significant);
        let theirs = U1024::from_be_slice(&padded);
        // 1 and the prime less 1 lead to what anybody knows.
        let last = self.params.modulus().as_ref().wrapping_sub(&U1024::ONE);
        if theirs <= U1024::ONE || theirs >= last {
            return None;
        }
        let mut common = FixedMontyForm::new(&theirs, &self.params).pow(&self.exponent).retrieve();
        let bytes = Zeroizing::new(common.to_be_bytes().as_ref().to_vec());
        common.zeroize();
        let mut key = Zeroizing::new([0; 16]);
        Hkdf::<Sha256>::new(None, &bytes).expand(&[], &mut *key).ok()?;
        Some(Session(key))
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        self.exponent.zeroize();
    }
}

/// What both sides seal with.
pub(super) struct Session(Zeroizing<[u8; 16]>);

impl Session {
    /// The initial vector, and `key`, in hex, sealed.
    pub(super) fn seal(&self, key: &Secret, entropy: Entropy<'_>) -> ([u8; 16], Vec<u8>) {
        let iv: [u8; 16] = random(entropy);
        let text = Zeroizing::new(data_encoding::HEXLOWER.encode(&key.0));
        let cipher = cbc::Encryptor::<Aes128>::new(&(*self.0).into(), &iv.into());
        (iv, cipher.encrypt_padded_vec::<Pkcs7>(text.as_bytes()))
    }

    /// The key that was sealed. `None` if it is something else.
    pub(super) fn open(&self, iv: &[u8], sealed: &[u8]) -> Option<Secret> {
        let iv: [u8; 16] = iv.try_into().ok()?;
        let cipher = cbc::Decryptor::<Aes128>::new(&(*self.0).into(), &iv.into());
        let text = Zeroizing::new(cipher.decrypt_padded_vec::<Pkcs7>(sealed).ok()?);
        let bytes = Zeroizing::new(data_encoding::HEXLOWER.decode(&text).ok()?);
        Some(Secret(bytes.as_slice().try_into().ok()?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at what fails")]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn both_sides_agree_and_nobody_else_opens_it() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (a, b, c) = (Half::new(&mut rng), Half::new(&mut rng), Half::new(&mut rng));
        let (told_a, told_b) = (a.public(), b.public());
        let (a, b, c) = (a.agree(&told_b).unwrap(), b.agree(&told_a).unwrap(), c.agree(&told_a).unwrap());
        let (iv, sealed) = a.seal(&Secret([7; 32]), &mut rng);
        assert_eq!(b.open(&iv, &sealed), Some(Secret([7; 32])));
        assert_eq!(c.open(&iv, &sealed), None);
        assert_eq!(b.open(&iv[1..], &sealed), None);
        assert_eq!(b.open(&iv, &sealed[1..]), None);
    }

    #[test]
    fn what_leads_to_a_known_key_is_refused() {
        let prime = data_encoding::HEXUPPER.decode(PRIME.as_bytes()).unwrap();
        let mut below = prime.clone();
        *below.last_mut().unwrap() -= 1;
        for theirs in [&b""[..], &[0; 200], &[1], &prime, &below, &[0xff; 128], &[2; 129]] {
            assert!(Half::new(&mut ChaCha20Rng::seed_from_u64(1)).agree(theirs).is_none(), "{theirs:?}");
        }
        assert!(Half::new(&mut ChaCha20Rng::seed_from_u64(1)).agree(&[&[0][..], &[2; 128]].concat()).is_some());
    }
}

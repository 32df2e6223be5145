//! Passphrases, and the keys that are made from them.

use std::fmt;
use std::io::{self, Read};

use argon2::{Algorithm, Argon2, Params, Version};
use kinlink_proto::key::Secret;
use zeroize::Zeroizing;

/// The longest, in bytes.
const LONGEST: usize = 1024;
/// The shortest, in characters. Whoever has the disk can try as many as they can pay for.
const SHORTEST: usize = 8;

/// What a person types. Wiped when dropped, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// From a file, a pipe or a terminal: up to its end, without the newline there.
    ///
    /// # Errors
    /// What the system says, or that it is empty or far too long.
    pub fn read(source: impl Read) -> io::Result<Self> {
        // Never grown, so no copy is left behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 3));
        source.take(LONGEST as u64 + 3).read_to_end(&mut bytes)?;
        for end in [b'\n', b'\r'] {
            bytes.pop_if(|last| *last == end);
        }
        match bytes.len() {
            0 => Err(io::Error::new(io::ErrorKind::InvalidData, "the passphrase is empty")),
            len if len > LONGEST => Err(io::Error::new(io::ErrorKind::InvalidData, "the passphrase is too long")),
            _ => Ok(Self(bytes)),
        }
    }

    /// Whether it is too short to be given to a key.
    #[must_use]
    pub fn is_short(&self) -> bool {
        String::from_utf8_lossy(&self.0).chars().count() < SHORTEST
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// What it costs to try one passphrase. Stands in the key file, so that it can rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// KiB of memory.
    pub(super) memory: u32,
    /// Passes over it.
    pub(super) passes: u32,
    /// Lanes.
    pub(super) lanes: u32,
}

impl Cost {
    /// RFC 9106 section 4, the second recommended: 64 MiB, three passes, four lanes. Tests that make hundreds take less memory.
    pub(super) const NEW: Self = Self { memory: if cfg!(test) { 64 } else { 64 * 1024 }, passes: 3, lanes: 4 };

    /// Whether a file may ask for it: a damaged one must not take all memory, or forever.
    pub(super) fn is_sane(self) -> bool {
        self.memory <= 1024 * 1024 && self.passes <= 64 && self.lanes <= 64
    }

    /// The key that `passphrase` gives with `salt`: Argon2id (RFC 9106). `None` if the cost is none that Argon2 knows.
    pub(super) fn derive(self, passphrase: &Passphrase, salt: &[u8; 16]) -> Option<Secret> {
        let mut key = Secret([0; 32]);
        let params = Params::new(self.memory, self.passes, self.lanes, Some(32)).ok()?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&passphrase.0, salt, &mut key.0)
            .ok()?;
        Some(key)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at what fails")]
mod tests {
    use super::*;

    #[test]
    fn one_newline_ends_it_and_is_no_part_of_it() {
        let bytes = |text: &str| Passphrase::read(text.as_bytes()).unwrap().0.to_vec();
        assert_eq!(bytes("two words\n"), b"two words");
        assert_eq!(bytes("two words\r\n"), b"two words");
        assert_eq!(bytes(" a\n\n"), b" a\n");
        assert!(Passphrase::read(&b"\n"[..]).is_err());
        assert!(Passphrase::read(&[b'a'; LONGEST][..]).is_ok());
        assert!(Passphrase::read(&[b'a'; LONGEST + 1][..]).is_err());
        assert_eq!(format!("{:?}", Passphrase::read(&b"secret"[..]).unwrap()), "Passphrase(…)");
    }

    /// From the reference implementation: `echo -n "correct horse" | argon2 somesaltsomesalt -id -t 3 -k 64 -p 4 -l 32`.
    #[test]
    fn keys_are_those_of_argon2id() {
        let cost = Cost { memory: 64, passes: 3, lanes: 4 };
        let passphrase = Passphrase::read(&b"correct horse"[..]).unwrap();
        let key = cost.derive(&passphrase, b"somesaltsomesalt").unwrap();
        assert_eq!(key.0[..8], [0x08, 0x29, 0x1a, 0xa3, 0x26, 0x2e, 0x19, 0x24]);
    }
}

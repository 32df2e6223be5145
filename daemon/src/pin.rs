//! From a PIN as somebody types it to the key that it gives: Argon2id, away from the task that owns the state.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use kinlink_proto::key::{self, PinSigner, Secret};
use kinlink_proto::limits;
use kinlink_proto::roster::statement::PinSetting;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use unicode_normalization::UnicodeNormalization;
use zeroize::{Zeroize, Zeroizing};

use crate::clock::entropy;

/// One at a time: the memory of one is all that the daemon takes for it, however many ask.
static TURN: Semaphore = Semaphore::const_new(1);

/// What a new PIN takes: 128 MiB, and four passes over it. About half a second.
const MEMORY: u32 = 128 * 1024;
const PASSES: u32 = 4;

/// A PIN, normalised. Wiped when dropped, and shown to nobody.
#[derive(Clone)]
pub struct Pin(Zeroizing<String>);

/// Why there is no key. None of these says anything of the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// It is too short or too long.
    #[error("a PIN has {} to {} characters", limits::PIN_CHARS.start(), limits::PIN_CHARS.end())]
    Length,
    /// There is no memory for it.
    #[error("there is not enough memory to look at the PIN ({} MiB)", .0 / 1024)]
    Memory(u32),
    /// The daemon is stopping.
    #[error("kinlinkd is stopping")]
    Stopping,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl Pin {
    /// Of what was typed, in the form NFKC, so that it is the same from whichever keyboard.
    ///
    /// # Errors
    /// [`PinError::Length`].
    pub fn typed(text: &str) -> Result<Self, PinError> {
        // Room for all that it can become, so that nothing is moved and left behind.
        let mut normal = Zeroizing::new(String::with_capacity(18 * text.len()));
        normal.extend(text.nfkc());
        match limits::PIN_CHARS.contains(&normal.chars().count()) {
            true => Ok(Self(normal)),
            false => Err(PinError::Length),
        }
    }

    /// What it gives with each of `settings`.
    ///
    /// # Errors
    /// [`PinError`].
    pub async fn seeds(&self, settings: Vec<PinSetting>) -> Result<Vec<Secret>, PinError> {
        let pin = self.clone();
        let _turn = TURN.acquire().await.map_err(|_| PinError::Stopping)?;
        let work = move || settings.iter().map(|setting| pin.derive(setting)).collect();
        spawn_blocking(work).await.map_err(|_| PinError::Stopping)?
    }

    /// As a new PIN of an account, under a fresh salt.
    ///
    /// # Errors
    /// [`PinError`].
    pub async fn setting(&self) -> Result<PinSetting, PinError> {
        let (memory, passes, lanes) = (MEMORY, PASSES, 1);
        let key = kinlink_proto::id::PinKey::NONE;
        let setting = PinSetting { key, salt: key::random(&mut entropy()), memory, passes, lanes };
        let seeds = self.seeds(vec![setting]).await?;
        let key = seeds.first().map(|seed| PinSigner::from_seed(seed).public()).ok_or(PinError::Stopping)?;
        Ok(PinSetting { key, ..setting })
    }

    fn derive(&self, setting: &PinSetting) -> Result<Secret, PinError> {
        let PinSetting { memory, passes, lanes, .. } = *setting;
        let failed = |_| PinError::Memory(memory);
        let params = Params::new(memory, passes, lanes, Some(32)).map_err(failed)?;
        let mut blocks: Vec<Block> = Vec::new();
        // Memory that is not to be had is an answer, and not the end of the daemon.
        blocks.try_reserve_exact(params.block_count()).map_err(|_| PinError::Memory(memory))?;
        blocks.resize(params.block_count(), Block::default());
        let mut seed = Secret([0; 32]);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let done = argon2.hash_password_into_with_memory(self.0.as_bytes(), &setting.salt, &mut seed.0, &mut blocks);
        blocks.iter_mut().for_each(Zeroize::zeroize);
        done.map(|()| seed).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting() -> PinSetting {
        let key = kinlink_proto::id::PinKey::NONE;
        PinSetting { key, salt: *b"saltsaltsaltsalt", memory: 64 * 1024, passes: 3, lanes: 1 }
    }

    fn hex(secret: &Secret) -> String {
        secret.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_pin_has_six_to_64_characters_of_any_script() {
        for good in ["123456", "пароль", "🐟🐟🐟🐟🐟🐟", &"x".repeat(64)] {
            assert!(Pin::typed(good).is_ok(), "{good}");
        }
        for bad in ["", "12345", &"x".repeat(65)] {
            assert_eq!(Pin::typed(bad).err(), Some(PinError::Length), "{bad}");
        }
    }

    /// A letter with its mark as one character or as two, and digits of full width, as some keyboards send them.
    #[test]
    fn a_pin_is_the_same_from_whichever_keyboard() {
        let same = |a: &str, b: &str| *Pin::typed(a).unwrap().0 == *Pin::typed(b).unwrap().0;
        assert!(same("caf\u{e9}42", "cafe\u{301}42"));
        assert!(same("\u{ff11}\u{ff12}\u{ff13}456", "123456"));
        assert!(!same("secret", "Secret"));
    }

    #[test]
    fn what_a_pin_gives_is_that_of_the_reference_implementation() {
        // argon2 -id -t 3 -k 65536 -p 1 -l 32 -r, of Debian's package argon2.
        let seed = Pin::typed("correct horse").unwrap().derive(&setting()).unwrap();
        assert_eq!(hex(&seed), "332541e4192860aa42935c10c48d64793839c579a782b7c5baeff2d7c197d1f4");
    }

    #[tokio::test]
    async fn each_setting_has_a_salt_of_its_own() {
        let pin = Pin::typed("123456").unwrap();
        let (a, b) = (pin.setting().await.unwrap(), pin.setting().await.unwrap());
        assert!(a.salt != b.salt && a.key != b.key);
        let seeds = pin.seeds(vec![a, b]).await.unwrap();
        assert_eq!(seeds.iter().map(|seed| PinSigner::from_seed(seed).public()).collect::<Vec<_>>(), [a.key, b.key]);
    }
}

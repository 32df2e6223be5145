//! How the store key lies in its file: open, or sealed under another key that is kept elsewhere.

use kinlink_proto::key::{Entropy, Secret, label, open, random, seal};
use zeroize::Zeroizing;

use super::file::Body;
use super::passphrase::Cost;
use super::{Item, KEY_KIND, KeyError, Means, Place};

/// A store key sealed: nonce, key, tag.
const SEALED: usize = 24 + 32 + 16;
/// The shortest and the longest body of version 2.
pub(super) const BODY: (usize, usize) = (1 + SEALED, 1 + 28 + SEALED);
/// The versions of a file whose key lies open, and of one whose key is sealed.
const OPEN: u8 = 1;
const LOCKED: u8 = 2;

/// What is needed to make the wrapping key again.
#[derive(Clone, Debug, PartialEq, Eq)]
enum How {
    Keyring(Item),
    Passphrase(Cost, [u8; 16]),
    Credential([u8; 16]),
}

/// What the store key is sealed under, if it is.
#[derive(Clone, Debug)]
pub struct Wrap(Option<(How, Secret)>);

impl Wrap {
    /// A fresh one in `place`.
    ///
    /// # Errors
    /// [`KeyError`], if `means` have nothing for it.
    pub fn fresh(place: Place, means: &Means, entropy: Entropy<'_>) -> Result<Self, KeyError> {
        let how = match place {
            Place::File => return Ok(Self(None)),
            Place::Keyring => {
                let (item, key) = (Item::random(entropy), Secret::random(entropy));
                means.ask(|keyring| keyring.put(&item, &key)).map_err(KeyError::refused)?;
                return Ok(Self(Some((How::Keyring(item), key))));
            }
            Place::Passphrase => How::Passphrase(Cost::NEW, random(entropy)),
            Place::Credential => How::Credential(random(entropy)),
        };
        let unfit = |why: &str| KeyError::NoPlace { place, why: why.to_owned() };
        match (&means.passphrase, place) {
            (None, Place::Passphrase) => return Err(unfit("there is no passphrase")),
            (Some(passphrase), Place::Passphrase) if passphrase.is_short() => {
                return Err(unfit("the passphrase has less than 8 characters"));
            }
            _ => {}
        }
        let key = how.key(means).map_err(KeyError::refused)?;
        Ok(Self(Some((how, key))))
    }

    /// One for another store key in the same place, which the old one's remains do not open. Where there can be none now, the same.
    pub(super) fn renewed(&self, means: &Means, entropy: Entropy<'_>) -> Self {
        match &self.0 {
            Some((How::Keyring(_), _)) => Self::fresh(Place::Keyring, means, entropy).unwrap_or_else(|error| {
                tracing::warn!(
                    "the key in the keyring is not replaced; this is tried again at the next start: {error}"
                );
                self.clone()
            }),
            _ => self.clone(),
        }
    }

    /// What it is found by in the keyring, if it is there.
    pub(super) fn item(&self) -> Option<Item> {
        match &self.0 {
            Some((How::Keyring(item), _)) => Some(*item),
            _ => None,
        }
    }

    /// Where the key is kept.
    #[must_use]
    pub fn place(&self) -> Place {
        self.0.as_ref().map_or(Place::File, |(how, _)| how.place())
    }

    /// What stands in the file of `store_key`.
    pub(super) fn seal(&self, store_key: &Secret, entropy: Entropy<'_>) -> Body {
        match &self.0 {
            None => Body { version: OPEN, bytes: Zeroizing::new(store_key.0.to_vec()) },
            Some((how, key)) => {
                let how = how.encode();
                let sealed = seal(key, &aad(&how), &store_key.0, entropy);
                Body { version: LOCKED, bytes: Zeroizing::new([how, sealed].concat()) }
            }
        }
    }

    /// The store key in `body`, and what it was sealed under.
    ///
    /// # Errors
    /// [`KeyError`]; `None` if it is damaged.
    pub(super) fn open(body: &Body, means: &Means) -> Result<Option<(Secret, Self)>, KeyError> {
        if body.version == OPEN {
            return Ok(body.bytes.first_chunk().map(|key| (Secret(*key), Self(None))));
        }
        let Some((how, sealed)) = How::decode(&body.bytes) else { return Ok(None) };
        let key = how.key(means)?;
        let opened = open(&key, &aad(&how.encode()), sealed);
        let store_key = opened.and_then(|opened| Some(Secret(*opened.first_chunk()?)));
        match store_key {
            Some(store_key) => Ok(Some((store_key, Self(Some((how, key)))))),
            None => Err(how.wrong()),
        }
    }
}

impl How {
    fn place(&self) -> Place {
        match self {
            Self::Keyring(_) => Place::Keyring,
            Self::Passphrase(..) => Place::Passphrase,
            Self::Credential(_) => Place::Credential,
        }
    }

    fn key(&self, means: &Means) -> Result<Secret, KeyError> {
        match self {
            Self::Keyring(item) => means.ask(|keyring| keyring.find(item)),
            Self::Credential(salt) => means.credential(salt),
            Self::Passphrase(cost, salt) => {
                let why = || "unlock it with kinctl unlock".to_owned();
                let locked = || KeyError::Locked { place: Place::Passphrase, why: why() };
                cost.derive(means.passphrase.as_ref().ok_or_else(locked)?, salt).ok_or_else(locked)
            }
        }
    }

    fn wrong(&self) -> KeyError {
        match self {
            Self::Passphrase(..) => KeyError::WrongPassphrase,
            Self::Keyring(_) | Self::Credential(_) => KeyError::WrongKey(self.place()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Passphrase(Cost { memory, passes, lanes }, salt) => {
                let numbers = [memory, passes, lanes].map(|number| number.to_be_bytes()).concat();
                [&[1][..], &numbers, salt].concat()
            }
            Self::Credential(salt) => [&[2][..], salt].concat(),
            Self::Keyring(Item(item)) => [&[3][..], item].concat(),
        }
    }

    /// From the start of a body, and the sealed rest. `None` if it is damaged.
    fn decode(body: &[u8]) -> Option<(Self, &[u8])> {
        let (how, sealed) = body.split_at_checked(body.len().checked_sub(SEALED)?)?;
        let (kind, rest) = how.split_first()?;
        let how = match kind {
            1 => {
                let (numbers, salt) = rest.split_first_chunk::<12>()?;
                let number = |at: usize| Some(u32::from_be_bytes(*numbers[at..].first_chunk()?));
                let cost = Cost { memory: number(0)?, passes: number(4)?, lanes: number(8)? };
                Self::Passphrase(Some(cost).filter(|cost| cost.is_sane())?, salt.try_into().ok()?)
            }
            2 => Self::Credential(rest.try_into().ok()?),
            3 => Self::Keyring(Item(rest.try_into().ok()?)),
            _ => return None,
        };
        Some((how, sealed))
    }
}

fn aad(how: &[u8]) -> Vec<u8> {
    [&label("store key")[..], &KEY_KIND.header(LOCKED), how].concat()
}

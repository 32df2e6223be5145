//! Who takes part, over which connections, and what the attacker has.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use kinlink_proto::id::{AccountId, DeviceId};
use kinlink_proto::key::{Identity, hash};
use kinlink_proto::roster::{Custody, Role};
use kinlink_proto::wire::Address;
use kinlink_proto::wire::challenge::{Challenge, Terms};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

/// A TLS session. The attacker reads and writes those that it is an end of, and can only cut the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conn {
    /// From the joiner to the shower, the n-th that the joiner made.
    Direct(u8),
    /// From the joiner to the attacker, the n-th that the joiner made.
    Taken(u8),
    /// From the attacker to the shower, with one of its keys.
    Attack { key: u8, n: u8 },
}

impl Conn {
    /// `X`: known to the two ends.
    pub fn exporter(self) -> [u8; 32] {
        hash("a session of the model", &[format!("{self:?}").as_bytes()]).0
    }

    /// Where it comes from, as the shower sees it.
    pub fn source(self) -> Address {
        let host = match self {
            Self::Direct(_) | Self::Taken(_) => 1,
            Self::Attack { key, .. } => 10 + key,
        };
        SocketAddr::from(([10, 0, 0, host], 4000)).into()
    }
}

/// A frame as it is on the wire.
#[derive(Clone, PartialEq, Eq)]
pub struct Wire {
    pub kind: u16,
    pub body: Arc<[u8]>,
    id: u64,
}

impl Wire {
    pub fn new(kind: u16, body: &[u8]) -> Self {
        let id = hash("a frame of the model", &[&kind.to_be_bytes(), body]).0;
        let id = u64::from_be_bytes(id[..8].try_into().unwrap());
        Self { kind, body: body.into(), id }
    }
}

impl Hash for Wire {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}/{:04x}", self.kind, self.id & 0xffff)
    }
}

/// What the attacker has beyond the network and keys of its own, and how far the search goes.
#[derive(Clone, Debug, Default)]
pub struct Attacker {
    /// Challenges of the shower that it photographed.
    pub photos: Vec<usize>,
    /// The shower's identity key: it can answer in the shower's place.
    pub has_showers_key: bool,
    /// Joiners do not look whose key it is that answers.
    pub is_not_checked: bool,
    /// What the joiner's user scans, one after another.
    pub scans: Vec<usize>,
    /// How many challenges the shower opens, one after another.
    pub challenges: usize,
    /// How often the joiner connects, at most.
    pub dials: u8,
    /// Connections of each of the attacker's two keys.
    pub sessions: [u8; 2],
    /// Frames that it sends to the shower over each.
    pub frames: usize,
    /// Frames that it sends to the joiner.
    pub answers: usize,
    /// Codes that the shower's user types without having seen them.
    pub mistakes: usize,
    /// Whether a challenge's time can be over.
    pub time: bool,
}

/// Everybody's keys, and the challenges.
#[derive(Debug)]
pub struct Parts {
    pub shower: Identity,
    pub joiner: Identity,
    pub attackers: [Identity; 2],
    /// Two of the shower's, and one of the attacker's own.
    pub challenges: [Challenge; 3],
    salt: u64,
}

impl Parts {
    /// The attacker's own challenge.
    pub const ATTACKERS: usize = 2;
    pub const ACCOUNT: AccountId = AccountId([0xac; 32]);
    pub const NOBODYS_CODE: &str = "000000";

    /// Runs with another `salt` have other keys and nonces throughout.
    pub fn new(salt: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(salt);
        let [shower, joiner, first, second] = [(); 4].map(|()| Identity::random(rng));
        let terms = || Terms {
            role: Role::Member,
            custody: Custody::Personal,
            anywhere: false,
            expires: 0,
            addresses: Vec::new(),
        };
        let challenges = [
            Challenge::sign(&shower, terms(), rng),
            Challenge::sign(&shower, terms(), rng),
            Challenge::sign(&first, terms(), rng),
        ];
        Self { shower, joiner, attackers: [first, second], challenges, salt }
    }

    /// The randomness of one of those who take part.
    pub fn rng(&self, whose: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(self.salt << 8 | whose)
    }

    /// Whose certificate the shower sees.
    pub fn client(&self, conn: Conn) -> DeviceId {
        match conn {
            Conn::Direct(_) | Conn::Taken(_) => self.joiner.device(),
            Conn::Attack { key, .. } => self.attackers[usize::from(key)].device(),
        }
    }
}

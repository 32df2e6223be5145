//! Both sides against each other, and against everybody else.

mod attacks;
mod code;
mod exchange;
mod frames;
mod schedules;

use std::net::SocketAddr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::message::{Accept, Claim, Offer};
use super::*;
use crate::id::{AccountId, DeviceId};
use crate::key::Identity;
use crate::limits;
use crate::roster::{Custody, Role};
use crate::time::Mono;
use crate::wire::address::Address;
use crate::wire::challenge::{Challenge, Terms};
use crate::wire::frame::{CloseCode, Frame};

pub(super) const OPENED: Mono = Mono(1_000_000);
pub(super) const ACCOUNT: AccountId = AccountId([0xac; 32]);
/// Two TLS sessions.
pub(super) const X: [u8; 32] = [1; 32];
pub(super) const OTHER_X: [u8; 32] = [2; 32];

/// A shower and an honest joiner that has read its challenge.
pub(super) struct World {
    pub(super) rng: ChaCha20Rng,
    pub(super) s: Identity,
    pub(super) j: Identity,
    pub(super) challenge: Challenge,
    pub(super) shower: Shower<u32>,
    pub(super) joiner: Joiner,
    pub(super) now: Mono,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (s, j) = (Identity::random(&mut rng), Identity::random(&mut rng));
        let challenge = Challenge::sign(&s, terms(Role::Member), &mut rng);
        let scanned = Challenge::parse(&challenge.to_qr(&s)).unwrap();
        let shower = Shower::open(challenge.clone(), OPENED, Duration::from_secs(120));
        let joiner = Joiner::start(scanned, j.device()).unwrap();
        Self { rng, s, j, challenge, shower, joiner, now: OPENED }
    }

    /// Another device that has read the challenge, too.
    pub(super) fn thief(&mut self) -> (Identity, Joiner) {
        let thief = Identity::random(&mut self.rng);
        let joiner = Joiner::start(self.challenge.clone(), thief.device()).unwrap();
        (thief, joiner)
    }

    /// The honest joiner's claim over a session.
    pub(super) fn make_claim(&mut self, x: &[u8; 32]) -> Claim {
        claim(&self.joiner.connected(x, &mut self.rng).unwrap())
    }

    pub(super) fn judge(&mut self, conn: u32, device: DeviceId, x: &[u8; 32], claim: &Claim) -> ClaimVerdict<u32> {
        let source = source(conn);
        let from = Claimant { conn, joiner: device, source: &source, exporter: x };
        self.shower.claim(self.now, from, claim)
    }

    /// The honest joiner connects and claims.
    pub(super) fn claim(&mut self, conn: u32, x: &[u8; 32]) -> ClaimVerdict<u32> {
        let claim = self.make_claim(x);
        self.judge(conn, self.j.device(), x, &claim)
    }

    pub(super) fn make_offer(&mut self) -> Offer {
        let frame = self.shower.offer(params(), &self.s, &mut self.rng).unwrap();
        let Message::Offer(offer) = received(&frame) else { panic!("no offer") };
        *offer
    }

    pub(super) fn make_accept(&mut self) -> Accept {
        accept(&self.joiner.accept(&self.j, describe(), &mut self.rng).unwrap())
    }

    /// Up to a shown code.
    pub(super) fn reach_code(&mut self, conn: u32, x: &[u8; 32]) -> String {
        assert_eq!(self.claim(conn, x).refusal(), None);
        let offer = self.make_offer();
        self.joiner.offer(offer).unwrap();
        let accept = self.make_accept();
        self.shower.accept(conn, accept).unwrap();
        self.joiner.code().unwrap()
    }

    /// Types a wrong code and agrees on the next one.
    pub(super) fn next_code(&mut self, conn: u32) -> String {
        let code = self.joiner.code().unwrap();
        let Confirm::Wrong { frame, .. } = self.shower.confirm(self.now, &other_than(&code)) else {
            panic!("not wrong")
        };
        let Message::WrongCode(wrong) = received(&frame) else { panic!("no WrongCode") };
        let frame = self.joiner.wrong_code(wrong, &mut self.rng).unwrap().unwrap();
        let Message::Recommit(recommit) = received(&frame) else { panic!("no Recommit") };
        let frame = self.shower.recommit(conn, recommit, &mut self.rng).unwrap();
        let Message::Nonce(nonce) = received(&frame) else { panic!("no Nonce") };
        let frame = self.joiner.nonce(&nonce).unwrap().unwrap();
        let Message::Open(nonce) = received(&frame) else { panic!("no Open") };
        self.shower.opened(conn, nonce).unwrap();
        self.joiner.code().unwrap()
    }
}

/// What a frame says, as the other side reads it from its bytes.
pub(super) fn received(frame: &Frame) -> Message {
    Message::from_frame(frame).unwrap().unwrap()
}

pub(super) fn claim(frame: &Frame) -> Claim {
    let Message::Claim(claim) = received(frame) else { panic!("no claim") };
    claim
}

pub(super) fn accept(frame: &Frame) -> Accept {
    let Message::Accept(accept) = received(frame) else { panic!("no accept") };
    *accept
}

/// Each connection comes from a host of its own.
pub(super) fn source(conn: u32) -> Address {
    SocketAddr::from(([10, 0, 0, u8::try_from(conn).unwrap()], 4000)).into()
}

pub(super) fn terms(role: Role) -> Terms {
    Terms { role, custody: Custody::Personal, anywhere: false, expires: 0, addresses: vec![source(200)] }
}

pub(super) fn params() -> OfferParams {
    OfferParams {
        account: ACCOUNT,
        label: "Ada".into(),
        name: "tower\u{202e}".into(),
        platform: "linux".into(),
        lease: 0,
        statements: vec![vec![1, 2, 3], vec![]],
        addresses: vec![source(200)],
    }
}

pub(super) fn describe() -> AcceptParams {
    AcceptParams { name: "lap\u{1b}top\n".into(), platform: "linux".into(), replaces: None }
}

/// Six digits that are not `code`.
pub(super) fn other_than(code: &str) -> String {
    format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000)
}

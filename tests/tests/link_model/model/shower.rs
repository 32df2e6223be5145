//! What the shower has been through, and how it stands then.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinlink_proto::id::{ChallengeId, DeviceId};
use kinlink_proto::time::Mono;
use kinlink_proto::wire::frame::CloseCode;

use super::link::message::{Accept, Claim};
use super::link::{ClaimVerdict, Claimant, Confirm, Message, OfferParams, Shower, ShowerStage};
use super::{frame, wire};
use crate::parts::{Conn, Parts, Wire};

/// What a shower can go through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ShowerEvent {
    Heard(Conn, Wire),
    /// The claimant's connection broke.
    Lost(Conn),
    /// Its user types what a joiner shows.
    Typed(String),
    /// Its user types digits that nobody showed.
    Mistyped,
    /// The challenge's time is over.
    Late,
    /// Its user opens another challenge.
    Reopen,
}

/// A device that was linked, with the code that was typed for it.
#[derive(Clone, Debug)]
pub struct Right {
    pub challenge: usize,
    pub id: ChallengeId,
    pub device: DeviceId,
    pub hpke: Vec<u8>,
    pub conn: Option<Conn>,
    pub code: String,
    pub late: bool,
}

/// An Accept that the shower went along with.
#[derive(Clone, Debug)]
pub struct Taken {
    pub challenge: usize,
    pub device: DeviceId,
    pub hpke: Vec<u8>,
    pub consent: [u8; 64],
}

/// How a shower stands.
#[derive(Clone, Debug, Default)]
pub struct ShowerRun {
    pub challenge: usize,
    pub sent: Vec<(Conn, Wire)>,
    /// Connections that were refused or superseded.
    pub closed: BTreeSet<Conn>,
    pub conn: Option<Conn>,
    pub spent: Option<CloseCode>,
    pub awaits_code: bool,
    pub late: bool,
    pub mistakes: usize,
    /// Claims that passed as proof, in this order.
    pub proven: Vec<(usize, Conn, DeviceId, Claim)>,
    pub taken: Vec<Taken>,
    pub rights: Vec<Right>,
    /// Wrong codes for each challenge.
    pub wrong: BTreeMap<usize, u8>,
}

impl ShowerRun {
    pub fn of(parts: &Parts, events: &[ShowerEvent]) -> Self {
        let mut live = Live {
            parts,
            rng: parts.rng(1),
            shower: Shower::open(parts.challenges[0].clone(), Mono(0), Duration::from_secs(120)),
            now: Mono(1),
            run: Self::default(),
        };
        events.iter().for_each(|event| live.go_through(event));
        let mut run = live.run;
        run.conn = live.shower.connection().filter(|_| live.shower.spent().is_none());
        run.spent = live.shower.spent();
        run.awaits_code = live.shower.state().stage == ShowerStage::Code;
        run
    }
}

struct Live<'a> {
    parts: &'a Parts,
    rng: rand_chacha::ChaCha20Rng,
    shower: Shower<Conn>,
    now: Mono,
    run: ShowerRun,
}

impl Live<'_> {
    fn go_through(&mut self, event: &ShowerEvent) {
        match event {
            ShowerEvent::Heard(conn, wire) => self.heard(*conn, frame(wire)),
            ShowerEvent::Lost(conn) => {
                self.shower.disconnected(*conn);
                self.run.closed.insert(*conn);
            }
            ShowerEvent::Typed(code) => self.typed(code),
            ShowerEvent::Mistyped => {
                self.run.mistakes += 1;
                self.typed(Parts::NOBODYS_CODE);
            }
            ShowerEvent::Late => {
                self.now = self.shower.deadline();
                self.run.late = true;
            }
            ShowerEvent::Reopen => {
                self.run.challenge += 1;
                self.run.late = false;
                let challenge = self.parts.challenges[self.run.challenge].clone();
                self.shower = Shower::open(challenge, self.now, Duration::from_secs(120));
            }
        }
    }

    fn heard(&mut self, conn: Conn, message: Message) {
        let went = match message {
            Message::Claim(claim) => return self.claimed(conn, &claim),
            Message::Accept(accept) => self.accepted(conn, *accept),
            Message::Recommit(recommit) => self.shower.recommit(conn, recommit, &mut self.rng).map(Some),
            Message::Open(nonce) => self.shower.opened(conn, nonce).map(|()| None),
            Message::Cancel => {
                self.shower.refused(conn, CloseCode::Cancelled);
                Ok(None)
            }
            _ => Err(CloseCode::Protocol),
        };
        match went {
            Ok(frame) => self.run.sent.extend(frame.map(|frame| (conn, wire(&frame)))),
            // The connection is closed, and the engine says so to the machine.
            Err(_) => {
                self.shower.disconnected(conn);
                self.run.closed.insert(conn);
            }
        }
    }

    fn claimed(&mut self, conn: Conn, claim: &Claim) {
        let (source, joiner, exporter) = (conn.source(), self.parts.client(conn), conn.exporter());
        let from = Claimant { conn, joiner, source: &source, exporter: &exporter };
        let verdict = self.shower.claim(self.now, from, claim);
        if !matches!(verdict, ClaimVerdict::BadProof { .. } | ClaimVerdict::Ended(_) | ClaimVerdict::Expired) {
            self.run.proven.push((self.run.challenge, conn, joiner, claim.clone()));
        }
        if let ClaimVerdict::SecondClaimant { first: Some(old) } | ClaimVerdict::Reclaimed { superseded: Some(old) } =
            verdict
        {
            self.run.closed.insert(old);
        }
        if verdict.refusal().is_some() {
            self.run.closed.insert(conn);
            return;
        }
        let offer = self.shower.offer(params(), &self.parts.shower, &mut self.rng).unwrap();
        self.run.sent.push((conn, wire(&offer)));
    }

    fn accepted(&mut self, conn: Conn, accept: Accept) -> Result<Option<kinlink_proto::wire::frame::Frame>, CloseCode> {
        let peer = self.shower.accept(conn, accept)?;
        let (challenge, device, hpke, consent) = (self.run.challenge, peer.device, peer.hpke, peer.consent);
        self.run.taken.push(Taken { challenge, device, hpke, consent });
        Ok(None)
    }

    fn typed(&mut self, code: &str) {
        let conn = self.shower.connection();
        match self.shower.confirm(self.now, code) {
            Confirm::Right { peer, challenge } => {
                let (device, hpke, code) = (peer.device, peer.hpke, code.to_owned());
                let (late, id) = (self.run.late, challenge);
                let challenge = self.run.challenge;
                self.run.rights.push(Right { challenge, id, device, hpke, conn, code, late });
                let linked = Message::Linked(Box::default()).to_frame();
                self.run.sent.extend(conn.map(|conn| (conn, wire(&linked))));
            }
            Confirm::Wrong { frame, .. } => {
                *self.run.wrong.entry(self.run.challenge).or_default() += 1;
                self.run.sent.extend(conn.map(|conn| (conn, wire(&frame))));
            }
            Confirm::TooMany(_) => *self.run.wrong.entry(self.run.challenge).or_default() += 1,
            Confirm::Malformed | Confirm::NotReady | Confirm::Ended(_) => {}
        }
    }
}

fn params() -> OfferParams {
    OfferParams {
        account: Parts::ACCOUNT,
        label: "Ada".into(),
        name: "tower".into(),
        platform: "linux".into(),
        lease: 0,
        statements: vec![vec![1]],
        addresses: Vec::new(),
    }
}

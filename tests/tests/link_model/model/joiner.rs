//! What the joiner has been through, and how it stands then.

use kinlink_proto::id::AccountId;

use super::link::{AcceptParams, Joiner, JoinerStage, Message, OfferView};
use super::{frame, wire};
use crate::parts::{Conn, Parts, Wire};

/// What a joiner can go through.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JoinerEvent {
    /// Its user scans one of the challenges.
    Scan(usize),
    /// A connection stands, to whoever proved to be the shower.
    Dial(Conn),
    Heard(Wire),
    /// Its user agrees to the offer.
    Agree,
    /// The connection broke.
    Lost,
}

/// An offer that its user agreed to.
#[derive(Clone, Debug)]
pub struct Agreed {
    pub challenge: usize,
    pub conn: Conn,
    pub account: AccountId,
}

/// How a joiner stands.
#[derive(Clone, Debug, Default)]
pub struct JoinerRun {
    pub scans: usize,
    pub dials: u8,
    pub challenge: Option<usize>,
    pub conn: Option<Conn>,
    pub sent: Vec<(Conn, Wire)>,
    /// Codes that its screen has shown, each with the challenge and the connection.
    pub shown: Vec<String>,
    pub agreed: Vec<Agreed>,
    /// What it takes itself to be linked to.
    pub linked: Option<(usize, Conn)>,
    /// Events on this connection that are its user's.
    pub acts_since_dial: usize,
    stage: Option<JoinerStage>,
}

impl JoinerRun {
    pub fn of(parts: &Parts, events: &[JoinerEvent]) -> Self {
        let mut live = Live { parts, rng: parts.rng(2), joiner: None, run: Self::default() };
        for event in events {
            live.go_through(event);
            let code = live.joiner.as_ref().and_then(Joiner::code).filter(|code| !live.run.shown.contains(code));
            live.run.shown.extend(code);
        }
        let mut run = live.run;
        run.stage = live.joiner.map(|joiner| joiner.stage());
        if matches!(run.stage, Some(JoinerStage::Ended(_) | JoinerStage::Linked)) {
            run.conn = None;
        }
        run
    }

    /// Whether its user can scan a challenge.
    pub fn idle(&self) -> bool {
        matches!(self.stage, None | Some(JoinerStage::Ended(_)))
    }

    /// The challenge whose shower it wants to connect to.
    pub fn dialling(&self) -> Option<usize> {
        self.challenge.filter(|_| self.stage == Some(JoinerStage::Dialling))
    }

    pub fn offered(&self) -> bool {
        self.stage == Some(JoinerStage::Offered)
    }

    pub fn stage(&self) -> Option<JoinerStage> {
        self.stage
    }
}

struct Live<'a> {
    parts: &'a Parts,
    rng: rand_chacha::ChaCha20Rng,
    joiner: Option<Joiner>,
    run: JoinerRun,
}

impl Live<'_> {
    fn go_through(&mut self, event: &JoinerEvent) {
        match event {
            JoinerEvent::Scan(which) => {
                self.run.scans += 1;
                self.run.challenge = Some(*which);
                let challenge = self.parts.challenges[*which].clone();
                self.joiner = Some(Joiner::start(challenge, self.parts.joiner.device()).unwrap());
            }
            JoinerEvent::Dial(conn) => {
                self.run.dials += 1;
                self.run.conn = Some(*conn);
                self.run.acts_since_dial = 0;
                let joiner = self.joiner.as_mut().unwrap();
                let claim = joiner.connected(&conn.exporter(), &mut self.rng).unwrap();
                self.run.sent.push((*conn, wire(&claim)));
            }
            JoinerEvent::Heard(wire) => self.heard(frame(wire)),
            JoinerEvent::Agree => self.agree(),
            JoinerEvent::Lost => {
                self.joiner.as_mut().unwrap().disconnected();
                self.run.conn = None;
            }
        }
    }

    fn heard(&mut self, message: Message) {
        let (Some(joiner), Some(conn)) = (self.joiner.as_mut(), self.run.conn) else { return };
        let answer = match message {
            Message::Offer(offer) => joiner.offer(*offer).map(|_: OfferView| None),
            Message::WrongCode(wrong) => joiner.wrong_code(wrong, &mut self.rng),
            Message::Nonce(nonce) => joiner.nonce(&nonce),
            Message::Linked(linked) => joiner.linked(&linked).map(|_| {
                self.run.linked = self.run.challenge.map(|challenge| (challenge, conn));
                None
            }),
            _ => return,
        };
        if let Ok(Some(frame)) = answer {
            self.run.sent.push((conn, wire(&frame)));
        }
    }

    fn agree(&mut self) {
        let (Some(joiner), Some(conn), Some(challenge)) = (self.joiner.as_mut(), self.run.conn, self.run.challenge)
        else {
            return;
        };
        self.run.acts_since_dial += 1;
        let accept = joiner.accept(&self.parts.joiner, AcceptParams::default(), &mut self.rng).unwrap();
        let account = joiner.agreed().unwrap().account;
        self.run.agreed.push(Agreed { challenge, conn, account });
        self.run.sent.push((conn, wire(&accept)));
    }
}

//! Any order of anything: nobody is linked without the code that the new device shows.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::link::message::Nonce;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// The honest joiner connects on a new connection, and its claim is judged there.
    Connect,
    /// The shower answers whatever claim is open.
    Offer,
    /// The joiner's user agrees.
    Agree,
    /// A frame that was ever sent arrives (again) somewhere.
    Deliver { which: prop::sample::Index, to_shower: bool, stale: bool },
    /// The shower's user types a code that no joiner showed.
    TypeWrong(u32),
    /// The shower loses the connection, the joiner does, or both.
    Lose { shower: bool, joiner: bool },
    /// Time passes.
    Pass(u64),
    /// Somebody without the secret claims.
    Guess(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Connect),
        3 => Just(Step::Offer),
        3 => Just(Step::Agree),
        12 => (any::<prop::sample::Index>(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(which, to_shower, stale)| Step::Deliver { which, to_shower, stale }),
        3 => (0_u32..1_000_000).prop_map(Step::TypeWrong),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(shower, joiner)| Step::Lose { shower, joiner }),
        1 => (0_u64..20_000).prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::Guess),
    ]
}

/// The world, everything that was ever sent, and every code that was ever shown.
struct Run {
    w: World,
    sent: Vec<Frame>,
    shown: BTreeSet<String>,
    conn: u32,
}

impl Run {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Connect => self.connect(),
            Step::Offer => self.keep(|w| w.shower.offer(params(), &w.s, &mut w.rng).ok()),
            Step::Agree => self.keep(|w| w.joiner.accept(&w.j, describe(), &mut w.rng).ok()),
            Step::Deliver { which, to_shower, stale } if !self.sent.is_empty() => {
                let frame = which.get(&self.sent).clone();
                if *to_shower { self.reach_shower(&frame, *stale) } else { self.reach_joiner(&frame) }
            }
            Step::Deliver { .. } => {}
            Step::TypeWrong(n) => self.type_wrong(*n),
            Step::Lose { shower, joiner } => {
                if *shower {
                    self.w.shower.disconnected(self.conn);
                }
                if *joiner {
                    self.w.joiner.disconnected();
                }
            }
            Step::Pass(ms) => self.w.now = Mono(self.w.now.0 + ms),
            Step::Guess(n) => self.guess(*n),
        }
        self.shown.extend(self.w.joiner.code());
    }

    fn connect(&mut self) {
        let x = [u8::try_from(self.conn + 1).unwrap(); 32];
        if let Ok(frame) = self.w.joiner.connected(&x, &mut self.w.rng) {
            self.conn += 1;
            let _verdict = self.w.judge(self.conn, self.w.j.device(), &x, &claim(&frame));
        }
    }

    fn guess(&mut self, n: u8) {
        let (thief, _) = self.w.thief();
        let guess = Claim {
            challenge: self.w.challenge.id(),
            commitment: crate::id::Hash([n; 32]),
            mac: [n; 32],
            ext: Default::default(),
        };
        let verdict = self.w.judge(100, thief.device(), &[n; 32], &guess);
        assert!(matches!(verdict, ClaimVerdict::BadProof { .. }));
    }

    fn type_wrong(&mut self, n: u32) {
        let typed = format!("{n:06}");
        if self.shown.contains(&typed) {
            return;
        }
        match self.w.shower.confirm(self.w.now, &typed) {
            Confirm::Right { .. } => panic!("linked with a code that nobody showed"),
            Confirm::Wrong { frame, .. } => self.sent.push(frame),
            Confirm::TooMany(_) | Confirm::NotReady | Confirm::Ended(_) | Confirm::Malformed => {}
        }
    }

    fn keep(&mut self, make: impl FnOnce(&mut World) -> Option<Frame>) {
        self.sent.extend(make(&mut self.w));
    }

    fn reach_shower(&mut self, frame: &Frame, stale: bool) {
        let conn = if stale { self.conn.saturating_sub(1) } else { self.conn };
        match received(frame) {
            Message::Accept(accept) => drop(self.w.shower.accept(conn, *accept)),
            Message::Recommit(recommit) => self.keep(|w| w.shower.recommit(conn, recommit, &mut w.rng).ok()),
            Message::Open(nonce) => drop(self.w.shower.opened(conn, nonce)),
            _ => drop(self.w.shower.opened(conn, Nonce([9; 32]))),
        }
    }

    fn reach_joiner(&mut self, frame: &Frame) {
        match received(frame) {
            Message::Offer(offer) => drop(self.w.joiner.offer(*offer)),
            Message::WrongCode(wrong) => self.keep(|w| w.joiner.wrong_code(wrong, &mut w.rng).ok().flatten()),
            Message::Nonce(nonce) => self.keep(|w| w.joiner.nonce(&nonce).ok().flatten()),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_links_without_the_shown_code(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut run = Run { w: World::new(seed), sent: Vec::new(), shown: BTreeSet::new(), conn: 0 };
        steps.iter().for_each(|step| run.step(step));
        prop_assert_ne!(run.w.shower.spent(), Some(CloseCode::Used));
    }

    #[test]
    fn whatever_happened_before_an_open_attempt_still_links(
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run { w: World::new(seed), sent: Vec::new(), shown: BTreeSet::new(), conn: 0 };
        steps.iter().for_each(|step| run.step(step));
        let mut w = run.w;
        w.joiner.disconnected();
        if w.shower.spent().is_none() && w.joiner.stage() == JoinerStage::Dialling && w.now < w.shower.deadline() {
            let code = w.reach_code(90, &[90; 32]);
            prop_assert!(matches!(w.shower.confirm(w.now, &code), Confirm::Right { .. }), "linked");
        }
    }
}

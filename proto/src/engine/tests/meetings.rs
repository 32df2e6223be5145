//! Out means out, whoever meets whom first: devices that were away over a revocation meet two at a time, in every order.
//!
//! A failure prints the order, and `KINLINK_SEED` plays the orders that another seed draws.

use std::collections::BTreeSet;

use rand_chacha::rand_core::Rng;

use super::*;
use crate::id::StatementId;

/// Two devices that meet.
type Pair = (usize, usize);

/// What happened while devices were away from one another.
struct Story {
    lab: Lab,
    session: SessionId,
    /// Who has to be out in the end.
    out: usize,
    /// Who revoked it, each of whom may be named.
    by: Vec<usize>,
    /// Everybody else in the account.
    stay: Vec<usize>,
    /// Who meets whom, in whatever order.
    pairs: Vec<Pair>,
    /// What was written and has to be read in the end.
    written: Vec<String>,
    /// Disks were set back: what had been applied there has to be applied again, and everybody is to see that.
    set_back: bool,
}

impl Story {
    /// Four devices, of which the last is away from all, and writes what nobody may see.
    fn begin(seed: u64) -> Self {
        let mut lab = Lab::account(seed, 4);
        let session = lab.session(0);
        let mut story = Self {
            lab,
            session,
            out: 3,
            by: vec![0],
            stay: vec![0, 1, 2],
            pairs: Vec::new(),
            written: Vec::new(),
            set_back: false,
        };
        story.write(3);
        story.lab.unplug(3);
        assert_eq!(story.lab.put(3, session, "late", b"late"), Ok(Reply::Done));
        story
    }

    /// A device writes something that may not be lost.
    fn write(&mut self, at: usize) {
        let key = format!("key {} of {at}", self.written.len());
        assert_eq!(self.lab.put(at, self.session, &key, b"v"), Ok(Reply::Done), "{key}");
        self.written.push(key);
    }

    fn revoke(&mut self, at: usize) {
        let out = self.lab.id(self.out);
        assert_eq!(self.lab.revoke(at, self.out), Ok(Reply::Revoked(vec![out])));
    }

    fn link(&mut self, by: usize) {
        let new = self.lab.devices.len();
        self.lab.add(new);
        self.lab.link(by, new);
        self.lab.connect(new, by);
        self.stay.push(new);
    }

    /// Now everybody is away from everybody, and all of these meet.
    fn all_meet(mut self, who: &[usize]) -> Self {
        (0..self.lab.devices.len()).for_each(|at| self.lab.unplug(at));
        self.pairs = who.iter().flat_map(|a| who.iter().filter(move |b| a < *b).map(move |b| (*a, *b))).collect();
        self.lab.leaked.clear();
        self
    }

    /// The same again, on copies of the disks.
    fn again(&self) -> Self {
        let lab = Lab { rng: self.lab.rng.clone(), now: self.lab.now, conns: self.lab.conns, ..Lab::new(0, 0) };
        let mut story = Self {
            lab,
            session: self.session,
            out: self.out,
            by: self.by.clone(),
            stay: self.stay.clone(),
            pairs: self.pairs.clone(),
            written: self.written.clone(),
            set_back: self.set_back,
        };
        for (index, device) in self.lab.devices.iter().enumerate() {
            story.lab.add_as(device.config.clone(), device.store.snapshot());
            story.lab.feed(index, Input::Started);
        }
        story
    }

    /// Two devices meet, talk until neither has anything to say, and part.
    fn meet(&mut self, (a, b): Pair) {
        for (dialler, other) in [(a, b), (b, a), (a, b), (b, a)] {
            self.lab.connect(dialler, other);
            if self.lab.engine(a).conn_of(self.lab.id(b)).is_some() {
                break;
            }
        }
        self.lab.pass(limits::REPORT_QUIET);
        self.lab.unplug_from(a, b);
        self.lab.unplug_from(b, a);
    }

    /// On how many devices the revocation was applied, as a device shows it; 0 before it has heard.
    fn applied(&self, at: usize) -> (u32, u32) {
        let (out, view) = (self.lab.id(self.out), self.lab.engine(at).view());
        view.devices.iter().find(|device| device.id == out).map_or((0, 0), |device| device.applied)
    }

    /// All meet in an order; what must hold, holds after each meeting, and more after all.
    fn play(mut self, order: &[Pair]) {
        let mut before = vec![(0, 0); self.lab.devices.len()];
        for pair in order {
            self.meet(*pair);
            for at in self.stay.clone() {
                self.holds(at, &mut before[at]);
            }
        }
        // Whoever met one that knew has heard.
        self.has_ended(order);
        for pair in order.iter().chain(order) {
            self.meet(*pair);
            for at in self.stay.clone() {
                self.holds(at, &mut before[at]);
            }
        }
        self.agrees();
    }

    /// What holds at any time at a device that stays.
    fn holds(&mut self, at: usize, before: &mut (u32, u32)) {
        assert_eq!(self.lab.leaked, [], "something was sent to one that the sender knew to be out");
        let now = self.applied(at);
        assert!((self.set_back || now.0 >= before.0) && now.0 <= now.1, "device {at} showed {before:?}, then {now:?}");
        *before = now;
        for other in &self.stay {
            let status = self.lab.status(at, *other);
            assert!(matches!(status, None | Some(Status::Linked)), "at device {at}, device {other} is {status:?}");
        }
        assert!(!self.lab.engine(at).local.out, "device {at} is out");
        if self.lab.status(at, self.out) == Some(Status::Revoked) {
            assert_eq!(self.lab.read(at, self.session, "late"), None, "device {at} reads what came after");
        }
    }

    /// Everybody who met somebody knows, and so does the one that is out: who did it, and that its keys are gone.
    fn has_ended(&mut self, order: &[Pair]) {
        let met: BTreeSet<usize> = order.iter().flat_map(|(a, b)| [*a, *b]).collect();
        for at in self.stay.iter().filter(|at| met.contains(at)) {
            assert_eq!(self.lab.status(*at, self.out), Some(Status::Revoked), "device {at} has not heard");
        }
        let own = self.lab.engine(self.out);
        assert!(own.local.out && own.epochs().next().is_none(), "the one that is out goes on");
        let revoked = own.view().devices.iter().find(|device| device.this).and_then(|own| own.revoked.clone());
        let by = revoked.expect("it does not know who put it out").by;
        assert!(self.by.iter().any(|owner| self.lab.id(*owner) == by), "it thinks that {by} did it");
    }

    /// In the end those that meet hold the same, all of it, and show the revocation on all of them.
    fn agrees(&mut self) {
        let meet: BTreeSet<usize> =
            self.pairs.iter().flat_map(|(a, b)| [*a, *b]).filter(|at| *at != self.out).collect();
        let all = u32::try_from(self.stay.len()).unwrap();
        let said =
            |lab: &Lab, at| lab.engine(at).roster.statements().map(|said| said.id).collect::<BTreeSet<StatementId>>();
        let held = |lab: &Lab, at| {
            let held = lab.engine(at).journals.vector().into_iter().filter(|held| held.size > 0);
            held.map(|held| (held.journal, held.size, held.root)).collect::<Vec<_>>()
        };
        let first = *meet.iter().next().unwrap();
        for at in &meet {
            assert_eq!(self.applied(*at), (all, all), "at device {at}");
            assert_eq!(said(&self.lab, *at), said(&self.lab, first), "rosters of {at} and {first}");
            assert_eq!(held(&self.lab, *at), held(&self.lab, first), "journals of {at} and {first}");
            for other in &self.stay {
                assert_eq!(self.lab.status(*at, *other), Some(Status::Linked), "at device {at}, device {other}");
            }
            for key in self.written.clone() {
                assert_eq!(self.lab.read(*at, self.session, &key), Some(b"v".to_vec()), "device {at}: {key}");
            }
        }
        // Each can write what each can read: they share a key, which the one that is out has not.
        for at in &meet {
            let key = format!("after, by {at}");
            assert_eq!(self.lab.put(*at, self.session, &key, b"v"), Ok(Reply::Done));
            let epoch = self.lab.engine(*at).held_write_epoch();
            assert_eq!(epoch, self.lab.engine(first).held_write_epoch(), "keys of {at} and {first}");
            assert!(self.lab.engine(self.out).keyring.secret(epoch.unwrap()).is_none());
        }
    }

    /// Plays so many orders that are drawn; all that there are, if those are not more.
    #[expect(clippy::disallowed_methods, reason = "a failure is to be played again")]
    fn in_orders(self, count: usize) {
        let seed = std::env::var("KINLINK_SEED").map_or(1, |seed| seed.parse().expect("KINLINK_SEED is a number"));
        let all: usize = (1..=self.pairs.len()).product();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        for n in 0..count.min(all) {
            let mut order = if all <= count { nth(&self.pairs, n) } else { shuffled(&self.pairs, &mut rng) };
            // Whoever is named first dials.
            for pair in order.iter_mut().filter(|_| rng.next_u32() % 2 == 0) {
                *pair = (pair.1, pair.0);
            }
            eprintln!("seed {seed}, order {n}: {order:?}");
            self.again().play(&order);
        }
    }
}

/// The n-th order of pairs.
fn nth(pairs: &[Pair], n: usize) -> Vec<Pair> {
    let (mut left, mut rest) = (pairs.to_vec(), n);
    (0..pairs.len())
        .map(|_| {
            let next = left.remove(rest % left.len());
            rest /= left.len() + 1;
            next
        })
        .collect()
}

fn shuffled(pairs: &[Pair], rng: &mut ChaCha20Rng) -> Vec<Pair> {
    let mut order = pairs.to_vec();
    for at in (1..order.len()).rev() {
        order.swap(at, usize::try_from(rng.next_u32()).unwrap() % (at + 1));
    }
    order
}

#[test]
fn orders_are_all_different() {
    let pairs = [(0, 1), (0, 2), (1, 2), (1, 3)];
    let orders: BTreeSet<Vec<Pair>> = (0..24).map(|n| nth(&pairs, n)).collect();
    assert_eq!(orders.len(), 24);
}

/// All orders that there are.
#[test]
fn one_that_was_away_is_out_in_whatever_order_it_is_met() {
    let mut story = Story::begin(100);
    story.revoke(0);
    story.write(0);
    story.write(1);
    story.all_meet(&[0, 1, 2, 3]).in_orders(720);
}

/// Two others were away as well, and wrote.
#[test]
fn those_that_were_away_as_well_hear_of_it_in_whatever_order() {
    let mut story = Story::begin(101);
    story.lab.unplug(1);
    story.lab.unplug(2);
    story.revoke(0);
    for at in [0, 1, 2, 1] {
        story.write(at);
    }
    story.all_meet(&[0, 1, 2, 3]).in_orders(60);
}

/// The revoker told one device, and is never seen again: all orders of the others.
#[test]
fn a_revoker_that_goes_away_is_not_needed() {
    let mut story = Story::begin(102);
    story.lab.unplug(2);
    story.revoke(0);
    story.write(0);
    story.lab.unplug(0);
    story.write(1);
    story.write(2);
    story.all_meet(&[1, 2, 3]).in_orders(6);
}

/// A device is linked while others, and the one that is out, are away: none of these knows its key.
#[test]
fn a_new_device_helps_to_tell_those_that_never_heard_of_it() {
    let mut story = Story::begin(103);
    story.lab.unplug(1);
    story.lab.unplug(2);
    story.revoke(0);
    story.link(0);
    for at in [0, 1, 2, 4] {
        story.write(at);
    }
    story.all_meet(&[0, 1, 2, 3, 4]).in_orders(30);
}

/// The revoker linked a new device, told nobody else, and is never seen again. The others may hear of the revocation from
/// one another before the new one introduces itself, and then they hold no key of it that is fit.
#[test]
fn a_new_device_alone_carries_a_revocation() {
    let mut story = Story::begin(104);
    story.lab.unplug(0);
    story.revoke(0);
    story.link(0);
    story.lab.unplug(0);
    for at in [1, 2, 4] {
        story.write(at);
    }
    story.all_meet(&[1, 2, 3, 4]).in_orders(40);
}

/// Neither knew of the other's, and both honour what they had.
#[test]
fn two_owners_may_revoke_the_same_device() {
    let mut story = Story::begin(105);
    story.by = vec![0, 1];
    (0..3).for_each(|at| story.lab.unplug(at));
    for at in [0, 1] {
        story.revoke(at);
    }
    for at in [0, 1, 2] {
        story.write(at);
    }
    story.all_meet(&[0, 1, 2, 3]).in_orders(40);
}

/// The revoker told one device, and its disk was set back to before; so was another's.
#[test]
fn disks_that_are_set_back_do_not_bring_it_back() {
    let mut story = Story::begin(106);
    story.set_back = true;
    let disks = [0, 2].map(|at| (at, story.lab.devices[at].store.snapshot()));
    story.lab.unplug(2);
    story.revoke(0);
    story.write(0);
    story.lab.connect(1, 2);
    story.write(2);
    for (at, disk) in &disks {
        story.lab.set_back(*at, disk);
        story.write(*at);
    }
    assert_eq!(story.lab.status(0, 3), Some(Status::Linked), "the revoker forgot it");
    story.all_meet(&[0, 1, 2, 3]).in_orders(40);
}

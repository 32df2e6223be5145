//! The search itself: everything that an attacker, the network and two people can do with one shower and one joiner,
//! in every order, over the state machines of the module above this one.
//!
//! A state is what each of the two machines has been through. Both are functions of that (their randomness comes from
//! fixed seeds), so two orders in which they went through the same are one state, and what the attacker knows follows
//! from what they sent where it reads. What a machine answers is worked out once for each history and kept.

mod attacker;
mod claims;
mod joiner;
mod shower;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::link;
use crate::parts::{Attacker, Conn, Parts, Wire};
pub use joiner::{JoinerEvent, JoinerRun};
pub use shower::{ShowerEvent, ShowerRun};

/// What a search came to.
#[derive(Debug)]
pub struct Found {
    pub states: usize,
    /// Whether somebody was linked in one of them: a search in which nothing happens proves nothing.
    pub linked: bool,
    /// Claims that do not hold, and how that comes about.
    pub broken: Vec<(&'static str, String)>,
}

/// Searches everything, or up to the first claim that does not hold.
pub fn search(attacker: &Attacker, salt: u64) -> Found {
    let checker = World::new(attacker.clone(), salt)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let (linked, broken): (Vec<_>, Vec<_>) =
        checker.discoveries().into_iter().partition(|(name, _)| *name == claims::LINKED);
    let broken = broken.into_iter().map(|(name, path)| (name, format!("{:#?}", path.into_actions())));
    Found { states: checker.unique_state_count(), linked: !linked.is_empty(), broken: broken.collect() }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Shower(ShowerEvent),
    Joiner(JoinerEvent),
}

/// What both machines have been through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    pub shower: Arc<Vec<ShowerEvent>>,
    pub joiner: Arc<Vec<JoinerEvent>>,
}

/// The world that is searched: its bounds, and what the attacker has.
#[derive(Debug)]
pub struct World {
    pub parts: Parts,
    pub attacker: Attacker,
    showers: Memo<ShowerEvent, ShowerRun>,
    joiners: Memo<JoinerEvent, JoinerRun>,
    tools: Mutex<HashMap<Heard, Arc<attacker::Tool>>>,
}

/// A session of the attacker's, the challenge that it claims to have seen, and what the shower said there.
type Heard = (Conn, usize, Vec<Wire>);

type Memo<E, R> = Mutex<HashMap<Arc<Vec<E>>, Arc<R>>>;

impl World {
    pub fn new(attacker: Attacker, salt: u64) -> Self {
        let parts = Parts::new(salt);
        Self { parts, attacker, showers: Memo::default(), joiners: Memo::default(), tools: Mutex::default() }
    }

    pub fn shower(&self, history: &Arc<Vec<ShowerEvent>>) -> Arc<ShowerRun> {
        recall(&self.showers, history, |events| ShowerRun::of(&self.parts, events))
    }

    pub fn joiner(&self, history: &Arc<Vec<JoinerEvent>>) -> Arc<JoinerRun> {
        recall(&self.joiners, history, |events| JoinerRun::of(&self.parts, events))
    }

    /// Whether the attacker can answer a joiner in place of the shower that this challenge names.
    fn answers(&self, challenge: usize) -> bool {
        challenge == Parts::ATTACKERS || self.attacker.has_showers_key || self.attacker.is_not_checked
    }

    fn people_and_network(&self, state: &State, s: &ShowerRun, j: &JoinerRun, actions: &mut Vec<Action>) {
        if j.idle() && j.scans < self.attacker.scans.len() {
            actions.push(Action::Joiner(JoinerEvent::Scan(self.attacker.scans[j.scans])));
        }
        if let Some(challenge) = j.dialling()
            && j.dials < self.attacker.dials
        {
            if challenge != Parts::ATTACKERS {
                actions.push(Action::Joiner(JoinerEvent::Dial(Conn::Direct(j.dials))));
            }
            if self.answers(challenge) {
                actions.push(Action::Joiner(JoinerEvent::Dial(Conn::Taken(j.dials))));
            }
        }
        if j.offered() {
            actions.push(Action::Joiner(JoinerEvent::Agree));
        }
        if let Some(conn) = j.conn {
            if j.dials < self.attacker.dials {
                actions.push(Action::Joiner(JoinerEvent::Lost));
            }
            if let Conn::Direct(_) = conn {
                let read = state.joiner.iter().rev().take_while(|e| !matches!(e, JoinerEvent::Dial(_))).count();
                let waiting = s.sent.iter().filter(|(to, _)| *to == conn).nth(read - j.acts_since_dial);
                actions.extend(waiting.map(|(_, wire)| Action::Joiner(JoinerEvent::Heard(wire.clone()))));
            }
        }
        for conn in (0..j.dials).map(Conn::Direct).filter(|conn| !s.closed.contains(conn)) {
            let read = state.shower.iter().filter(|e| matches!(e, ShowerEvent::Heard(c, _) if *c == conn)).count();
            let waiting = j.sent.iter().filter(|(on, _)| *on == conn).nth(read);
            actions.extend(waiting.map(|(_, wire)| Action::Shower(ShowerEvent::Heard(conn, wire.clone()))));
        }
        // Whoever else connects would not notice: only the claimant's connection has a state.
        actions.extend(s.conn.map(|conn| Action::Shower(ShowerEvent::Lost(conn))));
        if s.awaits_code {
            actions.extend(j.shown.iter().map(|code| Action::Shower(ShowerEvent::Typed(code.clone()))));
            if s.mistakes < self.attacker.mistakes {
                actions.push(Action::Shower(ShowerEvent::Mistyped));
            }
        }
        if self.attacker.time && !s.late && s.spent.is_none() {
            actions.push(Action::Shower(ShowerEvent::Late));
        }
        if s.spent.is_some() && s.challenge + 1 < self.attacker.challenges {
            actions.push(Action::Shower(ShowerEvent::Reopen));
        }
    }
}

fn recall<E: Clone + Eq + Hash, R>(memo: &Memo<E, R>, history: &Arc<Vec<E>>, make: impl FnOnce(&[E]) -> R) -> Arc<R> {
    if let Some(run) = memo.lock().unwrap().get(history) {
        return Arc::clone(run);
    }
    let run = Arc::new(make(history));
    memo.lock().unwrap().insert(Arc::clone(history), Arc::clone(&run));
    run
}

/// `history` and one more event.
fn then<E: Clone>(history: &Arc<Vec<E>>, event: E) -> Arc<Vec<E>> {
    let mut longer = Vec::with_capacity(history.len() + 1);
    longer.extend_from_slice(history);
    longer.push(event);
    Arc::new(longer)
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let (s, j) = (self.shower(&state.shower), self.joiner(&state.joiner));
        self.people_and_network(state, &s, &j, actions);
        attacker::acts(self, state, &s, &j, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = last.clone();
        match action {
            Action::Shower(event) => next.shower = then(&last.shower, event),
            Action::Joiner(event) => next.joiner = then(&last.joiner, event),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        claims::all()
    }
}

fn frame(wire: &Wire) -> link::Message {
    let frame = kinlink_proto::wire::frame::Frame::new(wire.kind, wire.body.to_vec());
    link::Message::from_frame(&frame).unwrap().unwrap()
}

fn wire(frame: &kinlink_proto::wire::frame::Frame) -> Wire {
    Wire::new(frame.kind, &frame.body)
}

//! Clones: two runs of one key, because somebody copied a disk and started both. PROTOCOL.md section 7.
//!
//! A device has one run at a time, and draws the name of each anew. So a run that was there before another one of the same key, and
//! is there behind that one, ran beside it. That something comes from a run says little: it may have been on its way for long, and
//! a connection to a device that was killed, or whose network changed, looks alive for a while. What counts is an answer to a
//! question that was asked at the right time, over a connection on which the device has shown its key:
//!
//! 1. the run A was seen: it said hello;
//! 2. then B was asked, and answered;
//! 3. then A was asked, and answers.
//!
//! A restored disk, a crash, a restart behind a connection that is not timed out, what others relay of old, and what the network
//! repeats or delays do not answer in step 3. All of this is in memory: to forget it is to see a clone later.

use std::collections::BTreeMap;

use super::io::{ConnId, Output};
use super::out::reason;
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, RunId, StatementId};
use crate::limits;
use crate::roster::Role;
use crate::roster::statement::Action;
use crate::store::StoreError;
use crate::wire::Address;
use crate::wire::message::Message;

/// The runs of each device that were seen in this run.
#[derive(Debug, Default)]
pub(super) struct Clones {
    runs: BTreeMap<DeviceId, Vec<Run>>,
    /// Counts hellos, questions and answers: what came before what.
    step: u64,
    asked: BTreeMap<ConnId, Asked>,
}

/// A run of a device.
#[derive(Clone, Debug)]
struct Run {
    id: RunId,
    address: Address,
    seen: u64,
    /// When it was last asked and had answered.
    answered: Option<(u64, u64)>,
}

/// A question under way: the number of the ping, and when it was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    step: u64,
}

impl Clones {
    fn next(&mut self) -> u64 {
        self.step += 1;
        self.step
    }

    /// Notes that a run said hello. Returns whether it is to be asked if it is there: not while the device is known by one
    /// run alone, or by this one last.
    fn hello(&mut self, device: DeviceId, id: RunId, address: Address) -> bool {
        let step = self.next();
        let runs = self.runs.entry(device).or_default();
        match runs.iter_mut().find(|run| run.id == id) {
            Some(run) => run.address = address,
            None => runs.push(Run { id, address, seen: step, answered: None }),
        }
        if runs.len() > limits::RUNS {
            runs.remove(0);
        }
        let last = runs.iter().max_by_key(|run| run.answered);
        runs.len() > 1 && last.is_none_or(|last| last.id != id || last.answered.is_none())
    }

    /// Notes that a run answered. Returns where both are, if it ran beside another one.
    fn answered(&mut self, device: DeviceId, id: RunId, asked: Asked) -> Option<Vec<Address>> {
        let step = self.next();
        let runs = self.runs.get_mut(&device)?;
        let run = runs.iter_mut().find(|run| run.id == id)?;
        run.answered = Some((asked.step, step));
        let run = run.clone();
        let between = |other: &&Run| {
            let Some((other_asked, other_answered)) = other.answered else { return false };
            other.id != id && run.seen < other_asked && other_answered < asked.step
        };
        let other = runs.iter().find(between)?;
        Some(vec![other.address.clone(), run.address])
    }
}

impl Engine {
    /// A peer said hello: should it have been here as another run, it is asked whether it is still there.
    pub(super) fn note_run(&mut self, id: ConnId, run: RunId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (peer, address) = (conn.peer, conn.address.clone());
        if self.clones.hello(peer, run, address) {
            let number = self.next_ping();
            let step = self.clones.next();
            self.clones.asked.insert(id, Asked { number, step });
            self.outputs.push_back(Output::Send { conn: id, frame: Message::Ping(number).to_frame() });
        }
    }

    /// A peer answered a ping. An owner suspends a device of which there are two.
    pub(super) fn note_answer(&mut self, cx: &mut Cx<'_>, id: ConnId, number: u64) -> Result<(), StoreError> {
        let Some(asked) = self.clones.asked.get(&id).copied().filter(|asked| asked.number == number) else {
            return Ok(());
        };
        self.clones.asked.remove(&id);
        let Some((peer, run)) = self.conns.get(&id).and_then(|conn| Some((conn.peer, conn.run?))) else {
            return Ok(());
        };
        let Some(seen_at) = self.clones.answered(peer, run, asked) else { return Ok(()) };
        if self.roster.evaluation().role(self.device()) != Some(Role::Owner) {
            return Ok(());
        }
        match self.suspend(cx, peer, reason::CLONE, "", seen_at) {
            Err(Fail::Store(error)) => Err(error),
            // What it may not do is left to another owner.
            _ => Ok(()),
        }
    }

    /// A connection ended: nothing more is answered there.
    pub(super) fn forget_question(&mut self, id: ConnId) {
        self.clones.asked.remove(&id);
    }

    /// What was seen of a device is settled once an owner readmits it.
    pub(super) fn settle_clones(&mut self, new: &[StatementId]) {
        for id in new {
            if let Some(Action::Readmit { device }) = self.roster.statement(*id).map(|said| &said.action) {
                self.clones.runs.remove(device);
            }
        }
    }
}

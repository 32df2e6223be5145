//! Taking statements in: in any order, a batch whole or not at all, and bounded.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Evaluation, evaluate};
use super::graph::{Graph, Roster, RosterError};
use super::statement::Statement;
use crate::id::{DeviceId, StatementId};
use crate::limits::{STATEMENTS, STATEMENTS_SHARE, STATEMENTS_WAITING};
use crate::wire::DecodeError;

impl Roster {
    /// Takes in statements in any order and returns the ids of those that became valid, parents first: of the batch, and of
    /// earlier ones that waited for it. Ones taken in before are skipped. Ones of a format or suite that this version does not
    /// know cannot be verified: they are left out, and the evaluation says that an update is needed.
    ///
    /// # Errors
    /// [`RosterError`]; nothing is changed then.
    pub fn insert(&mut self, batch: &[Vec<u8>]) -> Result<Vec<StatementId>, RosterError> {
        let (fresh, newer) = self.decode(batch)?;
        if fresh.is_empty() && (self.newer || !newer) {
            return Ok(Vec::new());
        }
        let before = self.graph.len();
        match self.link_up(fresh) {
            Ok(waiting) => self.waiting = waiting,
            Err(error) => {
                self.graph.truncate(before);
                return Err(error);
            }
        }
        self.newer |= newer;
        if self.graph.len() > before {
            self.evaluation = evaluate(&self.graph, &mut self.countersigned);
        }
        if self.revokes_since(before) {
            // It may have come from whoever was revoked. What others hold of it they send again.
            self.newer = newer;
        }
        self.evaluation.update_needed |= self.newer;
        Ok(self.graph.statements()[before..].iter().map(|statement| statement.id).collect())
    }

    fn revokes_since(&self, before: usize) -> bool {
        let effective = |statement: &Statement| self.evaluation.effective.contains(&statement.id);
        self.graph.statements()[before..].iter().any(|statement| statement.revokes().is_some() && effective(statement))
    }

    fn decode(&self, batch: &[Vec<u8>]) -> Result<(Vec<Statement>, bool), RosterError> {
        let (mut fresh, mut seen, mut newer) = (Vec::new(), BTreeSet::new(), false);
        let mut shares = Shares::new(self);
        for (index, bytes) in batch.iter().enumerate() {
            let id = Statement::id_of(bytes);
            if self.graph.find(id).is_some() || self.waiting.contains_key(&id) || !seen.insert(id) {
                continue;
            }
            match Statement::decode(bytes) {
                Ok(statement) if shares.take(statement.author) => fresh.push(statement),
                Ok(_) => {}
                Err(DecodeError::Newer { what: "format" | "suite", .. }) => newer = true,
                Err(error) => return Err(RosterError::Malformed { index, error }),
            }
        }
        Ok((fresh, newer))
    }

    /// Adds to the graph what is complete, and returns what goes on waiting.
    fn link_up(&mut self, fresh: Vec<Statement>) -> Result<BTreeMap<StatementId, Statement>, RosterError> {
        let from_batch: BTreeSet<StatementId> = fresh.iter().map(|statement| statement.id).collect();
        let mut left = self.waiting.clone();
        let mut order: Vec<StatementId> = left.keys().copied().collect();
        order.extend(fresh.iter().map(|statement| statement.id));
        left.extend(fresh.into_iter().map(|statement| (statement.id, statement)));
        let mut blocked = Blocked::new(&self.graph, &left);
        let mut ready: Vec<StatementId> = order.into_iter().rev().filter(|id| blocked.free(*id)).collect();
        while let Some(id) = ready.pop() {
            let Some(statement) = left.remove(&id) else { continue };
            if let Some(error) = self.misfit(&statement) {
                if from_batch.contains(&id) {
                    return Err(error);
                }
                continue;
            }
            self.graph.push(statement);
            ready.extend(blocked.release(id));
        }
        self.bounded(left)
    }

    /// Why a statement whose past is complete is none of this account.
    fn misfit(&self, statement: &Statement) -> Option<RosterError> {
        if self.account().is_some_and(|account| account != statement.account) {
            return Some(RosterError::WrongAccount(statement.id));
        }
        (!self.graph.fits(statement)).then_some(RosterError::Inconsistent(statement.id))
    }

    fn bounded(
        &self,
        mut left: BTreeMap<StatementId, Statement>,
    ) -> Result<BTreeMap<StatementId, Statement>, RosterError> {
        if self.graph.len() > STATEMENTS {
            return Err(RosterError::Full(self.graph.len()));
        }
        if let Some(account) = self.account() {
            left.retain(|_, statement| statement.account == account);
        }
        match left.len() {
            len if len > STATEMENTS_WAITING => Err(RosterError::TooManyWaiting(len)),
            _ => Ok(left),
        }
    }
}

/// What each author may still say, once the account is crowded. An empty roster takes in what it is given: its own store,
/// or that of the device that links it.
pub(super) struct Shares<'r> {
    evaluation: &'r Evaluation,
    used: Option<BTreeMap<DeviceId, usize>>,
}

impl<'r> Shares<'r> {
    pub(super) fn new(roster: &'r Roster) -> Self {
        let crowded = roster.graph.len() >= STATEMENTS / 2;
        let used = crowded.then(|| {
            let mut used = BTreeMap::new();
            roster.statements().for_each(|statement| *used.entry(statement.author).or_default() += 1);
            used
        });
        Self { evaluation: &roster.evaluation, used }
    }

    /// Takes one of an author's share; `false` if nothing is left of it.
    pub(super) fn take(&mut self, author: DeviceId) -> bool {
        let Some(used) = &mut self.used else { return true };
        if self.evaluation.device(author).is_none() {
            return false;
        }
        let used = used.entry(author).or_default();
        *used += 1;
        *used <= STATEMENTS_SHARE
    }
}

/// Statements that wait, by what they wait for.
struct Blocked {
    count: BTreeMap<StatementId, usize>,
    waiters: BTreeMap<StatementId, Vec<StatementId>>,
}

impl Blocked {
    fn new(graph: &Graph, left: &BTreeMap<StatementId, Statement>) -> Self {
        let (mut count, mut waiters) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
        for statement in left.values() {
            let lacking: BTreeSet<StatementId> =
                Graph::direct(statement).filter(|id| graph.find(*id).is_none()).collect();
            count.insert(statement.id, lacking.len());
            lacking.into_iter().for_each(|id| waiters.entry(id).or_default().push(statement.id));
        }
        Self { count, waiters }
    }

    fn free(&self, id: StatementId) -> bool {
        self.count.get(&id) == Some(&0)
    }

    /// Those that waited for nothing but `id`.
    fn release(&mut self, id: StatementId) -> Vec<StatementId> {
        let waiters = self.waiters.remove(&id).unwrap_or_default();
        waiters.into_iter().filter(|waiter| self.step(*waiter)).collect()
    }

    fn step(&mut self, waiter: StatementId) -> bool {
        let Some(count) = self.count.get_mut(&waiter) else { return false };
        *count -= 1;
        *count == 0
    }
}

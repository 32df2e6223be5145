//! The set of statements: what came before what, what a peer lacks, and saying something new.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Countersigned, Device, Evaluation, Status};
use super::intake::Shares;
use super::statement::{Action, Draft, Genesis, Parent, Statement};
use crate::id::{AccountId, DeviceId, StatementId};
use crate::key::{self, Entropy, Identity, PinSigner};
use crate::limits::{PARENTS, STATEMENTS, STATEMENTS_WAITING};
use crate::time::Wall;
use crate::wire::DecodeError;
use crate::wire::object::Extensions;

/// Why a batch of statements was refused, whole and with nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RosterError {
    /// A statement is malformed or badly signed.
    #[error("statement {index} of the batch: {error}")]
    Malformed {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// A statement belongs to another account.
    #[error("statement {0} belongs to another account")]
    WrongAccount(StatementId),
    /// A statement names others by wrong authors or numbers.
    #[error("statement {0} does not fit those that it names")]
    Inconsistent(StatementId),
    /// Too many statements wait for others: the sender left out what they build upon.
    #[error("{0} statements build upon ones that were not sent; at most {STATEMENTS_WAITING} may wait")]
    TooManyWaiting(usize),
    /// The account has as many statements as can be.
    #[error("the account would have {0} statements; at most {STATEMENTS} are kept")]
    Full(usize),
}

/// The statements of an account, those that wait for others, and what follows from them.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    pub(super) graph: Graph,
    pub(super) waiting: BTreeMap<StatementId, Statement>,
    pub(super) newer: bool,
    pub(super) evaluation: Evaluation,
    pub(super) countersigned: Countersigned,
}

/// Valid statements by index, parents first, with the past of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Graph {
    statements: Vec<Statement>,
    index: BTreeMap<StatementId, usize>,
    past: Vec<Bits>,
}

/// The statements before one: bit i of row j says whether i is in the past of j. Exact also for authors that
/// equivocate, where the highest number seen of each would not be; 25 MiB at the limit of statements.
#[derive(Clone, Debug, Default)]
struct Bits(Box<[u64]>);

impl Graph {
    pub(super) fn len(&self) -> usize {
        self.statements.len()
    }

    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }

    pub(super) fn at(&self, index: usize) -> &Statement {
        &self.statements[index]
    }

    pub(super) fn find(&self, id: StatementId) -> Option<usize> {
        self.index.get(&id).copied()
    }

    /// Whether `earlier` is in the past of `later`.
    pub(super) fn before(&self, earlier: usize, later: usize) -> bool {
        let word = self.past[later].0.get(earlier / 64).copied().unwrap_or(0);
        word >> (earlier % 64) & 1 == 1
    }

    /// Whether neither is in the past of the other, and they are two.
    pub(super) fn concurrent(&self, a: usize, b: usize) -> bool {
        a != b && !self.before(a, b) && !self.before(b, a)
    }

    /// How many statements are in the past of one.
    pub(super) fn depth(&self, index: usize) -> u32 {
        self.past[index].0.iter().map(|word| word.count_ones()).sum()
    }

    /// The ids that a statement directly builds upon.
    pub(super) fn direct(statement: &Statement) -> impl Iterator<Item = StatementId> {
        let previous = (statement.previous != StatementId::NONE).then_some(statement.previous);
        previous.into_iter().chain(statement.parents.iter().map(|parent| parent.id))
    }

    fn parents(&self, index: usize) -> impl Iterator<Item = usize> {
        Self::direct(&self.statements[index]).filter_map(|id| self.find(id))
    }

    pub(super) fn push(&mut self, statement: Statement) {
        let index = self.len();
        let mut row = vec![0u64; index.div_ceil(64)];
        for parent in Self::direct(&statement).filter_map(|id| self.find(id)) {
            row.iter_mut().zip(&self.past[parent].0).for_each(|(word, theirs)| *word |= theirs);
            row[parent / 64] |= 1 << (parent % 64);
        }
        self.past.push(Bits(row.into()));
        self.index.insert(statement.id, index);
        self.statements.push(statement);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        for gone in self.statements.drain(len..) {
            self.index.remove(&gone.id);
        }
        self.past.truncate(len);
    }

    /// Whether what `statement` names has the authors and numbers that it gives; all of it is in the set.
    pub(super) fn fits(&self, statement: &Statement) -> bool {
        let matches = |id, author, number| {
            self.find(id).map(|index| self.at(index)).is_some_and(|s| s.author == author && s.number == number)
        };
        let chained = match statement.number {
            // The genesis is its author's number 1: another one could not stand beside it.
            1 => self.statements.first().is_none_or(|genesis| genesis.author != statement.author),
            number => matches(statement.previous, statement.author, number - 1),
        };
        chained && statement.parents.iter().all(|parent| matches(parent.id, parent.author, parent.number))
    }
}

impl Roster {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The account, once its genesis is here.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.graph.statements().first().map(|genesis| genesis.account)
    }

    /// The valid statement with this id.
    #[must_use]
    pub fn statement(&self, id: StatementId) -> Option<&Statement> {
        self.graph.find(id).map(|index| self.graph.at(index))
    }

    /// The ids of statements that wait for those that they build upon.
    pub fn waiting(&self) -> impl Iterator<Item = StatementId> {
        self.waiting.keys().copied()
    }

    /// Every valid statement, parents first.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.graph.statements().iter()
    }

    /// What follows from the statements.
    #[must_use]
    pub fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// The newest statement of each author, ascending by author. Of two with one number, the one with the lower id.
    #[must_use]
    pub fn heads(&self) -> Vec<Parent> {
        newest(self.statements())
    }

    /// The statements that a peer with those heads lacks, parents first. Heads that are unknown or conflict are ignored. Void
    /// statements of authors that are out are left out, unless something that counts builds upon them.
    #[must_use]
    pub fn missing(&self, heads: &[Parent]) -> Vec<&Statement> {
        let known: Vec<usize> = heads.iter().filter_map(|head| self.known(head)).collect();
        let mut wanted: Vec<bool> = self.statements().map(|statement| !self.dead(statement)).collect();
        for index in (0..wanted.len()).rev() {
            if wanted[index] {
                self.graph.parents(index).for_each(|parent| wanted[parent] = true);
            }
        }
        let has = |index| known.iter().any(|head| *head == index || self.graph.before(index, *head));
        (0..wanted.len()).filter(|index| wanted[*index] && !has(*index)).map(|index| self.graph.at(index)).collect()
    }

    /// The ids of the statements that a peer with those heads lacks, whatever they are worth.
    #[must_use]
    pub fn lacking(&self, heads: &[Parent]) -> BTreeSet<StatementId> {
        let known: Vec<usize> = heads.iter().filter_map(|head| self.known(head)).collect();
        let has = |index| known.iter().any(|head| *head == index || self.graph.before(index, *head));
        (0..self.graph.len()).filter(|index| !has(*index)).map(|index| self.graph.at(index).id).collect()
    }

    fn known(&self, head: &Parent) -> Option<usize> {
        self.graph.find(head.id).filter(|index| self.graph.at(*index).reference() == *head)
    }

    /// Whether a statement is void and its author out: nothing that is said later builds upon it. Void links, removals
    /// and epochs go on being handed out: the first are to be shown to an owner, which of several removals that attack
    /// one another counts can hang on one that lost, and somebody may have written under an epoch before hearing of it.
    fn dead(&self, statement: &Statement) -> bool {
        let out = |device: &Device| matches!(device.status, Status::Revoked | Status::Left);
        statement.removes().is_none()
            && !matches!(statement.action, Action::Link(_) | Action::Epoch(_))
            && self.evaluation.void.contains_key(&statement.id)
            && self.evaluation.device(statement.author).is_some_and(out)
    }

    /// The statements that prove that `device` was revoked or suspended, with all that they build upon, parents first.
    #[must_use]
    pub fn proof_of_removal(&self, device: DeviceId) -> Vec<&Statement> {
        let stands = |statement: &Statement| !self.evaluation.void.contains_key(&statement.id);
        let removals: Vec<usize> = (0..self.graph.len())
            .filter(|index| self.graph.at(*index).removes() == Some(device) && stands(self.graph.at(*index)))
            .collect();
        let proves = |index| removals.iter().any(|r| *r == index || self.graph.before(index, *r));
        (0..self.graph.len()).filter(|index| proves(*index)).map(|index| self.graph.at(index)).collect()
    }

    /// The statement that links `device`, with all that it builds upon, parents first; empty if nothing does.
    #[must_use]
    pub fn proof_of_link(&self, device: DeviceId) -> Vec<&Statement> {
        let Some(link) = self.evaluation.device(device).and_then(|device| self.graph.find(device.link)) else {
            return Vec::new();
        };
        (0..=link).filter(|at| *at == link || self.graph.before(*at, link)).map(|at| self.graph.at(at)).collect()
    }

    /// The first statement of a new account.
    #[must_use]
    pub fn genesis(identity: &Identity, now: Wall, genesis: Genesis) -> Statement {
        let (account, previous) = (AccountId::NONE, StatementId::NONE);
        let action = Action::Genesis(genesis);
        let ext = Extensions::default();
        Draft { account, number: 1, previous, parents: Vec::new(), time: now, action, ext }.countersign(identity, None)
    }

    /// Signs a statement that builds upon all that is known here. It is not taken in.
    #[must_use]
    pub fn draft(&self, identity: &Identity, now: Wall, action: Action, entropy: Entropy<'_>) -> Statement {
        self.draft_countersigned(identity, None, now, action, entropy)
    }

    /// As [`Self::draft`], countersigned by the PIN's key if there is one.
    #[must_use]
    pub fn draft_countersigned(
        &self,
        identity: &Identity,
        pin: Option<&PinSigner>,
        now: Wall,
        action: Action,
        entropy: Entropy<'_>,
    ) -> Statement {
        let last = self.heads().into_iter().find(|head| head.author == identity.device());
        let (number, previous) = last.map_or((1, StatementId::NONE), |head| (head.number.saturating_add(1), head.id));
        let account = self.account().unwrap_or(AccountId::NONE);
        let parents = self.parents_for(identity.device());
        Draft { account, number, previous, parents, time: now, action, ext: grease(entropy) }.countersign(identity, pin)
    }

    /// The newest statement of every other author. What is void of authors that are out is not built upon, so that it need not
    /// be kept, nor what is not understood, so that it goes with its author when that is revoked. If there are too many, those
    /// that others build upon go first.
    fn parents_for(&self, author: DeviceId) -> Vec<Parent> {
        let critical: Vec<usize> = (0..self.graph.len()).filter(|at| self.graph.at(*at).critical.is_some()).collect();
        let read = |at: usize| !critical.iter().any(|unread| *unread == at || self.graph.before(*unread, at));
        // Anybody can sign in the name of a key that nobody linked: there must be room for what counts.
        let mut shares = Shares::new(self);
        let crowding: BTreeSet<DeviceId> =
            self.evaluation.devices.keys().copied().filter(|id| !shares.take(*id)).collect();
        let known = |s: &Statement| {
            s.author != author
                && self.evaluation.device(s.author).is_some()
                && !crowding.contains(&s.author)
                && !self.dead(s)
        };
        let others = self.statements().enumerate().filter(|(at, statement)| known(statement) && read(*at));
        let mut parents = newest(others.map(|(_, statement)| statement));
        if parents.len() > PARENTS {
            let indices: Vec<usize> = parents.iter().filter_map(|parent| self.graph.find(parent.id)).collect();
            let covered = |parent: &Parent| {
                self.graph
                    .find(parent.id)
                    .is_some_and(|index| indices.iter().any(|other| self.graph.before(index, *other)))
            };
            parents.sort_by_key(|parent| (covered(parent), parent.author));
            parents.truncate(PARENTS);
            parents.sort();
        }
        parents
    }
}

/// The newest statement of each author; of two with one number, the one with the lower id.
fn newest<'a>(statements: impl Iterator<Item = &'a Statement>) -> Vec<Parent> {
    let mut heads: BTreeMap<DeviceId, Parent> = BTreeMap::new();
    for head in statements.map(Statement::reference) {
        let best = heads.entry(head.author).or_insert(head);
        if (best.number, std::cmp::Reverse(best.id)) < (head.number, std::cmp::Reverse(head.id)) {
            *best = head;
        }
    }
    heads.into_values().collect()
}

/// One statement in eight carries an extension that nobody knows.
fn grease(entropy: Entropy<'_>) -> Extensions {
    let random: [u8; 5] = key::random(entropy);
    let [chance, content @ ..] = random;
    if chance % 8 == 0 { Extensions::grease(content) } else { Extensions::default() }
}

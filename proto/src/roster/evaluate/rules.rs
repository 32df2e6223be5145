//! The rules E1 to E4, E6, E7 and E9, and with `countersign` E10, over statements of which some are decided and some are not.
//!
//! Each rule answers yes, no or open. An answer that is not open stays the same whatever is decided later, so the order in which
//! statements are decided does not matter.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::Role;
use super::super::graph::Graph;
use super::super::statement::{Action, Statement, Suspend};
use super::Countersigned;
use crate::id::{DeviceId, PinKey};

/// What a statement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Effective,
    Contested,
    Void,
}

/// Whether something holds, as far as statements are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Open,
}

impl Answer {
    pub(super) fn from_bool(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            Self::Open => Self::Open,
        }
    }
}

/// The statements, what has been decided of them, and the rules.
#[derive(Clone)]
pub(super) struct Rules<'g> {
    graph: &'g Graph,
    index: Rc<Index>,
    verdicts: Vec<Verdict>,
    /// The open statements that open answers depend on.
    touched: RefCell<Vec<usize>>,
    countersigned: Rc<RefCell<Countersigned>>,
}

/// Which statements are about what.
#[derive(Default)]
pub(super) struct Index {
    /// Links of a device; the genesis is one of its author.
    pub(super) links: BTreeMap<DeviceId, Vec<usize>>,
    pub(super) revocations: BTreeMap<DeviceId, Vec<usize>>,
    /// Revocations and suspensions of a device.
    removals: BTreeMap<DeviceId, Vec<usize>>,
    readmissions: BTreeMap<DeviceId, Vec<usize>>,
    /// Links of a device and changes of its role.
    roles: BTreeMap<DeviceId, Vec<usize>>,
    /// Which statements say that a revocation or a PIN was applied.
    applied: BTreeMap<usize, Vec<usize>>,
    /// Statements of one author with one number, where there are several.
    twins: BTreeMap<(DeviceId, u32), Vec<usize>>,
    pub(super) epochs: Vec<usize>,
    /// PINs that are set, changed or removed.
    pub(super) pins: Vec<usize>,
    /// What each device says.
    said: BTreeMap<DeviceId, Vec<usize>>,
}

impl Index {
    fn new(graph: &Graph) -> Self {
        let mut index = Self::default();
        for (at, statement) in graph.statements().iter().enumerate() {
            index.twins.entry((statement.author, statement.number)).or_default().push(at);
            index.said.entry(statement.author).or_default().push(at);
            if understood(statement) {
                index.add(graph, at, statement);
            }
        }
        index.twins.retain(|_, twins| twins.len() > 1);
        index
    }

    fn add(&mut self, graph: &Graph, at: usize, statement: &Statement) {
        if let Some(device) = statement.removes() {
            self.removals.entry(device).or_default().push(at);
        }
        match &statement.action {
            Action::Genesis(_) => self.add_link(statement.author, at),
            Action::Link(link) => self.add_link(link.device, at),
            Action::Revoke(revoke) => self.revocations.entry(revoke.device).or_default().push(at),
            Action::Suspend(_) => {}
            Action::Readmit { device } => self.readmissions.entry(*device).or_default().push(at),
            Action::Role { device, .. } => self.roles.entry(*device).or_default().push(at),
            Action::Pin(_) => self.pins.push(at),
            Action::Epoch(_) => self.epochs.push(at),
            Action::Applied { revocations } => revocations
                .iter()
                .filter_map(|id| graph.find(*id))
                .filter(|named| matches!(graph.at(*named).action, Action::Revoke(_) | Action::Pin(_)))
                .for_each(|named| self.applied.entry(named).or_default().push(at)),
            Action::Unknown { .. } => {}
        }
    }

    fn add_link(&mut self, device: DeviceId, at: usize) {
        self.links.entry(device).or_default().push(at);
        self.roles.entry(device).or_default().push(at);
    }

    pub(super) fn revocations(&self, device: DeviceId) -> &[usize] {
        self.revocations.get(&device).map_or(&[], Vec::as_slice)
    }

    pub(super) fn removals(&self, device: DeviceId) -> &[usize] {
        self.removals.get(&device).map_or(&[], Vec::as_slice)
    }

    fn readmissions(&self, device: DeviceId) -> &[usize] {
        self.readmissions.get(&device).map_or(&[], Vec::as_slice)
    }

    pub(super) fn applied(&self, revocation: usize) -> &[usize] {
        self.applied.get(&revocation).map_or(&[], Vec::as_slice)
    }

    /// Everything that a device says.
    pub(super) fn said(&self, device: DeviceId) -> &[usize] {
        self.said.get(&device).map_or(&[], Vec::as_slice)
    }

    pub(super) fn links_of(&self, device: DeviceId) -> &[usize] {
        self.links.get(&device).map_or(&[], Vec::as_slice)
    }

    fn twins(&self, statement: &Statement) -> &[usize] {
        self.twins.get(&(statement.author, statement.number)).map_or(&[], Vec::as_slice)
    }
}

/// Whether a statement means what its action says. With an extension that must be understood and is not, only a removal does: to
/// leave out a grant is safe, to leave out a removal is not.
pub(super) fn understood(statement: &Statement) -> bool {
    statement.critical.is_none() || statement.removes().is_some() || matches!(statement.action, Action::Genesis(_))
}

impl<'g> Rules<'g> {
    pub(super) fn new(graph: &'g Graph, countersigned: Countersigned) -> Self {
        let index = Rc::new(Index::new(graph));
        let countersigned = Rc::new(RefCell::new(countersigned));
        Self { graph, index, verdicts: vec![Verdict::Open; graph.len()], touched: RefCell::default(), countersigned }
    }

    /// What was verified, for the next time.
    pub(super) fn take_countersigned(&self) -> Countersigned {
        self.countersigned.take()
    }

    /// Whether a statement is countersigned by that PIN's key.
    pub(super) fn is_countersigned(&self, at: usize, key: PinKey) -> bool {
        let statement = self.graph.at(at);
        let mut known = self.countersigned.borrow_mut();
        *known.entry((statement.id, key)).or_insert_with(|| statement.is_countersigned(&key))
    }

    pub(super) fn graph(&self) -> &'g Graph {
        self.graph
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    pub(super) fn verdict(&self, at: usize) -> Verdict {
        self.verdicts[at]
    }

    pub(super) fn rule(&mut self, at: usize, verdict: Verdict) {
        self.verdicts[at] = verdict;
    }

    /// Decides what can be decided of `open`, and returns the rest.
    pub(super) fn decide_all(&mut self, mut open: Vec<usize>) -> Vec<usize> {
        loop {
            let before = open.len();
            open.retain(|at| {
                self.verdicts[*at] = self.decide(*at);
                self.verdicts[*at] == Verdict::Open
            });
            if open.len() == before {
                return open;
            }
        }
    }

    fn decide(&self, at: usize) -> Verdict {
        self.touched.borrow_mut().clear();
        let (not_entitled, relinks) = (|| self.entitled(at).not(), || self.relinks(at));
        let (revoked, equivocated) = (|| self.removed_meanwhile(at), || self.equivocated(at));
        let uncountersigned = || self.countersigned(at).not();
        let tests: [&dyn Fn() -> Answer; 5] = [&not_entitled, &uncountersigned, &revoked, &equivocated, &relinks];
        match self.any(tests.into_iter().map(|test| test())) {
            Answer::Yes => Verdict::Void,
            Answer::No => Verdict::Effective,
            Answer::Open => Verdict::Open,
        }
    }

    /// The open statements that the verdict on `at` depends on.
    pub(super) fn depends_on(&self, at: usize) -> Vec<usize> {
        let verdict = self.decide(at);
        debug_assert_eq!(verdict, Verdict::Open, "only an open statement depends on others");
        let mut on = self.touched.take();
        on.sort_unstable();
        on.dedup();
        on
    }

    /// E1 (and E3): whether `at` was its author's to say, by what its author had seen.
    pub(super) fn entitled(&self, at: usize) -> Answer {
        let statement = self.graph.at(at);
        let needed = match &statement.action {
            Action::Genesis(_) => return Answer::Yes,
            Action::Revoke(revoke) if revoke.device == statement.author => Role::Guest,
            Action::Suspend(Suspend { device, .. }) | Action::Readmit { device } if *device == statement.author => {
                return Answer::No;
            }
            _ if !understood(statement) => Role::Guest,
            Action::Applied { .. } | Action::Unknown { .. } => Role::Guest,
            Action::Epoch(_) => Role::Member,
            Action::Link(_) | Action::Revoke(_) | Action::Role { .. } | Action::Pin(_) => Role::Owner,
            Action::Suspend(_) | Action::Readmit { .. } => Role::Owner,
        };
        let linked = || self.linked_at(statement.author, at);
        let role = || self.has_role_at(statement.author, at, needed);
        let tests: [&dyn Fn() -> Answer; 2] = [&linked, &role];
        self.all(tests.into_iter().map(|test| test()))
    }

    pub(super) fn linked_at(&self, device: DeviceId, at: usize) -> Answer {
        let links = || self.any(self.earlier(self.index.links_of(device), at).map(|link| self.stands(link)));
        let tests: [&dyn Fn() -> Answer; 2] = [&links, &|| self.removed_before(device, at).not()];
        self.all(tests.into_iter().map(|test| test()))
    }

    /// Whether a removal of `device` that holds there stands in the past of `at`: a revocation, or a suspension that nobody
    /// had lifted.
    pub(super) fn removed_before(&self, device: DeviceId, at: usize) -> Answer {
        self.any(self.earlier(self.index.removals(device), at).map(|removal| self.holds(removal, Some(at))))
    }

    /// Whether a removal takes its target's rights, as seen from the statement `at`, or from the end: suspensions and contested
    /// revocations do until a readmission that had seen them.
    pub(super) fn holds(&self, removal: usize, at: Option<usize>) -> Answer {
        let revoked = || match self.graph.at(removal).revokes() {
            Some(_) => self.stands(removal),
            None => Answer::No,
        };
        let suspended = || {
            let tests: [&dyn Fn() -> Answer; 2] = [&|| self.removes(removal), &|| self.lifted(removal, at).not()];
            self.all(tests.into_iter().map(|test| test()))
        };
        let tests: [&dyn Fn() -> Answer; 2] = [&revoked, &suspended];
        self.any(tests.into_iter().map(|test| test()))
    }

    fn lifted(&self, removal: usize, at: Option<usize>) -> Answer {
        let Some(device) = self.graph.at(removal).removes() else { return Answer::No };
        let seen = |by: &usize| self.graph.before(removal, *by) && at.is_none_or(|at| self.graph.before(*by, at));
        self.any(self.index.readmissions(device).iter().filter(|by| seen(by)).map(|by| self.stands(*by)))
    }

    /// Whether a revocation of `device` that was not void stands in the past of `at`.
    fn revoked_before(&self, device: DeviceId, at: usize) -> Answer {
        self.any(self.earlier(self.index.revocations(device), at).map(|revocation| self.removes(revocation)))
    }

    pub(super) fn has_role_at(&self, device: DeviceId, at: usize, needed: Role) -> Answer {
        if needed == Role::Guest {
            return Answer::Yes;
        }
        let roles = self.index.roles.get(&device).map_or(&[][..], Vec::as_slice);
        let known = self.all(self.earlier(roles, at).map(|role| match self.stands(role) {
            Answer::Open => Answer::Open,
            _ => Answer::Yes,
        }));
        match known {
            Answer::Yes => Answer::from_bool(self.role_among(self.earlier(roles, at)) >= Some(needed)),
            other => other,
        }
    }

    /// The role that a device has in the end.
    pub(super) fn role(&self, device: DeviceId) -> Option<Role> {
        self.role_among(self.index.roles.get(&device).into_iter().flatten().copied())
    }

    /// E9: the lowest of the roles that no other one saw.
    fn role_among(&self, changes: impl DoubleEndedIterator<Item = usize>) -> Option<Role> {
        let mut newest: Vec<usize> = Vec::new();
        for change in changes.rev().filter(|change| self.verdicts[*change] == Verdict::Effective) {
            if !newest.iter().any(|later| self.graph.before(change, *later)) {
                newest.push(change);
            }
        }
        newest.into_iter().filter_map(|change| role_of(self.graph.at(change))).min()
    }

    /// E2: whether the author of `at` was being removed when it said that.
    pub(super) fn removed_meanwhile(&self, at: usize) -> Answer {
        let author = self.graph.at(at).author;
        let attackers = self.index.removals(author).iter().copied();
        self.any(attackers.filter(|by| self.attacks(*by, at)).map(|by| {
            let ignored = || self.ignores_pin(by, at).not();
            let tests: [&dyn Fn() -> Answer; 3] = [&|| self.removes(by), &|| self.saved(at, by).not(), &ignored];
            self.all(tests.into_iter().map(|test| test()))
        }))
    }

    /// Whether the removal `by` would void `at` by E2. A device that leaves twice has left.
    pub(super) fn attacks(&self, by: usize, at: usize) -> bool {
        let (removal, target) = (self.graph.at(by), self.graph.at(at));
        removal.removes() == Some(target.author)
            && self.graph.concurrent(by, at)
            && !(removal.leaves() && target.leaves())
    }

    /// E4: whether the revocation (or PIN) `at` had been applied by a third device before that heard of `by`.
    pub(super) fn saved(&self, at: usize, by: usize) -> Answer {
        let statement = self.graph.at(at);
        let witnesses = self.index.applied(at).iter().copied().filter(|applied| {
            let witness = self.graph.at(*applied).author;
            witness != statement.author && Some(witness) != statement.revokes() && !self.graph.before(by, *applied)
        });
        self.any(witnesses.map(|applied| {
            let witness = self.graph.at(applied).author;
            let tests: [&dyn Fn() -> Answer; 3] =
                [&|| self.linked_at(witness, at), &|| self.linked_at(witness, by), &|| self.stands(applied)];
            self.all(tests.into_iter().map(|test| test()))
        }))
    }

    /// Whether `at` was its author's to say and has the countersignature that it needs.
    pub(super) fn authorised(&self, at: usize) -> Answer {
        let tests: [&dyn Fn() -> Answer; 2] = [&|| self.entitled(at), &|| self.countersigned(at)];
        self.all(tests.into_iter().map(|test| test()))
    }

    /// Whether `at` passes E1 to E4 and E10.
    fn passes(&self, at: usize) -> Answer {
        let tests: [&dyn Fn() -> Answer; 2] = [&|| self.authorised(at), &|| self.removed_meanwhile(at).not()];
        self.all(tests.into_iter().map(|test| test()))
    }

    /// E6: whether its author said something else under the same number, without having seen this. A removal and a PIN count
    /// all the same: nobody takes a removal or the lock back by contradicting himself, be it by an old disk.
    pub(super) fn equivocated(&self, at: usize) -> Answer {
        let statement = self.graph.at(at);
        if statement.removes().is_some() || matches!(statement.action, Action::Pin(_)) {
            return Answer::No;
        }
        let twins =
            self.index.twins(statement).iter().copied().filter(|twin| *twin != at && !self.graph.before(at, *twin));
        self.any(twins.map(|twin| self.passes(twin)))
    }

    /// E7: whether `at` links a key that was linked or revoked before, or for which a concurrent link counts.
    pub(super) fn relinks(&self, at: usize) -> Answer {
        let statement = self.graph.at(at);
        let Action::Link(link) = &statement.action else { return Answer::No };
        let links = self.index.links_of(link.device);
        let lower = links
            .iter()
            .copied()
            .filter(|other| self.graph.concurrent(*other, at) && self.graph.at(*other).id < statement.id);
        let rivals = || {
            self.any(lower.clone().map(|other| {
                let tests: [&dyn Fn() -> Answer; 2] =
                    [&|| self.could_link(other), &|| self.linked_before(links, other).not()];
                self.all(tests.into_iter().map(|test| test()))
            }))
        };
        let tests: [&dyn Fn() -> Answer; 3] =
            [&|| self.revoked_before(link.device, at), &|| self.linked_before(links, at), &rivals];
        self.any(tests.into_iter().map(|test| test()))
    }

    fn linked_before(&self, links: &[usize], at: usize) -> Answer {
        self.any(self.earlier(links, at).map(|other| self.could_link(other)))
    }

    /// Whether the link `at` passes E1 to E6.
    fn could_link(&self, at: usize) -> Answer {
        let tests: [&dyn Fn() -> Answer; 2] = [&|| self.passes(at), &|| self.equivocated(at).not()];
        self.all(tests.into_iter().map(|test| test()))
    }

    pub(super) fn earlier<'a>(&'a self, of: &'a [usize], at: usize) -> impl DoubleEndedIterator<Item = usize> + 'a {
        of.iter().copied().filter(move |other| self.graph.before(*other, at))
    }

    pub(super) fn stands(&self, at: usize) -> Answer {
        self.is(at, &[Verdict::Effective])
    }

    fn removes(&self, at: usize) -> Answer {
        self.is(at, &[Verdict::Effective, Verdict::Contested])
    }

    fn is(&self, at: usize, verdicts: &[Verdict]) -> Answer {
        if self.verdicts[at] == Verdict::Open {
            self.touched.borrow_mut().push(at);
            return Answer::Open;
        }
        Answer::from_bool(verdicts.contains(&self.verdicts[at]))
    }

    /// Yes if one answer is. What an open answer depends on is recorded only if the whole stays open, so
    /// that the record does not depend on the order of the answers.
    pub(super) fn any(&self, answers: impl Iterator<Item = Answer>) -> Answer {
        let mark = self.touched.borrow().len();
        let mut open = false;
        for answer in answers {
            match answer {
                Answer::Yes => {
                    self.touched.borrow_mut().truncate(mark);
                    return Answer::Yes;
                }
                Answer::Open => open = true,
                Answer::No => {}
            }
        }
        if open { Answer::Open } else { Answer::No }
    }

    pub(super) fn all(&self, answers: impl Iterator<Item = Answer>) -> Answer {
        self.any(answers.map(Answer::not)).not()
    }
}

fn role_of(statement: &Statement) -> Option<Role> {
    match &statement.action {
        Action::Genesis(_) => Some(Role::Owner),
        Action::Link(link) => Some(link.role),
        Action::Role { role, .. } => Some(*role),
        _ => None,
    }
}

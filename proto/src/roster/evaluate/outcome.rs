//! Reads off what the verdicts mean for devices and epochs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Role;
use super::super::statement::{Action, CIPHER, Honoured, Link, Statement};
use super::rules::{Answer, Rules, Verdict, understood};
use super::{Custody, Device, EpochInfo, Evaluation, Removal, Status, VoidReason, entitled};
use crate::id::{DeviceId, StatementId};
use crate::wire::address::Address;

/// The evaluation, when every statement has its verdict.
pub(super) fn read(rules: &Rules<'_>) -> Evaluation {
    let mut evaluation =
        Evaluation { account: rules.graph().statements().first().map(|s| s.account), ..Evaluation::default() };
    for (at, statement) in rules.graph().statements().iter().enumerate() {
        match rules.verdict(at) {
            Verdict::Effective => {
                evaluation.effective.insert(statement.id);
                evaluation.update_needed |= statement.critical.is_some();
            }
            Verdict::Contested => {
                evaluation.contested.insert(statement.id);
            }
            Verdict::Void | Verdict::Open => {
                evaluation.void.insert(statement.id, reason(rules, at));
            }
        }
    }
    let devices = rules.index().links.keys().filter_map(|id| device(rules, &evaluation, *id));
    evaluation.devices = devices.map(|device| (device.id, device)).collect();
    evaluation.epochs = epochs(rules, &evaluation);
    evaluation.pins = rules.pins_at_last();
    evaluation
}

/// The first rule that a void statement fell under.
fn reason(rules: &Rules<'_>, at: usize) -> VoidReason {
    let yes = |answer| answer == Answer::Yes;
    match () {
        () if yes(rules.removed_before(rules.graph().at(at).author, at)) => VoidReason::AfterRemoval,
        () if !yes(rules.entitled(at)) => VoidReason::NotEntitled,
        () if !yes(rules.countersigned(at)) => VoidReason::NotCountersigned,
        () if yes(rules.removed_meanwhile(at)) => VoidReason::RemovedMeanwhile,
        () if yes(rules.equivocated(at)) => VoidReason::Equivocation,
        () if yes(rules.relinks(at)) => VoidReason::Relink,
        () => VoidReason::Outranked,
    }
}

/// A device that was linked: by a statement that counts, or by one of a device that was being revoked.
fn device(rules: &Rules<'_>, evaluation: &Evaluation, id: DeviceId) -> Option<Device> {
    let removals = Removals::of(rules, id);
    let (link, standing) = link_of(rules, evaluation, id)?;
    let status = match standing {
        _ if !removals.by_others.is_empty() => Status::Revoked,
        _ if !removals.own.is_empty() => Status::Left,
        Status::Linked if !removals.suspending.is_empty() => Status::Suspended,
        standing => standing,
    };
    let mut device = describe(link, id, status)?;
    device.role = rules.role(id).unwrap_or(device.role);
    device.removal = removals.first(rules).map(|at| describe_removal(rules.graph().at(at)));
    device.revocations = removals.revocations().map(|at| rules.graph().at(at).id).collect();
    device.honoured = honoured(removals.revocations().map(|at| rules.graph().at(at)));
    device.applied_by = removals.revocations().flat_map(|at| applied_by(rules, at)).collect();
    Some(device)
}

/// The link that counts; else one that is unconfirmed.
fn link_of<'g>(rules: &Rules<'g>, evaluation: &Evaluation, id: DeviceId) -> Option<(&'g Statement, Status)> {
    let links = || rules.index().links.get(&id).into_iter().flatten().copied();
    if let Some(at) = links().find(|at| rules.verdict(*at) == Verdict::Effective) {
        return Some((rules.graph().at(at), Status::Linked));
    }
    let unconfirmed = |link: &&Statement| evaluation.void.get(&link.id) == Some(&VoidReason::RemovedMeanwhile);
    let statements = links().map(|at| rules.graph().at(at));
    statements.filter(unconfirmed).min_by_key(|link| link.id).map(|link| (link, Status::Unconfirmed))
}

fn describe(statement: &Statement, id: DeviceId, status: Status) -> Option<Device> {
    let own;
    let link: &Link = match &statement.action {
        Action::Link(link) => link,
        Action::Genesis(genesis) => {
            own = Link {
                device: id,
                hpke: genesis.hpke.clone(),
                role: Role::Owner,
                custody: Custody::Personal,
                holder: String::new(),
                lease: 0,
                name: genesis.name.clone(),
                platform: genesis.platform.clone(),
                origin: Address::none(),
                replaces: DeviceId::NONE,
                challenge: crate::id::ChallengeId::NONE,
                consent: [0; 64],
            };
            &own
        }
        _ => return None,
    };
    Some(Device {
        id,
        status,
        role: link.role,
        custody: link.custody,
        holder: link.holder.clone(),
        hpke: link.hpke.clone(),
        name: link.name.clone(),
        platform: link.platform.clone(),
        linked_at: statement.time,
        linked_by: statement.author,
        link: statement.id,
        origin: Some(link.origin.clone()).filter(|origin| *origin != Address::none()),
        lease: link.lease,
        replaces: Some(link.replaces).filter(|replaces| *replaces != DeviceId::NONE),
        removal: None,
        revocations: BTreeSet::new(),
        honoured: BTreeMap::new(),
        applied_by: BTreeSet::new(),
    })
}

/// The removals of a device that hold.
struct Removals {
    by_others: Vec<usize>,
    own: Vec<usize>,
    /// Suspensions, and contested revocations.
    suspending: Vec<usize>,
}

impl Removals {
    fn of(rules: &Rules<'_>, id: DeviceId) -> Self {
        let all = rules.index().removals(id).iter().copied();
        let holding = all.filter(|at| rules.holds(*at, None) == Answer::Yes);
        let revokes =
            |at: &usize| rules.graph().at(*at).revokes().is_some() && rules.verdict(*at) == Verdict::Effective;
        let (revocations, suspending): (Vec<usize>, Vec<usize>) = holding.partition(revokes);
        let (own, by_others) = revocations.into_iter().partition(|at| rules.graph().at(*at).leaves());
        Self { by_others, own, suspending }
    }

    fn revocations(&self) -> impl Iterator<Item = usize> {
        self.by_others.iter().chain(&self.own).copied()
    }

    /// The one to show: that with the shortest past of the first kind that there is.
    fn first(&self, rules: &Rules<'_>) -> Option<usize> {
        let kinds = [&self.by_others, &self.own, &self.suspending];
        let shortest = |kind: &Vec<usize>| {
            kind.iter().copied().min_by_key(|at| (rules.graph().depth(*at), rules.graph().at(*at).id))
        };
        kinds.into_iter().find_map(shortest)
    }
}

fn describe_removal(statement: &Statement) -> Removal {
    let (reason_code, text, seen_at) = match &statement.action {
        Action::Revoke(revoke) => (revoke.reason_code, revoke.text.clone(), Vec::new()),
        Action::Suspend(suspend) => (suspend.reason_code, suspend.text.clone(), suspend.seen_at.clone()),
        _ => (0, String::new(), Vec::new()),
    };
    Removal { id: statement.id, by: statement.author, reason_code, text, seen_at, at: statement.time }
}

/// The highest position of each generation.
fn honoured<'a>(revocations: impl Iterator<Item = &'a Statement>) -> BTreeMap<u32, Honoured> {
    let mut highest: BTreeMap<u32, Honoured> = BTreeMap::new();
    for statement in revocations {
        let Action::Revoke(revoke) = &statement.action else { continue };
        for (generation, at) in &revoke.honoured {
            let best = highest.entry(*generation).or_insert(*at);
            // Two roots of one size are a fork of the revoked; the choice must only be the same everywhere.
            *best = (*best).max(*at);
        }
    }
    highest
}

fn applied_by(rules: &Rules<'_>, revocation: usize) -> Vec<DeviceId> {
    let applied = rules.index().applied(revocation).iter().copied();
    let said = applied.filter(|at| rules.verdict(*at) == Verdict::Effective);
    said.chain([revocation]).map(|at| rules.graph().at(at).author).collect()
}

fn epochs(rules: &Rules<'_>, evaluation: &Evaluation) -> Vec<EpochInfo> {
    let out: Vec<DeviceId> = evaluation
        .devices
        .values()
        .filter(|device| matches!(device.status, Status::Revoked | Status::Left | Status::Suspended))
        .map(|device| device.id)
        .collect();
    let effective = rules.index().epochs.iter().copied().filter(|at| rules.verdict(*at) == Verdict::Effective);
    let mut epochs: Vec<EpochInfo> = effective.filter_map(|at| epoch(rules, evaluation, &out, at)).collect();
    epochs.sort_by_key(|epoch| epoch.id);
    epochs
}

fn epoch(rules: &Rules<'_>, evaluation: &Evaluation, out: &[DeviceId], at: usize) -> Option<EpochInfo> {
    let statement = rules.graph().at(at);
    let Action::Epoch(action) = &statement.action else { return None };
    debug_assert!(understood(statement), "only those are in the index");
    let may_read = |id: &DeviceId| {
        evaluation.device(*id).is_some_and(|device| device.status == Status::Linked && entitled(device))
    };
    // One that was lifted does not count: with the readmission the device was given this epoch.
    let holds = |removal: &usize| rules.holds(*removal, None) == Answer::Yes && rules.graph().before(*removal, at);
    let knows = |id: &DeviceId| rules.index().removals(*id).iter().any(holds);
    Some(EpochInfo {
        id: StatementId::into(statement.id),
        commitment: action.commitment,
        recipients: action.recipients.clone(),
        depth: rules.graph().depth(at),
        fit: action.cipher == CIPHER && action.recipients.iter().all(may_read) && out.iter().all(knows),
    })
}

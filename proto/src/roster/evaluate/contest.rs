//! Rule E5: removals, which are revocations and suspensions, that hold one another in cycles.
//!
//! An open statement depends on other open ones. Those groups that depend on nothing outside of them (the source components) are
//! settled at once; what depends on them can then be decided by the rules. A group is judged by what would stand if
//! all its removals did: what each says about the others, and not merely who says it, must survive that.

use super::super::components::components;
use super::rules::{Answer, Rules, Verdict};

/// Settles every source component of the open statements.
pub(super) fn settle(rules: &mut Rules<'_>, open: &[usize]) {
    let groups = sources(rules, open);
    let removes = |rules: &Rules<'_>, at: &usize| rules.graph().at(*at).removes().is_some();
    let mut supposed = rules.clone();
    for at in groups.iter().flatten().filter(|at| removes(rules, at)) {
        supposed.rule(*at, Verdict::Contested);
    }
    supposed.decide_all(open.iter().copied().filter(|at| supposed.verdict(*at) == Verdict::Open).collect());
    for group in groups {
        let removals: Vec<usize> = group.iter().copied().filter(|at| removes(rules, at)).collect();
        if removals.is_empty() {
            // Two cheats, each of whose double statements rests on the other's: none counts (E6).
            group.into_iter().for_each(|at| rules.rule(at, Verdict::Void));
        } else {
            settle_group(rules, &supposed, &removals);
        }
    }
}

/// The components of the open statements that depend on nothing outside.
fn sources(rules: &Rules<'_>, open: &[usize]) -> Vec<Vec<usize>> {
    let edges: Vec<Vec<usize>> = open
        .iter()
        .map(|at| rules.depends_on(*at).iter().filter_map(|on| open.binary_search(on).ok()).collect())
        .collect();
    closed(&edges).into_iter().map(|group| group.into_iter().map(|local| open[local]).collect()).collect()
}

/// The components that point to no other one.
fn closed(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut found = components(edges);
    found.iter_mut().for_each(|group| group.sort_unstable());
    found.retain(|group| group.iter().flat_map(|at| &edges[*at]).all(|on| group.binary_search(on).is_ok()));
    found
}

/// Settles at least one of the removals of a group; `supposed` is what would follow if all of them stood.
fn settle_group(rules: &mut Rules<'_>, supposed: &Rules<'_>, removals: &[usize]) {
    // Who was linked only by one that is being revoked here cannot revoke in turn.
    let (firm, hollow): (Vec<usize>, Vec<usize>) =
        removals.iter().partition(|at| supposed.authorised(**at) == Answer::Yes);
    if !firm.is_empty() && !hollow.is_empty() {
        return hollow.into_iter().for_each(|at| rules.rule(at, Verdict::Void));
    }
    let beaten: Vec<usize> = removals.iter().copied().filter(|at| beaten(rules, supposed, *at)).collect();
    if !beaten.is_empty() {
        return beaten.into_iter().for_each(|at| rules.rule(at, Verdict::Void));
    }
    let attackers: Vec<Vec<usize>> = removals
        .iter()
        .map(|at| (0..removals.len()).filter(|by| attacks(supposed, removals[*by], *at)).collect())
        .collect();
    for cycle in closed(&attackers) {
        let cycle: Vec<usize> = cycle.into_iter().map(|local| removals[local]).collect();
        settle_cycle(rules, supposed, &cycle);
    }
}

fn attacks(supposed: &Rules<'_>, by: usize, at: usize) -> bool {
    supposed.attacks(by, at) && supposed.saved(at, by) != Answer::Yes
}

/// Whether one that is decided already voids `at`.
fn beaten(rules: &Rules<'_>, supposed: &Rules<'_>, at: usize) -> bool {
    let by = rules.index().removals(rules.graph().at(at).author);
    by.iter().any(|by| stands(rules, *by) && attacks(supposed, *by, at))
}

fn stands(rules: &Rules<'_>, at: usize) -> bool {
    matches!(rules.verdict(at), Verdict::Effective | Verdict::Contested)
}

/// A removal that nothing attacks is effective. Of those in a cycle the ones without the PIN's countersignature are void if
/// others have it; else all are contested, unless a third device that had seen one of them revoked its author: that one is void.
fn settle_cycle(rules: &mut Rules<'_>, supposed: &Rules<'_>, cycle: &[usize]) {
    if let [alone] = cycle {
        return rules.rule(*alone, Verdict::Effective);
    }
    let (proven, plain): (Vec<usize>, Vec<usize>) = cycle.iter().partition(|at| supposed.has_pin(**at));
    if !proven.is_empty() && !plain.is_empty() {
        return plain.into_iter().for_each(|at| rules.rule(at, Verdict::Void));
    }
    let judged: Vec<usize> = cycle.iter().copied().filter(|at| judged(rules, *at)).collect();
    let (those, verdict) = if judged.is_empty() { (cycle, Verdict::Contested) } else { (&judged[..], Verdict::Void) };
    those.iter().for_each(|at| rules.rule(*at, verdict));
}

/// Whether an effective revocation of the author of `at` has `at` in its past.
fn judged(rules: &Rules<'_>, at: usize) -> bool {
    let by = rules.index().revocations(rules.graph().at(at).author);
    by.iter().any(|by| rules.verdict(*by) == Verdict::Effective && rules.graph().before(at, *by))
}

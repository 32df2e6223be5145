//! What a stranger may cost: how many handshakes are under way, from where, and who still gets in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kinlink_proto::limits;

/// From this many handshakes under way on, a source has to show that it receives at its address (RFC 9000 section 8.1):
/// half of what one source may have, so that forged packets alone never use up the share of the forged address.
const RETRY_FROM: usize = limits::HANDSHAKES_PER_SOURCE / 2;
/// Handshakes that only addresses which worked before may use.
const KEPT_FOR_KNOWN: usize = limits::HANDSHAKES / 4;

/// What to do with a connection attempt.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Go on; the permit stands for it while it is under way.
    Accept(Permit),
    /// Ask it to prove its address, keeping nothing.
    Retry,
    /// Send nothing, keep nothing.
    Ignore,
}

/// Counts handshakes under way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    sources: BTreeMap<IpAddr, usize>,
}

impl Gate {
    /// Decides about an attempt from `source`; `validated`: it has shown that it receives there; `known`: the
    /// address worked before.
    pub(super) fn judge(&self, source: IpAddr, validated: bool, known: bool) -> Verdict {
        let source = block(source);
        let mut counts = self.counts();
        if !validated && counts.total >= RETRY_FROM {
            return Verdict::Retry;
        }
        let room = if known { limits::HANDSHAKES } else { limits::HANDSHAKES - KEPT_FOR_KNOWN };
        let of_source = counts.sources.get(&source).copied().unwrap_or(0);
        if counts.total >= room || of_source >= limits::HANDSHAKES_PER_SOURCE {
            return Verdict::Ignore;
        }
        counts.total += 1;
        counts.sources.insert(source, of_source + 1);
        Verdict::Accept(Permit { gate: self.clone(), source })
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.counts().total
    }

    fn leave(&self, source: IpAddr) {
        let mut counts = self.counts();
        counts.total = counts.total.saturating_sub(1);
        match counts.sources.get_mut(&source) {
            Some(of_source) if *of_source > 1 => *of_source -= 1,
            _ => drop(counts.sources.remove(&source)),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handshake under way, until dropped.
#[derive(Debug)]
pub(super) struct Permit {
    gate: Gate,
    source: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.leave(self.source);
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host has to itself.
pub(super) fn block(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(n: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(n).unwrap()).into()
    }

    fn fill(gate: &Gate, validated: bool, known: bool, sources: std::ops::Range<usize>) -> Vec<Permit> {
        let judge = |n| match gate.judge(ip(n), validated, known) {
            Verdict::Accept(permit) => Some(permit),
            Verdict::Retry | Verdict::Ignore => None,
        };
        sources.filter_map(judge).collect()
    }

    #[test]
    fn forged_sources_are_asked_to_prove_their_address_and_leave_room() {
        let gate = Gate::default();
        let forged = fill(&gate, false, false, 0..1000);
        assert_eq!(forged.len(), RETRY_FROM);
        assert!(matches!(gate.judge(ip(7777), false, true), Verdict::Retry));
        assert!(matches!(gate.judge(ip(0), true, false), Verdict::Accept(_)), "the forged address itself gets in");
    }

    #[test]
    fn one_source_does_not_shut_out_another() {
        let gate = Gate::default();
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend(fill(&gate, true, false, 1..2));
        }
        assert_eq!(held.len(), limits::HANDSHAKES_PER_SOURCE);
        assert!(matches!(gate.judge(ip(2), true, false), Verdict::Accept(_)));
        drop(held);
        assert_eq!(gate.under_way(), 0);
        assert!(gate.counts().sources.is_empty());
    }

    #[test]
    fn many_sources_do_not_shut_out_an_address_that_worked_before() {
        let gate = Gate::default();
        let strangers = fill(&gate, true, false, 0..1000);
        assert_eq!(strangers.len(), limits::HANDSHAKES - KEPT_FOR_KNOWN);
        let known = fill(&gate, true, true, 2000..3000);
        assert_eq!(known.len(), KEPT_FOR_KNOWN);
        assert_eq!(gate.under_way(), limits::HANDSHAKES);
    }

    #[test]
    fn an_ipv6_host_is_one_source_however_many_addresses_it_has() {
        let gate = Gate::default();
        let judge = |host: u128| gate.judge(Ipv6Addr::from_bits((0x2001_0db8 << 96) | host).into(), true, false);
        let held: Vec<_> = (0..100).map(judge).filter(|verdict| matches!(verdict, Verdict::Accept(_))).collect();
        assert_eq!(held.len(), limits::HANDSHAKES_PER_SOURCE);
    }
}

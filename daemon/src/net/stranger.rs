//! Keys that are not in the roster: one frame each, and not many of them.
//!
//! A device that was linked meanwhile is unknown to one that has not heard of it. It may introduce itself: its first frame is
//! read here, and only if that is an introduction does the owner of the state hear of the connection at all.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use kinlink_proto::limits;
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::kind;
use quinn::RecvStream;
use tokio::time::timeout;

use super::framing;
use super::gate::block;

/// Counts the unknown keys that are being heard, and those that were heard for nothing a moment ago. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Strangers(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    names: u64,
    taken: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    source: IpAddr,
    /// `None` while it is being heard.
    until: Option<Instant>,
}

impl Strangers {
    /// A place for someone from `source`, if there is one.
    pub(super) fn enter(&self, source: IpAddr) -> Option<Place> {
        let source = block(source);
        let mut places = self.places();
        let now = Instant::now();
        places.taken.retain(|_, taken| taken.until.is_none_or(|until| until > now));
        let of_source = places.taken.values().filter(|taken| taken.source == source).count();
        if places.taken.len() >= limits::INTRODUCTIONS || of_source >= limits::INTRODUCTIONS_PER_SOURCE {
            return None;
        }
        places.names += 1;
        let name = places.names;
        places.taken.insert(name, Taken { source, until: None });
        Some(Place { strangers: self.clone(), name, introduced: false })
    }

    // A panic between two changes cannot happen, so poisoning leaves nothing half-written.
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An unknown key's place, until dropped; and a while longer, unless it turned out to be linked.
#[derive(Debug)]
pub(super) struct Place {
    strangers: Strangers,
    name: u64,
    introduced: bool,
}

impl Place {
    /// It is linked: its place is free at once.
    pub(super) fn leave(mut self) {
        self.introduced = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.strangers.places();
        if self.introduced {
            places.taken.remove(&self.name);
        } else if let Some(taken) = places.taken.get_mut(&self.name) {
            taken.until = Some(Instant::now() + limits::INTRODUCTION_COOLS);
        }
    }
}

/// The first frame of an unknown key, if it is an introduction and comes soon.
pub(super) async fn introduction(stream: &mut RecvStream) -> Option<Frame> {
    match timeout(limits::INTRODUCTION, framing::read(stream, limits::FRAME_STRANGER)).await {
        Ok(Ok(Some(frame))) if frame.kind == kind::INTRODUCTION => Some(frame),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, n).into()
    }

    #[test]
    fn few_are_heard_at_once_and_whoever_was_heard_for_nothing_waits() {
        let strangers = Strangers::default();
        let held: Vec<_> = (0..20).flat_map(|_| strangers.enter(ip(1))).collect();
        assert_eq!(held.len(), limits::INTRODUCTIONS_PER_SOURCE);
        let others: Vec<_> = (2..=200).flat_map(|n| strangers.enter(ip(n))).collect();
        assert_eq!(held.len() + others.len(), limits::INTRODUCTIONS);
        drop(held);
        assert!(strangers.enter(ip(1)).is_none() && strangers.enter(ip(201)).is_none(), "the places cool down first");
    }

    #[test]
    fn who_was_introduced_leaves_its_place_at_once() {
        let strangers = Strangers::default();
        for _ in 0..100 {
            strangers.enter(ip(1)).unwrap().leave();
        }
    }
}

//! Work that is counted: frames, bytes, round trips, commits and signatures. A count does not depend on the machine, so that
//! a change that does something twice fails here, however fast it is.
//!
//! Each fact is a batch of its own, as in a daemon with nothing else to do; facts that arrive together share a commit, so
//! that what is counted here is the most it can be. A batch that writes nothing is no commit: the daemon's store does not
//! touch the disk for it.

mod linking;
mod mesh;
mod revocation;
mod sync;
mod write;

use super::super::io::Event;
use super::*;
use crate::key::work::{Signatures, done};
use crate::link::message::kind as link;
use crate::store::{Read, Row, Store, StoreError, Table};

/// What was done, in order.
#[derive(Debug, Default)]
pub(super) struct Work {
    deeds: Vec<Deed>,
    signatures: BTreeMap<usize, Signatures>,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// A device made a batch durable.
    Commit(usize),
    /// A command was answered.
    Answer(usize),
    /// The clients of a device were told of an entry, so many links after what began it.
    Shown(usize, u32),
    Frame(Sent),
    /// A device closed a connection, and the other end is about to notice.
    Close(usize, usize),
}

/// A frame on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    from: usize,
    to: usize,
    kind: u16,
    /// With its header, as on the stream.
    bytes: usize,
    /// How many times something has crossed a link when this arrives, since what began it.
    hop: u32,
}

impl Work {
    /// A batch is about to be durable. `before` is what this thread had signed and checked when it began.
    pub(super) fn decided(&mut self, at: usize, before: Signatures, wrote: bool) {
        let (total, now) = (self.signatures.entry(at).or_default(), done());
        total.made += now.made - before.made;
        total.checked += now.checked - before.checked;
        if wrote {
            self.deeds.push(Deed::Commit(at));
        }
    }

    pub(super) fn answered(&mut self, at: usize) {
        self.deeds.push(Deed::Answer(at));
    }

    pub(super) fn told(&mut self, at: usize, event: &Event, hop: u32) {
        if matches!(event, Event::EntryChanged { .. }) {
            self.deeds.push(Deed::Shown(at, hop));
        }
    }

    pub(super) fn sent(&mut self, from: usize, to: usize, frame: &Frame, hop: u32) {
        self.deeds.push(Deed::Frame(Sent {
            from,
            to,
            kind: frame.kind,
            bytes: crate::wire::frame::HEADER + frame.body.len(),
            hop,
        }));
    }

    pub(super) fn closed(&mut self, from: usize, to: usize) {
        self.deeds.push(Deed::Close(from, to));
    }

    /// All of it, to be read.
    fn story(&self) -> Vec<String> {
        let line = |deed: &Deed| match deed {
            Deed::Commit(at) => format!("{at} commits"),
            Deed::Answer(at) => format!("{at} answers"),
            Deed::Shown(at, _) => format!("{at} shows"),
            Deed::Frame(sent) => format!("{} -> {}: {}", sent.from, sent.to, name(sent.kind)),
            Deed::Close(from, to) => format!("{from} cuts {to}"),
        };
        self.deeds.iter().map(line).collect()
    }

    fn frames(&self) -> impl Iterator<Item = Sent> {
        self.deeds.iter().filter_map(|deed| match deed {
            Deed::Frame(sent) => Some(*sent),
            _ => None,
        })
    }

    /// What one device sent another, in order.
    fn kinds(&self, from: usize, to: usize) -> Vec<&'static str> {
        self.frames().filter(|sent| (sent.from, sent.to) == (from, to)).map(|sent| name(sent.kind)).collect()
    }

    /// How many entries were shown at a device, and how many links after the beginning the last of them.
    fn shown(&self, at: usize) -> (usize, u32) {
        let shown = self.deeds.iter().filter_map(|deed| match deed {
            Deed::Shown(device, hop) if *device == at => Some(*hop),
            _ => None,
        });
        shown.fold((0, 0), |(count, last), hop| (count + 1, last.max(hop)))
    }

    fn bytes(&self) -> usize {
        self.frames().map(|sent| sent.bytes).sum()
    }

    pub(super) fn commits(&self, at: usize) -> usize {
        self.deeds.iter().filter(|deed| **deed == Deed::Commit(at)).count()
    }

    /// Signatures that a device made, and checked.
    fn signatures(&self, at: usize) -> (usize, usize) {
        self.signatures.get(&at).map_or((0, 0), |total| (total.made, total.checked))
    }
}

fn name(of: u16) -> &'static str {
    match of {
        kind::HELLO => "hello",
        kind::STATEMENTS => "statements",
        kind::EPOCHS => "epochs",
        kind::REPORTS => "reports",
        kind::WANT => "want",
        kind::JOURNAL => "journal",
        kind::HAVE => "have",
        kind::REVOKED => "revoked",
        kind::TRANSFER_HEADER => "transfer header",
        kind::SEGMENT => "segment",
        link::CLAIM => "claim",
        link::OFFER => "offer",
        link::ACCEPT => "accept",
        link::NONCE => "nonce",
        link::OPEN => "open",
        link::LINKED => "linked",
        link::DONE => "done",
        _ => panic!("{of:#06x}: give it a name"),
    }
}

/// A store that notes whether anything was written.
pub(super) struct Noting<'a> {
    store: &'a mut MemoryStore,
    wrote: bool,
}

impl<'a> Noting<'a> {
    pub(super) fn new(store: &'a mut MemoryStore) -> Self {
        Self { store, wrote: false }
    }

    pub(super) fn wrote(&self) -> bool {
        self.wrote
    }
}

impl Read for Noting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.store.range(table, from, to, limit)
    }
}

impl Store for Noting<'_> {
    fn is_dirty(&self) -> bool {
        self.wrote
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.wrote = true;
        self.store.put(table, key, value)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.wrote = true;
        self.store.delete(table, key)
    }

    fn clear(&mut self, table: Table) -> Result<(), StoreError> {
        self.wrote = true;
        self.store.clear(table)
    }
}

impl Lab {
    /// Lets time go by until nobody has anything left to say, and begins to count.
    pub(super) fn count(&mut self) {
        loop {
            self.work = Work::default();
            self.pass(limits::REPORT_QUIET);
            if self.work.frames().next().is_none() {
                break;
            }
        }
        self.work = Work::default();
    }

    /// Writes entries in one batch.
    fn write_all(&mut self, at: usize, session: SessionId, keys: std::ops::Range<usize>) {
        let put = |n: usize| Input::Command {
            id: CommandId(1),
            caller: USER,
            command: Command::Put {
                session,
                key: format!("key {n:06}").into_bytes(),
                value: vec![7; 100],
                only_if: None,
            },
        };
        self.step(at, keys.map(put).collect());
        self.drain();
    }
}

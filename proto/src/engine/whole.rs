//! A journal that a peer holds otherwise than this device does, taken in from its beginning to see where they part.
//!
//! Nothing of it is stored on the way: it is verified against its signed head, compared, and let go.

use bytes::Bytes;

use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail};
use crate::id::JournalId;
use crate::journal::{Branch, Head, Journals};
use crate::limits;
use crate::store::{MemoryStore, StoreError};
use crate::sync::transfer::{Applied, Incoming, Segment, TransferHeader, Worked};
use crate::sync::vector::Want;
use crate::time::Mono;
use crate::wire::Decode;
use crate::wire::frame::CloseCode;
use crate::wire::message::Message;

/// Such a journal, as it comes in.
#[derive(Debug)]
pub(super) struct Whole {
    head: Head,
    incoming: Incoming,
    /// What came so far, as hashes.
    journals: Journals,
    /// The operation at which they part, once that is known.
    keep: Option<u64>,
    /// Nothing more is wanted of it.
    pub(super) over: bool,
}

impl Whole {
    pub(super) fn journal(&self) -> JournalId {
        self.head.journal
    }

    /// The peer's end of it.
    pub(super) fn end(&self, keep: u64) -> Branch {
        Branch { generation: self.head.journal.generation, keep, size: self.head.size, root: self.head.root }
    }

    pub(super) fn is_done(&self) -> bool {
        self.over || self.incoming.next() >= self.incoming.size()
    }
}

impl Engine {
    /// Asks a peer for all of a journal, once for each state that it says it holds it in.
    pub(super) fn ask_whole(&mut self, now: Mono, id: ConnId, journal: JournalId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(held) = conn.theirs.get(&journal).map(|held| (held.size, held.root)) else { return };
        if conn.whole.get(&journal) == Some(&held) {
            return;
        }
        conn.whole.insert(journal, held);
        conn.asked.insert(journal, now.after(limits::WANT_ANSWER));
        let want = Message::Want(vec![Want { journal, from: 0 }]);
        self.outputs.push_back(Output::Send { conn: id, frame: want.to_frame() });
    }

    /// A transfer that was asked for with [`Self::ask_whole`]; `None` if this is not one.
    pub(super) fn start_whole(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        header: &TransferHeader,
        head: &Head,
    ) -> Result<Option<Whole>, Fail> {
        let (Some(account), Some(limit)) = (self.account(), self.limit(head.journal)) else { return Ok(None) };
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(None) };
        if header.from > 0 || !conn.whole.contains_key(&head.journal) || conn.asked.remove(&head.journal).is_none() {
            return Ok(None);
        }
        let journals = Journals::default();
        let incoming = Incoming::start(&journals, &MemoryStore::new(), header.clone(), head.clone(), account, limit);
        let incoming = incoming.map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        self.own_head(cx, head)?;
        Ok(Some(Whole { head: head.clone(), incoming, journals, keep: None, over: false }))
    }

    pub(super) fn take_whole(&mut self, cx: &mut Cx<'_>, whole: &mut Whole, segment: &Bytes) -> Result<(), Fail> {
        if whole.over {
            return Ok(());
        }
        let segment = Segment::from_buffer(segment).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        let applied = whole.incoming.segment(&mut whole.journals, &mut MemoryStore::new(), segment, &Worked::default());
        let applied = applied.map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        if whole.keep.is_none() {
            whole.keep = self.parting(cx, whole, &applied)?;
        }
        match whole.keep {
            Some(keep) => self.parted(cx, whole, keep, &applied),
            None => Ok(()),
        }
    }

    /// Where two journals part, if they do within this segment. Where contents were dropped on either side only the hashes
    /// of the whole segment tell.
    fn parting(&self, cx: &Cx<'_>, whole: &mut Whole, applied: &Applied) -> Result<Option<u64>, StoreError> {
        let (journal, theirs) = (whole.journal(), whole.journals.peaks(whole.journal()));
        let size = self.journals.size(journal);
        let mine = self.journals.peaks_at(cx.store, journal, applied.to)?;
        if applied.to <= size && mine.is_none_or(|mine| mine == theirs) {
            return Ok(None);
        }
        for operation in &applied.operations {
            let number = operation.header.number;
            let mine = self.journals.operation(cx.store, journal, number)?;
            if number < size && mine.is_some_and(|mine| mine.leaf() != operation.leaf()) {
                return Ok(Some(number));
            }
        }
        // Up to the end of what is held here they are the same: the rest is asked for like that of any other.
        whole.over = applied.to > size;
        Ok((applied.to <= size).then_some(applied.from))
    }

    fn parted(&mut self, cx: &mut Cx<'_>, whole: &mut Whole, keep: u64, applied: &Applied) -> Result<(), Fail> {
        if whole.journal().device == self.device() {
            return self.own_strays(cx, whole, keep, &applied.operations, applied.done);
        }
        whole.over = true;
        // Of a device that is out counts what was honoured, and the hashes lead there.
        if let Some(Some(limit)) = self.limit(whole.journal())
            && limit.size <= whole.head.size
        {
            self.discard(cx, whole.journal(), keep)?;
            self.reindex(cx)?;
        }
        Ok(())
    }
}

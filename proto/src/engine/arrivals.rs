//! Journals that arrive: whole in a frame, or segment by segment on a stream of their own.

use bytes::Bytes;

use super::io::ConnId;
use super::{Cx, Engine, Fail};
use crate::id::JournalId;
use crate::journal::Head;
use crate::limits;
use crate::store::StoreError;
use crate::sync::transfer::{Applied, Incoming, Prepared, Segment, TransferError, TransferHeader, Worked};
use crate::wire::Decode;
use crate::wire::frame::{CloseCode, Frame};
use crate::wire::message::kind;

/// Transfers that one peer may have under way here: each holds the roots of its segments.
const INCOMING: usize = 64;

impl Engine {
    pub(super) fn receive_journal(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        header: &[u8],
        segments: &[Bytes],
    ) -> Result<(), Fail> {
        let (header, head) = opened(header)?;
        if let Some(mut whole) = self.start_whole(cx, id, &header, &head)? {
            return segments.iter().try_for_each(|segment| self.take_whole(cx, &mut whole, segment));
        }
        let Some(mut incoming) = self.start_transfer(cx, id, header, head)? else { return Ok(()) };
        for segment in segments {
            if !self.take_segment(cx, id, &mut incoming, segment, None)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn transfer(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        stream: u64,
        frame: &Frame,
        prepared: Option<Prepared>,
    ) -> Result<(), StoreError> {
        let open = self.conns.get(&id).is_some_and(|conn| conn.ready && !conn.closing);
        if !open || self.local.pending.is_some() {
            return Ok(());
        }
        self.lives(id);
        let result = match frame.kind {
            kind::TRANSFER_HEADER => self.open_stream(cx, id, stream, &frame.body),
            kind::SEGMENT => self.stream_segment(cx, id, stream, &frame.body, prepared),
            _ if frame.critical() => Err(Fail::Peer(CloseCode::UpdateNeeded)),
            _ => Ok(()),
        };
        self.settle_peer(id, result)
    }

    fn open_stream(&mut self, cx: &mut Cx<'_>, id: ConnId, stream: u64, header: &[u8]) -> Result<(), Fail> {
        let (header, head) = opened(header)?;
        if let Some(whole) = self.start_whole(cx, id, &header, &head)? {
            self.conns.entry(id).and_modify(|conn| drop(conn.wholes.insert(stream, whole)));
            return Ok(());
        }
        let incoming = self.start_transfer(cx, id, header, head)?;
        if let (Some(incoming), Some(conn)) = (incoming, self.conns.get_mut(&id)) {
            if conn.incoming.len() >= INCOMING {
                return Err(Fail::Peer(CloseCode::Protocol));
            }
            conn.incoming.insert(stream, incoming);
        }
        Ok(())
    }

    fn stream_segment(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        stream: u64,
        segment: &Bytes,
        prepared: Option<Prepared>,
    ) -> Result<(), Fail> {
        if let Some(mut whole) = self.conns.get_mut(&id).and_then(|conn| conn.wholes.remove(&stream)) {
            self.take_whole(cx, &mut whole, segment)?;
            if let (false, Some(conn)) = (whole.is_done(), self.conns.get_mut(&id)) {
                conn.wholes.insert(stream, whole);
            }
            return Ok(());
        }
        let Some(mut incoming) = self.conns.get_mut(&id).and_then(|conn| conn.incoming.remove(&stream)) else {
            return Ok(());
        };
        let goes_on = self.take_segment(cx, id, &mut incoming, segment, prepared)? && incoming.next() < incoming.size();
        if let (true, Some(conn)) = (goes_on, self.conns.get_mut(&id)) {
            conn.incoming.insert(stream, incoming);
        }
        Ok(())
    }

    /// Checks the header of a transfer; `None` for one that brings nothing that counts or is not here already.
    fn start_transfer(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        header: TransferHeader,
        head: Head,
    ) -> Result<Option<Incoming>, Fail> {
        let (Some(account), journal) = (self.account(), head.journal) else { return Ok(None) };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.asked.remove(&journal);
        }
        let Some(limit) = self.limit(journal) else { return Ok(None) };
        if self.has_too_many_generations(journal) {
            return Ok(None);
        }
        if self.is_discarded(journal, head.size, head.root) {
            self.conns.entry(id).and_modify(|conn| {
                conn.forked.insert(journal);
            });
            return Ok(None);
        }
        self.own_head(cx, &head)?;
        let from = header.from;
        match Incoming::start(&self.journals, cx.store, header, head, account, limit) {
            Ok(incoming) => Ok(Some(incoming)),
            Err(error) => self.unfinished(cx, id, journal, from, error).map(|()| None),
        }
    }

    /// Whether a journal is new here and its device has as many as it may have.
    fn has_too_many_generations(&self, journal: JournalId) -> bool {
        let of_device = self.journals.vector().into_iter().filter(|held| held.journal.device == journal.device);
        self.journals.position(journal).is_none() && of_device.count() >= limits::GENERATIONS
    }

    /// Takes in a segment. Returns whether the next one may follow.
    fn take_segment(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        incoming: &mut Incoming,
        bytes: &Bytes,
        prepared: Option<Prepared>,
    ) -> Result<bool, Fail> {
        let (segment, worked) = match prepared.and_then(|prepared| prepared.of(incoming.journal())) {
            Some(prepared) => prepared,
            None => {
                let segment = Segment::from_buffer(bytes).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
                (segment, Worked::default())
            }
        };
        let (from, held) = (segment.from, self.journals.size(incoming.journal()));
        let applied = match incoming.segment(&mut self.journals, cx.store, segment, &worked) {
            Ok(applied) => applied,
            Err(error) => return self.unfinished(cx, id, incoming.journal(), from, error).map(|()| false),
        };
        for operation in &applied.operations {
            let (header, ciphertext) = (&operation.header, operation.ciphertext());
            let opened = worked.content(header.number);
            let change = self.sessions.apply(cx.store, &self.keyring, header, ciphertext, opened)?;
            self.changes(change);
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            let size = self.journals.size(applied.journal);
            let sent = conn.sent.entry(applied.journal).or_default();
            *sent = (*sent).max(size);
            conn.brought.insert(applied.journal);
        }
        self.pushes.remove(&applied.journal);
        self.changed.advanced.insert(applied.journal);
        let Applied { journal, operations, done, .. } = applied;
        if journal.device == self.device() && journal.generation < self.local.generation {
            let new: Vec<_> = operations.into_iter().filter(|operation| operation.header.number >= held).collect();
            self.own_returned(cx, &new)?;
        }
        if done {
            self.drop_branches(cx, journal.device)?;
            if journal.device == self.device() {
                self.own_advanced(cx)?;
            }
        }
        Ok(true)
    }

    /// What a transfer that cannot go on means for its connection. One that another overtook, or that brings what came
    /// from elsewhere meanwhile or does not count, is no fault of the peer; nor is one that does not fit what is held
    /// here, as the author may have given to the peer another journal: it is not asked for that again.
    fn unfinished(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        journal: JournalId,
        from: u64,
        error: TransferError,
    ) -> Result<(), Fail> {
        match error {
            TransferError::Store(error) => Err(Fail::Store(error)),
            TransferError::Gap { .. } | TransferError::PastHonoured { .. } | TransferError::Nothing => Ok(()),
            TransferError::Mismatch if from == 0 => Err(Fail::Peer(CloseCode::Protocol)),
            TransferError::Mismatch | TransferError::Fork => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.forked.insert(journal);
                }
                if journal.device == self.device() {
                    self.compare_own(cx, id)?;
                } else if matches!(self.limit(journal), Some(Some(_))) {
                    // Which one counts was said when its author was revoked.
                    self.ask_whole(cx.now.mono, id, journal);
                }
                Ok(())
            }
            _ => Err(Fail::Peer(CloseCode::Protocol)),
        }
    }
}

/// The header of a transfer, and the head in it, whose signature is checked here and nowhere else.
fn opened(header: &[u8]) -> Result<(TransferHeader, Head), Fail> {
    let header = TransferHeader::from_bytes(header).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
    let head = Head::open(&header.head).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
    Ok((header, head))
}

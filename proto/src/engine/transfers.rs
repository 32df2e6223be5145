//! Journals on their way: what is pushed, asked for and served. What arrives is taken in next door, in `arrivals`.

use std::collections::{BTreeMap, BTreeSet};

use super::conn::Conn;
use super::io::{ConnId, Output};
use super::view::Arriving;
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, Hash, JournalId};
use crate::journal::Position;
use crate::limits;
use crate::roster::Status;
use crate::store::StoreError;
use crate::sync::report::Held;
use crate::sync::transfer::{self, Limit};
use crate::sync::vector::{Want, wants};
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::{Have, Message};

/// How often a peer may ask for what it was sent on one connection: each may be as much as goes inline.
const RESENT: usize = 64;
/// Operations that are still to come, from which on it is shown how far they came: more than a segment.
const MANY: u64 = 1 << limits::SEGMENT_LEVEL;
/// What counts of a journal that its author's revocation does not name.
const NOTHING: Limit = Limit { size: 0, root: Hash([0; 32]) };

impl Conn {
    /// Whether a peer that holds so much now is in the middle of a long transfer of it, and got on.
    fn is_arriving(&mut self, held: &Position) -> bool {
        let more = self.theirs.get(&held.journal).is_none_or(|before| held.size > before.size);
        let long = self.long.get(&held.journal).is_some_and(|end| held.size < *end);
        if !long || !more {
            self.long.remove(&held.journal);
        }
        long && more
    }
}

impl Engine {
    /// The journal that this device writes to now.
    pub(super) fn own_journal(&self) -> JournalId {
        JournalId { device: self.device(), generation: self.local.generation.max(1) }
    }

    /// Signs the head over what was written, and pushes it to every peer.
    pub(super) fn push_own(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.sign_own(cx)?;
        let peers: Vec<ConnId> = self.ready().map(|(id, _)| id).collect();
        for id in peers {
            self.push_journal(cx, id)?;
        }
        Ok(())
    }

    /// Sends a peer what it lacks of this device's own journals: nobody else has to be asked for it.
    pub(super) fn push_journal(&mut self, cx: &mut Cx<'_>, id: ConnId) -> Result<(), StoreError> {
        let me = self.device();
        let own: Vec<Position> =
            self.journals.vector().into_iter().filter(|position| position.journal.device == me).collect();
        for position in own {
            let Some(conn) = self.conns.get(&id) else { return Ok(()) };
            let theirs = conn.theirs.get(&position.journal).map_or(0, |theirs| theirs.size);
            let sent = conn.sent.get(&position.journal).copied().unwrap_or(theirs);
            if sent < position.size {
                self.send_journal(cx, id, position.journal, sent)?;
            }
        }
        Ok(())
    }

    /// Sends a journal from a number on: at once if it is small, on a stream of its own if not.
    fn send_journal(&mut self, cx: &mut Cx<'_>, id: ConnId, journal: JournalId, from: u64) -> Result<(), StoreError> {
        let Some(position) = self.journals.position(journal) else { return Ok(()) };
        let size = position.size;
        // A journal that is still arriving here has no head for what is held; who asks will ask again.
        let upto = self.limit(journal).flatten().map(|limit| limit.size);
        if upto.is_none() && self.journals.head(journal).is_none_or(|head| head.size != size) {
            return Ok(());
        }
        match transfer::inline(cx.store, journal, from, upto)? {
            Some(transfer::Inline { header, segments }) => {
                let frame = Message::Journal { header, segments }.to_frame();
                self.outputs.push_back(Output::Send { conn: id, frame });
            }
            None => {
                self.outputs.push_back(Output::SendJournal { conn: id, journal, from, upto });
                self.conns.entry(id).and_modify(|conn| {
                    conn.long.insert(journal, size);
                });
            }
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.sent.insert(journal, size);
        }
        Ok(())
    }

    pub(super) fn serve(&mut self, cx: &mut Cx<'_>, id: ConnId, wants: &[Want]) -> Result<(), Fail> {
        for want in wants {
            if self.journals.size(want.journal) >= want.from {
                self.count_resent(id, want)?;
                self.send_journal(cx, id, want.journal, want.from)?;
            }
        }
        Ok(())
    }

    /// A peer that lost a transfer asks again; one that goes on and on would have everything read and sent for a few bytes.
    fn count_resent(&mut self, id: ConnId, want: &Want) -> Result<(), Fail> {
        let sent = self.conns.get(&id).and_then(|conn| conn.sent.get(&want.journal));
        if sent.is_some_and(|sent| want.from < *sent) { self.count_again(id) } else { Ok(()) }
    }

    /// A peer asks for what it was sent on this connection.
    pub(super) fn count_again(&mut self, id: ConnId) -> Result<(), Fail> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.resent += 1;
        if conn.resent > RESENT { Err(Fail::Peer(CloseCode::Protocol)) } else { Ok(()) }
    }

    /// Asks peers for what they hold and this device lacks. An author who is connected pushes by itself, so others are
    /// asked only when that took too long: its line may be dead, or it keeps something back. No journal is asked for
    /// twice at once.
    pub(super) fn want_more(&mut self, now: Mono) {
        let mine = self.journals.vector();
        let mut asked: BTreeSet<JournalId> = self.ready().flat_map(|(_, conn)| conn.asked.keys().copied()).collect();
        let authors: BTreeSet<_> = self.ready().map(|(_, conn)| conn.peer).collect();
        let ids: Vec<ConnId> = self.ready().map(|(id, _)| id).collect();
        for id in ids {
            let Some(conn) = self.conns.get(&id) else { continue };
            let theirs: Vec<Position> = conn.theirs.values().cloned().collect();
            let discarded = self.discarded_at(id);
            let behind = wants(&mine, &theirs);
            let new = behind.iter().filter(|want| !self.is_for_content(want) && authors.contains(&want.journal.device));
            for journal in new.map(|want| want.journal).collect::<Vec<_>>() {
                self.pushes.entry(journal).or_insert(Some(now.after(limits::PUSH)));
            }
            let list: Vec<Want> = behind
                .into_iter()
                .filter(|want| self.wanted(want) && !asked.contains(&want.journal))
                .filter(|want| !conn.forked.contains(&want.journal) && !discarded.contains(&want.journal))
                .filter(|want| match self.is_for_content(want) {
                    true => self.lacks_content(conn, want.journal),
                    false => {
                        let author = want.journal.device;
                        !authors.contains(&author) || (self.is_overdue(want.journal) && conn.peer != author)
                    }
                })
                .collect();
            self.ask(id, list, &mut asked, now.after(limits::WANT_ANSWER));
        }
    }

    /// Whether clients are to be told of another [`Self::arriving`], now that these journals advanced.
    pub(super) fn is_further(&self, advanced: &BTreeSet<JournalId>) -> bool {
        let far = |journal: &JournalId| {
            let size = self.journals.size(*journal);
            self.ready().any(|(_, conn)| conn.theirs.get(journal).is_some_and(|theirs| theirs.size > size + MANY))
        };
        !advanced.is_empty()
            && (self.view.status.arriving.is_some() || advanced.iter().any(far))
            && self.arriving() != self.view.status.arriving
    }

    /// How far a long transfer to this device has come. One that began as a long one is shown until all is here.
    pub(super) fn arriving(&self) -> Option<Arriving> {
        let me = self.device();
        let mut known: BTreeMap<JournalId, u64> = BTreeMap::new();
        for (_, conn) in self.ready() {
            let counts = conn.theirs.values().filter(|theirs| theirs.journal.device != me);
            for theirs in counts.filter(|theirs| !conn.forked.contains(&theirs.journal)) {
                let size = match self.limit(theirs.journal) {
                    Some(None) => theirs.size,
                    Some(Some(limit)) => theirs.size.min(limit.size),
                    None => continue,
                };
                let most = known.entry(theirs.journal).or_default();
                *most = size.max(*most);
            }
        }
        let here = known.iter().map(|(journal, size)| self.journals.size(*journal).min(*size)).sum();
        let total: u64 = known.values().sum();
        let begun = self.view.status.arriving.is_some();
        (total > here && (begun || total - here > MANY)).then_some(Arriving { here, total })
    }

    pub(super) fn asked_due(&self) -> Option<Mono> {
        let pushes = self.pushes.values().flatten().copied();
        self.ready().flat_map(|(_, conn)| conn.asked.values().copied()).chain(pushes).min()
    }

    /// Whether the author of a journal was waited for in vain.
    fn is_overdue(&self, journal: JournalId) -> bool {
        self.pushes.get(&journal).is_some_and(Option::is_none)
    }

    /// Whoever was asked and sends nothing does not hold it, whatever it says: others are asked. So they are when an
    /// author does not push.
    pub(super) fn expire_asked(&mut self, now: Mono) {
        let mut expired = false;
        for due in self.pushes.values_mut().filter(|due| due.is_some_and(|due| due <= now)) {
            *due = None;
            expired = true;
        }
        for conn in self.conns.values_mut() {
            for (journal, _) in conn.asked.extract_if(.., |_, due| *due <= now) {
                conn.theirs.remove(&journal);
                expired = true;
            }
        }
        if expired {
            self.want_more(now);
        }
    }

    /// Whether something is asked for that has its place here, but whose content is not held.
    fn is_for_content(&self, want: &Want) -> bool {
        want.from < self.journals.size(want.journal)
    }

    /// Whether a peer holds more content of a journal than this device does and than it has dropped.
    fn lacks_content(&self, conn: &Conn, journal: JournalId) -> bool {
        let (Some(mine), Some(theirs)) = (self.journals.position(journal), conn.theirs.get(&journal)) else {
            return false;
        };
        !conn.filled.contains(&journal) && theirs.live > mine.live.saturating_add(self.journals.dropped(journal))
    }

    fn ask(&mut self, id: ConnId, list: Vec<Want>, asked: &mut BTreeSet<JournalId>, due: Mono) {
        if list.is_empty() {
            return;
        }
        let filled: Vec<JournalId> =
            list.iter().filter(|want| self.is_for_content(want)).map(|want| want.journal).collect();
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.asked.extend(list.iter().map(|want| (want.journal, due)));
            conn.filled.extend(filled);
        }
        asked.extend(list.iter().map(|want| want.journal));
        self.outputs.push_back(Output::Send { conn: id, frame: Message::Want(list).to_frame() });
    }

    /// Gives up what is under way of journals that count less from now on: the rest is asked for anew, up to where they count.
    pub(super) fn stop_transfers(&mut self, of: &BTreeSet<DeviceId>) {
        for conn in self.conns.values_mut() {
            conn.incoming.retain(|_, incoming| !of.contains(&incoming.journal().device));
        }
    }

    /// Whether more of a journal can count here.
    fn wanted(&self, want: &Want) -> bool {
        self.limit(want.journal).is_some_and(|limit| limit.is_none_or(|limit| want.from < limit.size))
    }

    /// How much of a journal counts: nothing (`None`), all (`Some(None)`), or what was honoured at its author's revocation.
    pub(super) fn limit(&self, journal: JournalId) -> Option<Option<Limit>> {
        let device = self.roster.evaluation().device(journal.device)?;
        match device.status {
            Status::Linked => Some(None),
            Status::Revoked | Status::Left => {
                let honoured = device.honoured.get(&journal.generation);
                Some(Some(honoured.map_or(NOTHING, |at| Limit { size: at.size, root: at.root })))
            }
            Status::Suspended | Status::Unconfirmed => None,
        }
    }

    pub(super) fn receive_positions(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        positions: Vec<Position>,
    ) -> Result<(), Fail> {
        let me = self.device();
        let mut given_up = Vec::new();
        if let Some(conn) = self.conns.get_mut(&id) {
            given_up
                .extend(positions.iter().filter(|held| held.journal.device == me && !conn.is_arriving(held)).copied());
            conn.theirs.extend(positions.into_iter().map(|position| (position.journal, position)));
            if conn.theirs.len() > limits::JOURNALS {
                return Err(Fail::Peer(CloseCode::Protocol));
            }
        }
        for held in given_up {
            self.lost_there(cx, id, &held)?;
        }
        self.compare_own(cx, id)?;
        self.want_more(cx.now.mono);
        Ok(())
    }

    /// A peer holds less of this device's own journal than it was sent: it gave up an end that does not count.
    fn lost_there(&mut self, cx: &mut Cx<'_>, id: ConnId, held: &Position) -> Result<(), Fail> {
        let sent = self.conns.get(&id).and_then(|conn| conn.sent.get(&held.journal)).copied();
        if sent.is_some_and(|sent| sent <= held.size) || self.journals.size(held.journal) <= held.size {
            return Ok(());
        }
        if sent.is_some() {
            self.count_resent(id, &Want { journal: held.journal, from: held.size })?;
        }
        self.conns.entry(id).and_modify(|conn| {
            conn.sent.insert(held.journal, held.size);
        });
        Ok(self.push_journal(cx, id)?)
    }

    /// What a peer's own report says that it holds. Of journals whose authors are connected with this device it says so no
    /// other way. The report may be older than the hello behind which it comes, so that only more counts.
    pub(super) fn reported(&mut self, now: Mono, id: ConnId, held: &[Held]) -> Result<(), Fail> {
        let me = self.device();
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        for held in held.iter().filter(|held| held.journal.device != me) {
            if conn.theirs.get(&held.journal).is_none_or(|before| before.size < held.size) {
                conn.theirs.insert(held.journal, Position::from(held));
            }
        }
        if conn.theirs.len() > limits::JOURNALS {
            return Err(Fail::Peer(CloseCode::Protocol));
        }
        self.want_more(now);
        Ok(())
    }

    /// Tells at once how far journals came here: their authors, who see them arrived, those who brought them, and those who
    /// do not hear from the authors and may ask for them. So is a peer told whose hello is still on its way. The others find it in
    /// the next report.
    pub(super) fn announce(&mut self, advanced: &BTreeSet<JournalId>, cut: &BTreeSet<JournalId>) {
        for id in self.greeted().collect::<Vec<_>>() {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let brought = std::mem::take(&mut conn.brought);
            let told = |journal: &&JournalId| {
                !conn.near.contains(&journal.device) || brought.contains(journal) || cut.contains(journal)
            };
            let journals: Vec<Position> =
                advanced.iter().filter(told).filter_map(|journal| self.journals.position(*journal)).cloned().collect();
            if !journals.is_empty() {
                self.send_have(id, Have { journals, ..Have::default() });
            }
        }
    }
}

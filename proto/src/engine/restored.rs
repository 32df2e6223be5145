//! A disk that was set back to what it held before: a restored home, a snapshot, a disk that lied. PROTOCOL.md section 7.
//!
//! Nothing leaves a device before it is durable there. So whoever is shown something that it signed and does not hold was set
//! back, and nobody else can show it that: what counts is the signature, not what a peer says that it holds. It goes
//! on in a new generation, takes in what it lost, and writes there again what it had written since on top of less.

use std::collections::BTreeSet;

use super::io::{ConnId, Output};
use super::whole::Whole;
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, Hash, JournalId, StatementId};
use crate::journal::{Author, Branch, Head, Header, Operation, Position};
use crate::limits;
use crate::roster::statement::Action;
use crate::roster::{Role, VoidReason};
use crate::session::account_session;
use crate::session::content::{Content, Seen, Space};
use crate::store::{Read, StoreError, Table};

/// Row of [`Table::Meta`]: the running time, in milliseconds, when this device last noticed that it was set back.
const NOTICED: &[u8] = b"restored";
/// Rows of [`Table::Meta`]: this, and the leaf of an operation of this device's own that was written again.
const REISSUED: &[u8] = b"reissued ";

/// What a device that was set back has to remember.
#[derive(Debug, Default)]
pub(super) struct Restored {
    /// Its running time when it noticed.
    noticed: Option<u64>,
    /// Ends of its journals that its next head is to list.
    unlisted: Vec<Branch>,
    /// Where operations are written again, and how many that journal had behind the last: if it has more by now, the user
    /// has written something that what comes next must not replace.
    batch: Option<(JournalId, u64)>,
}

impl Restored {
    pub(super) fn load(store: &dyn Read) -> Result<Self, StoreError> {
        let noticed = store.get(Table::Meta, NOTICED)?.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        Ok(Self { noticed: noticed.map(u64::from_be_bytes), ..Self::default() })
    }
}

impl Engine {
    /// Whether the user should know that this device was set back not long ago.
    pub(super) fn was_restored_lately(&self) -> bool {
        let shown = u64::try_from(limits::RESTORED_SHOWN.as_millis()).unwrap_or(u64::MAX);
        self.restored.noticed.is_some_and(|at| self.local.running.saturating_sub(at) < shown)
    }

    /// Notes that this device was set back.
    pub(super) fn note_restored(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let news = !self.was_restored_lately();
        self.restored.noticed = Some(self.local.running);
        cx.store.put(Table::Meta, NOTICED, &self.local.running.to_be_bytes())?;
        self.changed.view = true;
        if news {
            self.outputs.push_back(Output::Restored);
        }
        Ok(())
    }

    /// Whether one of these statements is by this device.
    pub(super) fn is_own(&self, statements: &[StatementId]) -> bool {
        let me = self.device();
        statements.iter().any(|id| self.roster.statement(*id).is_some_and(|said| said.author == me))
    }

    /// What this device said twice, under one number, so that neither counts (rule E6): before it was set back, and after.
    pub(super) fn own_contradicted(&self) -> BTreeSet<StatementId> {
        let (me, void) = (self.device(), &self.roster.evaluation().void);
        let twice = void.iter().filter(|(_, reason)| **reason == VoidReason::Equivocation).map(|(id, _)| *id);
        twice.filter(|id| self.roster.statement(*id).is_some_and(|said| said.author == me)).collect()
    }

    /// Says again, under a number of its own, what does not count since this device is known to have been set back. What
    /// revokes counts anyway; epochs are made and revocations applied anew where they are lacking.
    pub(super) fn say_again(&mut self, cx: &mut Cx<'_>, before: &BTreeSet<StatementId>) -> Result<(), Fail> {
        let void: Vec<StatementId> = self.own_contradicted().difference(before).copied().collect();
        for id in void {
            let Some(action) = self.roster.statement(id).map(|said| said.action.clone()) else { continue };
            let evaluation = self.roster.evaluation();
            let lacks = match &action {
                Action::Link(link) => evaluation.device(link.device).is_none(),
                Action::Role { device, role } => evaluation.role(*device).is_some_and(|has| has != *role),
                _ => false,
            };
            // What needs the PIN only the user can say again.
            let freely = !self.roster.needs_pin(self.device(), &action);
            if lacks && freely && evaluation.role(self.device()) == Some(Role::Owner) && self.may_write().is_ok() {
                self.state(cx, action)?;
            }
        }
        Ok(())
    }

    /// A head that this device signed, shown by a peer: if what it vouches for is not held here, this device was set back,
    /// and writes to the next generation from now on.
    pub(super) fn own_head(&mut self, cx: &mut Cx<'_>, head: &Head) -> Result<(), StoreError> {
        let ahead = head.size > self.journals.size(head.journal);
        if head.journal.device != self.device() || !ahead && !self.strays(cx, head.journal, head.size, head.root)? {
            return Ok(());
        }
        if head.journal.generation >= self.local.generation {
            self.sign_own(cx)?;
            self.local.generation = head.journal.generation.saturating_add(1);
            self.local.save(cx.store)?;
        }
        self.note_restored(cx)
    }

    /// Whether a journal of that size and root is not the beginning of the one held here.
    fn strays(&self, cx: &Cx<'_>, journal: JournalId, size: u64, root: Hash) -> Result<bool, StoreError> {
        if size == 0 || size > self.journals.size(journal) {
            return Ok(false);
        }
        let peaks = self.journals.peaks_at(cx.store, journal, size)?;
        Ok(peaks.is_some_and(|peaks| peaks.root() != root))
    }

    /// Compares what a peer says that it holds of this device's own journals with what is here, and asks for those
    /// that stray, whole: first for generations that are not known here at all, as their heads say what became of others.
    pub(super) fn compare_own(&mut self, cx: &mut Cx<'_>, id: ConnId) -> Result<(), StoreError> {
        let (me, Some(conn)) = (self.device(), self.conns.get(&id)) else { return Ok(()) };
        let all = JournalId { device: me, generation: 0 }..=JournalId { device: me, generation: u32::MAX };
        let theirs: Vec<Position> = conn.theirs.range(all).map(|(_, position)| *position).collect();
        let later = |position: &&Position| position.journal.generation > self.local.generation;
        if theirs.iter().filter(later).any(|later| later.size > self.journals.size(later.journal)) {
            return Ok(());
        }
        let mut stray = Vec::new();
        for Position { journal, size, root, .. } in theirs {
            let forked = self.conns.get(&id).is_some_and(|conn| conn.forked.contains(&journal));
            if !self.is_discarded(journal, size, root) && (forked || self.strays(cx, journal, size, root)?) {
                stray.push(journal);
            }
        }
        stray.into_iter().for_each(|journal| self.ask_whole(cx.now.mono, id, journal));
        Ok(())
    }

    /// What is left to do once more of this device's own journals came in.
    pub(super) fn own_advanced(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let ready: Vec<ConnId> = self.ready().map(|(id, _)| id).collect();
        ready.into_iter().try_for_each(|id| self.compare_own(cx, id))
    }

    /// A segment of a journal of this device's own that strays from what is held here.
    pub(super) fn own_strays(
        &mut self,
        cx: &mut Cx<'_>,
        whole: &mut Whole,
        keep: u64,
        operations: &[Operation],
        done: bool,
    ) -> Result<(), Fail> {
        // Without a key to write with, what was written could not be written again: at a later contact.
        if self.may_write().is_err() || self.held_write_epoch().is_none() {
            whole.over = true;
            return Ok(());
        }
        if self.is_newest(whole.journal()) {
            whole.over = true;
            return self.take_back(cx, whole.journal(), keep);
        }
        // What is held here was built upon, and stays: what is only there is written again.
        for operation in operations.iter().filter(|operation| operation.header.number >= keep) {
            self.reissue(cx, keep, operation)?;
        }
        if done {
            let Branch { generation, size, root, .. } = whole.end(keep);
            self.restored.unlisted.push(Branch { generation, keep, size, root });
            self.mark(cx)?;
        }
        Ok(())
    }

    /// Whether nothing was written to a later generation.
    fn is_newest(&self, journal: JournalId) -> bool {
        let later = |position: &Position| {
            position.journal.device == journal.device && position.journal.generation > journal.generation
        };
        !self.journals.vector().iter().any(|position| later(position) && position.size > 0)
    }

    /// Gives up the end of this device's newest journal for the one that others hold, and writes it again behind that.
    fn take_back(&mut self, cx: &mut Cx<'_>, journal: JournalId, keep: u64) -> Result<(), Fail> {
        let Some(Position { size, root, .. }) = self.journals.position(journal).copied() else { return Ok(()) };
        let mut end = Vec::new();
        for number in keep..size {
            end.extend(self.journals.operation(cx.store, journal, number)?);
        }
        if self.local.generation <= journal.generation {
            self.sign_own(cx)?;
            self.local.generation = journal.generation.saturating_add(1);
            self.local.save(cx.store)?;
        }
        self.restored.unlisted.push(Branch { generation: journal.generation, keep, size, root });
        self.discard(cx, journal, keep)?;
        self.reindex(cx)?;
        self.restored.batch = None;
        for operation in &end {
            self.reissue(cx, keep, operation)?;
        }
        self.mark(cx)
    }

    /// Operations of this device's own that came back to it. Where the user has written a key since, without having seen
    /// them, and somebody may have replaced that without having seen them either, they are written again as well.
    pub(super) fn own_returned(&mut self, cx: &mut Cx<'_>, operations: &[Operation]) -> Result<(), Fail> {
        if self.may_write().is_err() || self.held_write_epoch().is_none() {
            return Ok(());
        }
        for operation in operations {
            if self.is_written_since(cx, operation)? {
                self.reissue(cx, operation.header.number, operation)?;
            }
        }
        Ok(())
    }

    /// Whether the key of an operation was written in a later generation of its journal.
    fn is_written_since(&self, cx: &Cx<'_>, operation: &Operation) -> Result<bool, StoreError> {
        let Header { journal, session, .. } = operation.header;
        let Some(content) = self.content_of(operation) else { return Ok(false) };
        let context = self.sessions.context(cx.store, session, content.space, &content.key)?;
        Ok(context
            .iter()
            .any(|seen| seen.journal.device == journal.device && seen.journal.generation > journal.generation))
    }

    fn content_of(&self, operation: &Operation) -> Option<Content> {
        let key = self.keyring.session_key(operation.header.epoch, operation.header.session)?;
        Content::open(&operation.header, &key, operation.ciphertext()).ok()
    }

    /// Writes an operation of an earlier journal again, once: what it had seen, and of its own journal all below `keep`.
    fn reissue(&mut self, cx: &mut Cx<'_>, keep: u64, operation: &Operation) -> Result<(), Fail> {
        let row = [REISSUED, operation.leaf().as_bytes()].concat();
        let Some(mut content) = self.content_of(operation) else { return Ok(()) };
        if cx.store.get(Table::Meta, &row)?.is_some() {
            return Ok(());
        }
        cx.store.put(Table::Meta, &row, &[])?;
        let journal = operation.header.journal;
        content.context.retain(|seen| seen.journal != journal);
        content.context.extend(keep.checked_sub(1).map(|number| Seen { journal, number }));
        content.context.truncate(limits::CONTEXT_ENTRIES);
        content.context.sort();
        self.begin_behind(cx)?;
        let epoch = self.write_epoch(cx)?;
        self.append(cx, operation.header.session, epoch, &content)?;
        let own = self.own_journal();
        self.restored.batch = Some((own, self.journals.size(own)));
        Ok(())
    }

    /// What is written again goes to a generation of its own: a later operation of a journal replaces the earlier ones of
    /// the same key, and nobody has seen these two in that order.
    fn begin_behind(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let own = self.own_journal();
        let size = self.journals.size(own);
        if size == 0 || self.restored.batch == Some((own, size)) {
            return Ok(());
        }
        self.sign_own(cx)?;
        self.local.generation = own.generation.saturating_add(1);
        self.local.save(cx.store)
    }

    /// Signs the head of the journal that is being written, if it is not signed yet, listing the ends that do not count.
    pub(super) fn sign_own(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let (Some(account), own) = (self.account(), self.own_journal()) else { return Ok(()) };
        let size = self.journals.size(own);
        if size == 0 || self.journals.head(own).is_some_and(|head| head.size >= size) {
            return Ok(());
        }
        let mut branches = self.journals.branches(own.device).to_vec();
        branches.append(&mut self.restored.unlisted);
        let author =
            Author { identity: &self.config.identity, account, run: self.config.run, generation: own.generation };
        self.journals.sign_head_listing(cx.store, &author, &branches)?;
        Ok(())
    }

    /// Writes that this device was set back, for all to see: so there is a head that lists what does not count.
    fn mark(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let Some(account) = self.account() else { return Ok(()) };
        let key = format!("device/{}/restored", self.device()).into_bytes();
        self.write(cx, account_session(account), Space::Entry, &key, Some(b"restored"))
    }

    /// Whether a journal of that size and root is an end that does not count, as its device says.
    pub(super) fn is_discarded(&self, journal: JournalId, size: u64, root: Hash) -> bool {
        let own = if journal.device == self.device() { self.restored.unlisted.as_slice() } else { &[] };
        let mut listed = self.journals.branches(journal.device).iter().chain(own);
        listed.any(|branch| (branch.generation, branch.size, branch.root) == (journal.generation, size, root))
    }

    /// Forgets the ends of a device's journals that it has listed, if that is exactly what is held here.
    pub(super) fn drop_branches(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<(), StoreError> {
        let mut dropped = false;
        for branch in self.journals.branches(device).to_vec() {
            let journal = JournalId { device, generation: branch.generation };
            let held = self.journals.position(journal).map(|held| (held.size, held.root));
            if held == Some((branch.size, branch.root)) && branch.keep < branch.size {
                self.discard(cx, journal, branch.keep)?;
                dropped = true;
            }
        }
        if dropped { self.reindex(cx) } else { Ok(()) }
    }

    /// Forgets the end of a journal, and whatever was under way on top of it. The sessions are to be read anew.
    pub(super) fn discard(&mut self, cx: &mut Cx<'_>, journal: JournalId, keep: u64) -> Result<(), StoreError> {
        self.journals.discard(cx.store, journal, keep)?;
        for conn in self.conns.values_mut() {
            conn.incoming.retain(|_, incoming| incoming.journal() != journal);
            conn.forked.remove(&journal);
            conn.asked.remove(&journal);
        }
        self.changed.advanced.insert(journal);
        self.changed.cut.insert(journal);
        Ok(())
    }

    /// Journals of which a peer holds an end that does not count: it is not asked for those.
    pub(super) fn discarded_at(&self, id: ConnId) -> BTreeSet<JournalId> {
        let theirs = self.conns.get(&id).into_iter().flat_map(|conn| conn.theirs.values());
        theirs.filter(|held| self.is_discarded(held.journal, held.size, held.root)).map(|held| held.journal).collect()
    }
}

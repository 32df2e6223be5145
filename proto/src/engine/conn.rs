//! Connections on `kinlink/1`: hello, and what each side lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account::is_out;
use super::alive::Life;
use super::introduce::Stranger;
use super::io::{ConnId, Output};
use super::view::AddressSource;
use super::whole::Whole;
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, EpochId, Hash, JournalId, RunId, StatementId};
use crate::journal::Position;
use crate::key::Secret;
use crate::limits;
use crate::roster::Status;
use crate::roster::statement::Parent;
use crate::store::StoreError;
use crate::sync::transfer::Incoming;
use crate::time::{Mono, Wall};
use crate::wire::Address;
use crate::wire::frame::{CloseCode, Frame};
use crate::wire::message::{Hello, Message, VERSION};
use crate::wire::object::Extensions;

/// One connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) peer: DeviceId,
    pub(super) dialled: bool,
    pub(super) address: Address,
    /// The peer's key is unknown, and it has not shown yet that it is linked.
    pub(super) stranger: Option<Stranger>,
    /// The peer introduced itself, before this device knew that it need not.
    pub(super) introduced: bool,
    /// This device introduced itself to the peer.
    pub(super) introducing: bool,
    /// The peer was handed its revocation behind that: nothing is read, and it is to close.
    pub(super) handed: bool,
    /// This side's hello was sent.
    pub(super) greeted: bool,
    /// The peer's hello was taken.
    pub(super) ready: bool,
    /// The peer's run, as its hello said.
    pub(super) run: Option<RunId>,
    /// Another connection to the peer stays as long as it lives.
    pub(super) held: bool,
    /// The hello on a connection that is held.
    pub(super) greeting: Option<Box<Hello>>,
    /// Whether it still leads anywhere.
    pub(super) life: Life,
    /// Since when it stands.
    pub(super) since: Mono,
    /// Nothing is read from it any more.
    pub(super) closing: bool,
    pub(super) hello_by: Mono,
    /// What the peer holds, as it said.
    pub(super) theirs: BTreeMap<JournalId, Position>,
    /// How far journals were sent to it.
    pub(super) sent: BTreeMap<JournalId, u64>,
    /// Long transfers to it, until it holds so much: it tells how far it is behind each segment.
    pub(super) long: BTreeMap<JournalId, u64>,
    /// Journals that it was asked for, and until when it has to answer.
    pub(super) asked: BTreeMap<JournalId, Mono>,
    /// Journals of which it holds another fork: it is not asked for those again.
    pub(super) forked: BTreeSet<JournalId>,
    /// How often it asked for what it had been sent.
    pub(super) resent: usize,
    /// Journals of which it was asked for content: once, as what it says of that is a hint.
    pub(super) filled: BTreeSet<JournalId>,
    /// Transfers under way.
    pub(super) incoming: BTreeMap<u64, Incoming>,
    /// Journals that it was asked for from their beginning, and what it said then that it holds.
    pub(super) whole: BTreeMap<JournalId, (u64, Hash)>,
    /// Those of them that are under way.
    pub(super) wholes: BTreeMap<u64, Whole>,
    /// Journals that it brought more of in this batch: it hears how far they came.
    pub(super) brought: BTreeSet<JournalId>,
    /// The newest reports that it holds, as far as is known.
    pub(super) reports: BTreeMap<DeviceId, u64>,
    /// Whom it is connected with, as it said: what is new of these it hears from themselves.
    pub(super) near: BTreeSet<DeviceId>,
    /// Whom this device is connected with, as it was told.
    pub(super) told: BTreeSet<DeviceId>,
    /// When it was last asked for statements: what this device held, and of what it knew that it lacks it.
    pub(super) sought: (Vec<Parent>, Vec<StatementId>),
    /// How many statements there were when it last asked for them.
    pub(super) answered: usize,
    /// Epochs whose secret it holds, or was handed.
    pub(super) epochs: BTreeSet<EpochId>,
    /// Epochs whose secret it asked for.
    pub(super) lacks: BTreeSet<EpochId>,
    /// Epochs whose secret it was asked for.
    pub(super) lacking: Vec<EpochId>,
}

impl Engine {
    pub(super) fn connected(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        peer: DeviceId,
        dialled: bool,
        address: Address,
        exporter: Secret,
    ) -> Result<(), StoreError> {
        let conn = Conn {
            peer,
            dialled,
            address: address.clone(),
            stranger: None,
            introduced: false,
            introducing: false,
            handed: false,
            greeted: false,
            ready: false,
            run: None,
            held: false,
            greeting: None,
            life: Life::default(),
            since: cx.now.mono,
            closing: false,
            hello_by: cx.now.mono.after(limits::HELLO),
            theirs: BTreeMap::new(),
            sent: BTreeMap::new(),
            long: BTreeMap::new(),
            asked: BTreeMap::new(),
            forked: BTreeSet::new(),
            resent: 0,
            filled: BTreeSet::new(),
            incoming: BTreeMap::new(),
            whole: BTreeMap::new(),
            wholes: BTreeMap::new(),
            brought: BTreeSet::new(),
            reports: BTreeMap::new(),
            near: BTreeSet::new(),
            told: BTreeSet::new(),
            sought: (Vec::new(), Vec::new()),
            answered: 0,
            epochs: BTreeSet::new(),
            lacks: BTreeSet::new(),
            lacking: Vec::new(),
        };
        self.conns.insert(id, conn);
        // The roster of this moment decides, whatever the handshake was admitted by.
        let standing = self.standing_of(peer);
        if standing.is_none() && !dialled {
            self.meet_stranger(cx.now.mono, id, exporter);
            return Ok(());
        }
        self.dial_succeeded(peer);
        let introduced = dialled && self.introduces_to(peer) && self.introduce(cx, id, peer, &exporter);
        match standing {
            _ if self.conns.get(&id).is_some_and(|conn| introduced && conn.handed) => {}
            _ if self.local.out => self.say_why_out(id),
            Some(Status::Linked) => self.welcome(cx, id)?,
            Some(status) if is_out(status) => self.hand_over_removal(id, peer),
            Some(Status::Unconfirmed) => self.hand_over_removal(id, self.linker_of(peer)),
            _ => self.close(id, CloseCode::UnknownDevice, Duration::ZERO),
        }
        Ok(())
    }

    /// Takes in the connection of a linked device.
    pub(super) fn welcome(&mut self, cx: &mut Cx<'_>, id: ConnId) -> Result<(), StoreError> {
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        let (peer, address, introducing, dialled) = (conn.peer, conn.address.clone(), conn.introducing, conn.dialled);
        let how = if dialled { AddressSource::Worked } else { AddressSource::Heard };
        self.met(cx.now.wall, peer, &address, how);
        // To whom this device introduced itself it says hello only when that has answered.
        if self.is_alone(cx.now.mono, id) && !introducing {
            self.say_hello(cx, id);
        }
        self.changed.view = true;
        Ok(())
    }

    /// Where a device stands: in the account, or in the one that this device is about to join.
    fn standing_of(&self, peer: DeviceId) -> Option<Status> {
        if let Some(pending) = &self.local.pending {
            return super::account::pending_roster(pending).evaluation().device(peer).map(|device| device.status);
        }
        self.roster.evaluation().device(peer).map(|device| device.status)
    }

    pub(super) fn say_hello(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let (account, heads, journals) = match &self.local.pending {
            Some(pending) => (pending.account, super::account::pending_roster(pending).heads(), Vec::new()),
            None => match self.account() {
                Some(account) => (account, self.roster.heads(), self.journals.vector()),
                None => return,
            },
        };
        let journals = journals.into_iter().take(limits::JOURNALS).collect();
        let hello = Hello {
            version: VERSION,
            account,
            run: self.config.run,
            capabilities: 0,
            heads,
            journals,
            reports: self.reports.iter().map(|(device, report)| (*device, report.content.counter)).collect(),
            epochs: self.keyring.iter().map(|(epoch, _)| epoch).take(limits::EPOCHS).collect(),
            ext: Extensions::grease(crate::key::random(cx.entropy)),
        };
        self.outputs.push_back(Output::Send { conn: id, frame: Message::Hello(Box::new(hello)).to_frame() });
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.greeted = true;
        }
    }

    /// Whether a peer holds what this device holds, and nothing else, as far as it said.
    pub(super) fn agrees_with(&self, conn: &Conn) -> bool {
        let ours = self.journals.vector();
        let same = |own: &Position| {
            conn.theirs.get(&own.journal).is_some_and(|theirs| (theirs.size, theirs.root) == (own.size, own.root))
        };
        ours.len() == conn.theirs.len() && ours.iter().all(same)
    }

    /// Notes when a peer last held the same: in memory; it is stored when the connection ends.
    fn note_agreement(&mut self, wall: Wall, id: ConnId) {
        let Some(conn) = self.conns.get(&id).filter(|conn| conn.ready && self.agrees_with(conn)) else { return };
        let peer = conn.peer;
        self.peers.entry(peer).or_default().synced = wall;
    }

    pub(super) fn close(&mut self, id: ConnId, code: CloseCode, linger: Duration) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.closing = true;
            conn.ready = false;
        }
        self.changed.view = true;
        self.changed.peers = true;
        self.outputs.push_back(Output::Close { conn: id, code, linger });
    }

    pub(super) fn disconnected(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        code: Option<CloseCode>,
    ) -> Result<(), StoreError> {
        if self.links.contains_key(&id) {
            return self.link_disconnected(cx, id, code);
        }
        let Some(conn) = self.conns.remove(&id) else { return Ok(()) };
        self.forget_question(id);
        if conn.stranger.is_some() {
            return Ok(());
        }
        if conn.handed && matches!(code, Some(CloseCode::Done | CloseCode::Revoked | CloseCode::Suspended)) {
            self.told(conn.peer);
        } else if is_refused(&conn, code) {
            self.refused_as_unknown(conn.peer);
        }
        if conn.ready || !conn.closing {
            self.seen(conn.peer, cx.now.wall);
        }
        self.count_failure(cx.now.mono, &conn, code);
        match self.held(conn.peer).into_iter().find(|_| !conn.held) {
            Some(held) => self.release(cx, held)?,
            None if self.conn_of(conn.peer).is_none() => self.dial_soon(cx.now.mono, conn.peer),
            None => {}
        }
        self.changed.view = true;
        self.changed.peers = true;
        self.want_more(cx.now.mono);
        Ok(())
    }

    /// A connection that came to nothing, or not for long, makes the next dial wait longer: a peer that closes again and again is
    /// not hammered. One that stands aside for another, or stops for good reason, does not count.
    fn count_failure(&mut self, now: Mono, conn: &Conn, code: Option<CloseCode>) {
        let peer = self.peers.entry(conn.peer).or_default();
        let steady = conn.ready && now >= conn.since.after(limits::STEADY);
        let cut = !conn.closing && !matches!(code, Some(CloseCode::Duplicate | CloseCode::ShuttingDown));
        if steady {
            peer.failures = 0;
        } else if cut || conn.handed || is_refused(conn, code) {
            peer.failures = peer.failures.saturating_add(1);
        }
    }

    pub(super) fn received(&mut self, cx: &mut Cx<'_>, id: ConnId, frame: &Frame) -> Result<(), StoreError> {
        if self.links.contains_key(&id) {
            return self.link_received(cx, id, frame);
        }
        // Nothing that a peer sends counts once its connection is being closed.
        if self.conns.get(&id).is_none_or(|conn| conn.closing || conn.handed) {
            return Ok(());
        }
        let stranger = self.conns.get(&id).is_some_and(|conn| conn.stranger.is_some());
        if stranger && frame.body.len() > limits::FRAME_INTRODUCED {
            return self.settle_peer(id, Err(Fail::Peer(CloseCode::Protocol)));
        }
        if self.local.out && !stranger {
            return self.told_of_leaving(cx, id, frame);
        }
        if !stranger {
            self.lives(id);
        }
        let result = match Message::from_frame(frame) {
            Ok(Some(message)) if stranger => self.stranger_said(cx, id, &message),
            Ok(Some(message)) => {
                let result = self.message(cx, id, message);
                self.note_agreement(cx.now.wall, id);
                result
            }
            Ok(None) => Ok(()),
            Err(crate::wire::DecodeError::Newer { .. }) => Err(Fail::Peer(CloseCode::UpdateNeeded)),
            Err(_) => Err(Fail::Peer(CloseCode::Protocol)),
        };
        self.settle_peer(id, result)
    }

    /// Closes a peer that failed; passes a failing store on.
    pub(super) fn settle_peer(&mut self, id: ConnId, result: Result<(), Fail>) -> Result<(), StoreError> {
        match result {
            Ok(()) => Ok(()),
            Err(Fail::Store(error)) => Err(error),
            Err(Fail::Peer(code)) => {
                self.close(id, code, Duration::ZERO);
                Ok(())
            }
            // What follows from a peer's frame is never a command: this device could not do its own part.
            Err(Fail::Refused(_)) => Ok(()),
        }
    }

    fn message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message) -> Result<(), Fail> {
        let ready = self.conns.get(&id).is_some_and(|conn| conn.ready);
        match message {
            Message::Hello(_) if self.conns.get(&id).is_some_and(|conn| conn.greeting.is_some()) => {
                Err(Fail::Peer(CloseCode::Protocol))
            }
            Message::Hello(hello) if !ready => self.hello(cx, id, *hello),
            // The statements prove themselves, whoever brings them.
            Message::Revoked(statements) => self.receive_statements(cx, id, &statements),
            Message::Refused(code) => Err(Fail::Peer(code)),
            // It was not known how well known the peer is here.
            Message::Introduction(_) => {
                self.conns.entry(id).and_modify(|conn| conn.introduced = true);
                Ok(())
            }
            Message::Statements(statements) if self.conns.get(&id).is_some_and(|conn| conn.introduced) => {
                self.receive_statements(cx, id, &statements)
            }
            _ if !ready => Err(Fail::Peer(CloseCode::Protocol)),
            Message::Hello(_) => Err(Fail::Peer(CloseCode::Protocol)),
            Message::Statements(statements) => self.receive_statements(cx, id, &statements),
            Message::Ping(number) => {
                self.outputs.push_back(Output::Send { conn: id, frame: Message::Pong(number).to_frame() });
                Ok(())
            }
            Message::Pong(number) => {
                self.pong(cx.now, id, number);
                Ok(self.note_answer(cx, id, number)?)
            }
            _ if self.local.pending.is_some() => Ok(()),
            Message::Epochs { sealed, histories } => self.receive_epochs(cx, &sealed, &histories),
            Message::Reports(reports) => self.receive_reports(cx, Some(id), &reports),
            Message::Want(wants) => self.serve(cx, id, &wants),
            Message::Journal { header, segments } => self.receive_journal(cx, id, &header, &segments),
            Message::Have(have) => self.receive_have(cx, id, *have),
        }
    }

    pub(super) fn hello(&mut self, cx: &mut Cx<'_>, id: ConnId, hello: Hello) -> Result<(), Fail> {
        let account = self.local.pending.as_ref().map(|pending| pending.account).or(self.account());
        if Some(hello.account) != account {
            return Err(Fail::Peer(CloseCode::WrongAccount));
        }
        if self.conns.get(&id).is_some_and(|conn| conn.held) && !self.is_released(cx, id, &hello) {
            return Ok(());
        }
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        let peer = conn.peer;
        conn.ready = true;
        conn.run = Some(hello.run);
        let answers = std::mem::take(&mut conn.introducing) && !conn.greeted;
        if answers {
            self.say_hello(cx, id);
        }
        self.well_known_to(peer);
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.theirs = hello.journals.iter().map(|position| (position.journal, *position)).collect();
        conn.reports = hello.reports.iter().copied().collect();
        conn.epochs = hello.epochs.iter().copied().collect();
        self.changed.view = true;
        self.changed.peers = true;
        if self.local.pending.is_some() {
            return Ok(());
        }
        let lacking: Vec<Vec<u8>> = self.roster.missing(&hello.heads).into_iter().map(|s| s.bytes.clone()).collect();
        self.send_statements(id, &lacking);
        self.send_lacking(cx, id);
        self.send_reports(id, self.reports.keys().copied().collect::<Vec<_>>());
        self.met = true;
        self.compare_own(cx, id)?;
        self.push_journal(cx, id)?;
        self.want_more(cx.now.mono);
        self.report_soon(cx.now.mono);
        self.ping_on(cx.now.mono, id, peer);
        self.note_run(id, hello.run);
        Ok(())
    }

    fn receive_statements(&mut self, cx: &mut Cx<'_>, id: ConnId, statements: &[Vec<u8>]) -> Result<(), Fail> {
        if self.local.pending.is_some() {
            return self.complete_pending(cx, Some(id), statements);
        }
        self.absorb(cx, statements, Some(id))
    }

    /// Connections that said hello and are not being closed.
    pub(super) fn ready(&self) -> impl Iterator<Item = (ConnId, &Conn)> {
        self.conns.iter().filter(|(_, conn)| conn.ready && !conn.closing).map(|(id, conn)| (*id, conn))
    }

    /// Connections on which this device said hello: what it said there has to be kept up to date.
    pub(super) fn greeted(&self) -> impl Iterator<Item = ConnId> {
        self.conns.iter().filter(|(_, conn)| conn.greeted && !conn.closing).map(|(id, _)| *id)
    }

    pub(super) fn conn_due(&self) -> Option<Mono> {
        self.conns.values().filter(|conn| !conn.ready && !conn.closing).map(|conn| conn.hello_by).min()
    }

    pub(super) fn expire_conns(&mut self, now: Mono) {
        let late: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, conn)| !conn.ready && !conn.closing && conn.hello_by <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let stranger = self.conns.get(&id).is_some_and(|conn| conn.stranger.is_some());
            self.close(id, if stranger { CloseCode::UnknownDevice } else { CloseCode::Protocol }, Duration::ZERO);
        }
    }
}

/// Whether a device that was dialled does not know this one. It may not have read what it was handed by then.
fn is_refused(conn: &Conn, code: Option<CloseCode>) -> bool {
    code == Some(CloseCode::UnknownDevice) && conn.dialled && !conn.ready
}

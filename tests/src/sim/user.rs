//! What the people of the simulation do, and the model of what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinlink_proto::engine::command::{
    Caller, CallerId, CallerKind, Command, CommandId, OldSessions, PairingId, Reply, SessionFilter,
};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::io::{Input, Output};
use kinlink_proto::engine::view::{Direction, PairingState, PairingView};
use kinlink_proto::id::{DeviceId, Hash, JournalId, SessionId};
use kinlink_proto::roster::{Role, Status};
use kinlink_proto::wire::challenge::Challenge;

use super::device::Device;
use super::network::address;
use super::world::World;

/// Why a command was given.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Nothing follows from its reply.
    Nothing,
    /// A write that the model takes in.
    Write(Box<Write>),
    /// A session was made.
    Create,
    /// A session was ended.
    End(SessionId),
    /// A challenge was opened for another device to answer.
    Open {
        /// Which.
        joiner: usize,
    },
    /// The code was asked for, to be typed at another device.
    Code {
        /// Where.
        shower: usize,
        /// Its pairing there.
        pairing: PairingId,
    },
    /// The code was typed.
    Confirm,
    /// Devices were revoked.
    Revoke,
    /// The device left.
    Leave,
}

/// A write, and what its writer could read just before.
#[derive(Clone, Debug)]
pub struct Write {
    /// Where.
    pub session: SessionId,
    /// Under which key.
    pub key: Vec<u8>,
    /// What; `None` deletes.
    pub value: Option<Vec<u8>>,
    /// By whom.
    pub author: DeviceId,
    /// The values that it replaces.
    pub covers: BTreeSet<Vec<u8>>,
    /// Where it is.
    pub place: Option<Place>,
    /// Its writer's disk was set back behind it since: the devices that still had it then.
    pub left_with: Option<BTreeSet<DeviceId>>,
}

/// Where an operation stands in its author's journal, and which it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The journal.
    pub journal: JournalId,
    /// The number in it.
    pub number: u64,
    /// The operation's leaf.
    pub leaf: Hash,
}

/// An end of a session.
#[derive(Clone, Debug)]
pub struct Ended {
    /// By whom.
    pub by: DeviceId,
    /// As of a write.
    pub place: Option<Place>,
    /// As of a write.
    pub left_with: Option<BTreeSet<DeviceId>>,
}

/// What must be there in the end.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Every write that was committed.
    pub writes: Vec<Write>,
    /// Every session.
    pub sessions: BTreeSet<SessionId>,
    /// Those that were ended.
    pub ended: BTreeMap<SessionId, Ended>,
    /// Devices whose user typed the right code for them.
    pub confirmed: BTreeSet<DeviceId>,
    /// Devices that were told to go.
    pub revoked: BTreeSet<DeviceId>,
    /// Devices that left.
    pub left: usize,
    /// Devices whose disk was rolled back.
    pub restored: BTreeSet<DeviceId>,
    /// Devices that started over: what their old key did may or may not count.
    pub gone: BTreeSet<DeviceId>,
    /// The number of the next value: all are different.
    values: u64,
}

impl Model {
    /// A device started over with a fresh key.
    pub fn reset(&mut self, device: DeviceId) {
        self.gone.insert(device);
    }

    fn value(&mut self) -> Vec<u8> {
        self.values += 1;
        format!("value {}", self.values).into_bytes()
    }
}

/// Keys that are fought over.
pub const KEYS: [&[u8]; 4] = [b"a", b"b", b"c", b"d"];

impl World {
    /// Somebody does something.
    pub fn act(&mut self) {
        match self.below(100) {
            0..=44 => self.write(),
            45..=52 => self.make_session(),
            53..=55 => self.end_session(),
            56..=75 => self.link(),
            76..=79 => self.revoke(),
            80..=82 => self.leave_or_erase(),
            83..=85 => self.rename(),
            86..=88 => self.part(),
            89..=91 => self.cut.clear(),
            92..=93 => self.break_one(),
            94..=95 => self.replay(),
            96 => self.jump(),
            97..=98 if self.plan.rollback => self.back_up_or_restore(),
            _ => self.power(),
        }
    }

    /// The devices that are in the one account, as they know it.
    fn members(&self) -> Vec<usize> {
        let inside = |engine: &kinlink_proto::engine::Engine| {
            self.account.is_some()
                && engine.roster().account() == self.account
                && engine.roster().evaluation().is_linked(engine.device())
        };
        (0..self.devices.len()).filter(|at| self.devices[*at].engine.as_ref().is_some_and(inside)).collect()
    }

    fn make_session(&mut self) {
        let first = self.account.is_none() && self.devices[0].engine.is_some();
        let at = if first { Some(0) } else { self.pick(&self.members()) };
        let Some(at) = at else { return };
        let command = Command::CreateSession {
            app: "app".to_owned(),
            title: "title".to_owned(),
            expires: kinlink_proto::time::Wall(0),
        };
        self.command(at, command, Purpose::Create);
    }

    /// What a device answers to a question, at once and without any chance.
    pub fn ask(&mut self, device: usize, command: Command) -> Option<Result<Reply, CommandError>> {
        let now = self.clock(device);
        let caller = Caller { id: CallerId(1), kind: CallerKind::User };
        let input = Input::Command { id: CommandId(0), caller, command };
        let (outputs, _) = self.devices[device].take(now, &mut self.rng, input, None);
        outputs.into_iter().find_map(|output| match output {
            Output::Reply { id: CommandId(0), result } => Some(result),
            _ => None,
        })
    }

    /// The open sessions that a device knows.
    pub fn open_sessions(&mut self, device: usize) -> Vec<SessionId> {
        let filter = SessionFilter { open: Some(true), limit: 1000, ..SessionFilter::default() };
        match self.ask(device, Command::Sessions(filter)) {
            Some(Ok(Reply::Sessions(sessions, _))) => sessions.into_iter().map(|session| session.id).collect(),
            _ => Vec::new(),
        }
    }

    /// The values of a key that a device can read.
    pub fn values(&mut self, device: usize, session: SessionId, key: &[u8]) -> BTreeSet<Vec<u8>> {
        match self.ask(device, Command::Get { session, key: key.to_vec() }) {
            Some(Ok(Reply::Values(values, _))) => values.into_iter().filter_map(|value| value.bytes).collect(),
            _ => BTreeSet::new(),
        }
    }

    fn write(&mut self) {
        let Some(at) = self.pick(&self.members()) else { return };
        let sessions = self.open_sessions(at);
        let (Some(session), Some(key)) = (self.pick(&sessions), self.pick(&KEYS)) else { return };
        self.catch_up(at, session);
        let covers = self.values(at, session, key);
        let author = self.devices[at].id();
        let delete = !covers.is_empty() && self.chance(15);
        let value = if delete { None } else { Some(self.model.value()) };
        let write =
            Write { session, key: key.to_vec(), value: value.clone(), author, covers, place: None, left_with: None };
        let command = match value {
            Some(value) => Command::Put { session, key: key.to_vec(), value, only_if: None },
            None => Command::Delete { session, key: key.to_vec(), only_if: None },
        };
        self.command(at, command, Purpose::Write(Box::new(write)));
    }

    fn end_session(&mut self) {
        let Some(at) = self.pick(&self.members()) else { return };
        let sessions = self.open_sessions(at);
        let Some(session) = self.pick(&sessions) else { return };
        self.command(at, Command::EndSession { session, reason: "done".to_owned() }, Purpose::End(session));
    }

    fn link(&mut self) {
        let joiners: Vec<usize> = (0..self.devices.len())
            .filter(|at| *at != 0 || self.account.is_some())
            .filter(|at| self.devices[*at].engine.as_ref().is_some_and(|engine| engine.roster().account().is_none()))
            .collect();
        let members = if self.account.is_none() { vec![0] } else { self.members() };
        let (Some(shower), Some(joiner)) = (self.pick(&members), self.pick(&joiners)) else { return };
        let command = Command::OpenPairing {
            timeout: Duration::from_secs(60),
            anywhere: false,
            label: None,
            name: None,
            addresses: vec![address(shower, true)],
        };
        self.command(shower, command, Purpose::Open { joiner });
    }

    fn revoke(&mut self) {
        let Some(at) = self.pick(&self.members()) else { return };
        let Some(engine) = self.devices[at].engine.as_ref() else { return };
        let evaluation = engine.roster().evaluation();
        let others: Vec<DeviceId> =
            evaluation.linked().map(|device| device.id).filter(|id| *id != engine.device()).collect();
        if evaluation.role(engine.device()) != Some(Role::Owner) {
            return;
        }
        let Some(device) = self.pick(&others) else { return };
        self.command(at, Command::Revoke { devices: vec![device], reason: "lost".to_owned() }, Purpose::Revoke);
    }

    fn leave_or_erase(&mut self) {
        let all: Vec<usize> = (1..self.devices.len()).collect();
        let Some(at) = self.pick(&all) else { return };
        let out = self.devices[at]
            .engine
            .as_ref()
            .and_then(|engine| engine.roster().evaluation().device(engine.device()).map(|device| device.status));
        match out {
            Some(Status::Revoked | Status::Left) => self.command(at, Command::Erase, Purpose::Nothing),
            Some(Status::Linked) if self.chance(30) => {
                self.command(at, Command::Leave { reason: String::new() }, Purpose::Leave);
            }
            _ => {}
        }
    }

    fn rename(&mut self) {
        let Some(at) = self.pick(&self.members()) else { return };
        let Some(engine) = self.devices[at].engine.as_ref() else { return };
        let all: Vec<DeviceId> = engine.roster().evaluation().devices.keys().copied().collect();
        let (Some(device), name) = (self.pick(&all), self.model.value()) else { return };
        self.command(
            at,
            Command::Rename { device, name: String::from_utf8_lossy(&name).into_owned() },
            Purpose::Nothing,
        );
    }

    /// A wall clock is set, to any time of sixty days.
    fn jump(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        if let Some(at) = self.pick(&all) {
            self.skew[at] = self.below(60 * 24 * 3600 * 1000);
        }
    }

    /// Somebody copies a disk, or puts a copy back.
    fn back_up_or_restore(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        if self.chance(50) {
            return self.devices.iter_mut().for_each(Device::back_up);
        }
        let Some(at) = self.pick(&all) else { return };
        if let Some(sizes) = self.devices[at].restore() {
            self.model.restored.insert(self.devices[at].id());
            self.forget(at, &sizes);
            self.power_cut(at);
        }
    }

    /// A device holds no more than so much of each journal: whose last copy of an operation that was, lost it.
    pub(super) fn forget(&mut self, at: usize, sizes: &BTreeMap<JournalId, u64>) {
        let (id, devices) = (self.devices[at].id(), &self.devices);
        let holds = |device: &Device, place: &Place| device.leaf(place.journal, place.number) == Some(place.leaf);
        let forget = |author: DeviceId, place: Option<Place>, left_with: &mut Option<BTreeSet<DeviceId>>| {
            let kept = place.is_some_and(|place| sizes.get(&place.journal).is_some_and(|size| *size > place.number));
            if let Some(left) = left_with.as_mut().filter(|_| !kept) {
                left.remove(&id);
            } else if author == id && !kept {
                let others = devices.iter().filter(|device| device.index != at);
                let holders = others.filter(|device| place.is_some_and(|place| holds(device, &place)));
                *left_with = Some(holders.map(Device::id).collect());
            }
        };
        self.model.writes.iter_mut().for_each(|write| forget(write.author, write.place, &mut write.left_with));
        self.model.ended.values_mut().for_each(|end| forget(end.by, end.place, &mut end.left_with));
    }

    /// Where the operation stands that a device wrote last.
    fn place(&self, device: usize) -> Option<Place> {
        let engine = self.devices[device].engine.as_ref()?;
        let own = engine.journals().vector().into_iter().filter(|held| held.journal.device == engine.device());
        let newest = own.filter(|held| held.size > 0).max_by_key(|held| held.journal.generation)?;
        let (journal, number) = (newest.journal, newest.size - 1);
        Some(Place { journal, number, leaf: self.devices[device].leaf(journal, number)? })
    }

    fn part(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        if let (Some(a), Some(b)) = (self.pick(&all), self.pick(&all)) {
            self.cut(a, b);
        }
    }

    fn break_one(&mut self) {
        let standing = self.standing();
        if let Some(conn) = self.pick(&standing) {
            self.break_conn(conn);
        }
    }

    fn power(&mut self) {
        let all: Vec<usize> = (0..self.devices.len()).collect();
        if let Some(at) = self.pick(&all).filter(|at| self.devices[*at].engine.is_some()) {
            self.power_cut(at);
        }
    }

    /// A command's effect is durable: the model takes it in, whether or not the reply still goes out.
    pub fn committed(&mut self, device: usize, id: CommandId, result: &Result<Reply, CommandError>) {
        let Some(purpose) = self.commands.remove(&(device, id)) else { return };
        if self.account.is_none() {
            self.account = self.devices[0].engine.as_ref().and_then(|engine| engine.roster().account());
        }
        let Ok(reply) = result else { return };
        let author = self.devices[device].id();
        match (purpose, reply) {
            (Purpose::Write(write), _) => {
                let place = self.place(device);
                self.model.writes.push(Write { place, ..*write });
            }
            (Purpose::Create, Reply::Created(session)) => {
                self.model.sessions.insert(*session);
            }
            (Purpose::End(session), _) => {
                let place = self.place(device);
                self.model.ended.insert(session, Ended { by: author, place, left_with: None });
            }
            (Purpose::Revoke, Reply::Revoked(devices)) => self.model.revoked.extend(devices),
            (Purpose::Leave, _) => self.model.left += 1,
            (Purpose::Open { joiner }, Reply::Opened { qr, .. }) => self.scan(device, joiner, qr),
            (Purpose::Code { shower, pairing }, Reply::Code(code)) => {
                let wrong = self.chance(20);
                let code = if wrong { "000000".to_owned() } else { code.clone() };
                if !wrong {
                    self.model.confirmed.insert(author);
                }
                self.command(shower, Command::ConfirmCode { pairing, code }, Purpose::Confirm);
            }
            _ => {}
        }
    }

    /// The new device's user scans what is shown.
    fn scan(&mut self, shower: usize, joiner: usize, qr: &str) {
        self.linking.insert(shower);
        match Challenge::parse(qr) {
            Ok(challenge) => {
                self.command(joiner, Command::Join { challenge, name: None, anywhere: false }, Purpose::Nothing)
            }
            Err(error) => self.broken = Some(format!("a challenge does not parse: {error}")),
        }
    }

    /// A pairing changed: its user goes on.
    pub fn pairing_told(&mut self, device: usize, pairing: PairingId, view: &PairingView) {
        match (view.direction, view.state) {
            (Direction::Join, PairingState::Offered) if self.chance(95) => {
                self.command(
                    device,
                    Command::AcceptOffer { pairing, sessions: OldSessions::Discard },
                    Purpose::Nothing,
                );
            }
            (Direction::Join, PairingState::Offered | PairingState::Code) if self.chance(10) => {
                self.command(device, Command::CancelPairing(pairing), Purpose::Nothing);
            }
            (Direction::Show, PairingState::Code) => self.type_code(device, pairing, view),
            _ => {}
        }
    }

    /// The shower's user looks at the other screen.
    fn type_code(&mut self, shower: usize, pairing: PairingId, view: &PairingView) {
        let Some(joiner) = (0..self.devices.len()).find(|at| Some(self.devices[*at].id()) == view.peer) else { return };
        // The new device has one attempt at a time; its number is what its last reply said.
        for number in 1..=64 {
            let theirs = PairingId(number);
            if let Some(Ok(Reply::Code(_))) = self.ask(joiner, Command::Code(theirs)) {
                self.command(joiner, Command::Code(theirs), Purpose::Code { shower, pairing });
                return;
            }
        }
    }
}

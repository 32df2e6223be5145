//! Engines wired by hand, and attackers who hold the key of one of them.

mod age;
mod alive;
mod callers;
mod cheats;
mod clones;
mod compaction;
mod conditions;
mod discovery;
mod floods;
mod introductions;
mod meetings;
mod pin;
mod restored;
mod revoked;
mod showers;
mod suspended;
mod unsaved;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::command::{Caller, CallerId, CallerKind, Command, CommandId, OldSessions, PairingId, Reply};
use super::error::CommandError;
use super::io::{ConnId, Input, Output};
use super::{Config, Cx, Engine};
use crate::id::{DeviceId, RunId, SessionId};
use crate::journal::Position;
use crate::key::{Identity, Secret};
use crate::limits;
use crate::roster::Status;
use crate::roster::keyring::Keyring;
use crate::store::MemoryStore;
use crate::sync::transfer::{Outgoing, Preparer};
use crate::time::{Mono, Now, Wall};
use crate::wire::Address;
use crate::wire::challenge::Challenge;
use crate::wire::frame::{CloseCode, Frame};
use crate::wire::message::{Have, Message, kind};
use work::{Noting, Work};

/// Whoever sits at a device.
const USER: Caller = Caller { id: CallerId(1), kind: CallerKind::User };

/// What TLS exports where nobody looks at it.
const EXPORTER: [u8; 32] = [8; 32];

/// One device.
struct Device {
    config: Config,
    engine: Engine,
    store: MemoryStore,
    replies: Vec<Result<Reply, CommandError>>,
    /// What it sent on connections that end at a puppet.
    sent: Vec<(ConnId, Frame)>,
    /// What it closed, and why.
    closed: Vec<(ConnId, CloseCode)>,
    dialled_link: Option<PairingId>,
    /// Whom it dialled, and where.
    dials: Vec<(DeviceId, Vec<Address>)>,
    /// What it was told last to announce and recognise with.
    keys: Option<crate::discovery::Keys>,
    /// What it was told last to open operations with.
    keyring: Keyring,
}

/// Devices, and the wires between them.
struct Lab {
    rng: ChaCha20Rng,
    now: Now,
    devices: Vec<Device>,
    wires: BTreeMap<(usize, ConnId), (usize, ConnId)>,
    /// What is on its way: to whom, over how many links it came, and what.
    queue: VecDeque<(usize, u32, Input)>,
    /// Over how many links came what is being taken.
    hop: u32,
    work: Work,
    conns: u64,
    /// The largest frame that anybody sent on a control stream.
    largest: usize,
    /// What was sent to a device that was out by the sender's roster, beside the proof of that.
    leaked: Vec<(usize, usize, &'static str)>,
}

impl Lab {
    fn new(seed: u64, count: usize) -> Self {
        eprintln!("seed {seed}");
        let mut lab = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: Now { wall: Wall(1_800_000_000_000), mono: Mono(1_000_000) },
            devices: Vec::new(),
            wires: BTreeMap::new(),
            queue: VecDeque::new(),
            hop: 0,
            work: Work::default(),
            conns: 0,
            largest: 0,
            leaked: Vec::new(),
        };
        (0..count).for_each(|index| lab.add(index));
        lab
    }

    fn add(&mut self, index: usize) {
        let config = Config {
            identity: Identity::random(&mut self.rng),
            store_key: Secret::random(&mut self.rng),
            run: RunId([u8::try_from(index).unwrap(); 16]),
            name: format!("device {index}"),
            platform: "test".to_owned(),
            devices: limits::DEVICES_MAX,
        };
        self.add_as(config, MemoryStore::new());
    }

    /// A device with what it has on its disk.
    fn add_as(&mut self, config: Config, mut store: MemoryStore) {
        let mut cx = Cx { now: self.now, entropy: &mut self.rng, store: &mut store };
        let engine = Engine::load(config.clone(), &mut cx).unwrap();
        let device = Device {
            config,
            engine,
            store,
            replies: Vec::new(),
            sent: Vec::new(),
            closed: Vec::new(),
            dialled_link: None,
            dials: Vec::new(),
            keys: None,
            keyring: Keyring::default(),
        };
        self.devices.push(device);
    }

    fn id(&self, device: usize) -> DeviceId {
        self.devices[device].engine.device()
    }

    fn engine(&self, device: usize) -> &Engine {
        &self.devices[device].engine
    }

    fn address(device: usize) -> Address {
        std::net::SocketAddr::from(([192, 0, 2, u8::try_from(device).unwrap()], 4000)).into()
    }

    /// One fact for one device, and everything that follows from it everywhere.
    fn feed(&mut self, device: usize, input: Input) {
        self.post(device, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some((device, hop, input)) = self.queue.pop_front() {
            self.hop = hop;
            self.step(device, vec![input]);
        }
        self.hop = 0;
    }

    /// A fact that is there at once.
    fn post(&mut self, device: usize, input: Input) {
        self.queue.push_back((device, self.hop, input));
    }

    /// A fact that comes over a link.
    fn post_over_link(&mut self, device: usize, input: Input) {
        self.queue.push_back((device, self.hop + 1, input));
    }

    /// One batch: decided, committed, and only then acted upon.
    fn step(&mut self, at: usize, batch: Vec<Input>) {
        let device = &mut self.devices[at];
        let mut store = Noting::new(&mut device.store);
        let mut cx = Cx { now: self.now, entropy: &mut self.rng, store: &mut store };
        let before = crate::key::work::done();
        for input in batch {
            device.engine.handle(&mut cx, input).unwrap();
        }
        device.engine.settle(&mut cx).unwrap();
        self.work.decided(at, before, store.wrote());
        let mut outputs = Vec::new();
        while let Some(output) = self.devices[at].engine.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out(at, output);
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        match output {
            Output::Reply { result, .. } => {
                self.work.answered(at);
                self.devices[at].replies.push(result);
            }
            Output::Event(event) => self.work.told(at, &event, self.hop),
            Output::Send { conn, frame } => self.send(at, conn, frame),
            Output::SendJournal { conn, journal, from, upto } => {
                self.note_leak(at, conn, "operations");
                let store = self.devices[at].store.snapshot();
                let Some(mut outgoing) = Outgoing::new(&store, journal, from, upto).unwrap() else { return };
                self.conns += 1;
                let stream = self.conns;
                let mut preparer = Preparer::default();
                while let Some(frame) = outgoing.frame(&store).unwrap() {
                    if let Some((to, conn)) = self.wires.get(&(at, conn)).copied() {
                        self.work.sent(at, to, &frame, self.hop + 1);
                        if frame.kind == kind::TRANSFER_HEADER {
                            preparer.header(&frame.body);
                        }
                        let prepared = preparer.segment(&frame.body, &self.devices[to].keyring);
                        self.post_over_link(to, Input::Transfer { conn, stream, frame, prepared });
                    } else {
                        self.devices[at].sent.push((conn, frame));
                    }
                }
            }
            Output::Close { conn, code, .. } => self.hang_up(at, conn, code),
            Output::Dial { device, addresses, .. } => self.devices[at].dials.push((device, addresses)),
            Output::DialLink { pairing, .. } => self.devices[at].dialled_link = Some(pairing),
            Output::Discover(keys) => self.devices[at].keys = keys,
            Output::Keys(keyring) => self.devices[at].keyring = keyring,
            Output::EraseKeys => self.erase_keys(at),
            _ => {}
        }
    }

    fn send(&mut self, at: usize, conn: ConnId, frame: Frame) {
        if !self.engine(at).links.contains_key(&conn) {
            self.largest = self.largest.max(frame.body.len());
            if ![kind::REVOKED, kind::INTRODUCTION].contains(&frame.kind) {
                self.note_leak(at, conn, "a frame");
            }
        }
        match self.wires.get(&(at, conn)).copied() {
            Some((to, conn)) => {
                self.work.sent(at, to, &frame, self.hop + 1);
                self.post_over_link(to, Input::Received { conn, frame });
            }
            None => self.devices[at].sent.push((conn, frame)),
        }
    }

    fn note_leak(&mut self, at: usize, conn: ConnId, what: &'static str) {
        let Some((to, _)) = self.wires.get(&(at, conn)).copied() else { return };
        if matches!(self.status(at, to), Some(Status::Revoked | Status::Left | Status::Suspended)) {
            self.leaked.push((at, to, what));
        }
    }

    fn hang_up(&mut self, at: usize, conn: ConnId, code: CloseCode) {
        self.devices[at].closed.push((conn, code));
        self.post(at, Input::Disconnected { conn, code: None });
        if let Some((to, other)) = self.wires.remove(&(at, conn)) {
            self.work.closed(at, to);
            self.wires.remove(&(to, other));
            self.post_over_link(to, Input::Disconnected { conn: other, code: Some(code) });
        }
    }

    fn erase_keys(&mut self, at: usize) {
        let device = &mut self.devices[at];
        device.config.store_key = Secret::random(&mut self.rng);
        Engine::keys_erased(&mut device.store).unwrap();
        self.restart(at);
    }

    fn restart(&mut self, at: usize) {
        let device = &mut self.devices[at];
        let mut cx = Cx { now: self.now, entropy: &mut self.rng, store: &mut device.store };
        device.engine = Engine::load(device.config.clone(), &mut cx).unwrap();
        self.post(at, Input::Started);
    }

    /// A user's order, and the answer.
    fn order(&mut self, at: usize, command: Command) -> Result<Reply, CommandError> {
        self.devices[at].replies.clear();
        self.feed(at, Input::Command { id: CommandId(1), caller: USER, command });
        self.devices[at].replies.remove(0)
    }

    fn new_conn(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns)
    }

    /// Connects two devices on `kinlink/1`.
    fn connect(&mut self, a: usize, b: usize) -> (ConnId, ConnId) {
        let ids = self.begin_connecting(a, b);
        self.drain();
        ids
    }

    /// As [`Self::connect`]; nothing has happened yet.
    fn begin_connecting(&mut self, a: usize, b: usize) -> (ConnId, ConnId) {
        let (at_a, at_b) = (self.new_conn(), self.new_conn());
        self.wires.insert((a, at_a), (b, at_b));
        self.wires.insert((b, at_b), (a, at_a));
        let (id_a, id_b) = (self.id(a), self.id(b));
        let exporter = crate::key::random(&mut self.rng);
        let to_a = Input::Connected { conn: at_a, peer: id_b, dialled: true, address: Self::address(b), exporter };
        let to_b = Input::Connected { conn: at_b, peer: id_a, dialled: false, address: Self::address(a), exporter };
        self.post(a, to_a);
        self.post(b, to_b);
        (at_a, at_b)
    }

    /// Connects to `a` as the device `b`, which is a puppet on this connection: it says hello, and then only what it
    /// is told to.
    fn puppet(&mut self, a: usize, b: usize) -> ConnId {
        self.unplug_from(a, b);
        let (conn, peer) = (self.new_conn(), self.id(b));
        self.feed(a, Input::Connected { conn, peer, dialled: false, address: Self::address(b), exporter: EXPORTER });
        let hello = self.hello(b);
        self.say(a, conn, &hello);
        conn
    }

    /// What a device would say first.
    fn hello(&self, of: usize) -> Message {
        let engine = self.engine(of);
        Message::Hello(Box::new(crate::wire::message::Hello {
            version: 1,
            account: engine.account().unwrap(),
            run: engine.config.run,
            capabilities: 0,
            heads: engine.roster.heads(),
            journals: engine.journals.vector(),
            reports: Vec::new(),
            epochs: engine.keyring.iter().map(|(epoch, _)| epoch).collect(),
            ext: crate::wire::object::Extensions::default(),
        }))
    }

    /// A frame for `a`, from whoever is at the other end.
    fn say(&mut self, a: usize, conn: ConnId, message: &Message) {
        self.feed(a, Input::Received { conn, frame: message.to_frame() });
    }

    fn closed_with(&self, at: usize, conn: ConnId) -> Option<CloseCode> {
        self.devices[at].closed.iter().find(|(closed, _)| *closed == conn).map(|(_, code)| *code)
    }

    /// `shower` shows a challenge, `joiner` answers and agrees. The pairing at the shower, and the code.
    fn agree(&mut self, shower: usize, joiner: usize) -> (PairingId, String) {
        let open = Command::OpenPairing {
            timeout: Duration::from_secs(120),
            anywhere: false,
            label: None,
            name: None,
            addresses: vec![Self::address(shower)],
        };
        let Ok(Reply::Opened { pairing, text, .. }) = self.order(shower, open) else { panic!("no challenge") };
        let challenge = Challenge::parse(&text).unwrap();
        let Ok(Reply::Joining(joining)) = self.order(joiner, Command::Join { challenge, name: None, anywhere: false })
        else {
            panic!("cannot join")
        };
        let dialled = self.devices[joiner].dialled_link.take();
        let (at_shower, at_joiner) = (self.new_conn(), self.new_conn());
        self.wires.insert((shower, at_shower), (joiner, at_joiner));
        self.wires.insert((joiner, at_joiner), (shower, at_shower));
        let (shower_id, joiner_id) = (self.id(shower), self.id(joiner));
        let link =
            |conn, peer, dialled, address| Input::LinkConnected { conn, peer, dialled, address, exporter: [7; 32] };
        self.feed(shower, link(at_shower, joiner_id, None, Self::address(joiner)));
        self.feed(joiner, link(at_joiner, shower_id, dialled, Self::address(shower)));
        let accept = Command::AcceptOffer { pairing: joining, sessions: OldSessions::Bring };
        assert_eq!(self.order(joiner, accept), Ok(Reply::Done));
        let Ok(Reply::Code(code)) = self.order(joiner, Command::Code(joining)) else { panic!("no code") };
        (pairing, code)
    }

    fn confirm(&mut self, shower: usize, pairing: PairingId, code: &str) -> Result<Reply, CommandError> {
        self.order(shower, Command::ConfirmCode { pairing, code: code.to_owned() })
    }

    fn link(&mut self, shower: usize, joiner: usize) {
        let (pairing, code) = self.agree(shower, joiner);
        assert_eq!(self.confirm(shower, pairing, &code), Ok(Reply::Done));
        assert!(self.engine(joiner).roster.evaluation().is_linked(self.id(joiner)));
    }

    /// An account of so many devices, all connected with one another: the first two are owners.
    fn account(seed: u64, count: usize) -> Self {
        let mut lab = Self::new(seed, count);
        for joiner in 1..count {
            lab.link(0, joiner);
        }
        for a in 0..count {
            for b in a + 1..count {
                lab.connect(a, b);
            }
        }
        lab.pass(Duration::from_secs(5));
        lab
    }

    /// Lets time go by, ticking every device once at its end.
    fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono.after(time);
        self.now.wall = Wall(self.now.wall.0 + u64::try_from(time.as_millis()).unwrap());
        for device in 0..self.devices.len() {
            self.feed(device, Input::Tick);
        }
    }

    fn session(&mut self, at: usize) -> SessionId {
        let create = Command::CreateSession { app: "app".to_owned(), title: "title".to_owned(), expires: Wall(0) };
        let Ok(Reply::Created(session)) = self.order(at, create) else { panic!("no session") };
        session
    }

    fn put(&mut self, at: usize, session: SessionId, key: &str, value: &[u8]) -> Result<Reply, CommandError> {
        self.order(at, Command::Put { session, key: key.as_bytes().to_vec(), value: value.to_vec(), only_if: None })
    }

    /// What a device reads; `None` if it cannot.
    fn read(&mut self, at: usize, session: SessionId, key: &str) -> Option<Vec<u8>> {
        match self.order(at, Command::Get { session, key: key.as_bytes().to_vec() }) {
            Ok(Reply::Values(values, _)) => values.into_iter().next().and_then(|value| value.bytes),
            _ => None,
        }
    }

    fn revoke(&mut self, at: usize, device: usize) -> Result<Reply, CommandError> {
        let devices = vec![self.id(device)];
        self.order(at, Command::Revoke { devices, reason: String::new() })
    }

    fn status(&self, at: usize, of: usize) -> Option<Status> {
        self.engine(at).roster.evaluation().device(self.id(of)).map(|device| device.status)
    }

    /// Ends what connects `at` with `of`, without a word.
    fn unplug_from(&mut self, at: usize, of: usize) {
        let peer = self.id(of);
        let conns: Vec<ConnId> =
            self.engine(at).conns.iter().filter(|(_, conn)| conn.peer == peer).map(|(id, _)| *id).collect();
        for conn in conns {
            if let Some((to, other)) = self.wires.remove(&(at, conn)) {
                self.wires.remove(&(to, other));
                self.feed(to, Input::Disconnected { conn: other, code: None });
            }
            self.feed(at, Input::Disconnected { conn, code: None });
        }
    }

    /// What two devices send one another is lost from now on, and neither notices.
    fn lose(&mut self, a: usize, b: usize) {
        self.wires.retain(|(from, _), (to, _)| (*from, *to) != (a, b) && (*from, *to) != (b, a));
    }

    /// Cuts every wire of a device, without a word.
    fn unplug(&mut self, at: usize) {
        let wires: Vec<_> = self.wires.keys().filter(|(device, _)| *device == at).copied().collect();
        for (_, conn) in wires {
            if let Some((to, other)) = self.wires.remove(&(at, conn)) {
                self.wires.remove(&(to, other));
                self.post(at, Input::Disconnected { conn, code: None });
                self.feed(to, Input::Disconnected { conn: other, code: None });
            }
        }
    }
}

/// What a peer says that it holds of journals.
fn has(journals: Vec<Position>) -> Message {
    Message::Have(Box::new(Have { journals, ..Have::default() }))
}

#[test]
fn three_devices_share_a_session() {
    let mut lab = Lab::account(1, 3);
    let session = lab.session(0);
    assert_eq!(lab.put(2, session, "k", b"v"), Ok(Reply::Done));
    assert_eq!(lab.read(1, session, "k"), Some(b"v".to_vec()));
}

/// What comes in between a device's hello and its peer's stands in neither: it is told behind the hello.
#[test]
fn news_between_two_hellos_is_told() {
    let mut lab = Lab::account(27, 3);
    let session = lab.session(0);
    lab.unplug_from(1, 0);
    let (conn, peer) = (lab.new_conn(), lab.id(0));
    lab.feed(1, Input::Connected { conn, peer, dialled: false, address: Lab::address(0), exporter: EXPORTER });
    assert!(lab.put(2, session, "k", b"v").is_ok());
    let told: Vec<u16> =
        lab.devices[1].sent.iter().filter(|(at, _)| *at == conn).map(|(_, frame)| frame.kind).collect();
    assert_eq!(told, [kind::HELLO, kind::HAVE]);
}

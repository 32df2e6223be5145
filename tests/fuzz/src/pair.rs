//! Two devices that link, write and sync: what the fuzzer begins with, and where real bytes come from.

use std::collections::VecDeque;
use std::time::Duration;

use kinlink_proto::engine::command::{Caller, CallerId, CallerKind, Command, CommandId, OldSessions, PairingId, Reply};
use kinlink_proto::engine::io::{ConnId, Input, Output};
use kinlink_proto::engine::{Config, Cx, Engine};
use kinlink_proto::id::{DeviceId, RunId};
use kinlink_proto::key::{Identity, Secret};
use kinlink_proto::link;
use kinlink_proto::store::MemoryStore;
use kinlink_proto::sync::transfer::TransferHeader;
use kinlink_proto::time::{Mono, Now, Wall};
use kinlink_proto::wire::challenge::Challenge;
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::Message;
use kinlink_proto::wire::{Address, Decode, Reader};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// One device over a store in memory.
#[derive(Clone)]
pub struct Device {
    config: Config,
    pub disk: MemoryStore,
}

/// A running one.
pub struct Running {
    pub device: Device,
    pub engine: Engine,
    pub rng: ChaCha20Rng,
    pub now: u64,
    commands: u64,
}

pub const CALLER: Caller = Caller { id: CallerId(1), kind: CallerKind::User };

impl Device {
    fn new(seed: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        let config = Config {
            identity: Identity::random(rng),
            store_key: Secret::random(rng),
            run: RunId([1; 16]),
            name: format!("device-{seed}"),
            platform: "fuzzed".to_owned(),
            devices: 10,
        };
        Self { config, disk: MemoryStore::new() }
    }

    pub fn id(&self) -> DeviceId {
        self.config.identity.device()
    }

    pub fn start(mut self, now: u64) -> Running {
        let mut rng = ChaCha20Rng::seed_from_u64(now);
        let mut cx = Cx { now: clocks(now), entropy: &mut rng, store: &mut self.disk };
        let engine = Engine::load(self.config.clone(), &mut cx).unwrap();
        let mut running = Running { device: self, engine, rng, now, commands: 0 };
        running.take(Input::Started);
        running
    }
}

fn clocks(now: u64) -> Now {
    Now { wall: Wall(1_800_000_000_000 + now), mono: Mono(now) }
}

impl Running {
    /// One fact, committed; what is to be done then.
    pub fn take(&mut self, input: Input) -> Vec<Output> {
        let mut cx = Cx { now: clocks(self.now), entropy: &mut self.rng, store: &mut self.device.disk };
        self.engine.handle(&mut cx, input).unwrap();
        self.engine.settle(&mut cx).unwrap();
        std::iter::from_fn(|| self.engine.poll()).collect()
    }

    pub fn command(&mut self, command: Command) -> Vec<Output> {
        self.commands += 1;
        self.take(Input::Command { id: CommandId(self.commands), caller: CALLER, command })
    }

    /// A command, its reply, and what else came of it.
    fn ask(&mut self, command: Command) -> (Reply, Vec<Output>) {
        let outputs = self.command(command);
        let reply = outputs.iter().find_map(|output| match output {
            Output::Reply { result, .. } => Some(result.clone().unwrap()),
            _ => None,
        });
        (reply.unwrap(), outputs)
    }
}

/// Two of them, each frame that one sends being taken by the other.
struct Pair {
    devices: [Running; 2],
    /// What each was sent.
    taken: [Vec<Frame>; 2],
}

impl Pair {
    fn pass(&mut self, from: usize, outputs: Vec<Output>) {
        let mut waiting: VecDeque<(usize, Output)> = outputs.into_iter().map(|output| (from, output)).collect();
        while let Some((from, output)) = waiting.pop_front() {
            let Output::Send { conn, frame } = output else { continue };
            let to = 1 - from;
            self.taken[to].push(frame.clone());
            let more = self.devices[to].take(Input::Received { conn, frame });
            waiting.extend(more.into_iter().map(|output| (to, output)));
        }
    }

    fn connect(&mut self, conn: ConnId, link: Option<PairingId>) {
        for end in [0, 1] {
            let peer = self.devices[1 - end].device.id();
            let (address, exporter) = (Address::none(), [9; 32]);
            let dialled = end == 1;
            let input = match link {
                Some(pairing) => {
                    Input::LinkConnected { conn, peer, dialled: dialled.then_some(pairing), address, exporter }
                }
                None => Input::Connected { conn, peer, dialled, address, exporter },
            };
            let outputs = self.devices[end].take(input);
            self.pass(end, outputs);
        }
    }

    fn link(&mut self) -> String {
        let open = Command::OpenPairing {
            timeout: Duration::from_secs(120),
            anywhere: false,
            label: Some("Ada".into()),
            name: None,
            addresses: vec![std::net::SocketAddr::from(([10, 0, 0, 1], 4000)).into()],
        };
        let (Reply::Opened { pairing: shown, text, .. }, _) = self.devices[0].ask(open) else { panic!("not opened") };
        let challenge = Challenge::parse(&text).unwrap();
        let (Reply::Joining(pairing), _) =
            self.devices[1].ask(Command::Join { challenge, name: None, anywhere: false })
        else {
            panic!("not joining")
        };
        self.connect(ConnId(1), Some(pairing));
        let (_, outputs) = self.devices[1].ask(Command::AcceptOffer { pairing, sessions: OldSessions::Bring });
        self.pass(1, outputs);
        let (Reply::Code(code), _) = self.devices[1].ask(Command::Code(pairing)) else { panic!("no code") };
        let (_, outputs) = self.devices[0].ask(Command::ConfirmCode { pairing: shown, code });
        self.pass(0, outputs);
        text
    }

    fn write(&mut self, by: usize) {
        let create = Command::CreateSession { app: "org.example.App".into(), title: "Notes".into(), expires: Wall(0) };
        let (reply, outputs) = self.devices[by].ask(create);
        self.pass(by, outputs);
        let Reply::Created(session) = reply else { panic!("not created") };
        for n in 0..3 {
            let put = Command::Put { session, key: vec![n], value: vec![n; 20], only_if: None };
            let (_, outputs) = self.devices[by].ask(put);
            self.pass(by, outputs);
        }
    }
}

fn story() -> (Pair, String) {
    let devices = [1, 2].map(|seed| Device::new(seed).start(seed));
    let mut pair = Pair { devices, taken: Default::default() };
    let text = pair.link();
    for device in &mut pair.devices {
        device.now += 1000;
    }
    pair.connect(ConnId(2), None);
    pair.write(1);
    pair.write(0);
    (pair, text)
}

/// The device that showed the challenge, as it is then, and the other one's id.
pub fn linked() -> (Device, DeviceId) {
    let (pair, _) = story();
    let [shower, joiner] = pair.devices;
    (shower.device, joiner.device.id())
}

/// Real bytes for each target, to begin with.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let (pair, text) = story();
    let mut seeds = vec![("challenge", text.into_bytes())];
    let mut received = Vec::new();
    for (end, frame) in pair.taken.iter().enumerate().flat_map(|(end, frames)| frames.iter().map(move |f| (end, f))) {
        let target = if frame.kind & 0x0f00 == 0x0100 { "link" } else { "frames" };
        seeds.push((target, [&frame.head()[..], &frame.body].concat()));
        if end == 0 {
            super::engine::received(&mut received, frame);
        }
    }
    seeds.push(("engine", received));
    seeds.extend(pair.taken.iter().flatten().flat_map(objects).map(|object| ("objects", object)));
    let statements: Vec<Vec<u8>> =
        pair.devices[0].engine.roster().statements().map(|statement| statement.bytes.clone()).collect();
    let batch = statements.iter().flat_map(|statement| {
        let len = u16::try_from(statement.len()).unwrap();
        len.to_be_bytes().into_iter().chain(statement.iter().copied())
    });
    seeds.push(("roster", batch.collect()));
    seeds.extend(statements.iter().map(|statement| ("objects", [&[0], &statement[..]].concat())));
    seeds
}

/// The objects in a frame, each behind its kind in the target of that name.
fn objects(frame: &Frame) -> Vec<Vec<u8>> {
    let of = |kind: u8, objects: &[Vec<u8>]| -> Vec<Vec<u8>> {
        objects.iter().map(|object| [&[kind], &object[..]].concat()).collect()
    };
    if let Ok(Some(link::Message::Linked(linked))) = link::Message::from_frame(frame) {
        return [of(1, &linked.epochs), of(2, &linked.histories), of(4, &linked.reports)].concat();
    }
    match Message::from_frame(frame) {
        Ok(Some(Message::Journal { header, segments })) => {
            let head = TransferHeader::decode(&mut Reader::new(&header)).map(|header| header.head.to_vec());
            let segments: Vec<Vec<u8>> = segments.iter().map(|segment| segment.to_vec()).collect();
            [of(3, &head.ok().into_iter().collect::<Vec<_>>()), of(5, &[header]), of(6, &segments)].concat()
        }
        _ => Vec::new(),
    }
}

//! The world: devices, a network, a clock, and what happens next.

use std::collections::{BTreeMap, BTreeSet};

use kinlink_proto::engine::command::{Caller, CallerId, CallerKind, Command, CommandId};
use kinlink_proto::engine::io::{Event as Told, Input, Output};
use kinlink_proto::id::{AccountId, DeviceId, EpochId, SessionId};
use kinlink_proto::roster::keyring::Keyring;
use kinlink_proto::sync::transfer::Preparer;
use kinlink_proto::time::{Mono, Now, Wall};
use kinlink_proto::wire::frame::Frame;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::device::{Crash, Device};
use super::network::{Arrival, Conn, Event, address, device_at};
use super::trace::{asked, told};
use super::user::{Model, Purpose};

/// What one run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Fixes everything.
    pub seed: u64,
    /// How many things people do.
    pub acts: usize,
    /// Whether copies of disks are put back.
    pub rollback: bool,
    /// Whether to print every frame, command and crash.
    pub trace: bool,
}

/// An invariant that did not hold.
#[derive(Debug, thiserror::Error)]
#[error("seed {seed}, step {step}: {what}\nreplay with: make sim SEED={seed}")]
pub struct Failure {
    /// Of the run.
    pub seed: u64,
    /// Events before it.
    pub step: usize,
    /// What does not hold.
    pub what: String,
}

/// Everything there is in one run.
#[derive(Debug)]
pub struct World {
    /// The only source of chance.
    pub rng: ChaCha20Rng,
    /// Milliseconds since the beginning.
    pub now: u64,
    /// The devices.
    pub devices: Vec<Device>,
    /// The account that everybody joins.
    pub account: Option<AccountId>,
    /// What was written, by whom, knowing what.
    pub model: Model,
    /// Who may connect to each device.
    pub admitted: Vec<BTreeSet<DeviceId>>,
    /// What each opens operations with on their way in.
    pub keyrings: Vec<Keyring>,
    /// Transfers on their way, by connection and stream, of which segments are worked out before the engine takes them.
    pub preparers: BTreeMap<(u64, u64), Preparer>,
    /// Devices whose linking socket is open.
    pub linking: BTreeSet<usize>,
    /// Pairs that cannot reach one another.
    pub cut: BTreeSet<(usize, usize)>,
    /// Commands under way, and what for.
    pub commands: BTreeMap<(usize, CommandId), Purpose>,
    /// Whether devices crash and connections break.
    pub rough: bool,
    /// Counts, for [`super::Tally`].
    pub crashes: usize,
    /// Times the power went between a new store key and the note of it.
    pub erasing: usize,
    /// Old frames that were sent once more.
    pub replayed: usize,
    /// How far each device's wall clock is off, in milliseconds.
    pub skew: Vec<u64>,
    /// Who was out, by what the maker of an epoch knew when it made it.
    pub shut_out: BTreeMap<EpochId, BTreeSet<DeviceId>>,
    /// What apps were told, by device and session.
    pub apps: BTreeMap<(usize, SessionId), super::apps::App>,
    /// Frames of old, by sender and receiver.
    pub(super) old: BTreeMap<(usize, usize), Vec<Frame>>,
    /// Connections that broke.
    pub breaks: usize,
    /// Frames that arrived.
    pub frames: usize,
    /// Frames that arrived, by type.
    pub kinds: BTreeMap<u16, usize>,
    /// What this run is.
    pub plan: Plan,
    pub(super) conns: BTreeMap<u64, Conn>,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) sequence: u64,
    pub(super) streams: u64,
    next_command: u64,
    /// Disks that run twice.
    pub cloned: usize,
    /// What does not hold, as soon as something does not.
    pub broken: Option<String>,
}

/// Runs a plan to its end.
///
/// # Errors
/// The first invariant that does not hold.
pub fn run(plan: Plan) -> Result<World, Failure> {
    std::panic::catch_unwind(|| play(plan)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure { seed: plan.seed, step: 0, what: format!("panicked: {}", text.unwrap_or_default()) })
    })
}

fn play(plan: Plan) -> Result<World, Failure> {
    let mut world = World::new(plan);
    let mut step = 0;
    let fail = |step, what| Failure { seed: plan.seed, step, what };
    for _ in 0..plan.acts {
        let gap = world.below(4_000);
        world.later(gap, Event::Act);
        let until = world.now + gap;
        step += world.until(until).map_err(|what| fail(step, what))?;
    }
    world.heal();
    step += world.rest(5).map_err(|what| fail(step, what))?;
    world.find_one_another();
    step += world.rest(10).map_err(|what| fail(step, what))?;
    let frames = world.frames;
    step += world.rest(5).map_err(|what| fail(step, what))?;
    super::invariants::quiet(&world, world.frames - frames).map_err(|what| fail(step, what))?;
    super::invariants::at_rest(&mut world).map_err(|what| fail(step, what))?;
    if plan.seed.is_multiple_of(4)
        && let Some(cloned) = world.clone_one()
    {
        world.find_one_another();
        step += world.rest(5).map_err(|what| fail(step, what))?;
        super::clones::suspended_everywhere(&world, cloned).map_err(|what| fail(step, what))?;
    }
    Ok(world)
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(plan.seed);
        let count = 2 + usize::try_from(rng.next_u32() % 4).unwrap_or(0);
        let devices: Vec<Device> = (0..count).map(|index| Device::new(index, &mut rng)).collect();
        let mut world = Self {
            rng,
            now: 0,
            devices,
            account: None,
            model: Model::default(),
            admitted: vec![BTreeSet::new(); count],
            keyrings: vec![Keyring::default(); count],
            preparers: BTreeMap::new(),
            linking: BTreeSet::new(),
            cut: BTreeSet::new(),
            commands: BTreeMap::new(),
            rough: true,
            crashes: 0,
            erasing: 0,
            replayed: 0,
            skew: (0..count).map(|index| 10_000 * index as u64).collect(),
            shut_out: BTreeMap::new(),
            apps: BTreeMap::new(),
            old: BTreeMap::new(),
            breaks: 0,
            frames: 0,
            kinds: BTreeMap::new(),
            plan,
            conns: BTreeMap::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            streams: 0,
            next_command: 0,
            cloned: 0,
            broken: None,
        };
        (0..count).for_each(|index| world.start(index));
        world
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound.max(1)
    }

    /// Whether something happens that does so `percent` times in a hundred.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::try_from(self.below(from.len() as u64)).ok()?;
        from.get(at).copied()
    }

    /// Both clocks; those of two devices differ.
    #[must_use]
    pub fn clock(&self, device: usize) -> Now {
        Now { wall: Wall(1_700_000_000_000 + self.now + self.skew[device]), mono: Mono(self.now) }
    }

    /// Lets something happen after `delay`.
    pub fn later(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(super) fn at(&mut self, due: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((due, self.sequence), event);
    }

    /// Lets everything happen that does so until `end`.
    fn until(&mut self, end: u64) -> Result<usize, String> {
        let mut steps = 0;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((due, _), event) = entry.remove_entry();
            self.now = due;
            self.happen(event);
            steps += 1;
            if let Some(what) = self.broken.take() {
                return Err(what);
            }
            super::invariants::note_epochs(self);
            super::invariants::always(self)?;
        }
        self.now = end;
        Ok(steps)
    }

    /// Lets some minutes pass.
    fn rest(&mut self, minutes: u64) -> Result<usize, String> {
        self.until(self.now + minutes * 60 * 1000)
    }

    /// All devices are found on the network: some may know no address of one another.
    fn find_one_another(&mut self) {
        let all: Vec<DeviceId> = self.devices.iter().map(Device::id).collect();
        for device in 0..all.len() {
            let me = all[device];
            for (at, id) in all.iter().enumerate().filter(|(_, id)| **id != me) {
                self.input(device, Input::Found { device: *id, addresses: vec![address(at, false)] });
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act => self.act(),
            Event::Restart(device) => self.start(device),
            Event::Tick(device) => self.tick(device),
            Event::DialFailed(device, peer) => {
                self.input(device, Input::DialFailed { device: peer, reason: String::new() })
            }
            Event::LinkDialFailed(device, pairing) => {
                self.input(device, Input::LinkDialFailed { pairing, code: None, reason: "no route".to_owned() });
            }
            Event::Arrive { conn, to, what } => self.arrive(conn, to, what),
        }
    }

    /// Switches a device on.
    pub(super) fn start(&mut self, device: usize) {
        if self.devices[device].engine.is_some() {
            return;
        }
        let now = self.clock(device);
        self.devices[device].start(now, &mut self.rng);
        self.input(device, Input::Addresses(vec![address(device, false)]));
        self.input(device, Input::Started);
    }

    fn tick(&mut self, device: usize) {
        let due = self.devices[device].engine.as_ref().and_then(|engine| engine.deadline());
        if due.is_some_and(|due| due.0 <= self.now) {
            self.input(device, Input::Tick);
        }
    }

    /// Gives a device one fact, and does what it asks for. Sometimes the power goes in between.
    pub fn input(&mut self, device: usize, input: Input) {
        let crash = if self.rough && self.chance(1) { self.crash() } else { None };
        if self.plan.trace {
            eprintln!(
                "{:>9} device {device} {}{}",
                self.now,
                told(&input),
                crash.map_or(String::new(), |crash| format!(", crash {crash:?}"))
            );
        }
        let now = self.clock(device);
        let (outputs, done) = self.devices[device].take(now, &mut self.rng, input, crash);
        for (at, output) in outputs.into_iter().enumerate() {
            if let Output::Reply { id, result } = &output {
                self.committed(device, *id, result);
            }
            if at < done {
                self.carry_out(device, output);
            }
        }
        if crash.is_some() {
            self.crashes += 1;
            self.power_cut(device);
        }
        if let Some(due) = self.devices[device].engine.as_ref().and_then(|engine| engine.deadline()) {
            self.at(due.0.max(self.now), Event::Tick(device));
        }
    }

    fn crash(&mut self) -> Option<Crash> {
        match self.below(4) {
            0 => Some(Crash::Before),
            1 => Some(Crash::Behind),
            n => Some(Crash::After(usize::try_from(n).unwrap_or(1) - 1)),
        }
    }

    /// What a device without power leaves behind.
    pub fn power_cut(&mut self, device: usize) {
        self.devices[device].stop();
        self.linking.remove(&device);
        self.commands.retain(|(owner, _), _| *owner != device);
        let broken: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.ends.contains(&device)).map(|(id, _)| *id).collect();
        broken.into_iter().for_each(|conn| self.break_conn(conn));
        let delay = 500 + self.below(20_000);
        self.later(delay, Event::Restart(device));
    }

    /// Everything works from now on.
    fn heal(&mut self) {
        self.rough = false;
        self.cut.clear();
    }

    /// Gives a command on a device.
    pub fn command(&mut self, device: usize, command: Command, purpose: Purpose) {
        if self.devices[device].engine.is_none() {
            return;
        }
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.commands.insert((device, id), purpose);
        let caller = Caller { id: CallerId(1), kind: CallerKind::User };
        self.input(device, Input::Command { id, caller, command });
    }

    fn carry_out(&mut self, device: usize, output: Output) {
        if self.plan.trace {
            eprintln!("{:>9} device {device}   {}", self.now, asked(&output));
        }
        match output {
            Output::Reply { .. } => {}
            Output::Event(Told::Pairing { pairing, view, .. }) => self.pairing_told(device, pairing, &view),
            Output::Event(_) => {}
            Output::Send { conn, frame } => {
                let to = self.conns.get(&conn.0).map(|c| c.other(device));
                super::invariants::sending(self, device, to, &frame);
                self.remember(device, to, &frame);
                self.send(device, conn.0, 0, Arrival::Frame(frame));
            }
            Output::SendJournal { conn, journal, from, upto } => self.send_journal(device, conn.0, journal, from, upto),
            Output::Close { conn, code, .. } => self.close(device, conn.0, code),
            Output::Dial { device: peer, addresses, .. } => self.dial(device, peer, &addresses),
            Output::DialLink { pairing, addresses, .. } => {
                let at = addresses
                    .iter()
                    .filter_map(|address| device_at(address, true))
                    .find(|at| self.linking.contains(at));
                match at.filter(|at| self.reachable(device, *at)) {
                    Some(at) => self.connect(device, at, Some(pairing)),
                    None => self.later(100, Event::LinkDialFailed(device, pairing)),
                }
            }
            Output::CloseLinking => {
                self.linking.remove(&device);
            }
            // Who is where is told with `Found`.
            Output::AnnounceLinking(_) | Output::Discover(_) => {}
            Output::Widen { .. } | Output::Restored => {}
            Output::Admit(keys) => self.admitted[device] = keys.into_iter().collect(),
            Output::Keys(keyring) => self.keyrings[device] = keyring,
            Output::EraseKeys => {
                let (now, crash) = (self.clock(device), self.rough && self.chance(30));
                self.devices[device].erase_keys(now, &mut self.rng, crash);
                if crash {
                    self.erasing += 1;
                    return self.power_cut(device);
                }
                self.input(device, Input::Started);
            }
            Output::Reset => {
                let conns: Vec<u64> =
                    self.conns.iter().filter(|(_, c)| c.ends.contains(&device)).map(|(id, _)| *id).collect();
                conns.into_iter().for_each(|conn| self.break_conn(conn));
                // What nobody else holds is gone with it.
                self.forget(device, &BTreeMap::new());
                self.model.reset(self.devices[device].id());
                self.devices[device] = Device::new(device, &mut self.rng);
                self.old.retain(|(from, to), _| *from != device && *to != device);
                if self.rough && self.chance(30) {
                    return self.power_cut(device);
                }
                self.start(device);
            }
        }
    }
}

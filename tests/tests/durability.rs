//! The engine over a disk that loses what was not synced, stopped at every barrier of making and writing a session: what
//! was acknowledged is there afterwards, and the device goes on. Linking and revoking are crashed before, at and behind
//! each commit by the simulator.

use kinlink_daemon::store::Db;
use kinlink_daemon::store::crash::{Break, CrashBackend, Loss};
use kinlink_proto::engine::command::{Caller, CallerId, CallerKind, Command, CommandId, Reply};
use kinlink_proto::engine::io::{Input, Output};
use kinlink_proto::engine::{Config, Cx, Engine};
use kinlink_proto::id::{RunId, SessionId};
use kinlink_proto::key::{self, Identity, Secret};
use kinlink_proto::store::StoreError;
use kinlink_proto::time::{Mono, Now, Wall};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Writes after the session was made.
const WRITES: usize = 8;

struct Device {
    config: Config,
    rng: ChaCha20Rng,
    db: Db,
    engine: Engine,
    time: u64,
}

/// What was answered "done" before the disk stopped.
#[derive(Default)]
struct Acknowledged {
    session: Option<SessionId>,
    writes: usize,
}

impl Device {
    fn new(seed: u64, disk: CrashBackend) -> Result<Self, StoreError> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let config = Config {
            identity: Identity::random(&mut rng),
            store_key: Secret::random(&mut rng),
            run: RunId(key::random(&mut rng)),
            name: "device".to_owned(),
            platform: "test".to_owned(),
            devices: 10,
        };
        Self::load(config, rng, disk)
    }

    fn load(config: Config, mut rng: ChaCha20Rng, disk: CrashBackend) -> Result<Self, StoreError> {
        let db = Db::open_with(disk).map_err(|error| StoreError(error.to_string()))?;
        let mut txn = db.begin()?;
        let now = Now { wall: Wall(1), mono: Mono(1) };
        let engine = Engine::load(config.clone(), &mut Cx { now, entropy: &mut rng, store: &mut txn })
            .map_err(|error| StoreError(error.to_string()))?;
        txn.commit()?;
        Ok(Self { config, rng, db, engine, time: 1 })
    }

    /// One command, as the daemon does it: decide, commit, then look at the reply.
    fn command(&mut self, command: Command) -> Result<Reply, StoreError> {
        self.time += 1;
        let now = Now { wall: Wall(self.time), mono: Mono(self.time) };
        let caller = Caller { id: CallerId(1), kind: CallerKind::User };
        let mut txn = self.db.begin()?;
        let mut cx = Cx { now, entropy: &mut self.rng, store: &mut txn };
        self.engine.handle(&mut cx, Input::Command { id: CommandId(1), caller, command })?;
        self.engine.settle(&mut cx)?;
        txn.commit()?;
        let outputs = std::iter::from_fn(|| self.engine.poll());
        let replies = outputs.filter_map(|output| match output {
            Output::Reply { result, .. } => Some(result),
            _ => None,
        });
        let reply = replies.last().expect("every command is answered");
        reply.map_err(|error| StoreError(error.to_string()))
    }

    fn value(&mut self, session: SessionId, n: usize) -> Option<Vec<u8>> {
        match self.command(Command::Get { session, key: key_of(n) }) {
            Ok(Reply::Values(values, _)) => values[0].bytes.clone(),
            _ => None,
        }
    }
}

fn key_of(n: usize) -> Vec<u8> {
    // Few keys: most writes replace another.
    format!("key {}", n % 3).into_bytes()
}

fn value_of(n: usize) -> Vec<u8> {
    vec![u8::try_from(n).expect("few writes"); 600]
}

/// Makes a session and writes to it until something fails.
fn work(device: &mut Device, acknowledged: &mut Acknowledged) -> Result<(), StoreError> {
    let made = device.command(Command::CreateSession { app: "app".into(), title: "title".into(), expires: Wall(0) })?;
    let Reply::Created(session) = made else { panic!("not a session: {made:?}") };
    acknowledged.session = Some(session);
    for n in 0..WRITES {
        device.command(Command::Put { session, key: key_of(n), value: value_of(n), only_if: None })?;
        acknowledged.writes = n + 1;
    }
    Ok(())
}

/// What must be readable: the newest acknowledged value of each key, or the one whose commit was under way.
fn check(device: &mut Device, acknowledged: &Acknowledged, story: &str) {
    let Some(session) = acknowledged.session else { return };
    for key in 0..3 {
        let done = (0..acknowledged.writes).filter(|n| n % 3 == key).max();
        let pending = Some(acknowledged.writes).filter(|n| *n < WRITES && n % 3 == key);
        let value = device.value(session, key);
        let fits = |n: Option<usize>| value == n.map(value_of);
        assert!(
            fits(done) || (pending.is_some() && fits(pending)),
            "{story}: key {key} reads {:?}",
            value.map(|v| v[0])
        );
    }
    // The device goes on where it was: nothing is in the way of the next write.
    device
        .command(Command::Put { session, key: b"after".to_vec(), value: b"more".to_vec(), only_if: None })
        .expect(story);
    assert_eq!(device.command(Command::Get { session, key: b"after".to_vec() }).map(|_| ()), Ok(()), "{story}");
}

fn new_disk() -> CrashBackend {
    let disk = CrashBackend::new();
    drop(Db::open_with(disk.clone()).expect("a new store"));
    disk.after_crash(Loss::Nothing)
}

#[test]
fn what_was_acknowledged_survives_a_stop_at_every_barrier() {
    let disk = new_disk();
    let mut device = Device::new(1, disk.clone()).expect("a new device");
    let before = disk.syncs();
    work(&mut device, &mut Acknowledged::default()).expect("nothing fails yet");
    let barriers = disk.syncs() - before;
    assert!(barriers > WRITES as u64, "every write has its barrier");
    drop(device);
    let mut lost = 0;
    for stop in 1..=barriers {
        for loss in [Loss::Unsynced, Loss::Torn(stop), Loss::Nothing] {
            let story = format!("stopped at barrier {stop} of {barriers}, {loss:?}");
            let disk = new_disk();
            let mut device = Device::new(1, disk.clone()).expect("a new device");
            let (config, rng) = (device.config.clone(), device.rng.clone());
            disk.break_at(Break::Sync(disk.syncs() + stop));
            let mut acknowledged = Acknowledged::default();
            lost += usize::from(work(&mut device, &mut acknowledged).is_err());
            let left = disk.after_crash(loss);
            drop(device);
            let mut again = Device::load(config, rng, left).unwrap_or_else(|error| panic!("{story}: {error}"));
            check(&mut again, &acknowledged, &story);
        }
    }
    assert!(lost > 0, "the disk never stopped anything");
}

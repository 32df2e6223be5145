//! The one task that owns the state: facts in, one transaction for each batch of them, then effects.
//!
//! Nothing is answered, sent, cut or announced before the transaction that decided it is durable.

mod effects;
mod journal;
mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kinlink_proto::engine::command::{Caller, CallerKind, Command, CommandId, PairingId, Reply};
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use kinlink_proto::engine::io::{ConnId, Event, Input};
use kinlink_proto::engine::view::View;
use kinlink_proto::engine::{Cx, Engine};
use kinlink_proto::id::RunId;
use kinlink_proto::key;
use kinlink_proto::store::StoreError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, sleep_until};

pub use self::setup::Setup;
use self::setup::{bind, finish_wiping, load, remember_port, remembered_port, search};
use crate::clock::{entropy, now};
use crate::handle::{Job, KeyView};
use crate::keys::{KeyError, Wrap};
use crate::net::{Admission, Links, Net, NetEvent};

/// Facts taken into one transaction: enough for a group commit, few enough to answer soon.
const BATCH: usize = 256;
/// Network events waiting for the core; a full channel slows the peers down.
const NET_EVENTS: usize = 64;
/// Facts of a small batch, and bytes of what one of them brings: deciding takes about as long as waking another thread for it and
/// being woken when it is done.
const SMALL: usize = 4;
const SMALL_BYTES: usize = 16 * 1024;
/// What a small batch may take, the disk included, where the network and the bus wait for it. On a disk that is slower than this
/// the next one is decided on another thread.
const QUICK: Duration = Duration::from_millis(1);
/// The longest sleep: a deadline beyond it is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);

type Answer = oneshot::Sender<Result<Reply, CommandError>>;

/// Where the core's words go.
#[derive(Debug)]
pub struct Ends {
    /// Orders from the bus.
    pub jobs: mpsc::Receiver<Job>,
    /// Snapshots of devices and status.
    pub view: watch::Sender<Arc<View>>,
    /// What happened. The channel has room for thousands from the start: for what is small.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Tells of changes of the network.
    pub links: Links,
    /// Where the store key is.
    pub key: watch::Sender<KeyView>,
}

/// The state and what it acts through.
pub struct Core {
    setup: Setup,
    ends: Ends,
    engine: Engine,
    net: Net,
    admission: Admission,
    net_tx: mpsc::Sender<NetEvent>,
    net_rx: mpsc::Receiver<NetEvent>,
    waiting: BTreeMap<CommandId, Answer>,
    commands: u64,
    /// The command that a linking socket was just opened for.
    opening: Option<CommandId>,
    run: RunId,
    /// Whether the latest small batch took no longer than [`QUICK`].
    quick: bool,
}

/// What is left to do after the outputs of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Nothing,
    Reload,
    Reset,
    /// The keys are void and are to be replaced, which may take the disk and the keyring their time.
    Erase,
    /// The keys could not be replaced: no more is done with them.
    Stop,
}

impl Core {
    /// Opens the network and loads the engine. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be had or the store cannot be read.
    pub fn start(mut setup: Setup, ends: Ends) -> anyhow::Result<Self> {
        finish_wiping(&mut setup)?;
        let port = if setup.port == 0 { remembered_port(&setup.db)? } else { setup.port };
        let (net_tx, net_rx) = mpsc::channel(NET_EVENTS);
        let admission = Admission::new();
        let net = bind(&mut setup, port, &admission, &net_tx, &ends.links)?;
        search(&setup, &net);
        setup.port = net.port();
        let run = RunId(key::random(&mut entropy()));
        let engine = load(&setup, run)?;
        let mut core = Self {
            setup,
            ends,
            engine,
            net,
            admission,
            net_tx,
            net_rx,
            waiting: BTreeMap::new(),
            commands: 0,
            opening: None,
            run,
            quick: true,
        };
        remember_port(&mut core.setup)?;
        Ok(core)
    }

    /// Runs until `stop` is done, then closes the connections.
    ///
    /// # Errors
    /// If the store failed in a way that reopening does not mend.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let started = vec![Input::Port(self.net.port()), Input::Started];
        let mut core = Box::new(self).take(started).await?;
        loop {
            let wait = core.until_deadline();
            let first = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                // Orders come first: no peer may keep a revocation waiting by talking.
                Some(job) = core.ends.jobs.recv() => core.job_fact(job),
                Some(event) = core.net_rx.recv() => Some(net_fact(event)),
                () = sleep(wait) => Some(Input::Tick),
                () = until(core.setup.db.rest_due()) => None,
            };
            let mut batch: Vec<Input> = first.into_iter().collect();
            core.fill(&mut batch);
            // Whoever always has something for it does not keep it from what is due.
            if core.until_deadline().is_zero() && !matches!(batch[..], [Input::Tick, ..]) {
                batch.push(Input::Tick);
            }
            // A ping is no fact, and an empty transaction a write for nothing.
            if !batch.is_empty() {
                core = core.take(batch).await?;
            } else if core.setup.db.rest_due().is_some_and(|due| due <= Instant::now()) {
                core = core.rest().await?;
            }
        }
        core.net.shutdown().await;
        let (_, settled) = core.aside(|core| core.setup.db.settle()).await?;
        if let Err(error) = settled {
            tracing::warn!(%error, "the store was not settled; this is done later");
        }
        Ok(())
    }

    fn until_deadline(&self) -> Duration {
        let wait = self.engine.deadline().map(|due| Duration::from_millis(due.0.saturating_sub(now().mono.0)));
        wait.unwrap_or(LONGEST).min(LONGEST)
    }

    /// Takes what else is there already: concurrent writers share a commit. Orders and packets take turns, so that
    /// neither keeps the other out.
    fn fill(&mut self, batch: &mut Vec<Input>) {
        while batch.len() < BATCH {
            // A segment is megabytes: what follows it waits for the next batch.
            if matches!(batch.last(), Some(Input::Transfer { .. })) {
                return;
            }
            let (job, event) = (self.ends.jobs.try_recv().ok(), self.net_rx.try_recv().ok());
            if job.is_none() && event.is_none() {
                return;
            }
            batch.extend(job.and_then(|job| self.job_fact(job)));
            batch.extend(event.map(net_fact));
        }
    }

    fn job_fact(&mut self, job: Job) -> Option<Input> {
        match job {
            Job::CallerGone(caller) => Some(Input::CallerGone(caller)),
            Job::Ping(answer) => {
                reply(answer, ());
                None
            }
            Job::Unlock(_, answer) => {
                // It is open.
                reply(answer, Ok(()));
                None
            }
            Job::MoveKey(wrap, answer) => {
                reply(answer, self.move_key(wrap));
                None
            }
            Job::Command(caller, command, answer) => match self.prepare(&caller, command) {
                Ok(command) => Some(self.command_fact(caller, command, answer)),
                Err(error) => {
                    reply(answer, Err(error));
                    None
                }
            },
        }
    }

    /// A few small files, and no word of it to the engine: what it seals with stays the same.
    fn move_key(&mut self, wrap: Wrap) -> Result<(), KeyError> {
        let moved = self.setup.keys.rewrap(&self.setup.state_dir, wrap, &mut entropy());
        self.ends.key.send_replace(KeyView { place: self.setup.keys.place(), locked: None });
        moved
    }

    fn command_fact(&mut self, caller: Caller, command: Command, answer: Answer) -> Input {
        self.commands += 1;
        let id = CommandId(self.commands);
        if matches!(&command, Command::OpenPairing { addresses, .. } if !addresses.is_empty()) {
            self.opening = Some(id);
        }
        self.waiting.insert(id, answer);
        Input::Command { id, caller, command }
    }

    /// What the shell does before a command is decided, because the engine has to know what came of it.
    fn prepare(&mut self, caller: &Caller, command: Command) -> Result<Command, CommandError> {
        match command {
            // The engine refuses the others.
            Command::SetPort(port) if caller.kind == CallerKind::User => self.change_port(port)?,
            Command::OpenPairing { .. } => return self.prepare_pairing(command),
            _ => {}
        }
        Ok(command)
    }

    /// Moves to another port, and remembers it: the new one is had, noted, and only then used.
    fn change_port(&mut self, port: u16) -> Result<(), CommandError> {
        if port == self.net.port() {
            return Ok(());
        }
        let refused = |error: &dyn std::fmt::Display| CommandError::new(ErrorKind::PortUnavailable, error.to_string());
        let reserved = self.net.reserve(port).map_err(|error| refused(&error))?;
        let before = std::mem::replace(&mut self.setup.port, port);
        if let Err(error) = remember_port(&mut self.setup) {
            self.setup.port = before;
            return Err(CommandError::new(ErrorKind::Storage, format!("the port cannot be remembered: {error:#}")));
        }
        self.net.move_to(reserved).map_err(|error| refused(&error))
    }

    /// Opens the linking socket for a challenge that is about to be shown: the challenge names its addresses.
    fn prepare_pairing(&mut self, command: Command) -> Result<Command, CommandError> {
        let Command::OpenPairing { timeout, anywhere, label, name, .. } = command else { return Ok(command) };
        // The engine refuses a second challenge; the socket of the first one stays.
        let addresses = if self.engine.view().status.pairing_open || self.opening.is_some() {
            Vec::new()
        } else {
            self.net.open_linking(anywhere).map_err(|error| {
                CommandError::new(ErrorKind::Unreachable, format!("no socket for linking can be opened: {error}"))
            })?
        };
        Ok(Command::OpenPairing { timeout, anywhere, label, name, addresses })
    }

    /// One batch: decide, commit, act.
    async fn take(mut self: Box<Self>, batch: Vec<Input>) -> anyhow::Result<Box<Self>> {
        let small = is_small(&batch);
        if small && self.quick {
            let decided = self.timed(batch);
            return self.go_on(decided).await;
        }
        let decide = move |core: &mut Self| if small { core.timed(batch) } else { core.decide(batch) };
        let (core, decided) = self.aside(decide).await?;
        core.go_on(decided).await
    }

    /// Nothing was written for a while.
    async fn rest(self: Box<Self>) -> anyhow::Result<Box<Self>> {
        let (core, done) = self.aside(|core| core.setup.db.rest()).await?;
        core.go_on(done.map_err(StoreError::from)).await
    }

    /// What follows a commit.
    async fn go_on(self: Box<Self>, committed: Result<(), StoreError>) -> anyhow::Result<Box<Self>> {
        let mut core = self;
        let mut after = match committed {
            Ok(()) => core.act(),
            Err(error) => core.lost(&error)?,
        };
        while after != After::Nothing {
            match after {
                After::Reset => core.reset().await?,
                After::Erase => {
                    (core, after) = core.aside(Self::erase_keys).await?;
                    continue;
                }
                After::Stop => anyhow::bail!(
                    "the keys of this device are void and could not be erased; check the disk and start again"
                ),
                _ => core.engine = load(&core.setup, core.run)?,
            }
            let batch = vec![Input::Port(core.net.port()), Input::Started];
            let (loaded, decided) = core.aside(|core| core.decide(batch)).await?;
            decided.context("the store failed while it was being loaded")?;
            core = loaded;
            after = core.act();
        }
        Ok(core)
    }

    /// Does what takes long on another thread, while the network and the bus go on.
    async fn aside<T: Send + 'static>(
        mut self: Box<Self>,
        work: impl FnOnce(&mut Self) -> T + Send + 'static,
    ) -> anyhow::Result<(Box<Self>, T)> {
        let work = move || {
            let done = work(&mut self);
            (self, done)
        };
        spawn_blocking(work).await.context("the state is lost")
    }

    /// Decides a small batch, and notes how long that took.
    fn timed(&mut self, batch: Vec<Input>) -> Result<(), StoreError> {
        let begun = Instant::now();
        let decided = self.decide(batch);
        self.quick = begun.elapsed() <= QUICK;
        decided
    }

    fn decide(&mut self, batch: Vec<Input>) -> Result<(), StoreError> {
        let mut txn = self.setup.db.begin()?;
        let mut rng = entropy();
        let mut cx = Cx { now: now(), entropy: &mut rng, store: &mut txn };
        for input in batch {
            self.engine.handle(&mut cx, input)?;
        }
        self.engine.settle(&mut cx)?;
        txn.commit()?;
        Ok(())
    }

    /// The transaction is lost, or its fate is not known: reopen, look, and say so to whoever waits.
    fn lost(&mut self, error: &StoreError) -> anyhow::Result<After> {
        tracing::error!(%error, "the store failed; opening it again");
        for (_, answer) in std::mem::take(&mut self.waiting) {
            let message = format!("{error}; whether it was done is not known, look before you repeat it");
            reply(answer, Err(CommandError::new(ErrorKind::Storage, message)));
        }
        self.setup.db.reopen().context("the store cannot be opened again")?;
        self.net.close_all();
        Ok(After::Reload)
    }
}

/// Until `due`; forever if nothing is.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Whether a batch is small. What it takes is the disk's, then, and not the processor's.
fn is_small(batch: &[Input]) -> bool {
    let short = |input: &Input| match input {
        Input::Received { frame, .. } => frame.body.len() <= SMALL_BYTES,
        Input::Command { command: Command::Put { value, .. }, .. } => value.len() <= SMALL_BYTES,
        input => !matches!(input, Input::Transfer { .. }),
    };
    batch.len() <= SMALL && batch.iter().all(short)
}

/// What the network tells, as a fact for the engine.
fn net_fact(event: NetEvent) -> Input {
    match event {
        NetEvent::Connected { conn, peer, dialled, address, exporter } => {
            Input::Connected { conn: ConnId(conn), peer, dialled, address, exporter }
        }
        NetEvent::LinkConnected { conn, peer, dialled, address, exporter } => {
            Input::LinkConnected { conn: ConnId(conn), peer, dialled: dialled.map(PairingId), address, exporter }
        }
        NetEvent::Received { conn, frame } => Input::Received { conn: ConnId(conn), frame },
        NetEvent::Transfer { conn, stream, frame, prepared, room: _ } => {
            Input::Transfer { conn: ConnId(conn), stream, frame, prepared }
        }
        NetEvent::Disconnected { conn, code } => Input::Disconnected { conn: ConnId(conn), code },
        NetEvent::DialFailed { device, reason } => Input::DialFailed { device, reason },
        NetEvent::Silent { conn } => Input::Silent { conn: ConnId(conn) },
        NetEvent::Changed => Input::NetworkChanged,
        NetEvent::LinkDialFailed { pairing, code, reason } => {
            Input::LinkDialFailed { pairing: PairingId(pairing), code, reason }
        }
        NetEvent::Heard { device, addresses } => Input::Heard { device, addresses },
        NetEvent::Addresses(addresses) => Input::Addresses(addresses),
    }
}

/// A client that did not wait for its answer is not an error.
fn reply<T>(answer: oneshot::Sender<T>, result: T) {
    if answer.send(result).is_err() {
        tracing::debug!("a client left before its answer");
    }
}

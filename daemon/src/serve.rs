//! The whole program: from arguments to a clean stop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use kinlink_proto::engine::view::View;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc, watch};

use crate::bus::{Bus, BusOptions, Private, SessionBus};
use crate::callers::Callers;
use crate::core::{Core, Ends, Setup};
use crate::door::{self, Door};
use crate::handed::Handed;
use crate::handle::{self, Facts, Vault};
use crate::keys::{KeyError, Keyring, Keys, Means, Passphrase, SecretService};
use crate::net::Links;
use crate::paths::{self, Env, StateLock};
use crate::store::Db;
use crate::{harden, log, platform, sleep};

/// Orders that wait for the core; callers behind them wait too.
const JOBS: usize = 1024;
/// Events that a slow listener may lag behind; one that lags more is told that it missed some.
const EVENTS: usize = 4096;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where keys and store are.
    pub state_dir: Option<PathBuf>,
    /// Where the private socket is.
    pub runtime_dir: Option<PathBuf>,
    /// The UDP port; 0 for that of the last run.
    pub port: u16,
    /// Whether to serve the session bus.
    pub session_bus: bool,
    /// Whether to find other devices on the local network, and be found there.
    pub discovery: bool,
    /// Where the helper listens that tells callers apart; without one, this process looks itself.
    pub callers: Option<PathBuf>,
    /// The most devices that this one links.
    pub devices: usize,
    /// This device's first name.
    pub name: Option<String>,
    /// A file with the passphrase of the store key.
    pub passphrase_file: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps the daemon from starting, in words that say what to do; or that the store failed for good.
pub fn run(options: Options) -> anyhow::Result<()> {
    harden::harden()?;
    let handed = Handed::take()?;
    log::start()?;
    let means = means(&options)?;
    let env = Env { state_flag: options.state_dir, runtime_flag: options.runtime_dir, ..Env::of_process() };
    let (state_dir, runtime_dir) = (env.state_dir()?, env.runtime_dir()?);
    paths::make_private(&state_dir)?;
    paths::make_private(&runtime_dir)?;
    // Held until the end: a second daemon for the same state refuses to start.
    let _lock = StateLock::take(&state_dir)?;
    let door = Door { state_dir: state_dir.clone(), means };
    let keys = door.open()?;
    let db = Db::open(state_dir.join(paths::STORE))?;
    let setup = move |keys| Setup {
        state_dir,
        keys,
        db,
        name: options.name.unwrap_or_else(platform::host_name),
        platform: platform::platform(),
        port: options.port,
        discovery: options.discovery,
        devices: options.devices,
        socket: handed.sync,
    };
    let session = if options.session_bus { SessionBus::Default } else { SessionBus::No };
    let private = handed.bus.map_or_else(|| Private::Path(runtime_dir.join(paths::BUS)), Private::Listener);
    let bus = BusOptions { private, session };
    let callers = options.callers.map_or(Callers::Own, Callers::Helper);
    // One thread does all but what takes long: a request then passes from the bus to the core, the disk and the network and back
    // without waiting for another thread to wake up.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(Start { keys, door, setup, bus, callers }))
}

/// What there is to open the store key with.
fn means(options: &Options) -> anyhow::Result<Means> {
    let read = |path: &Path| File::open(path).and_then(Passphrase::read).with_context(|| path.display().to_string());
    Ok(Means {
        passphrase: options.passphrase_file.as_deref().map(read).transpose()?,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        keyring: options.session_bus.then(|| Arc::new(SecretService) as Arc<dyn Keyring>),
    })
}

/// What the daemon is started with, but for its keys, which may be locked.
struct Start<S> {
    keys: Result<Keys, KeyError>,
    door: Door,
    setup: S,
    bus: BusOptions,
    callers: Callers,
}

async fn serve<S: FnOnce(Keys) -> Setup>(start: Start<S>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (job_tx, mut jobs) = mpsc::channel(JOBS);
    let (view, view_rx) = watch::channel(Arc::new(View::default()));
    let (events, _) = broadcast::channel(EVENTS);
    let (key, key_rx) = watch::channel(door::view(&start.keys));
    let (stop_tx, stop) = watch::channel(false);
    let facts = Facts { version: env!("CARGO_PKG_VERSION").to_owned() };
    let vault = Vault { view: key_rx, means: start.door.means.clone() };
    let orders = handle::Core::new(job_tx, view_rx.clone(), events.clone(), facts, vault);
    let mut buses = Buses { orders: orders.clone(), options: Some((start.bus, start.callers)), bus: None };
    let keys = match start.keys {
        Ok(keys) => keys,
        // It is served what it can tell: that it is locked, and where.
        Err(_) => {
            buses.open().await?;
            let unlocked = tokio::select! {
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
                keys = start.door.wait(&mut jobs, &key) => Some(keys?),
                () = watchdog(&orders) => None,
            };
            let Some(keys) = unlocked else { return buses.close().await };
            keys
        }
    };
    let links = Links::watch();
    tokio::spawn(sleep::watch(links.clone()));
    let core = Core::start((start.setup)(keys), Ends { jobs, view, events, links, key })?;
    let mut first_view = view_rx;
    let mut core = tokio::spawn(core.run(stop));
    // The first snapshot says who this device is: nobody is served before.
    first_view.changed().await.context("the core stopped before it was ready")?;
    buses.open().await?;
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = &mut core => Some(ended),
        () = watchdog(&orders) => None,
    };
    buses.close().await?;
    stop_tx.send_replace(true);
    match ended {
        Some(ended) => ended.context("the core failed")?,
        None => core.await.context("the core failed")?,
    }
}

/// The D-Bus service: opened once, by whoever comes first to something that can be told.
struct Buses {
    orders: handle::Core,
    options: Option<(BusOptions, Callers)>,
    bus: Option<Bus>,
}

impl Buses {
    async fn open(&mut self) -> anyhow::Result<()> {
        if let Some((options, callers)) = self.options.take() {
            self.bus = Some(Bus::serve(self.orders.clone(), options, callers).await?);
            tell_manager(NotifyState::Ready);
        }
        let locked = self.orders.key().borrow().locked.clone();
        tell_manager(NotifyState::Status(locked.as_deref().unwrap_or("Running")));
        match locked {
            Some(why) => tracing::warn!("locked: {why}"),
            None => tracing::info!("ready"),
        }
        Ok(())
    }

    async fn close(self) -> anyhow::Result<()> {
        tell_manager(NotifyState::Stopping);
        if let Some(bus) = self.bus {
            bus.shutdown().await;
        }
        Ok(())
    }
}

/// Feeds systemd's watchdog, if it watches, as long as the core answers. Never returns.
async fn watchdog(core: &handle::Core) {
    let Some(within) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut every = tokio::time::interval(within / 2);
    loop {
        every.tick().await;
        if core.answers().await {
            tell_manager(NotifyState::Watchdog);
        }
    }
}

/// Without a service manager this does nothing.
fn tell_manager(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

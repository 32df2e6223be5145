//! What is measured. One file for each kind of work.

mod differ;
mod disk;
mod group;
mod growth;
mod idle;
mod linking;
mod list;
mod mesh;
mod revoke;
mod soak;
mod sync;
mod write;

use std::time::{Duration, Instant};

use kinlink_tests::harness::Host;

use crate::client::Client;
use crate::report::Figure;

type Measure = fn(Scale) -> anyhow::Result<Vec<Figure>>;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Entries of the large scenarios.
    pub(crate) entries: u64,
    /// How long a daemon with nothing to do is watched.
    pub(crate) watched: Duration,
    /// How often a device is linked that takes in all entries.
    pub(crate) syncs: u64,
    /// How many devices are revoked.
    pub(crate) revocations: u64,
}

/// Every row by name.
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("first-sync", sync::first),
    ("bulk", sync::bulk),
    ("differ", differ::converging),
    ("link", linking::machines),
    ("revoke", revoke::until_out),
    ("write", write::until_shown),
    ("mesh", mesh::until_all_show),
    ("writers", write::at_once),
    ("list", list::typed),
    ("disk", disk::bytes),
    ("idle", idle::linked),
    ("growth", growth::all),
];

/// What takes long, and is measured only if it is named.
pub(crate) const LONG: &[(&str, Measure)] = &[("stalls", soak::stalls), ("revocations", soak::revocations)];

/// How often a client looks whether something has come.
pub(crate) const LOOK: Duration = Duration::from_millis(2);

/// A device as it is run, and not as tests watch it: the log at its default.
fn host(name: &str) -> Host {
    let host = Host::stopped(name);
    start(&host);
    host
}

fn start(host: &Host) {
    let mut command = host.command();
    command.env_remove("KINLINK_LOG").args(["--devices", "30"]);
    host.start_with(command);
}

/// How many daemons run at once.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Starts a device's daemon and, from when it takes connections on, does what `then` says; with when that was.
async fn starting<T>(host: &Host, then: impl AsyncFnOnce(Client, Instant) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Handle::current();
    std::fs::remove_file(host.socket()).ok();
    // The harness looks whether it serves only now and then.
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| start(host));
            while std::os::unix::net::UnixStream::connect(host.socket()).is_err() {
                std::thread::sleep(Duration::from_micros(100));
            }
            let ready = Instant::now();
            runtime.block_on(async { then(Client::of(host).await?, ready).await })
        })
    })
}

/// MiB, of what the system says of a process under this name.
fn memory(pid: u32, name: &str) -> anyhow::Result<f64> {
    Ok(field(&std::fs::read_to_string(format!("/proc/{pid}/status"))?, name) / 1024.0)
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

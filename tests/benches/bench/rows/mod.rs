//! What is measured. One file for each kind of work.

mod disk;
mod idle;
mod sync;
mod write;

use std::time::Duration;

use kinlink_tests::harness::Host;

use crate::report::Figure;

type Measure = fn(u64) -> anyhow::Result<Vec<Figure>>;

/// Every row by name.
pub(crate) const ALL: &[(&str, Measure)] = &[
    ("first-sync", sync::first),
    ("bulk", sync::bulk),
    ("write", write::until_shown),
    ("writers", write::at_once),
    ("disk", disk::bytes),
    ("idle", idle::linked),
];

/// How often a client looks whether something has come.
const LOOK: Duration = Duration::from_millis(2);

/// A device as it is run, and not as tests watch it: the log at its default.
fn host(name: &str) -> Host {
    let host = Host::stopped(name);
    start(&host);
    host
}

fn start(host: &Host) {
    let mut command = host.command();
    command.env_remove("KINLINK_LOG");
    host.start_with(command);
}

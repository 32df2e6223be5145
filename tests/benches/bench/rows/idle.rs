//! A daemon that has nothing to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use super::sync::pair;
use super::{host, start};
use crate::client::Client;
use crate::report::Figure;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// Linked, with 10,000 entries.
#[tokio::main]
pub(super) async fn linked(entries: u64) -> anyhow::Result<Vec<Figure>> {
    let (a, b) = pair();
    let client = Client::of(&a).await?;
    let session = client.session().await?;
    client.fill(&session, 0, entries / 10, 1024, 32).await?;
    drop(client);
    b.stop();
    start(&b);
    b.meets("a");
    a.stop();
    start(&a);
    b.meets("a");
    let before = Usage::of(a.pid())?;
    tokio::time::sleep(WATCHED).await;
    let after = Usage::of(a.pid())?;
    let (wakeups, seconds) = after.since(&before);
    let minutes = WATCHED.as_secs_f64() / 60.0;
    let figure = |what: &str, unit, ours, goal| Figure { what: what.to_owned(), unit, ours, limit: None, goal };
    Ok(vec![
        figure("idle and linked: resident memory", "MiB", after.resident / 1024.0, 12.0),
        figure("idle and linked: wake-ups a minute", "", wakeups / minutes, 20.0),
        figure("idle and linked: share of one processor", "%", 100.0 * seconds / WATCHED.as_secs_f64(), 0.02),
        figure("start until ready, median of 20", "ms", ready()?, 30.0),
    ])
}

/// Milliseconds until a daemon with an empty store takes connections.
fn ready() -> anyhow::Result<f64> {
    let host = host("starts");
    let mut samples = Vec::new();
    for _ in 0..20 {
        host.stop();
        let mut command = host.command();
        command.env_remove("KINLINK_LOG");
        fs::remove_file(host.socket()).ok();
        let begun = Instant::now();
        let watch = std::thread::scope(|scope| {
            let socket = host.socket();
            let watch = scope.spawn(move || {
                while std::os::unix::net::UnixStream::connect(&socket).is_err() {
                    std::thread::sleep(Duration::from_micros(200));
                }
                begun.elapsed()
            });
            host.start_with(command);
            watch.join()
        });
        samples.push(watch.map_err(|_| anyhow::anyhow!("watching failed"))?.as_secs_f64() * 1e3);
    }
    Ok(crate::report::percentile(&mut samples, 50))
}

/// What the system says of a process.
struct Usage {
    /// KiB.
    resident: f64,
    /// Of each thread by its number: times that it went to sleep by itself, nanoseconds of processor time.
    threads: BTreeMap<OsString, [f64; 2]>,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let resident = field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:");
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let wakeups = field(&fs::read_to_string(task.path().join("status"))?, "voluntary_ctxt_switches:");
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds = schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
            threads.insert(task.file_name(), [wakeups, nanoseconds]);
        }
        Ok(Self { resident, threads })
    }

    /// Wake-ups, and seconds of processor time, since `before`. A thread that ended meanwhile takes its own along.
    fn since(&self, before: &Self) -> (f64, f64) {
        let sum = |at: usize| -> f64 {
            let old = |thread| before.threads.get(thread).map_or(0.0, |used| used[at]);
            self.threads.iter().map(|(thread, used)| used[at] - old(thread)).sum()
        };
        (sum(0), sum(1) / 1e9)
    }
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

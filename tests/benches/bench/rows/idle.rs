//! A daemon that has nothing to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use kinlink_tests::harness::{Host, Lan, link};

use super::{LOOK, Scale, field, host, memory, start};
use crate::client::{Client, key};
use crate::report::Figure;

/// Devices, the one that is watched among them.
const DEVICES: usize = 4;
/// What follows a start is over by then: reports of what there is, and the search of the network, which doubles its waits.
const SETTLED: Duration = Duration::from_secs(140);

/// Linked with three others, with 10,000 entries.
pub(super) fn linked(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    // In networks of their own they search for each other as they would, and nothing else is on the wire.
    let lan = Lan::possible().then(|| Lan::new(DEVICES));
    let device = |at: usize| {
        let name = format!("device {at}");
        let host = lan.as_ref().map_or_else(|| Host::stopped(&name), |lan| lan.stopped(at, &name));
        start(&host);
        host
    };
    let devices: Vec<Host> = (0..DEVICES).map(device).collect();
    let watched = &devices[0];
    for other in &devices[1..] {
        link(watched, other);
    }
    fill(&devices, scale.entries / 10)?;
    // What filling took is not what idling takes.
    for device in devices.iter().rev() {
        device.stop();
        start(device);
    }
    for other in &devices[1..] {
        watched.meets(other.name());
    }
    std::thread::sleep(SETTLED);
    let before = Usage::of(watched.pid())?;
    std::thread::sleep(scale.watched);
    let after = Usage::of(watched.pid())?;
    let (wakeups, seconds) = after.since(&before);
    let minutes = scale.watched.as_secs_f64() / 60.0;
    let figure = |what: &str, unit, ours, goal| {
        let what = format!("idle, linked with {} others: {what}", DEVICES - 1);
        Figure { what, unit, ours, goal: Some(goal), ..Figure::default() }
    };
    let mut figures = vec![
        figure("resident memory", "MiB", after.resident, 12.0),
        figure("wake-ups a minute", "", wakeups / minutes, 20.0),
        figure("share of one processor", "%", 100.0 * seconds / scale.watched.as_secs_f64(), 0.02),
    ];
    if lan.is_some() {
        figures.push(figure("bytes on the wire a minute", "", (after.wire - before.wire) / minutes, 4096.0));
    }
    figures.push(Figure { what: "start until ready, median of 20".to_owned(), ..figure("", "ms", ready()?, 30.0) });
    Ok(figures)
}

/// Writes entries on the first of them, and waits until the others have them.
#[tokio::main]
async fn fill(devices: &[Host], entries: u64) -> anyhow::Result<()> {
    let client = Client::of(&devices[0]).await?;
    let session = client.session().await?;
    client.fill(&session, 0, entries, 1024, 32).await?;
    for device in &devices[1..] {
        let reader = Client::of(device).await?;
        while !reader.has(&session, &key(entries - 1)).await {
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
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
    /// MiB.
    resident: f64,
    /// Bytes that its network's interface took in and gave out.
    wire: f64,
    /// Of each thread by its number: times that it went to sleep by itself, nanoseconds of processor time.
    threads: BTreeMap<OsString, [f64; 2]>,
}

impl Usage {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let resident = memory(pid, "VmRSS:")?;
        let wire = counted(&fs::read_to_string(format!("/proc/{pid}/net/dev"))?);
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let wakeups = field(&fs::read_to_string(task.path().join("status"))?, "voluntary_ctxt_switches:");
            let schedstat = fs::read_to_string(task.path().join("schedstat"))?;
            let nanoseconds = schedstat.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0);
            threads.insert(task.file_name(), [wakeups, nanoseconds]);
        }
        Ok(Self { resident, wire, threads })
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

/// Bytes in and out on `eth0`: the first and the ninth number of its line.
fn counted(text: &str) -> f64 {
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
    let numbers = line.unwrap_or_default().split_whitespace().step_by(8).take(2);
    numbers.filter_map(|number| number.parse::<f64>().ok()).sum()
}

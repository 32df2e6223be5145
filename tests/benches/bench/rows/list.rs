//! What a person waits for who types a command.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use kinlink_proto::dbus::{BUS_NAME, ROOT};
use kinlink_tests::harness::{Host, kinctl};

use super::group::Member;
use super::{Scale, host, linking, start};
use crate::client::Client;
use crate::report::{Figure, percentile};

const RUNS: usize = 50;
const DEVICES: usize = 30;
const SESSIONS: u64 = 1000;
/// Milliseconds of `busctl` on a quiet machine.
const QUIET: f64 = 5.2;

/// `kinctl` beside `busctl`, which makes the cheapest of all calls on the session bus.
#[tokio::main]
pub(super) async fn typed(_: Scale) -> anyhow::Result<Vec<Figure>> {
    let host = Host::stopped("lists").with_session_bus();
    start(&host);
    let client = Client::of(&host).await?;
    for number in 1..DEVICES {
        let other = Member::new(&format!("device {number}")).await?;
        linking::link(&client, &other.client).await?;
    }
    for _ in 0..SESSIONS {
        client.session().await?;
    }
    let bus = host.session_bus().context("no session bus")?;
    let call = || {
        let mut command = Command::new("busctl");
        let member = ["call", BUS_NAME, ROOT, "org.freedesktop.DBus.Peer", "Ping"];
        command.arg(format!("--address={bus}")).args(member);
        command
    };
    let socket = host.socket();
    let socket = socket.to_str().context("a path that is no text")?;
    let empty = tempfile::tempdir()?;
    let nowhere = empty.path().to_str().context("a path that is no text")?;
    let private: &[_] = &[("KINLINK_SOCKET", socket)];
    let public: &[_] = &[("XDG_RUNTIME_DIR", nowhere), ("DBUS_SESSION_BUS_ADDRESS", bus)];
    let (listed, over_bus) = (format!("list with {DEVICES} devices"), ", over the session bus");
    let rows = [
        ("list", private, listed.clone()),
        ("list", public, listed + over_bus),
        ("sessions", private, format!("sessions with {SESSIONS}")),
    ];
    rows.into_iter()
        .map(|(verb, vars, what)| {
            let run = || {
                let mut command = kinctl(vars);
                command.arg(verb);
                command
            };
            let (ours, limit) = beside(run, call)?;
            let what = format!("kinctl {what}, the whole process, median; limit: busctl");
            Ok(Figure {
                what,
                unit: "ms",
                ours,
                limit: Some(limit),
                quiet: Some(QUIET),
                goal: Some(1.0),
                ..Figure::default()
            })
        })
        .collect()
}

/// Milliseconds of `kinctl sessions`, the median.
#[tokio::main]
pub(super) async fn sessions(count: u64) -> anyhow::Result<f64> {
    let host = host("lists");
    let client = Client::of(&host).await?;
    for _ in 0..count {
        client.session().await?;
    }
    let socket = host.socket();
    let socket = socket.to_str().context("a path that is no text")?;
    let run = || {
        let mut command = kinctl(&[("KINLINK_SOCKET", socket)]);
        command.arg("sessions");
        milliseconds(command)
    };
    let mut samples = (0..RUNS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    Ok(percentile(&mut samples, 50))
}

/// Milliseconds of each, the medians. They take turns, so that both meet the same machine.
fn beside(ours: impl Fn() -> Command, other: impl Fn() -> Command) -> anyhow::Result<(f64, f64)> {
    let (mut samples, mut others) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        samples.push(milliseconds(ours())?);
        others.push(milliseconds(other())?);
    }
    Ok((percentile(&mut samples, 50), percentile(&mut others, 50)))
}

fn milliseconds(mut command: Command) -> anyhow::Result<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let status = command.status().with_context(|| format!("{:?} cannot be run", command.get_program()))?;
    anyhow::ensure!(status.success(), "{command:?} failed");
    Ok(1e3 * begun.elapsed().as_secs_f64())
}

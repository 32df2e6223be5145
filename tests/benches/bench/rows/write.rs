//! Writes: how soon the other device shows one, and how many a second are durable.

use std::time::Instant;

use super::sync::pair;
use super::{Scale, host};
use crate::client::{Client, key, value};
use crate::limit;
use crate::report::{Figure, percentile};

const WRITES: u64 = 500;
/// Milliseconds of the limit on a quiet machine: two commits and a call.
const QUIET: f64 = 0.74;

/// One write at a time, until a client on the other device gets the signal.
#[tokio::main]
pub(super) async fn until_shown(_: Scale) -> anyhow::Result<Vec<Figure>> {
    let (a, b) = pair();
    let (writer, reader) = (Client::of(&a).await?, Client::of(&b).await?);
    let mut signals = reader.signals().await?;
    let session = writer.session().await?;
    let (mut seconds, mut hops) = (Vec::new(), Vec::new());
    for number in 0..WRITES {
        let begun = Instant::now();
        reader.ping().await?;
        hops.push(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let wanted = key(number);
        let shown = async {
            signals.entry(&wanted).await?;
            anyhow::Ok(Instant::now())
        };
        let bytes = value(number, 1024);
        let (written, shown) = tokio::join!(writer.put(&session, &wanted, &bytes), shown);
        written?;
        seconds.push((shown? - begun).as_secs_f64());
    }
    let dir = tempfile::tempdir()?;
    let mut commits = limit::store::commits(dir.path(), WRITES, 1, 1064)?;
    // A call and its answer are two hops; loopback's half round trip is far below either.
    let least = 2.0 * percentile(&mut commits, 50) + percentile(&mut hops, 50);
    let figure = |what: &str, percent, goal| Figure {
        what: format!("a durable write until a client on another device is told, {what}"),
        unit: "ms",
        ours: 1e3 * percentile(&mut seconds.clone(), percent),
        limit: Some(1e3 * least),
        quiet: Some(QUIET),
        goal: Some(goal),
        ..Figure::default()
    };
    Ok(vec![figure("median", 50, 1.5), figure("99th percentile", 99, 3.0)])
}

/// 64 clients, each with a connection of its own.
#[tokio::main]
pub(super) async fn at_once(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    const CLIENTS: u64 = 64;
    let each = entries.div_ceil(5 * CLIENTS);
    let host = host("busy");
    let session = Client::of(&host).await?.session().await?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::of(&host).await?);
    }
    let begun = Instant::now();
    let writers = (0..).zip(clients).map(|(at, client): (u64, _)| {
        let session = session.clone();
        tokio::spawn(async move { client.fill(&session, at * each, (at + 1) * each, 1024, 1).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await??;
    }
    let ours = begun.elapsed().as_secs_f64() / (each * CLIENTS) as f64;
    let dir = tempfile::tempdir()?;
    let least: f64 = limit::store::commits(dir.path(), each, CLIENTS, 1064)?.iter().sum();
    let limit = least / (each * CLIENTS) as f64;
    let what = format!("a durable write by one of {CLIENTS} clients at once");
    Ok(vec![Figure {
        what,
        unit: "ms",
        ours: 1e3 * ours,
        limit: Some(1e3 * limit),
        goal: Some(4.0),
        ..Figure::default()
    }])
}

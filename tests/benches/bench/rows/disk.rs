//! What entries take on disk.

use std::time::{Duration, Instant};

use kinlink_tests::harness::Host;

use super::{LOOK, Scale, host, sync};
use crate::client::{Client, key};
use crate::limit;
use crate::report::Figure;

/// Of a key, a nonce, a tag and what names the operation.
const BESIDE_THE_VALUE: usize = 120;
/// How often each entry is replaced.
const TIMES: u64 = 10;
/// Nothing is left to drop when no store has changed for so long.
const STEADY: Duration = Duration::from_secs(5);

/// Bytes of the store for each entry of 1 KiB, once the daemon has stopped.
pub(super) fn bytes(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let few = entries / 10;
    let mut figures = vec![figure(format!("disk for each of {entries} entries of 1 KiB"), entries, written(entries)?)?];
    let [writer, other] = replaced(few)?;
    let what = format!("disk for each of {few} entries of 1 KiB that were replaced {TIMES} times");
    figures.push(figure(what.clone(), few, writer)?);
    figures.push(figure(format!("{what}, on another device"), few, other)?);
    Ok(figures)
}

fn figure(what: String, entries: u64, ours: u64) -> anyhow::Result<Figure> {
    let dir = tempfile::tempdir()?;
    let limit = limit::store::file_bytes(dir.path(), entries, 1024 + BESIDE_THE_VALUE)?;
    let each = |bytes: u64| bytes as f64 / entries as f64;
    Ok(Figure { what, unit: "B", ours: each(ours), limit: Some(each(limit)), goal: Some(1.15), ..Figure::default() })
}

/// Each is written once.
#[tokio::main]
async fn written(entries: u64) -> anyhow::Result<u64> {
    let host = host("full");
    let client = Client::of(&host).await?;
    let session = client.session().await?;
    client.fill(&session, 0, entries, 1024, 32).await?;
    drop(client);
    stopped(&host)
}

/// Each is replaced, and another device takes part in it.
#[tokio::main]
async fn replaced(entries: u64) -> anyhow::Result<[u64; 2]> {
    let (a, b) = tokio::task::block_in_place(sync::pair);
    let (writer, reader) = (Client::of(&a).await?, Client::of(&b).await?);
    let session = writer.session().await?;
    for time in 0..=TIMES {
        let entries = (0..entries).map(|number| (key(number), time * entries + number)).collect();
        writer.write(&session, entries, 1024, 32).await?;
    }
    writer.put(&session, "last", b"").await?;
    while !reader.has(&session, "last").await {
        tokio::time::sleep(LOOK).await;
    }
    let both = [&a, &b];
    let changed = || both.map(|host| std::fs::metadata(store(host)).and_then(|store| store.modified()).ok());
    let (mut before, mut since) = (changed(), Instant::now());
    while since.elapsed() < STEADY {
        tokio::time::sleep(LOOK).await;
        let now = changed();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    Ok([stopped(&a)?, stopped(&b)?])
}

fn stopped(host: &Host) -> anyhow::Result<u64> {
    host.stop();
    Ok(std::fs::metadata(store(host))?.len())
}

fn store(host: &Host) -> std::path::PathBuf {
    host.state().join("store")
}

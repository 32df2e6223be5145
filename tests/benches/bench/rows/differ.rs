//! A device that was away comes back: both hold the same, but for a few entries.

use std::time::Instant;

use kinlink_tests::harness::link;

use super::{LOOK, Scale, host, starting};
use crate::client::{Client, key};
use crate::limit;
use crate::report::{Figure, percentile};

const ROUNDS: u64 = 20;
/// Entries that differ.
const FEW: u64 = 10;
/// Milliseconds of the limit on a quiet machine: a handshake, a round trip with ten entries, and a commit.
const QUIET: f64 = 2.0;

/// Among many entries, and among a tenth as many: it is not to depend on that.
pub(super) fn converging(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (among_few, among_many) = (milliseconds(entries / 10, ROUNDS)?, milliseconds(entries, ROUNDS)?);
    let limit = 1e3 * percentile(&mut limit::exchange::differing(ROUNDS, FEW, 1024)?, 50);
    let figure = |among, ours| Figure {
        what: format!(
            "{FEW} of {among} entries differ: from being up until the device that was away shows them, median"
        ),
        unit: "ms",
        ours,
        limit: Some(limit),
        quiet: Some(QUIET),
        goal: Some(2.0),
        ..Figure::default()
    };
    let grown = Figure {
        what: format!("the same, beside a tenth of the {entries} entries"),
        limit: Some(among_few),
        quiet: None,
        goal: Some(1.25),
        ..figure(entries, among_many)
    };
    Ok(vec![figure(entries / 10, among_few), figure(entries, among_many), grown])
}

/// From the moment at which the device that was away takes connections, the median.
#[tokio::main]
pub(super) async fn milliseconds(entries: u64, rounds: u64) -> anyhow::Result<f64> {
    let (stays, leaves) = (host("stays"), host("leaves"));
    let writer = Client::of(&stays).await?;
    let session = writer.session().await?;
    writer.fill(&session, 0, entries, 1024, 32).await?;
    link(&stays, &leaves);
    let reader = Client::of(&leaves).await?;
    while !reader.has(&session, &key(entries - 1)).await {
        tokio::time::sleep(LOOK).await;
    }
    drop(reader);
    let mut samples = Vec::new();
    for round in 0..rounds {
        let new = entries + round * FEW;
        leaves.stop();
        writer.fill(&session, new, new + FEW, 1024, 1).await?;
        let shown = starting(&leaves, async |reader, ready: Instant| {
            for number in new..new + FEW {
                while !reader.has(&session, &key(number)).await {
                    tokio::task::yield_now().await;
                }
            }
            Ok(ready.elapsed())
        });
        samples.push(1e3 * shown.await?.as_secs_f64());
    }
    Ok(percentile(&mut samples, 50))
}

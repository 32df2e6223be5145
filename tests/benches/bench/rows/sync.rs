//! A device that was just linked takes in all there is.

use std::time::{Duration, Instant};

use kinlink_tests::harness::{Host, Linking, link};

use super::{LOOK, Scale, host, memory};
use crate::client::{Client, key};
use crate::limit;
use crate::report::Figure;

/// Seconds of the limit on a quiet machine, for each entry.
const QUIET: f64 = 0.86e-5;

/// From so many entries on, the goal allows more.
const MANY: u64 = 1_000_000;

/// Many small entries, and what taking in a tenth of them needs in memory beside taking in all.
pub(super) fn first(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (few, all) = (to_a_fresh_device(entries / 10, 1024)?, to_a_fresh_device(entries, 1024)?);
    let limit = limit::sync::seconds(entries, 1024)?;
    let what = format!("{entries} entries of 1 KiB to a device just linked, checked, durable, readable");
    let time = Figure {
        what,
        unit: "s",
        ours: all.seconds,
        limit: Some(limit),
        quiet: Some(QUIET * entries as f64),
        goal: Some(if entries < MANY { 1.5 } else { 1.7 }),
        ..Figure::default()
    };
    let what = "the most memory that the device had at that, beside a tenth of the entries".to_owned();
    let memory =
        Figure { what, unit: "MiB", ours: all.peak, limit: Some(few.peak), goal: Some(1.25), ..Figure::default() };
    Ok(vec![time, memory])
}

/// Few large ones.
pub(super) fn bulk(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (count, size) = (entries / 6, 64 << 10);
    let (ours, limit) = (to_a_fresh_device(count, size)?.seconds, limit::sync::seconds(count, size)?);
    let what = format!("{count} entries of 64 KiB to a device just linked");
    Ok(vec![Figure { what, unit: "s", ours, limit: Some(limit), goal: Some(1.0 / 0.7), ..Figure::default() }])
}

/// What taking in everything took.
pub(super) struct Took {
    /// From the typed code until the last entry can be read on the new device.
    pub(super) seconds: f64,
    /// MiB of the new device's memory at its largest.
    pub(super) peak: f64,
}

/// How long nothing may come before a sync counts as stalled.
const STALLED: Duration = Duration::from_secs(60);

/// Fails if it stalls.
#[tokio::main]
pub(super) async fn to_a_fresh_device(entries: u64, size: usize) -> anyhow::Result<Took> {
    let (old, new) = (host("old"), host("new"));
    let writer = Client::of(&old).await?;
    let session = writer.session().await?;
    writer.fill(&session, 0, entries, size, 32).await?;
    let mut linking = Linking::start(&old, &new);
    let code = linking.code();
    let reader = Client::of(&new).await?;
    let begun = Instant::now();
    linking.show.type_line(&code);
    let (mut received, mut since) = (0, begun);
    while !reader.has(&session, &key(entries - 1)).await {
        if since.elapsed() > STALLED {
            let now = reader.received().await?;
            anyhow::ensure!(now != received, "{received} of {entries} changes came, and no more for {STALLED:?}");
            (received, since) = (now, Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    for number in (0..entries).step_by(997) {
        anyhow::ensure!(reader.has(&session, &key(number)).await, "entry {number} is missing");
    }
    Ok(Took { seconds, peak: memory(new.pid(), "VmHWM:")? })
}

/// Two linked devices.
pub(super) fn pair() -> (Host, Host) {
    let (a, b) = (host("a"), host("b"));
    link(&a, &b);
    (a, b)
}

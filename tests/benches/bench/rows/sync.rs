//! A device that was just linked takes in all there is.

use std::time::Instant;

use kinlink_tests::harness::{Host, Linking, link};

use super::{LOOK, Scale, host};
use crate::client::{Client, key};
use crate::limit;
use crate::report::Figure;

/// Seconds of the limit on a quiet machine, for each entry.
const QUIET: f64 = 0.86e-5;

/// Many small entries.
pub(super) fn first(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (ours, limit) = (to_a_fresh_device(entries, 1024)?, limit::sync::seconds(entries, 1024)?);
    let what = format!("{entries} entries of 1 KiB to a device just linked, checked, durable, readable");
    Ok(vec![Figure {
        what,
        unit: "s",
        ours,
        limit: Some(limit),
        quiet: Some(QUIET * entries as f64),
        goal: Some(1.5),
        ..Figure::default()
    }])
}

/// Few large ones.
pub(super) fn bulk(Scale { entries, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (count, size) = (entries / 6, 64 << 10);
    let (ours, limit) = (to_a_fresh_device(count, size)?, limit::sync::seconds(count, size)?);
    let what = format!("{count} entries of 64 KiB to a device just linked");
    Ok(vec![Figure { what, unit: "s", ours, limit: Some(limit), goal: Some(1.0 / 0.7), ..Figure::default() }])
}

/// Seconds from the typed code until the last entry can be read on the new device.
#[tokio::main]
pub(super) async fn to_a_fresh_device(entries: u64, size: usize) -> anyhow::Result<f64> {
    let (old, new) = (host("old"), host("new"));
    let writer = Client::of(&old).await?;
    let session = writer.session().await?;
    writer.fill(&session, 0, entries, size, 32).await?;
    let mut linking = Linking::start(&old, &new);
    let code = linking.code();
    let reader = Client::of(&new).await?;
    let begun = Instant::now();
    linking.show.type_line(&code);
    while !reader.has(&session, &key(entries - 1)).await {
        tokio::time::sleep(LOOK).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    for number in (0..entries).step_by(997) {
        anyhow::ensure!(reader.has(&session, &key(number)).await, "entry {number} is missing");
    }
    Ok(seconds)
}

/// Two linked devices.
pub(super) fn pair() -> (Host, Host) {
    let (a, b) = (host("a"), host("b"));
    link(&a, &b);
    (a, b)
}

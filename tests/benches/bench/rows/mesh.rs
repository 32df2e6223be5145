//! One write among many devices, each connected to each.

use std::time::Instant;

use futures_util::future::try_join_all;

use super::{Scale, group, processors};
use crate::client::{key, value};
use crate::limit;
use crate::report::{Figure, percentile};

const DEVICES: usize = 10;
const WRITES: u64 = 50;

/// Until the last of all others has told a client.
#[tokio::main]
pub(super) async fn until_all_show(_: Scale) -> anyhow::Result<Vec<Figure>> {
    let ours = 1e3 * percentile(&mut seconds(DEVICES, 1024, 1).await?, 50);
    let dir = tempfile::tempdir()?;
    let commit = percentile(&mut limit::store::commits(dir.path(), WRITES, 1, 1064)?, 50);
    let slowest = percentile(&mut limit::store::slowest(dir.path(), WRITES, DEVICES - 1, 1064)?, 50);
    let trip = percentile(&mut limit::exchange::round_trips()?, 50) / 2.0;
    let what = format!(
        "a durable write until all of {DEVICES} devices in a full mesh tell a client, {DEVICES} daemons on {} \
         processors, median",
        processors()
    );
    Ok(vec![Figure {
        what,
        unit: "ms",
        ours,
        limit: Some(1e3 * (commit + slowest + trip)),
        goal: Some(2.0),
        ..Figure::default()
    }])
}

/// Of each write of so many bytes, by the first of so many devices, to one of so many sessions after another.
pub(super) async fn seconds(devices: usize, size: usize, sessions: u64) -> anyhow::Result<Vec<f64>> {
    let members = group::of(devices).await?;
    let (writer, readers) = (&members[0].client, &members[1..]);
    let mut signals = try_join_all(readers.iter().map(|reader| reader.client.signals())).await?;
    let mut paths = Vec::new();
    for _ in 0..sessions {
        paths.push(writer.session().await?);
    }
    // What there was before is over there when this is.
    if let Some(last) = paths.last() {
        let shown = try_join_all(signals.iter_mut().map(|signals| signals.entry("first")));
        tokio::try_join!(writer.put(last, "first", b""), shown)?;
    }
    let mut samples = Vec::new();
    for (number, session) in (0..WRITES).zip(paths.iter().cycle()) {
        let (key, value) = (key(number), value(number, size));
        let begun = Instant::now();
        let shown = async {
            try_join_all(signals.iter_mut().map(|signals| signals.entry(&key))).await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let ((), shown) = tokio::try_join!(writer.put(session, &key, &value), shown)?;
        samples.push(shown);
    }
    Ok(samples)
}

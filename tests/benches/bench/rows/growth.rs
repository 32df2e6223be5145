//! How costs grow with what there is: points of curves, which `docs/plot` draws.

use super::{Scale, differ, list, mesh, sync};
use crate::report::{Figure, percentile};

/// Times that a device comes back, for a point.
const RETURNS: u64 = 5;
/// Entries of the curves over the size of values.
const FEW: u64 = 1000;

/// Every curve, one thing growing in each.
pub(super) fn all(scale: Scale) -> anyhow::Result<Vec<Figure>> {
    let mut points = Vec::new();
    for entries in [scale.entries / 100, scale.entries / 10, scale.entries] {
        let at = ("entries", entries);
        points.push(point(
            "first sync to a device just linked",
            1e3 * sync::to_a_fresh_device(entries, 1024)?.seconds,
            at,
        ));
        points.push(point("ten entries after an absence", differ::milliseconds(entries, RETURNS)?, at));
    }
    for size in [64_u16, 1024, 16 << 10] {
        let at = ("bytes of a value", size.into());
        let first = sync::to_a_fresh_device(FEW, size.into())?.seconds;
        points.push(point("first sync of 1000 entries", 1e3 * first, at));
        points.push(point("a write until it is shown", write(2, size.into(), 1)?, at));
    }
    for sessions in [1, 10, 100, 1000] {
        let at = ("sessions", sessions);
        points.push(point("kinctl sessions", list::sessions(sessions)?, at));
        points.push(point("a write until it is shown", write(2, 1024, sessions)?, at));
    }
    for devices in [2_u8, 4, 8, 16] {
        points.push(point("a write until all show it", write(devices.into(), 1024, 1)?, ("devices", devices.into())));
    }
    Ok(points)
}

fn point(what: &str, milliseconds: f64, (by, at): (&'static str, u64)) -> Figure {
    let what = what.to_owned();
    Figure { what, unit: "ms", ours: milliseconds, at: Some((by, at)), ..Figure::default() }
}

/// Milliseconds until all others show a write, the median.
#[tokio::main]
async fn write(devices: usize, size: usize, sessions: u64) -> anyhow::Result<f64> {
    Ok(1e3 * percentile(&mut mesh::seconds(devices, size, sessions).await?, 50))
}

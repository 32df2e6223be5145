//! Revoking a device that is connected.

use std::time::Instant;

use futures_util::future::try_join_all;

use super::group::{self, Member};
use super::{Scale, linking, processors};
use crate::limit;
use crate::report::{Figure, percentile};

/// Devices that are revoked, one after another.
const ROUNDS: u64 = 20;
/// Devices that have to apply it, beside the one that revokes.
const OTHERS: usize = 10;
/// What the goal allows for closing connections.
const TO_CUT: f64 = 1e-3;
/// Milliseconds of the limit on a quiet machine, this included.
const QUIET: f64 = 1.5;
/// Bytes of a revocation in the store, and of the epoch that follows it.
const STATEMENT: usize = 1600;

/// By one of two devices, and by one of twelve.
#[tokio::main]
pub(super) async fn until_out(_: Scale) -> anyhow::Result<Vec<Figure>> {
    let (mut cut, _) = revoke(&group::of(1).await?).await?;
    let (_, mut applied) = revoke(&group::of(1 + OTHERS).await?).await?;
    let dir = tempfile::tempdir()?;
    let commit = percentile(&mut limit::store::commits(dir.path(), 10 * ROUNDS, 1, STATEMENT)?, 50);
    let slowest = percentile(&mut limit::store::slowest(dir.path(), 10 * ROUNDS, OTHERS, STATEMENT)?, 50);
    let least = commit + percentile(&mut limit::exchange::round_trips()?, 50) / 2.0 + TO_CUT;
    let figure = |what: String, samples: &mut [f64], least: f64, quiet| Figure {
        what: format!("revoked until {what}, median"),
        unit: "ms",
        ours: 1e3 * percentile(samples, 50),
        limit: Some(1e3 * least),
        quiet,
        goal: Some(1.0),
        ..Figure::default()
    };
    let all = format!("{OTHERS} others have applied it, {} daemons on {} processors", OTHERS + 2, processors());
    Ok(vec![
        figure("the device itself says that it is out".to_owned(), &mut cut, least, Some(QUIET)),
        figure(all, &mut applied, least + slowest, None),
    ])
}

/// Has the first of them link and revoke one device after another; seconds until that says so, and until all others have
/// applied it.
async fn revoke(members: &[Member]) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut cut, mut applied) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let target = Member::new("target").await?;
        linking::link(&members[0].client, &target.client).await?;
        group::all_meet(members, &target).await?;
        let mut told = target.client.signals().await?;
        let mut signals = try_join_all(members[1..].iter().map(|member| member.client.signals())).await?;
        let begun = Instant::now();
        let out = async {
            told.property(kinlink_proto::dbus::ROOT, "State", "revoked").await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let all = async {
            try_join_all(signals.iter_mut().map(|signals| signals.property(&target.path, "Status", "revoked"))).await?;
            anyhow::Ok(begun.elapsed().as_secs_f64())
        };
        let ((), out, all) = tokio::try_join!(members[0].client.revoke(&target.path), out, all)?;
        cut.push(out);
        applied.push(all);
    }
    Ok((cut, applied))
}

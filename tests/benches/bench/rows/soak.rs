//! The same work again and again: whether it ever fails.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::group::{self, Member};
use super::{Scale, linking, sync};
use crate::report::{Figure, percentile};

/// Devices that are revoked in one account, before the next account: what a person may reach in years.
const PER_ACCOUNT: u64 = 50;
/// Devices that have to hear of it, beside the one that revokes.
const OTHERS: usize = 2;
/// When a revocation that has not arrived counts as lost.
const LOST: Duration = Duration::from_secs(30);

/// First syncs, one after another.
pub(super) fn stalls(Scale { entries, syncs, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let (mut stalled, mut seconds) = (0, Vec::new());
    for run in 1..=syncs {
        match sync::to_a_fresh_device(entries, 1024) {
            Ok(took) => seconds.push(took.seconds),
            Err(failed) => {
                eprintln!("run {run}: {failed:#}");
                stalled += 1;
            }
        }
    }
    let what = format!("{syncs} first syncs of {entries} entries: stalled");
    let count = Figure { what, ours: f64::from(stalled), goal: Some(0.0), ..Figure::default() };
    if seconds.is_empty() {
        return Ok(vec![count]);
    }
    let time = |what: &str, percent| Figure {
        what: format!("of these, {what}"),
        unit: "s",
        ours: percentile(&mut seconds.clone(), percent),
        ..Figure::default()
    };
    Ok(vec![count, time("the median", 50), time("the longest", 100)])
}

/// Devices linked and revoked, one after another.
#[tokio::main]
pub(super) async fn revocations(Scale { revocations, .. }: Scale) -> anyhow::Result<Vec<Figure>> {
    let mut lost = 0;
    let mut left = revocations;
    while left > 0 {
        let rounds = left.min(PER_ACCOUNT);
        lost += account(rounds).await?;
        left -= rounds;
    }
    let what = format!("{revocations} devices revoked by one of {}: not heard of by all", 1 + OTHERS);
    Ok(vec![Figure { what, ours: f64::from(lost), goal: Some(0.0), ..Figure::default() }])
}

/// How many revocations did not reach everybody.
async fn account(rounds: u64) -> anyhow::Result<u32> {
    let members = group::of(1 + OTHERS).await?;
    let mut lost = 0;
    for round in 0..rounds {
        let target = Member::new("target").await?;
        linking::link(&members[0].client, &target.client).await?;
        // Not waited for until all have met: it also has to reach those that are still shaking hands.
        members[0].client.revoke(&target.path).await?;
        let others = join_all(members[1..].iter().map(|member| member.client.sees_out(&target.path)));
        let heard = async { tokio::join!(target.client.is_out(), others) };
        if timeout(LOST, heard).await.is_err() {
            eprintln!("round {round}: not everybody heard of it within {LOST:?}");
            lost += 1;
        }
    }
    Ok(lost)
}

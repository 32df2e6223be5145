//! Linking, as far as machines do it: whoever is asked agrees at once.

use std::time::Instant;

use super::{Scale, host};
use crate::client::Client;
use crate::limit;
use crate::report::{Figure, percentile};

const ROUNDS: u64 = 20;
/// Milliseconds of the limit on a quiet machine.
const QUIET: f64 = 2.1;

/// Seconds that a linking took.
pub(super) struct Took {
    /// From the challenge on, until both say that they are linked.
    whole: f64,
    /// Of that, from the typed code on.
    approved: f64,
}

/// Links `joiner` to the account of `shower`.
pub(super) async fn link(shower: &Client, joiner: &Client) -> anyhow::Result<Took> {
    let (mut shows, mut joins) = (shower.signals().await?, joiner.signals().await?);
    let (shown, challenge) = shower.open_pairing().await?;
    let begun = Instant::now();
    let joined = joiner.join(&challenge).await?;
    joins.property(&joined, "State", "offered").await?;
    joiner.accept(&joined).await?;
    tokio::try_join!(shows.property(&shown, "State", "code"), joins.property(&joined, "State", "code"))?;
    let code = joiner.code(&joined).await?;
    let typed = Instant::now();
    let (shows, joins) = (shows.property(&shown, "State", "linked"), joins.property(&joined, "State", "linked"));
    tokio::try_join!(shower.confirm(&shown, &code), shows, joins)?;
    Ok(Took { whole: begun.elapsed().as_secs_f64(), approved: typed.elapsed().as_secs_f64() })
}

/// A fresh pair each time.
#[tokio::main]
pub(super) async fn machines(_: Scale) -> anyhow::Result<Vec<Figure>> {
    let (mut whole, mut approved) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (shower, joiner) = (host("shows"), host("joins"));
        let took = link(&Client::of(&shower).await?, &Client::of(&joiner).await?).await?;
        whole.push(1e3 * took.whole);
        approved.push(1e3 * took.approved);
    }
    let (mut least, mut least_approved) = limit::exchange::linking(ROUNDS)?;
    let figure = |what: &str, ours: &mut [f64], least: &mut [f64], quiet| Figure {
        what: format!("linking, machines alone, {what}, median"),
        unit: "ms",
        ours: percentile(ours, 50),
        limit: Some(1e3 * percentile(least, 50)),
        quiet,
        goal: Some(3.0),
        ..Figure::default()
    };
    Ok(vec![
        figure("from the challenge until both say so", &mut whole, &mut least, Some(QUIET)),
        figure("from the typed code until both say so", &mut approved, &mut least_approved, None),
    ])
}

//! Hundreds of seeded runs of several devices over networks, disks and people that misbehave. A failure prints the
//! command that replays it.

use kinlink_tests::sim::{Plan, Tally, many};

/// How many seeds, unless `KINLINK_SEEDS` says otherwise.
const SEEDS: u64 = 500;

#[test]
fn whatever_happens_devices_agree_and_nothing_is_lost() {
    plays_well(false);
}

/// The same, where disks are set back to what they held before, too.
#[test]
fn disks_that_are_set_back_cost_nothing_that_others_have() {
    assert!(plays_well(true).restored > 0, "no disk was set back");
}

fn plays_well(rollback: bool) -> Tally {
    let seeds = std::env::var("KINLINK_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("KINLINK_SEEDS is a number"));
    let plan = Plan { seed: 1, acts: 60, rollback, trace: false };
    let (tally, failures) = many(plan, seeds, |failure| eprintln!("{failure}"));
    println!("{seeds} seeds: {tally}");
    assert!(failures.is_empty(), "{} of {seeds} seeds failed", failures.len());
    // A simulation in which nothing happens proves nothing.
    assert_eq!(tally.never(), [""; 0]);
    tally
}

#[test]
fn a_seed_is_played_the_same_way_again() {
    let frames = |seed| many(Plan { seed, acts: 40, rollback: false, trace: false }, 1, |_| {}).0;
    assert_eq!(frames(7), frames(7));
    assert_ne!(frames(7), frames(8));
}

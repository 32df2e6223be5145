//! Runs the simulator over many seeds, or over one again.

use std::process::ExitCode;

use clap::Parser;
use kinlink_tests::sim::{Plan, many};

/// Runs seeded simulations; a failure prints its seed, and that seed replays it.
#[derive(Debug, Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only this seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Things that people do in each run.
    #[arg(long, default_value_t = 60)]
    acts: usize,
    /// Also puts copies of disks back.
    #[arg(long)]
    rollback: bool,
    /// Prints every fact that a device takes, and what it does about it.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (from, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let plan = Plan { seed: from, acts: args.acts, rollback: args.rollback, trace: args.trace };
    let (tally, failures) = many(plan, count, |failure| eprintln!("{failure}"));
    println!("{tally}");
    println!("{count} seeds from {from}, {} acts each: {} failed", args.acts, failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

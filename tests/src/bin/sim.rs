//! Runs the simulator over many seeds, or over one again.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use clap::Parser;
use kinlink_tests::sim::{Plan, Tally, run};

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
    /// Prints every fact that a device takes, and what it does about it.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (from, count) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(0));
    let tally = Mutex::new(Tally::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return;
            }
            match run(Plan { seed, acts: args.acts, trace: args.trace }) {
                Ok(world) => tally.lock().unwrap_or_else(PoisonError::into_inner).add(&world),
                Err(failure) => {
                    eprintln!("{failure}");
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let failed = failed.into_inner();
    println!("{}", tally.into_inner().unwrap_or_else(PoisonError::into_inner));
    println!("{count} seeds from {from}, {} acts each: {failed} failed", args.acts);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

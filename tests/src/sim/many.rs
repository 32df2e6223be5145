//! Many runs at once, on all processors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::tally::Tally;
use super::world::{Failure, Plan, run};

/// Runs `count` seeds from `plan.seed` on. Returns what they have exercised, and the failures by seed; `failed` is told
/// each as it happens.
pub fn many(plan: Plan, count: u64, failed: impl Fn(&Failure) + Sync) -> (Tally, Vec<Failure>) {
    let next = AtomicU64::new(plan.seed);
    let results = Mutex::new((Tally::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= plan.seed + count {
                return;
            }
            let result = run(Plan { seed, ..plan }).inspect_err(&failed);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(world) => results.0.add(&world),
                Err(failure) => results.1.push(failure),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (tally, mut failures) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    failures.sort_by_key(|failure| failure.seed);
    (tally, failures)
}

//! What Kinlink takes beside the least that the work can take, both measured in the same run: `make bench`.
//!
//! Ours are real `kinlinkd` processes, built as they ship, driven over D-Bus. The limits are the small programs in
//! `limit/`: the same libraries, ciphers, disk and payload, and none of Kinlink's code. The machine's absolute times
//! drift from run to run; the ratio is what counts.

mod client;
mod limit;
mod report;
mod rows;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;

/// Measures Kinlink and prints each figure beside its limit.
#[derive(Debug, Parser)]
struct Args {
    /// Which rows to measure; if none is named, all that do not take long.
    rows: Vec<String>,
    /// Names the rows and ends.
    #[arg(long)]
    list: bool,
    /// Entries of the large scenarios.
    #[arg(long, default_value_t = 100_000)]
    entries: u64,
    /// Seconds for which a daemon with nothing to do is watched.
    #[arg(long, default_value_t = 30)]
    watch: u64,
    /// First syncs of the row `stalls`.
    #[arg(long, default_value_t = 50)]
    syncs: u64,
    /// Devices that are revoked in the row `revocations`.
    #[arg(long, default_value_t = 1000)]
    revocations: u64,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Runs one half of a limit in a process of its own.
    #[arg(long, hide = true, num_args = 1..)]
    limit: Vec<String>,
    /// As `cargo bench` passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.limit.is_empty() {
        return limit::run(&args.limit);
    }
    let known = || rows::ALL.iter().chain(rows::LONG);
    if let Some(unknown) = args.rows.iter().find(|row| known().all(|(name, _)| name != row)) {
        anyhow::bail!("there is no row {unknown}; --list names them");
    }
    if args.list {
        known().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let wanted: Vec<_> = match args.rows.as_slice() {
        [] => rows::ALL.iter().collect(),
        rows => known().filter(|(name, _)| rows.iter().any(|row| row == name)).collect(),
    };
    let scale = rows::Scale {
        entries: args.entries,
        watched: Duration::from_secs(args.watch),
        syncs: args.syncs,
        revocations: args.revocations,
    };
    let mut figures = Vec::new();
    for (name, measure) in wanted {
        let begun = Instant::now();
        let measured = measure(scale)?;
        eprintln!("{name}: {} s", begun.elapsed().as_secs());
        figures.extend(measured);
    }
    report::write(&figures, &args.json)
}

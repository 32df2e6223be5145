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
    /// Which rows to measure; all of them if none is named.
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
    let wanted = |name: &str| args.rows.is_empty() || args.rows.iter().any(|row| row == name);
    if let Some(unknown) = args.rows.iter().find(|row| rows::ALL.iter().all(|(name, _)| name != row)) {
        anyhow::bail!("there is no row {unknown}; --list names them");
    }
    let scale = rows::Scale { entries: args.entries, watched: Duration::from_secs(args.watch) };
    let mut figures = Vec::new();
    for (name, measure) in rows::ALL.iter().filter(|(name, _)| wanted(name)) {
        if args.list {
            println!("{name}");
            continue;
        }
        let begun = Instant::now();
        let measured = measure(scale)?;
        eprintln!("{name}: {} s", begun.elapsed().as_secs());
        figures.extend(measured);
    }
    if !args.list {
        report::write(&figures, &args.json)?;
    }
    Ok(())
}

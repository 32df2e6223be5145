//! `kinctl session put`.

use std::io::Read;
use std::path::PathBuf;

use super::super::Ctx;
use crate::error::Failure;
use crate::resolve;

/// As much as is read, before the daemon says that it is too large: more than it takes, and less than a D-Bus
/// message may hold.
const READ: u64 = 64 << 20;

/// Write an entry; every device that may read the session gets it
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// The key, at most 1 KiB
    key: String,
    /// The value, at most 1 MiB, or - to read it from standard input
    #[arg(required_unless_present = "file", allow_hyphen_values = true)]
    value: Option<String>,
    /// Read the value from a file
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// Write only if the entry is still of this version, as get --json told; empty: only if there is none
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let value = value(&args)?;
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    bus.session(&path).await?.put(&args.key, &value, &super::condition(args.if_version.as_deref())).await?;
    super::done(ctx)
}

fn value(args: &Args) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match (&args.file, args.value.as_deref()) {
        (Some(path), _) => {
            let read = std::fs::File::open(path).and_then(|file| file.take(READ).read_to_end(&mut bytes));
            read.map_err(|source| Failure::File { path: path.display().to_string(), source })?;
        }
        (None, Some("-")) => drop(std::io::stdin().take(READ).read_to_end(&mut bytes)?),
        (None, value) => bytes.extend_from_slice(value.unwrap_or_default().as_bytes()),
    }
    Ok(bytes)
}

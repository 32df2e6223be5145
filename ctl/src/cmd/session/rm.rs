//! `kinctl session rm`.

use super::super::Ctx;
use crate::error::Failure;
use crate::resolve;

/// Delete an entry, on every device
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// The key
    key: String,
    /// Delete only if the entry is still of this version, as get --json told
    #[arg(long, value_name = "VERSION")]
    if_version: Option<String>,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    bus.session(&path).await?.delete(&args.key, &super::condition(args.if_version.as_deref())).await?;
    super::done(ctx)
}

//! `kinctl session end`.

use super::super::Ctx;
use crate::error::Failure;
use crate::proxy::Options;
use crate::resolve;

/// End a session everywhere; its app is told who did and why
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    bus.session(&path).await?.end(&args.reason, &Options::new()).await?;
    super::done(ctx)
}

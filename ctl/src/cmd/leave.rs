//! `kinctl leave` and `kinctl erase`: end this device's part in the account.

use kinlink_proto::dbus::ROOT;
use serde_json::json;

use super::Ctx;
use crate::error::Failure;
use crate::prompt;
use crate::proxy::Options;

/// Take this device out of the account and forget its data
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Why; shown on the other devices
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    confirm: Confirm,
}

/// The way past the question.
#[derive(clap::Args, Debug)]
pub(crate) struct Confirm {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let question = "This device forgets the account, its sessions and its keys; the others keep theirs. Leave?";
    prompt::confirm(ctx.out, question, args.confirm.yes).await?;
    bus.manager().await?.leave(&Options::from([("reason", args.reason.as_str().into())])).await?;
    done(ctx, "This device has left the account.")
}

pub(crate) async fn erase(ctx: &Ctx<'_>, args: Confirm) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    prompt::confirm(ctx.out, "Everything that Kinlink holds on this device is wiped. Erase it?", args.yes).await?;
    let mut changes = bus.signals(ROOT).await?;
    bus.manager().await?.erase(&Options::new()).await?;
    ctx.out.note("Erasing …")?;
    while bus.status().await?.state != "unlinked" {
        changes.next().await?;
    }
    done(ctx, "Erased. This device has a fresh identity and can be linked again: kinctl join.")
}

fn done(ctx: &Ctx<'_>, text: &str) -> Result<(), Failure> {
    if ctx.out.json { ctx.out.json(&json!({"done": true})) } else { ctx.out.line(text) }
}

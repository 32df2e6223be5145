//! `kinctl suspend`: takes a device's rights until it is readmitted.

use super::Ctx;
use crate::error::Failure;
use crate::proxy::Options;
use crate::resolve;

/// Take a device's rights until kinctl readmit: it is cut off, and nothing of it is deleted
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
    /// Why; shown on every device, and on the suspended one
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    if device.this {
        return Err(Failure::Usage("That is this device: suspend it from another one.".to_owned()));
    }
    bus.device(&device.path).await?.suspend(&args.reason, &Options::new()).await?;
    if ctx.out.json {
        return ctx.out.json(&bus.device_state(&device.path).await?.json(ctx.out, &devices));
    }
    ctx.out.line(format!("{} is suspended. kinctl readmit lets it in again.", ctx.out.name(&device.name)))
}

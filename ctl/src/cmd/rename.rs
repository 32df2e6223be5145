//! `kinctl rename`: any device, from any.

use super::{Ctx, show};
use crate::error::Failure;
use crate::resolve;

/// Rename a device; any device, from any
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
    /// Its new name, at most 64 characters
    name: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    bus.device(&device.path).await?.set_name(&args.name).await?;
    let renamed = bus.device_state(&device.path).await?;
    if ctx.out.json {
        return show::print(ctx.out, &renamed, &devices);
    }
    ctx.out.line(format!("{} is now called {}.", ctx.out.name(&device.name), ctx.out.name(&renamed.name)))
}

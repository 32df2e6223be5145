//! `kinctl dismiss`: the notice of a new device, on every device.

use serde_json::json;

use super::Ctx;
use crate::error::Failure;
use crate::proxy::Options;
use crate::resolve;

/// Dismiss the notice that a device was linked, on every device
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    bus.device(&device.path).await?.dismiss(&Options::new()).await?;
    if ctx.out.json {
        return ctx.out.json(&json!({ "dismissed": device.id }));
    }
    ctx.out.line(format!("{} is known.", ctx.out.name(&device.name)))
}

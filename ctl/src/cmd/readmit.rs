//! `kinctl readmit`: gives a suspended device its rights back.

use super::Ctx;
use crate::error::Failure;
use crate::passphrase::{Passphrase, PinArgs};
use crate::proxy::Options;
use crate::resolve;

/// Give a suspended device its rights back; what it wrote meanwhile comes along
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
    #[command(flatten)]
    pin: PinArgs,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    let mut options = Options::new();
    if bus.status().await?.two_step {
        options.insert("pin", Passphrase::pin(ctx.out, args.pin.open()?.as_mut()).await?.pipe()?.into());
    }
    bus.device(&device.path).await?.readmit(&options).await?;
    if ctx.out.json {
        return ctx.out.json(&bus.device_state(&device.path).await?.json(ctx.out, &devices));
    }
    ctx.out.line(format!("{} is in again.", ctx.out.name(&device.name)))
}

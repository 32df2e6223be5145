//! `kinctl role`: what a device may do.

use clap::ValueEnum;

use super::{Ctx, show};
use crate::error::Failure;
use crate::passphrase::{Passphrase, PinArgs};
use crate::proxy::Options;
use crate::resolve;

/// Make a device an owner, who links and revokes, or a member, who reads and writes sessions
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
    /// What it is from now on
    role: Role,
    #[command(flatten)]
    pin: PinArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    /// Links, revokes and changes roles
    Owner,
    /// Reads and writes sessions
    Member,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    let role = match args.role {
        Role::Owner => "owner",
        Role::Member => "member",
    };
    let mut options = Options::new();
    if bus.status().await?.two_step && !device.this && device.role != role {
        options.insert("pin", Passphrase::pin(ctx.out, args.pin.open()?.as_mut()).await?.pipe()?.into());
    }
    bus.device(&device.path).await?.set_role(role, &options).await?;
    let device = bus.device_state(&device.path).await?;
    if ctx.out.json {
        return ctx.out.json(&device.json(ctx.out, &devices));
    }
    show::print(ctx.out, &device, &devices)
}

//! `kinctl address`: where a device can be reached when it is not found by itself.

use clap::Subcommand;
use kinlink_proto::reach::HostPort;
use serde_json::{Value, json};

use super::Ctx;
use crate::error::Failure;
use crate::model::Device;
use crate::output::Output;
use crate::proxy::Options;
use crate::{resolve, table};

/// Say where a device can be reached: over a VPN, in another subnet
///
/// Devices on one network find each other. For others, give an address by hand: HOST:PORT, [IPV6]:PORT or NAME:PORT. Names are
/// resolved each time that the device is dialled. Addresses are kept on this device only. The other device's port is what kinctl
/// config port prints there.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say where a device can be reached; it is dialled there at once
    Add(One),
    /// List where a device may be reached, how this device knows, and what is in use
    ///
    /// FROM is given (by you), worked (it was dialled there), heard (it came from there), found (on this network) or reported (it
    /// says so itself).
    List(Which),
    /// Forget an address of a device; one that was not given may be learned again
    Remove(One),
}

#[derive(clap::Args, Debug)]
struct One {
    /// The device's name, id, or the start of its id
    device: String,
    /// HOST:PORT, [IPV6]:PORT or NAME:PORT
    #[arg(value_name = "ADDRESS")]
    address: HostPort,
}

#[derive(clap::Args, Debug)]
struct Which {
    /// The device's name, id, or the start of its id
    device: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let pick = |name: &str| resolve::pick(&devices, name).cloned();
    match args.verb {
        Verb::List(which) => list(ctx.out, &pick(&which.device)?),
        Verb::Add(One { device, address }) => {
            let device = pick(&device)?;
            bus.device(&device.path).await?.add_address(&address.to_string(), &Options::new()).await?;
            let after = bus.device_state(&device.path).await?;
            done(
                ctx.out,
                &after,
                format!("{} is also dialled at {}.", ctx.out.name(&device.name), ctx.out.address(&address.to_string())),
            )
        }
        Verb::Remove(One { device, address }) => {
            let device = pick(&device)?;
            bus.device(&device.path).await?.remove_address(&address.to_string(), &Options::new()).await?;
            let after = bus.device_state(&device.path).await?;
            done(
                ctx.out,
                &after,
                format!(
                    "{} is no longer dialled at {}.",
                    ctx.out.name(&device.name),
                    ctx.out.address(&address.to_string())
                ),
            )
        }
    }
}

fn done(out: &Output, device: &Device, said: String) -> Result<(), Failure> {
    if out.json { list(out, device) } else { out.line(said) }
}

fn list(out: &Output, device: &Device) -> Result<(), Failure> {
    if out.json {
        return out.json(&Value::Array(device.addresses.iter().map(|address| json(out, address)).collect()));
    }
    if device.addresses.is_empty() {
        return out.line("No address of it is known.");
    }
    let row = |(text, from, in_use): &(String, String, bool)| {
        vec![out.address(text), from.clone(), if *in_use { "yes" } else { "" }.to_owned()]
    };
    out.table(&table::lines(&["ADDRESS", "FROM", "IN USE"], &device.addresses.iter().map(row).collect::<Vec<_>>()))
}

/// An element of `kinctl address list --json`.
pub(crate) fn json(out: &Output, (text, from, in_use): &(String, String, bool)) -> Value {
    json!({"address": out.address(text), "from": from, "in_use": in_use})
}

//! `kinctl revoke`: puts devices out for good.

use std::time::Duration;

use serde_json::Value;

use super::{Ctx, list};
use crate::bus::{Bus, Signals};
use crate::error::Failure;
use crate::model::{Device, short};
use crate::output::Output;
use crate::proxy::Options;
use crate::{prompt, resolve};

/// Revoke devices for good: their connections are cut, the keys replaced, their copy becomes unreadable
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Names, ids, or starts of ids
    #[arg(value_name = "DEVICE", required_unless_present = "others")]
    devices: Vec<String>,
    /// Why; shown on every device, and on the revoked ones
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
    /// Every device but this one
    #[arg(long, conflicts_with = "devices")]
    others: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// How long to wait for the remaining devices to apply it; they hear of it later, too
    #[arg(long, value_name = "SECS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(..=3600))]
    wait: u64,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let targets = targets(&devices, &args)?;
    if targets.is_empty() {
        return nothing(ctx.out);
    }
    prompt::confirm(ctx.out, &question(ctx.out, &targets), args.yes).await?;
    let mut changes = bus.signals(kinlink_proto::dbus::DEVICES).await?;
    let revoked = revoke(&bus, &targets, &args).await?;
    let wait = Duration::from_secs(args.wait);
    // Running out of time is fine: the state is printed as it is then.
    match tokio::time::timeout(wait, applied(ctx.out, &bus, &revoked, &mut changes)).await {
        Ok(result) => result?,
        Err(_elapsed) => {}
    }
    report(ctx.out, &bus, &revoked).await
}

fn targets<'a>(devices: &'a [Device], args: &Args) -> Result<Vec<&'a Device>, Failure> {
    if args.others {
        return Ok(devices.iter().filter(|device| !device.this && !device.out()).collect());
    }
    let mut targets: Vec<&Device> = Vec::new();
    for query in &args.devices {
        let device = resolve::pick(devices, query)?;
        if device.this {
            return Err(Failure::Usage("That is this device: kinctl leave takes it out of the account.".to_owned()));
        }
        if !targets.iter().any(|target| target.id == device.id) {
            targets.push(device);
        }
    }
    Ok(targets)
}

fn question(out: &Output, targets: &[&Device]) -> String {
    let describe = |device: &&Device| {
        format!("  {}  {} ({})", short(&device.id), out.name(&device.name), out.hide("platform", &device.platform))
    };
    let list: Vec<String> = targets.iter().map(describe).collect();
    format!("{}\nRevoke {}? This cannot be undone.", list.join("\n"), if targets.len() == 1 { "it" } else { "them" })
}

async fn revoke(bus: &Bus, targets: &[&Device], args: &Args) -> Result<Vec<String>, Failure> {
    if args.others {
        let revoked = bus.manager().await?.revoke_others(&args.reason, &Options::new()).await?;
        return Ok(revoked.iter().map(ToString::to_string).collect());
    }
    for device in targets {
        bus.device(&device.path).await?.revoke(&args.reason, &Options::new()).await?;
    }
    Ok(targets.iter().map(|device| device.path.clone()).collect())
}

/// Returns when every remaining device is known to have applied every revocation.
async fn applied(out: &Output, bus: &Bus, revoked: &[String], changes: &mut Signals) -> Result<(), Failure> {
    let mut told = false;
    loop {
        let devices = states(bus, revoked).await?;
        if devices.iter().all(|device| device.applied_of > 0 && device.applied_on >= device.applied_of) {
            return Ok(());
        }
        if !std::mem::replace(&mut told, true) {
            out.note("Revoked. Waiting for the other devices to apply it…")?;
        }
        changes.next().await?;
    }
}

async fn report(out: &Output, bus: &Bus, revoked: &[String]) -> Result<(), Failure> {
    let devices = states(bus, revoked).await?;
    if out.json {
        let all = bus.devices().await?;
        return out.json(&Value::Array(devices.iter().map(|device| device.json(out, &all)).collect()));
    }
    devices.iter().try_for_each(|device| out.line(sentence(out, device)))
}

fn sentence(out: &Output, device: &Device) -> String {
    let name = out.name(&device.name);
    match (device.applied_on, device.applied_of) {
        (_, 0) => format!("{name} is revoked."),
        (on, of) if on >= of => format!("{name} is revoked, applied {}.", list::applied(device)),
        _ => format!(
            "{name} is revoked, applied {}; the others hear of it at their next contact.",
            list::applied(device)
        ),
    }
}

async fn states(bus: &Bus, paths: &[String]) -> Result<Vec<Device>, Failure> {
    let mut devices = Vec::new();
    for path in paths {
        devices.push(bus.device_state(path).await?);
    }
    Ok(devices)
}

fn nothing(out: &Output) -> Result<(), Failure> {
    if out.json { out.json(&Value::Array(Vec::new())) } else { out.line("There is no other device.") }
}

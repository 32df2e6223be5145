//! `kinctl revoke`: puts devices out for good.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ctx, list};
use crate::bus::{Bus, Signals};
use crate::error::Failure;
use crate::model::{Device, short};
use crate::output::Output;
use crate::passphrase::{Passphrase, PinArgs};
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
    /// How long to wait for all remaining devices to apply it, or "all"; else for those online, some seconds at most
    #[arg(long, value_name = "SECS|all", value_parser = patience)]
    wait: Option<Patience>,
    /// Do not wait: the other devices hear of it all the same
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    #[command(flatten)]
    pin: PinArgs,
}

/// How long the devices that are online have to apply a revocation: they do within moments.
const MOMENTS: Duration = Duration::from_secs(5);

/// How long to wait for all.
#[derive(Clone, Copy, Debug)]
enum Patience {
    Forever,
    Seconds(u64),
}

fn patience(text: &str) -> Result<Patience, String> {
    match text.parse() {
        _ if text == "all" => Ok(Patience::Forever),
        Ok(seconds @ 0..=3600) => Ok(Patience::Seconds(seconds)),
        _ => Err("expected 0 to 3600 seconds, or all".to_owned()),
    }
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
    // A guest is revoked without it.
    let pin = match bus.status().await?.two_step && targets.iter().any(|device| device.role != "guest") {
        true => Some(Passphrase::pin(ctx.out, args.pin.open()?.as_mut()).await?),
        false => None,
    };
    let revoked = revoke(&bus, &targets, &args, pin.as_ref()).await?;
    if !args.no_wait {
        wait(ctx.out, &bus, &revoked, &mut changes, args.wait).await?;
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

async fn revoke(bus: &Bus, targets: &[&Device], args: &Args, pin: Option<&Passphrase>) -> Result<Vec<String>, Failure> {
    let options = || -> Result<Options<'_>, Failure> {
        let pin = pin.map(Passphrase::pipe).transpose()?;
        Ok(pin.map(|pin| ("pin", pin.into())).into_iter().collect())
    };
    if args.others {
        let revoked = bus.manager().await?.revoke_others(&args.reason, &options()?).await?;
        return Ok(revoked.iter().map(ToString::to_string).collect());
    }
    for device in targets {
        bus.device(&device.path).await?.revoke(&args.reason, &options()?).await?;
    }
    Ok(targets.iter().map(|device| device.path.clone()).collect())
}

/// Shows how far it gets, until the devices that are waited for have applied it. Running out of time is fine: the state is
/// printed as it is then.
async fn wait(
    out: &Output,
    bus: &Bus,
    revoked: &[String],
    changes: &mut Signals,
    patience: Option<Patience>,
) -> Result<(), Failure> {
    let limit = match patience {
        Some(Patience::Forever) => return applied(out, bus, revoked, changes, true).await,
        Some(Patience::Seconds(seconds)) => Duration::from_secs(seconds),
        None => MOMENTS,
    };
    let done = applied(out, bus, revoked, changes, patience.is_some());
    tokio::time::timeout(limit, done).await.unwrap_or(Ok(()))
}

/// Returns when every remaining device, or as many as are online, are known to have applied every revocation.
async fn applied(
    out: &Output,
    bus: &Bus,
    revoked: &[String],
    changes: &mut Signals,
    everyone: bool,
) -> Result<(), Failure> {
    let mut told = Vec::new();
    loop {
        let devices = states(bus, revoked).await?;
        let all = bus.devices().await?;
        let online = all.iter().filter(|device| !device.out() && (device.this || device.online)).count();
        let enough = |device: &Device| {
            let wanted = if everyone { device.applied_of } else { u32::try_from(online).unwrap_or(u32::MAX) };
            device.applied_of > 0 && device.applied_on >= wanted.min(device.applied_of)
        };
        if devices.iter().all(enough) {
            return Ok(());
        }
        let now: Vec<(u32, u32)> = devices.iter().map(|device| (device.applied_on, device.applied_of)).collect();
        if told != now {
            progress(out, &devices)?;
            told = now;
        }
        changes.next().await?;
    }
}

/// How far the revocations have got by now.
fn progress(out: &Output, devices: &[Device]) -> Result<(), Failure> {
    if out.json {
        return devices.iter().try_for_each(|device| {
            out.json(&json!({
                "event": "applied", "id": device.id, "applied_on": device.applied_on, "applied_of": device.applied_of,
            }))
        });
    }
    let told: Vec<String> =
        devices.iter().map(|device| format!("{} applied {}", out.name(&device.name), list::applied(device))).collect();
    out.progress(format!("Revoked: {}…", told.join(", ")))
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
            "{name} is revoked, applied {}; the others hear of it when they come online.",
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

//! `kinctl list`: the devices.

use serde_json::Value;

use super::Ctx;
use crate::error::Failure;
use crate::model::{Device, Manager, name_of, short};
use crate::output::Output;
use crate::{table, when};

/// List the devices: those that are in, then those that were revoked
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(ctx: &Ctx<'_>, _args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    if ctx.out.json {
        return ctx.out.json(&Value::Array(devices.iter().map(|device| device.json(ctx.out, &devices)).collect()));
    }
    if !devices.is_empty() {
        print(ctx.out, &devices, when::now())?;
    }
    remark(ctx.out, &bus.status().await?, &devices)
}

fn print(out: &Output, devices: &[Device], now: u64) -> Result<(), Failure> {
    let (gone, here): (Vec<&Device>, Vec<&Device>) = devices.iter().partition(|device| device.out());
    let rows: Vec<_> = here.iter().map(|device| row(out, device, devices, now)).collect();
    out.table(&table::lines(&["  NAME", "ID", "PLATFORM", "ROLE", "SEEN", "LINKED"], &rows))?;
    if gone.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = gone.iter().map(|device| gone_row(out, device, devices, now)).collect();
    out.line("")?;
    out.table(&table::lines(&["  NAME", "ID", "REVOKED", "REASON", "APPLIED"], &rows))
}

fn row(out: &Output, device: &Device, devices: &[Device], now: u64) -> Vec<String> {
    vec![
        marked(out, device),
        short(&device.id).to_owned(),
        out.hide("platform", &device.platform),
        role(device),
        seen(device, now),
        linked(out, device, devices, now),
    ]
}

fn gone_row(out: &Output, device: &Device, devices: &[Device], now: u64) -> Vec<String> {
    let when = when::ago(now, device.revoked_at);
    let revoked = if device.status == "left" {
        format!("{when}, left by itself")
    } else {
        format!("{when} by {}", name_of(&device.revoked_by, out, devices))
    };
    vec![
        marked(out, device),
        short(&device.id).to_owned(),
        revoked,
        out.hide("reason", &device.revoked_reason),
        applied(device),
    ]
}

/// The name, with a star for this device.
fn marked(out: &Output, device: &Device) -> String {
    format!("{} {}", if device.this { '*' } else { ' ' }, out.name(&device.name))
}

/// The role, and whatever is not as usual.
pub(crate) fn role(device: &Device) -> String {
    let custody = Some(device.custody.as_str()).filter(|custody| !matches!(*custody, "personal" | ""));
    let status = Some(device.status.as_str()).filter(|status| *status != "linked");
    let unusual: Vec<&str> = custody.into_iter().chain(status).collect();
    if unusual.is_empty() { device.role.clone() } else { format!("{} ({})", device.role, unusual.join(", ")) }
}

/// Online, or when it last was.
pub(crate) fn seen(device: &Device, now: u64) -> String {
    match (device.this, device.online) {
        (true, _) => "this device".to_owned(),
        (_, true) => "online".to_owned(),
        _ => when::ago(now, device.last_seen),
    }
}

/// When and by whom it was linked.
pub(crate) fn linked(out: &Output, device: &Device, devices: &[Device], now: u64) -> String {
    match (device.linked_at, device.linked_by == device.id) {
        (0, _) => "not yet".to_owned(),
        (at, true) => format!("{}, first device", when::ago(now, at)),
        (at, false) => format!("{} by {}", when::ago(now, at), name_of(&device.linked_by, out, devices)),
    }
}

/// How far its revocation has got.
pub(crate) fn applied(device: &Device) -> String {
    if device.applied_of == 0 { String::new() } else { format!("on {} of {}", device.applied_on, device.applied_of) }
}

/// What a person should know beside the table.
fn remark(out: &Output, status: &Manager, devices: &[Device]) -> Result<(), Failure> {
    if status.state == "revoked" {
        return super::status::revoked(out, status, devices);
    }
    if devices.iter().filter(|device| !device.out()).count() < 2 {
        let this = out.name(&status.device_name);
        out.note(format!(
            "No other device is linked with this one, {this}. kinctl link here and kinctl join there link it."
        ))?;
    }
    devices
        .iter()
        .filter(|device| device.suspended() && !device.this)
        .try_for_each(|device| out.note(out.warn(&alert(out, device, devices))))?;
    devices
        .iter()
        .filter(|device| device.new)
        .try_for_each(|device| out.note(out.warn(&notice(out, device, devices))))?;
    status.warnings.iter().try_for_each(|warning| out.note(out.warn(&out.sentence(warning))))
}

/// When and by whom it was suspended.
pub(crate) fn suspended(out: &Output, device: &Device, devices: &[Device]) -> String {
    format!("{} by {}", when::date(device.revoked_at), name_of(&device.revoked_by, out, devices))
}

/// That a device is suspended, and what can be done.
fn alert(out: &Output, device: &Device, devices: &[Device]) -> String {
    let (name, id, how) = (out.name(&device.name), short(&device.id), suspended(out, device, devices));
    let why = match device.revoked_reason.as_str() {
        "" => String::new(),
        reason => format!(" ({})", out.hide("reason", reason)),
    };
    let seen: Vec<String> = device.seen_at.iter().map(|at| out.address(at)).collect();
    let at = if seen.is_empty() { String::new() } else { format!(", seen at {}", seen.join(" and ")) };
    format!("Suspended: {name}, {how}{why}{at}. Is it yours alone? kinctl readmit {id}. If not: kinctl revoke {id}.")
}

/// That a device was linked, until somebody says that it is known.
fn notice(out: &Output, device: &Device, devices: &[Device]) -> String {
    let (name, id) = (out.name(&device.name), short(&device.id));
    let by = linked(out, device, devices, when::now());
    let from = if device.linked_from.is_empty() {
        String::new()
    } else {
        format!(" from {}", out.address(&device.linked_from))
    };
    format!("New device: {name}, linked {by}{from}. Not yours? kinctl revoke {id}. Yours? kinctl dismiss {id}.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Color, Global};

    const NOW: u64 = 1_795_517_880_000;

    fn out() -> Output {
        Output::new(&Global { json: false, redact: false, color: Color::Never, socket: None })
    }

    fn devices() -> Vec<Device> {
        let laptop = Device {
            id: "aaaa000011112222".into(),
            name: "laptop".into(),
            platform: "Debian 12, x86_64".into(),
            role: "owner".into(),
            custody: "personal".into(),
            status: "linked".into(),
            this: true,
            online: true,
            linked_at: NOW - 2 * 86_400_000,
            linked_by: "aaaa000011112222".into(),
            ..Device::default()
        };
        let kiosk = Device {
            id: "bbbb000011112222".into(),
            name: "kiosk".into(),
            role: "guest".into(),
            custody: "shared".into(),
            status: "pending".into(),
            this: false,
            online: false,
            last_seen: NOW - 7_200_000,
            linked_at: NOW - 3_600_000,
            ..laptop.clone()
        };
        let lost = Device {
            id: "cccc000011112222".into(),
            name: "phone".into(),
            status: "revoked".into(),
            this: false,
            revoked_at: NOW - 120_000,
            revoked_by: laptop.id.clone(),
            revoked_reason: "lost".into(),
            applied_on: 1,
            applied_of: 2,
            ..laptop.clone()
        };
        vec![laptop, kiosk, lost]
    }

    #[test]
    fn rows_say_who_when_and_by_whom() {
        let devices = devices();
        let row = |i: usize| row(&out(), &devices[i], &devices, NOW);
        assert_eq!(
            row(0),
            ["* laptop", "aaaa0000", "Debian 12, x86_64", "owner", "this device", "2 days ago, first device"]
        );
        assert_eq!(
            row(1),
            ["  kiosk", "bbbb0000", "Debian 12, x86_64", "guest (shared, pending)", "2 h ago", "1 h ago by laptop"]
        );
        assert_eq!(
            gone_row(&out(), &devices[2], &devices, NOW),
            ["  phone", "cccc0000", "2 min ago by laptop", "lost", "on 1 of 2"]
        );
    }

    #[test]
    fn json_names_whoever_linked_and_revoked() {
        let devices = devices();
        let json = devices[2].json(&out(), &devices);
        assert_eq!(json["revoked"]["by"]["name"], "laptop");
        assert_eq!(json["revoked"]["applied_on"], 1);
        assert_eq!(json["linked"]["by"]["id"], "aaaa000011112222");
        assert_eq!(devices[0].json(&out(), &devices)["revoked"], Value::Null);
    }

    #[test]
    fn redacted_json_holds_no_name() {
        let out = Output::new(&Global { json: true, redact: true, color: Color::Never, socket: None });
        let devices = devices();
        for device in &devices {
            let json = device.json(&out, &devices).to_string();
            assert!(!["laptop", "kiosk", "phone", "lost"].iter().any(|name| json.contains(name)), "{json}");
        }
    }
}

//! `kinctl show`: everything about one device.

use super::{Ctx, list};
use crate::error::Failure;
use crate::model::{Device, name_of};
use crate::output::Output;
use crate::{resolve, table, when};

/// Show everything about a device
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let devices = ctx.bus().await?.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    print(ctx.out, device, &devices)
}

/// Prints `device`, as JSON if so asked.
pub(crate) fn print(out: &Output, device: &Device, devices: &[Device]) -> Result<(), Failure> {
    if out.json {
        return out.json(&device.json(out, devices));
    }
    table::pairs(&rows(out, device, devices, when::now())).iter().try_for_each(|line| out.line(line))
}

fn rows(out: &Output, device: &Device, devices: &[Device], now: u64) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("Name", out.name(&device.name)),
        ("Id", device.id.clone()),
        ("Fingerprint", device.fingerprint.clone()),
        ("Platform", out.hide("platform", &device.platform)),
        ("Role", device.role.clone()),
        ("Custody", device.custody.clone()),
        ("Status", device.status.clone()),
        ("Seen", list::seen(device, now)),
        ("Address", out.address(&device.address)),
        ("Linked", linked(out, device, devices)),
        ("Verified by", device.verified.clone()),
        ("Lease", if device.lease == 0 { "none".to_owned() } else { when::span(device.lease.into()) }),
    ];
    if device.out() {
        rows.push((
            "Revoked",
            format!("{} by {}", when::date(device.revoked_at), name_of(&device.revoked_by, out, devices)),
        ));
        rows.push(("Reason", out.hide("reason", &device.revoked_reason)));
        rows.push(("Applied", list::applied(device)));
    }
    if device.suspended() {
        rows.push(("Suspended", list::suspended(out, device, devices)));
        rows.push(("Reason", out.hide("reason", &device.revoked_reason)));
        rows.push(("Seen at", device.seen_at.iter().map(|at| out.address(at)).collect::<Vec<_>>().join(" and ")));
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

fn linked(out: &Output, device: &Device, devices: &[Device]) -> String {
    let from = if device.linked_from.is_empty() {
        String::new()
    } else {
        format!(", at {}", out.address(&device.linked_from))
    };
    match (device.linked_at, device.linked_by == device.id) {
        (0, _) => "not yet".to_owned(),
        (at, true) => format!("{}, as the first device", when::date(at)),
        (at, false) => format!("{} by {}{from}", when::date(at), name_of(&device.linked_by, out, devices)),
    }
}

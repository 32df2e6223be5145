//! `kinctl status`: this device and its account.

use super::Ctx;
use crate::error::Failure;
use crate::model::{Device, Manager};
use crate::output::Output;
use crate::{table, when};

pub(crate) async fn run(ctx: &Ctx<'_>) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let status = bus.status().await?;
    // Names first, so that warnings are redacted alike.
    let rows = rows(ctx.out, &status);
    if ctx.out.json {
        return ctx.out.json(&status.json(ctx.out));
    }
    table::pairs(&rows).iter().try_for_each(|line| ctx.out.line(line))?;
    if status.state == "revoked" {
        revoked(ctx.out, &status, &bus.devices().await?)?;
    }
    status
        .all_warnings()
        .try_for_each(|warning| ctx.out.line(ctx.out.warn(&format!("Warning: {}", ctx.out.sentence(warning)))))
}

fn rows(out: &Output, status: &Manager) -> Vec<(&'static str, String)> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let account = if status.state == "locked" {
        String::new()
    } else if status.account.is_empty() {
        "none yet".to_owned()
    } else {
        format!("{} ({})", out.name(&status.label), status.account)
    };
    let mut rows = vec![
        ("State", status.state.clone()),
        ("Account", account),
        ("Device", out.name(&status.device_name)),
        ("Id", if status.state == "locked" { String::new() } else { status.this_device.clone() }),
        ("Fingerprint", status.fingerprint.clone()),
        ("Pairing open", yes_no(status.pairing_open)),
        ("Two-step", two_step(out, status)),
        ("Keys kept in", status.key_protection.clone()),
        ("UDP port", status.port.to_string()),
        ("Epoch", status.epoch.clone()),
        ("Roster", status.roster_heads.iter().map(|head| brief(head)).collect::<Vec<_>>().join(" ")),
        ("Version", format!("kinlinkd {}, kinctl {}", status.version, env!("CARGO_PKG_VERSION"))),
    ];
    if let Some(percent) = (100 * status.changes_received).checked_div(status.changes_expected) {
        let (here, all) = (status.changes_received, status.changes_expected);
        rows.push(("Receiving", format!("{here} of {all} changes from other devices ({percent} %)")));
    }
    if status.update_needed {
        rows.push(("Update", "needed: another device is newer, and this one no longer writes".to_owned()));
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

fn two_step(out: &Output, status: &Manager) -> String {
    match status.two_step {
        true => format!("yes, a PIN set by {} on {}", out.name(&status.pin_set_by), when::date(status.pin_set_at)),
        false => "no".to_owned(),
    }
}

/// "AUTHORHEX:NUMBER" with the author's first digits.
fn brief(head: &str) -> String {
    let (author, number) = head.split_once(':').unwrap_or((head, ""));
    format!("{}:{number}", crate::model::short(author))
}

/// Who revoked this device, why and when, and what can be done.
pub(crate) fn revoked(out: &Output, status: &Manager, devices: &[Device]) -> Result<(), Failure> {
    out.line(out.warn(&how_it_went(out, status, devices)))?;
    out.line("Its keys are gone. kinctl erase wipes the rest and makes it ready to be linked again.")
}

fn how_it_went(out: &Output, status: &Manager, devices: &[Device]) -> String {
    let left = devices.iter().any(|device| device.this && device.status == "left");
    let when = when::date(status.revoked_at);
    let reason = match status.revoked_reason.as_str() {
        "" => ".".to_owned(),
        reason => format!(": {}", out.hide("reason", reason)),
    };
    match status.revoked_by.as_str() {
        _ if left => format!("This device left the account on {when}{reason}"),
        "" => format!("This device was revoked on {when}{reason}"),
        by => format!("This device was revoked by {} on {when}{reason}", out.name(by)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Color, Global};

    fn told(status: &str, by: &str, reason: &str) -> String {
        let out = Output::new(&Global { json: false, redact: false, color: Color::Never, socket: None });
        let manager = Manager {
            revoked_by: by.into(),
            revoked_reason: reason.into(),
            revoked_at: 1_795_517_880_000,
            ..Manager::default()
        };
        let this = Device { this: true, status: status.into(), ..Device::default() };
        how_it_went(&out, &manager, &[this])
    }

    #[test]
    fn says_who_put_it_out_and_why() {
        assert_eq!(
            told("revoked", "laptop", "lost"),
            "This device was revoked by laptop on 2026-11-24 10:58 UTC: lost"
        );
        assert_eq!(told("revoked", "", ""), "This device was revoked on 2026-11-24 10:58 UTC.");
        assert_eq!(told("left", "phone", ""), "This device left the account on 2026-11-24 10:58 UTC.");
    }
}

//! `kinctl status`: this device and its account.

use super::Ctx;
use crate::error::Failure;
use crate::model::Manager;
use crate::output::Output;
use crate::{table, when};

pub(crate) async fn run(ctx: &Ctx<'_>) -> Result<(), Failure> {
    let status = ctx.bus().await?.status().await?;
    // Names first, so that warnings are redacted alike.
    let rows = rows(ctx.out, &status);
    if ctx.out.json {
        return ctx.out.json(&status.json(ctx.out));
    }
    table::pairs(&rows).iter().try_for_each(|line| ctx.out.line(line))?;
    if status.state == "revoked" {
        revoked(ctx.out, &status)?;
    }
    status
        .warnings
        .iter()
        .try_for_each(|warning| ctx.out.line(ctx.out.warn(&format!("Warning: {}", ctx.out.sentence(warning)))))
}

fn rows(out: &Output, status: &Manager) -> Vec<(&'static str, String)> {
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let account = if status.account.is_empty() {
        "none yet".to_owned()
    } else {
        format!("{} ({})", out.name(&status.label), status.account)
    };
    let mut rows = vec![
        ("State", status.state.clone()),
        ("Account", account),
        ("Device", out.name(&status.device_name)),
        ("Id", status.this_device.clone()),
        ("Fingerprint", status.fingerprint.clone()),
        ("Pairing open", yes_no(status.pairing_open)),
        ("Two-step", yes_no(status.two_step)),
        ("Keys kept in", status.key_protection.clone()),
        ("UDP port", status.port.to_string()),
        ("Epoch", status.epoch.clone()),
        ("Roster", status.roster_heads.iter().map(|head| brief(head)).collect::<Vec<_>>().join(" ")),
        ("Version", format!("kinlinkd {}, kinctl {}", status.version, env!("CARGO_PKG_VERSION"))),
    ];
    if status.update_needed {
        rows.push(("Update", "needed: another device is newer, and this one no longer writes".to_owned()));
    }
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

/// "AUTHORHEX:NUMBER" with the author's first digits.
fn brief(head: &str) -> String {
    let (author, number) = head.split_once(':').unwrap_or((head, ""));
    format!("{}:{number}", crate::model::short(author))
}

/// Who revoked this device, why and when, and what can be done.
pub(crate) fn revoked(out: &Output, status: &Manager) -> Result<(), Failure> {
    let by = if status.revoked_by.is_empty() { "another device".to_owned() } else { out.name(&status.revoked_by) };
    let reason = if status.revoked_reason.is_empty() {
        String::new()
    } else {
        format!(": {}", out.hide("reason", &status.revoked_reason))
    };
    out.line(out.warn(&format!("This device was revoked by {by} on {}{reason}", when::date(status.revoked_at))))?;
    out.line("Its keys are gone. kinctl erase wipes the rest and makes it ready to be linked again.")
}

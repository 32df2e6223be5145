//! `kinctl sessions`: what apps keep open, on every device.

use serde_json::Value;

use super::Ctx;
use crate::error::Failure;
use crate::model::{Device, Session, name_of, short};
use crate::output::Output;
use crate::proxy::Options;
use crate::{resolve, table, when};

/// List the sessions of apps, made on whichever device
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only this app's
    #[arg(long, value_name = "ID")]
    app: Option<String>,
    /// Only those made on this device
    #[arg(long)]
    device: Option<String>,
    /// Also those that have ended
    #[arg(long, short)]
    all: bool,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    // Open sessions come with the names of their devices; who ended one has only an id.
    let named = args.all || args.device.is_some() || ctx.out.json;
    let devices = if named { bus.devices().await? } else { Vec::new() };
    let filter = filter(&devices, &args, ctx.out.json)?;
    let sessions = bus.sessions(&filter).await?;
    if ctx.out.json {
        return ctx.out.json(&Value::Array(sessions.iter().map(|session| session.json(ctx.out, &devices)).collect()));
    }
    if sessions.is_empty() {
        return ctx.out.note("There are no such sessions.");
    }
    print(ctx.out, &sessions, &devices, args.all)
}

fn filter<'a>(devices: &'a [Device], args: &'a Args, json: bool) -> Result<Options<'a>, Failure> {
    let mut filter = Options::from([("state", if args.all { "all" } else { "open" }.into())]);
    if !json {
        // A table shows half of what there is.
        let shown = ["Id", "App", "Title", "DeviceName", "Created", "LastActive"];
        let ends: &[_] = if args.all { &["State", "EndedBy", "EndedReason", "EndedAt"] } else { &[] };
        filter.insert("properties", [&shown, ends].concat().into());
    }
    if let Some(app) = &args.app {
        filter.insert("app", app.as_str().into());
    }
    if let Some(device) = &args.device {
        filter.insert("device", resolve::pick(devices, device)?.id.as_str().into());
    }
    Ok(filter)
}

fn print(out: &Output, sessions: &[Session], devices: &[Device], all: bool) -> Result<(), Failure> {
    let now = when::now();
    let mut head = vec!["ID", "APP", "TITLE", "DEVICE", "CREATED", "ACTIVE"];
    if all {
        head.push("STATE");
    }
    let rows: Vec<_> = sessions.iter().map(|session| row(out, session, devices, now)).collect();
    out.table(&table::lines(&head, &rows))
}

fn row(out: &Output, session: &Session, devices: &[Device], now: u64) -> Vec<String> {
    vec![
        short(&session.id).to_owned(),
        out.hide("app", &session.app),
        out.hide("title", &session.title),
        out.name(&session.device_name),
        when::ago(now, session.created),
        when::ago(now, session.last_active),
        state(out, session, devices, now),
    ]
}

fn state(out: &Output, session: &Session, devices: &[Device], now: u64) -> String {
    if session.state != "ended" {
        return session.state.clone();
    }
    let by = if session.ended_by.is_empty() {
        String::new()
    } else {
        format!(" by {}", name_of(&session.ended_by, out, devices))
    };
    let reason = if session.ended_reason.is_empty() {
        String::new()
    } else {
        format!(": {}", out.hide("reason", &session.ended_reason))
    };
    format!("ended {}{by}{reason}", when::ago(now, session.ended_at))
}

//! `kinctl session changes`.

use serde_json::{Value, json};

use super::super::Ctx;
use crate::error::Failure;
use crate::model::name_of;
use crate::output::visible;
use crate::proxy::{Options, SessionProxy};
use crate::{resolve, table, when};

/// List what changed in a session since you last looked
///
/// Each key once, as it is now; the cursor that comes with it is for --since next time. It outlives restarts of kinlinkd; should
/// it no longer hold, begin anew without it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// Only what changed behind this cursor
    #[arg(long, value_name = "CURSOR", default_value = "", hide_default_value = true)]
    since: String,
}

/// Key, put or delete, time, writer, size.
type Change = (String, String, u64, String, u64);

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    let (changes, cursor) = changes(&bus.session(&path).await?, args.since).await?;
    let devices = bus.devices().await?;
    if ctx.out.json {
        let change = |(key, kind, time, device, size): &Change| json!({"key": key, "kind": kind, "time": time, "device": {"id": device, "name": name_of(device, ctx.out, &devices)}, "size": size});
        let changes: Vec<Value> = changes.iter().map(change).collect();
        return ctx.out.json(&json!({"changes": changes, "cursor": cursor}));
    }
    let now = when::now();
    let row = |(key, kind, time, device, size): &Change| {
        vec![visible(key), kind.clone(), size.to_string(), name_of(device, ctx.out, &devices), when::ago(now, *time)]
    };
    let rows: Vec<_> = changes.iter().map(row).collect();
    ctx.out.table(&table::lines(&["KEY", "CHANGE", "BYTES", "DEVICE", "WRITTEN"], &rows))?;
    ctx.out.note(format!("For what comes next: --since {cursor}"))
}

/// Every change, over as many pages as it takes, and the cursor behind the last.
async fn changes(session: &SessionProxy<'_>, mut cursor: String) -> Result<(Vec<Change>, String), Failure> {
    let (mut changes, options) = (Vec::new(), Options::from([("limit", 1000_u32.into())]));
    loop {
        let (more, next) = session.changes_since(&cursor, &options).await?;
        cursor = next;
        if more.is_empty() {
            return Ok((changes, cursor));
        }
        changes.extend(more);
    }
}

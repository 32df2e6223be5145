//! `kinctl session ls`.

use serde_json::{Value, json};

use super::super::Ctx;
use crate::error::Failure;
use crate::model::name_of;
use crate::output::visible;
use crate::proxy::{Options, SessionProxy};
use crate::{resolve, table, when};

/// List the entries of a session
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// Only keys that start like this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
}

/// Key, time, writer, size.
type Entry = (String, u64, String, u64);

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    let entries = entries(&bus.session(&path).await?, &args.prefix).await?;
    let devices = bus.devices().await?;
    if ctx.out.json {
        let entry = |(key, time, device, size): &Entry| json!({"key": key, "time": time, "device": {"id": device, "name": name_of(device, ctx.out, &devices)}, "size": size});
        return ctx.out.json(&Value::Array(entries.iter().map(entry).collect()));
    }
    let now = when::now();
    let row = |(key, time, device, size): &Entry| {
        vec![visible(key), size.to_string(), name_of(device, ctx.out, &devices), when::ago(now, *time)]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    ctx.out.table(&table::lines(&["KEY", "BYTES", "DEVICE", "WRITTEN"], &rows))
}

/// Every entry, over as many pages as it takes.
async fn entries(session: &SessionProxy<'_>, prefix: &str) -> Result<Vec<Entry>, Failure> {
    let (mut entries, mut after) = (Vec::new(), String::new());
    loop {
        let mut options = Options::from([("prefix", prefix.into()), ("limit", 1000_u32.into())]);
        if !after.is_empty() {
            options.insert("after", after.as_str().into());
        }
        let (more, cursor) = session.list(&options).await?;
        entries.extend(more);
        if cursor.is_empty() || cursor == after {
            return Ok(entries);
        }
        after = cursor;
    }
}

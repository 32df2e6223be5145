//! `kinctl session get`.

use std::io::IsTerminal;

use serde_json::{Map, Value, json};

use super::super::Ctx;
use super::{brief, insert_value};
use crate::bus::Bus;
use crate::error::Failure;
use crate::model::{Props, name_of};
use crate::proxy::{Options, SessionProxy};
use crate::{resolve, table, when};

/// Print the value of an entry, byte for byte
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its id, the start of its id, or its title
    session: String,
    /// The key
    key: String,
    /// List every value that was written concurrently, the one that counts first
    #[arg(long)]
    conflicts: bool,
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let (_, path) = resolve::session(&bus, &args.session).await?;
    let session = bus.session(&path).await?;
    if args.conflicts {
        conflicts(ctx, &bus, &session, &args.key).await
    } else {
        one(ctx, &bus, &session, &args.key).await
    }
}

async fn one(ctx: &Ctx<'_>, bus: &Bus, session: &SessionProxy<'_>, key: &str) -> Result<(), Failure> {
    let (value, meta) = session.get(key, &Options::new()).await?;
    let mut meta = Props::new(meta);
    let others: u32 = meta.take("Conflicts");
    if ctx.out.json {
        let mut entry = entry(ctx, bus, key, &value, meta.take("Time"), &meta.take::<String>("Device")).await?;
        entry.insert("conflicts".to_owned(), others.into());
        entry.insert("version".to_owned(), meta.take::<String>("Version").into());
        return ctx.out.json(&Value::from(entry));
    }
    ctx.out.raw(&value)?;
    if std::io::stdout().is_terminal() && !value.ends_with(b"\n") {
        ctx.out.raw(b"\n")?;
    }
    if others > 0 {
        ctx.out
            .note(format!("{others} more written concurrently; --conflicts lists them, the next put settles it."))?;
    }
    Ok(())
}

async fn conflicts(ctx: &Ctx<'_>, bus: &Bus, session: &SessionProxy<'_>, key: &str) -> Result<(), Failure> {
    let values = session.conflicts(key, &Options::new()).await?;
    if ctx.out.json {
        let mut list = Vec::new();
        for (value, time, device) in &values {
            list.push(Value::from(entry(ctx, bus, key, value, *time, device).await?));
        }
        return ctx.out.json(&Value::from(list));
    }
    let devices = bus.devices().await?;
    let row = |(value, time, device): &(Vec<u8>, u64, String)| {
        vec![when::date(*time), name_of(device, ctx.out, &devices), brief(value)]
    };
    ctx.out.table(&table::lines(&["WRITTEN", "DEVICE", "VALUE"], &values.iter().map(row).collect::<Vec<_>>()))
}

async fn entry(
    ctx: &Ctx<'_>,
    bus: &Bus,
    key: &str,
    value: &[u8],
    time: u64,
    device: &str,
) -> Result<Map<String, Value>, Failure> {
    let name = name_of(device, ctx.out, &bus.devices().await?);
    let mut entry = Map::new();
    entry.insert("key".to_owned(), key.into());
    insert_value(&mut entry, value);
    entry.insert("time".to_owned(), time.into());
    entry.insert("device".to_owned(), json!({"id": device, "name": name}));
    Ok(entry)
}

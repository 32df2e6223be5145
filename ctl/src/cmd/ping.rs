//! `kinctl ping`: is a device there, over which path, and how far away.

use std::collections::HashMap;
use std::time::Duration;

use kinlink_proto::dbus::Error;
use serde_json::{Value, json};
use zbus::OwnedVariant;

use super::Ctx;
use crate::error::Failure;
use crate::model::{Device, Props};
use crate::output::Output;
use crate::proxy::Options;
use crate::{resolve, when};

/// Between two pings.
const EVERY: Duration = Duration::from_secs(1);

/// Ask a device for a sign of life: path, address, round trip, last sync
///
/// A device that is not connected is dialled at once. Exits with 10 if it did not answer the last time.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, id, or the start of its id
    device: String,
    /// How often to ask, a second apart
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// What came back.
struct Answer {
    address: String,
    from: String,
    place: String,
    rtt: u64,
    answered: u64,
    dialled: bool,
    synced: u64,
}

impl From<HashMap<String, OwnedVariant>> for Answer {
    fn from(answer: HashMap<String, OwnedVariant>) -> Self {
        let mut answer = Props::new(answer);
        Self {
            address: answer.take("address"),
            from: answer.take("from"),
            place: answer.take("place"),
            rtt: answer.take("rtt"),
            answered: answer.take("answered"),
            dialled: answer.take("dialled"),
            synced: answer.take("synced"),
        }
    }
}

pub(crate) async fn run(ctx: &Ctx<'_>, args: Args) -> Result<(), Failure> {
    let bus = ctx.bus().await?;
    let devices = bus.devices().await?;
    let device = resolve::pick(&devices, &args.device)?;
    let proxy = bus.device(&device.path).await?;
    let mut last = Ok(());
    for round in 0..args.count {
        if round > 0 {
            tokio::time::sleep(EVERY).await;
        }
        last = match proxy.ping(&Options::new()).await.map_err(Failure::from) {
            Ok(answer) => answered(ctx.out, device, &answer.into()),
            Err(Failure::Daemon { error: Error::Unreachable, message }) => Err(Failure::Silent(message)),
            Err(other) => return Err(other),
        };
        // The last failure is told as every failure is.
        if let (Err(Failure::Silent(message)), true) = (&last, round + 1 < args.count) {
            missed(ctx.out, message)?;
        }
    }
    last
}

fn answered(out: &Output, device: &Device, answer: &Answer) -> Result<(), Failure> {
    if out.json {
        return out.json(&json(out, device, answer));
    }
    out.line(format!(
        "{} answers at {} ({}, {}{}): round trip {}, answered in {}, last in sync {}",
        out.name(&device.name),
        out.address(&answer.address),
        place(&answer.place),
        answer.from,
        if answer.dialled { ", dialled for this" } else { "" },
        millis(answer.rtt),
        millis(answer.answered),
        when::ago(when::now(), answer.synced),
    ))
}

fn missed(out: &Output, message: &str) -> Result<(), Failure> {
    if out.json {
        out.json(&json!({"event": "missed", "message": out.sentence(message)}))
    } else {
        out.note(out.sentence(message))
    }
}

fn json(out: &Output, device: &Device, answer: &Answer) -> Value {
    json!({
        "event": "answer",
        "id": device.id,
        "name": out.name(&device.name),
        "address": out.address(&answer.address),
        "from": answer.from,
        "place": answer.place,
        "rtt_us": answer.rtt,
        "answered_us": answer.answered,
        "dialled": answer.dialled,
        "synced": answer.synced,
    })
}

fn place(place: &str) -> &str {
    match place {
        "here" => "this machine",
        "lan" => "same network",
        "routed" => "through a router or tunnel",
        _ => "path unknown",
    }
}

/// Microseconds, for people.
fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_on_a_lan_is_not_nothing() {
        assert_eq!([millis(321), millis(0), millis(12_345)], ["0.3 ms", "0.0 ms", "12.3 ms"]);
    }
}

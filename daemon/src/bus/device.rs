//! `org.kinlink.Kinlink1.Device`: the objects at `/devices/ID`.

use std::collections::BTreeMap;
use std::time::Duration;

use kinlink_proto::dbus::DEVICE;
use kinlink_proto::engine::command::{Command, Reply};
use kinlink_proto::engine::view::{AddressView, DeviceStatus, DeviceView, PingView, Place};
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits as proto;
use kinlink_proto::reach::HostPort;
use kinlink_proto::roster::Role;
use zbus::{Message, Variant};

use super::call::{Call, unexpected};
use super::contract::{Emits, Interface, Method, OPTIONS, Property, changing, constant, silent};
use super::error::{Failure, Standard};
use super::objects::{Values, shown, text};
use super::options::{Options, bounded};
use super::{limits, pin};

pub(super) static INTERFACE: Interface = Interface {
    name: DEVICE,
    methods: &[
        Method { name: "AddAddress", takes: &[("address", "s"), OPTIONS], gives: &[] },
        Method { name: "RemoveAddress", takes: &[("address", "s"), OPTIONS], gives: &[] },
        Method { name: "Ping", takes: &[OPTIONS], gives: &[("answer", "a{sv}")] },
        Method { name: "Dismiss", takes: &[OPTIONS], gives: &[] },
        Method { name: "Revoke", takes: &[("reason", "s"), OPTIONS], gives: &[] },
        Method { name: "Suspend", takes: &[("reason", "s"), OPTIONS], gives: &[] },
        Method { name: "Readmit", takes: &[OPTIONS], gives: &[] },
        Method { name: "SetRole", takes: &[("role", "s"), OPTIONS], gives: &[] },
    ],
    signals: &[],
    properties: &[
        constant("Id", "s"),
        constant("Fingerprint", "s"),
        Property { name: "Name", kind: "s", writable: true, emits: Emits::Value },
        changing("Platform", "s"),
        changing("Role", "s"),
        changing("Custody", "s"),
        changing("Status", "s"),
        changing("ThisDevice", "b"),
        changing("New", "b"),
        changing("LinkedAt", "t"),
        changing("LinkedBy", "s"),
        changing("LinkedFrom", "s"),
        changing("Verified", "s"),
        changing("Online", "b"),
        silent("LastSeen", "t"),
        changing("Address", "s"),
        changing("Addresses", "a(ssb)"),
        changing("Lease", "u"),
        changing("RevokedAt", "t"),
        changing("RevokedBy", "s"),
        changing("RevokedReason", "s"),
        changing("SeenAt", "as"),
        changing("WrongPins", "u"),
        changing("AppliedOn", "u"),
        changing("AppliedOf", "u"),
    ],
};

/// The properties of a device.
pub(super) fn values(device: &DeviceView) -> Values {
    let revoked = device.revoked.as_ref();
    // Who linked itself was the first: everybody else was approved with a code.
    let verified = if device.linked_by == device.id { "first device" } else { "code" };
    vec![
        ("Id", device.id.to_string().into()),
        ("Fingerprint", device.id.fingerprint().into()),
        ("Name", text(device.name.as_str()).into()),
        ("Platform", text(device.platform.as_str()).into()),
        ("Role", device.role.to_string().into()),
        ("Custody", device.custody.to_string().into()),
        ("Status", status(device.status).into()),
        ("ThisDevice", device.this.into()),
        ("New", device.new.into()),
        ("LinkedAt", device.linked_at.0.into()),
        ("LinkedBy", device.linked_by.to_string().into()),
        ("LinkedFrom", shown(device.linked_from.as_ref()).into()),
        ("Verified", verified.into()),
        ("Online", device.online.into()),
        ("LastSeen", device.last_seen.0.into()),
        ("Address", shown(device.address.as_ref()).into()),
        ("Addresses", addresses(&device.addresses)),
        ("Lease", device.lease.into()),
        ("RevokedAt", revoked.map_or(0, |by| by.at.0).into()),
        ("RevokedBy", shown(revoked.map(|by| &by.by)).into()),
        ("RevokedReason", text(revoked.map(|by| by.reason.as_str()).unwrap_or_default()).into()),
        ("SeenAt", device.seen_at.iter().map(|address| shown(Some(address))).collect::<Vec<_>>().into()),
        ("WrongPins", device.wrong_pins.into()),
        ("AppliedOn", device.applied.0.into()),
        ("AppliedOf", device.applied.1.into()),
    ]
}

fn status(status: DeviceStatus) -> &'static str {
    match status {
        DeviceStatus::Linked => "linked",
        DeviceStatus::Pending => "pending",
        DeviceStatus::Revoked => "revoked",
        DeviceStatus::Left => "left",
        DeviceStatus::Suspended => "suspended",
        DeviceStatus::Unconfirmed => "unconfirmed",
    }
}

fn addresses(addresses: &[AddressView]) -> Variant<'static> {
    let rows = addresses.iter().map(|address| (text(address.text.as_str()), address.from.text(), address.in_use));
    rows.collect::<Vec<_>>().into()
}

/// What a ping found out. Times are in microseconds: on a LAN a round trip is less than a thousandth of a second.
fn pinged(view: &PingView) -> BTreeMap<&'static str, Variant<'static>> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut answer = BTreeMap::from([
        ("address", text(view.address.to_string()).into()),
        ("from", view.from.text().into()),
        ("dialled", view.dialled.into()),
        ("answered", micros(view.answered).into()),
        ("synced", view.synced.0.into()),
    ]);
    if let Some(path) = view.path {
        let place = match path.place {
            Place::Here => "here",
            Place::Lan => "lan",
            Place::Routed => "routed",
        };
        answer.extend([("rtt", micros(path.rtt).into()), ("place", place.into())]);
    }
    answer
}

async fn ping(call: &Call<'_>, device: DeviceId) -> Result<Message, Failure> {
    Options(call.args()?).finish()?;
    match call.order(Command::Ping(device)).await? {
        Reply::Pinged(view) => call.reply(&pinged(&view)),
        other => Err(unexpected(&other)),
    }
}

/// Answers a call of `method`, one of the table's.
pub(super) async fn call(call: &Call<'_>, device: DeviceId, method: &'static str) -> Result<Message, Failure> {
    if method == "Dismiss" {
        Options(call.args()?).finish()?;
        return call.done(Command::Dismiss(device)).await;
    }
    if method == "Readmit" {
        let mut options = Options(call.args()?);
        let given = options.file("pin")?;
        options.finish()?;
        pin::order(call, given, "readmit", Command::Readmit(device)).await?;
        return call.reply(&());
    }
    if method == "Ping" {
        return ping(call, device).await;
    }
    let (argument, options) = call.args::<(String, _)>()?;
    let mut options = Options(options);
    let given = match method {
        "Revoke" | "SetRole" => options.file("pin")?,
        _ => None,
    };
    options.finish()?;
    let address = || {
        bounded("address", &argument, limits::ADDRESS)?;
        argument.parse::<HostPort>().map_err(|error| Failure::argument(error.to_string()))
    };
    match method {
        "AddAddress" => call.done(Command::AddAddress { device, address: address()? }).await,
        "RemoveAddress" => call.done(Command::RemoveAddress { device, address: address()? }).await,
        "Revoke" => {
            bounded("reason", &argument, proto::REASON_BYTES)?;
            pin::order(call, given, "revoke", Command::Revoke { devices: vec![device], reason: argument }).await?;
            call.reply(&())
        }
        "Suspend" => {
            bounded("reason", &argument, proto::REASON_BYTES)?;
            call.done(Command::Suspend { device, reason: argument }).await
        }
        "SetRole" => {
            let role: Role = argument.parse().map_err(|error| Failure::argument(format!("role: {error}")))?;
            pin::order(call, given, "role", Command::SetRole { device, role }).await?;
            call.reply(&())
        }
        other => Err(Failure::internal(format!("{other} is listed and not answered"))),
    }
}

/// Sets the property `Name`.
pub(super) async fn rename(call: &Call<'_>, device: DeviceId, name: Variant<'_>) -> Result<Message, Failure> {
    let mistyped = |_| Failure::standard(Standard::InvalidArgs, "a name is text (s)");
    let name = String::try_from(name).map_err(mistyped)?;
    bounded("name", &name, proto::NAME_BYTES)?;
    call.done(Command::Rename { device, name }).await
}

//! `org.kinlink.Kinlink1.Device`: the objects at `/devices/ID`.

use kinlink_proto::dbus::DEVICE;
use kinlink_proto::engine::command::Command;
use kinlink_proto::engine::view::{DeviceStatus, DeviceView};
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits as proto;
use kinlink_proto::roster::Role;
use zbus::{Message, Variant};

use super::call::Call;
use super::contract::{Emits, Interface, Method, OPTIONS, Property, changing, constant, silent};
use super::error::{Failure, Standard};
use super::objects::{Values, shown, text};
use super::options::{Options, bounded};

pub(super) static INTERFACE: Interface = Interface {
    name: DEVICE,
    methods: &[
        Method { name: "Dismiss", takes: &[OPTIONS], gives: &[] },
        Method { name: "Revoke", takes: &[("reason", "s"), OPTIONS], gives: &[] },
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
        changing("Lease", "u"),
        changing("RevokedAt", "t"),
        changing("RevokedBy", "s"),
        changing("RevokedReason", "s"),
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
        ("Lease", device.lease.into()),
        ("RevokedAt", revoked.map_or(0, |by| by.at.0).into()),
        ("RevokedBy", shown(revoked.map(|by| &by.by)).into()),
        ("RevokedReason", text(revoked.map(|by| by.reason.as_str()).unwrap_or_default()).into()),
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

/// Answers a call of `method`, one of the table's.
pub(super) async fn call(call: &Call<'_>, device: DeviceId, method: &'static str) -> Result<Message, Failure> {
    if method == "Dismiss" {
        Options(call.args()?).finish()?;
        return call.done(Command::Dismiss(device)).await;
    }
    let (argument, options) = call.args::<(String, _)>()?;
    Options(options).finish()?;
    match method {
        "Revoke" => {
            bounded("reason", &argument, proto::REASON_BYTES)?;
            call.done(Command::Revoke { devices: vec![device], reason: argument }).await
        }
        "SetRole" => {
            let role: Role = argument.parse().map_err(|error| Failure::argument(format!("role: {error}")))?;
            call.done(Command::SetRole { device, role }).await
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

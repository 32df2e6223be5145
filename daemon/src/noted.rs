//! What of the account's devices goes to the log: who came in and who went out, by id.

use kinlink_proto::engine::view::{DeviceStatus, DeviceView, View};

use crate::log;

/// Logs how `after` differs from `before`. The first snapshot of a run is no news.
pub(crate) fn note(before: &View, after: &View) {
    if before.devices.is_empty() {
        return;
    }
    for device in &after.devices {
        let was = before.devices.iter().find(|old| old.id == device.id).map(|old| old.status);
        if was == Some(device.status) {
            continue;
        }
        match device.status {
            DeviceStatus::Linked if !device.this && is_news(was) => linked(device),
            DeviceStatus::Pending => linked(device),
            DeviceStatus::Revoked | DeviceStatus::Left => gone(device),
            DeviceStatus::Suspended => suspended(device),
            DeviceStatus::Linked if was == Some(DeviceStatus::Suspended) => readmitted(device),
            DeviceStatus::Linked | DeviceStatus::Unconfirmed => {}
        }
    }
}

/// Whether a device that is in by now was not before.
fn is_news(was: Option<DeviceStatus>) -> bool {
    !matches!(was, Some(DeviceStatus::Pending | DeviceStatus::Suspended))
}

fn linked(device: &DeviceView) {
    tracing::info!(event = log::LINKED, device = %device.id, by = %device.linked_by, "a device was linked");
}

fn gone(device: &DeviceView) {
    let by = device.revoked.as_ref().map_or(device.id, |revoked| revoked.by);
    if device.this {
        tracing::warn!(event = log::OUT, device = %device.id, %by, "this device was revoked");
    } else {
        tracing::info!(event = log::REVOKED, device = %device.id, %by, "a device was revoked");
    }
}

/// With the addresses at which it was seen: two of them mean that there are two of it.
fn suspended(device: &DeviceView) {
    let by = device.revoked.as_ref().map_or(device.id, |suspended| suspended.by);
    let seen_at: Vec<String> = device.seen_at.iter().map(ToString::to_string).collect();
    let (device, seen_at) = (device.id, seen_at.join(", "));
    tracing::warn!(event = log::SUSPENDED, %device, %by, %seen_at, "a device was suspended");
}

fn readmitted(device: &DeviceView) {
    tracing::info!(event = log::READMITTED, device = %device.id, "a device was readmitted");
}

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
            DeviceStatus::Linked if !device.this && was != Some(DeviceStatus::Pending) => linked(device),
            DeviceStatus::Pending => linked(device),
            DeviceStatus::Revoked | DeviceStatus::Left => gone(device),
            DeviceStatus::Linked | DeviceStatus::Suspended | DeviceStatus::Unconfirmed => {}
        }
    }
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

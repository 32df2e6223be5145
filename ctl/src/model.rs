//! Snapshots of what the daemon knows, and their JSON: `kinctl help json` documents the shape.

use std::collections::HashMap;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use zbus::wire::Signature;
use zbus::{OwnedVariant, Type, Variant};

use crate::output::Output;

/// An object's properties. One that is missing, or of another type, reads as empty: an older daemon may
/// not have it yet.
#[derive(Debug, Default)]
pub(crate) struct Props(HashMap<String, OwnedVariant>);

impl Props {
    /// As they came.
    pub(crate) fn new(props: HashMap<String, OwnedVariant>) -> Self {
        Self(props)
    }

    /// Takes one out.
    pub(crate) fn take<T: TryFrom<OwnedVariant> + Default>(&mut self, name: &str) -> T {
        self.0.remove(name).and_then(|value| T::try_from(value).ok()).unwrap_or_default()
    }

    fn path(&mut self, name: &str) -> String {
        let path = self.0.remove(name).and_then(|value| zbus::OwnedObjectPath::try_from(value).ok());
        path.map(|path| path.to_string()).unwrap_or_default()
    }
}

/// Where this device's key is, and whether it is open.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) place: String,
    pub(crate) locked: bool,
    pub(crate) why: String,
}

impl From<HashMap<String, OwnedVariant>> for Key {
    fn from(status: HashMap<String, OwnedVariant>) -> Self {
        let mut status = Props::new(status);
        Self { place: status.take("Place"), locked: status.take("Locked"), why: status.take("Why") }
    }
}

/// This device and its account.
#[derive(Debug, Default)]
pub(crate) struct Manager {
    pub(crate) version: String,
    pub(crate) account: String,
    pub(crate) label: String,
    pub(crate) this_device: String,
    pub(crate) device_name: String,
    pub(crate) fingerprint: String,
    pub(crate) roster_heads: Vec<String>,
    pub(crate) epoch: String,
    pub(crate) two_step: bool,
    pub(crate) pin_set_by: String,
    pub(crate) pin_set_at: u64,
    pub(crate) pin_known_on: u32,
    pub(crate) pin_known_of: u32,
    pub(crate) pairing_open: bool,
    pub(crate) key_protection: String,
    pub(crate) port: u16,
    pub(crate) state: String,
    pub(crate) revoked_by: String,
    pub(crate) revoked_reason: String,
    pub(crate) revoked_at: u64,
    pub(crate) update_needed: bool,
    pub(crate) changes_received: u64,
    pub(crate) changes_expected: u64,
    pub(crate) warnings: Vec<String>,
}

impl From<Props> for Manager {
    fn from(mut props: Props) -> Self {
        Self {
            version: props.take("Version"),
            account: props.take("Account"),
            label: props.take("AccountLabel"),
            this_device: last(&props.path("ThisDevice")),
            device_name: props.take("DeviceName"),
            fingerprint: props.take("Fingerprint"),
            roster_heads: props.take("RosterHeads"),
            epoch: props.take("Epoch"),
            two_step: props.take("TwoStep"),
            pin_set_by: props.take("PinSetBy"),
            pin_set_at: props.take("PinSetAt"),
            pin_known_on: props.take("PinKnownOn"),
            pin_known_of: props.take("PinKnownOf"),
            pairing_open: props.take("PairingOpen"),
            key_protection: props.take("KeyProtection"),
            port: props.take("Port"),
            state: props.take("State"),
            revoked_by: props.take("RevokedBy"),
            revoked_reason: props.take("RevokedReason"),
            revoked_at: props.take("RevokedAt"),
            update_needed: props.take("UpdateNeeded"),
            changes_received: props.take("ChangesReceived"),
            changes_expected: props.take("ChangesExpected"),
            warnings: props.take("Warnings"),
        }
    }
}

impl Manager {
    /// What a person should know who asks how things are, and need not hear each time.
    fn advice(&self) -> Option<&'static str> {
        (self.key_protection == "file").then_some(
            "The key of this device lies beside its data: who can read the disk can read both. kinctl key move keeps it apart.",
        )
    }

    /// Warnings and advice.
    pub(crate) fn all_warnings(&self) -> impl Iterator<Item = &str> {
        self.warnings.iter().map(String::as_str).chain(self.advice())
    }

    /// `kinctl status --json`.
    pub(crate) fn json(&self, out: &Output) -> Value {
        let out_by = |state: &str| {
            (self.state == state).then(|| {
            json!({"by": out.name(&self.revoked_by), "reason": out.hide("reason", &self.revoked_reason), "at": self.revoked_at})
        })
        };
        json!({
            "version": self.version,
            "client_version": env!("CARGO_PKG_VERSION"),
            "state": self.state,
            "account": self.account,
            "label": out.name(&self.label),
            "device": {"id": self.this_device, "name": out.name(&self.device_name), "fingerprint": self.fingerprint},
            "roster_heads": self.roster_heads,
            "epoch": self.epoch,
            "two_step": self.two_step,
            "pairing_open": self.pairing_open,
            "key_protection": self.key_protection,
            "port": self.port,
            "revoked": out_by("revoked"),
            "suspended": out_by("suspended"),
            "update_needed": self.update_needed,
            "receiving": (self.changes_expected > 0)
                .then(|| json!({"changes": self.changes_received, "of": self.changes_expected})),
            "warnings": self.all_warnings().map(|warning| out.sentence(warning)).collect::<Vec<_>>(),
        })
    }
}

/// A device.
#[derive(Clone, Debug, Default)]
pub(crate) struct Device {
    pub(crate) path: String,
    pub(crate) id: String,
    pub(crate) fingerprint: String,
    pub(crate) name: String,
    pub(crate) platform: String,
    pub(crate) role: String,
    pub(crate) custody: String,
    pub(crate) status: String,
    pub(crate) this: bool,
    pub(crate) new: bool,
    pub(crate) linked_at: u64,
    pub(crate) linked_by: String,
    pub(crate) linked_from: String,
    pub(crate) verified: String,
    pub(crate) online: bool,
    pub(crate) last_seen: u64,
    pub(crate) address: String,
    /// Address, how it is known, whether it is in use.
    pub(crate) addresses: Vec<(String, String, bool)>,
    pub(crate) lease: u32,
    pub(crate) revoked_at: u64,
    pub(crate) revoked_by: String,
    pub(crate) revoked_reason: String,
    pub(crate) seen_at: Vec<String>,
    pub(crate) wrong_pins: u32,
    pub(crate) applied_on: u32,
    pub(crate) applied_of: u32,
}

impl Device {
    /// The device at `path`.
    pub(crate) fn new(path: &str, mut props: Props) -> Self {
        Self {
            path: path.to_owned(),
            id: props.take("Id"),
            fingerprint: props.take("Fingerprint"),
            name: props.take("Name"),
            platform: props.take("Platform"),
            role: props.take("Role"),
            custody: props.take("Custody"),
            status: props.take("Status"),
            this: props.take("ThisDevice"),
            new: props.take("New"),
            linked_at: props.take("LinkedAt"),
            linked_by: props.take("LinkedBy"),
            linked_from: props.take("LinkedFrom"),
            verified: props.take("Verified"),
            online: props.take("Online"),
            last_seen: props.take("LastSeen"),
            address: props.take("Address"),
            addresses: props.take("Addresses"),
            lease: props.take("Lease"),
            revoked_at: props.take("RevokedAt"),
            revoked_by: props.take("RevokedBy"),
            revoked_reason: props.take("RevokedReason"),
            seen_at: props.take("SeenAt"),
            wrong_pins: props.take("WrongPins"),
            applied_on: props.take("AppliedOn"),
            applied_of: props.take("AppliedOf"),
        }
    }

    /// Revoked, or left: it is listed for the record only.
    pub(crate) fn out(&self) -> bool {
        matches!(self.status.as_str(), "revoked" | "left")
    }

    /// Without rights, until an owner readmits it.
    pub(crate) fn suspended(&self) -> bool {
        self.status == "suspended"
    }

    /// This one first, then those that are in, by name; the others after, the latest first.
    pub(crate) fn order(&self) -> impl Ord + use<> {
        let latest = u64::MAX - self.revoked_at;
        (self.out(), !self.this, if self.out() { latest } else { 0 }, self.name.to_lowercase(), self.id.clone())
    }

    /// An element of `kinctl list --json`, with the names of `devices`.
    pub(crate) fn json(&self, out: &Output, devices: &[Self]) -> Value {
        let revoked = self.out().then(|| {
            json!({
                "at": self.revoked_at,
                "by": who(&self.revoked_by, out, devices),
                "reason": out.hide("reason", &self.revoked_reason),
                "applied_on": self.applied_on,
                "applied_of": self.applied_of,
            })
        });
        let suspended = self.suspended().then(|| {
            json!({
                "at": self.revoked_at,
                "by": who(&self.revoked_by, out, devices),
                "reason": out.hide("reason", &self.revoked_reason),
                "seen_at": self.seen_at.iter().map(|address| out.address(address)).collect::<Vec<_>>(),
            })
        });
        json!({
            "id": self.id,
            "short_id": short(&self.id),
            "fingerprint": self.fingerprint,
            "name": out.name(&self.name),
            "platform": self.platform,
            "role": self.role,
            "custody": self.custody,
            "status": self.status,
            "this_device": self.this,
            "new": self.new,
            "online": self.online,
            "last_seen": self.last_seen,
            "address": out.address(&self.address),
            "addresses": self.addresses.iter().map(|address| crate::cmd::address::json(out, address)).collect::<Vec<_>>(),
            "lease": self.lease,
            "wrong_pins": self.wrong_pins,
            "linked": {
                "at": self.linked_at,
                "by": who(&self.linked_by, out, devices),
                "from": out.address(&self.linked_from),
                "verified": self.verified,
            },
            "revoked": revoked,
            "suspended": suspended,
        })
    }
}

/// A session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) title: String,
    pub(crate) device: String,
    pub(crate) device_name: String,
    pub(crate) created: u64,
    pub(crate) last_active: u64,
    pub(crate) expires: u64,
    pub(crate) state: String,
    pub(crate) ended_by: String,
    pub(crate) ended_reason: String,
    pub(crate) ended_at: u64,
}

impl From<Props> for Session {
    fn from(props: Props) -> Self {
        let mut session = Self::default();
        for (name, value) in props.0 {
            session.set(&name, value.into());
        }
        session
    }
}

impl Type for Session {
    const SIGNATURE: &'static Signature = <HashMap<&str, Variant<'_>>>::SIGNATURE;
}

/// Straight from the message: there may be thousands, and a map of each takes longer than all the rest.
impl<'de> Deserialize<'de> for Session {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Properties;

        impl<'de> Visitor<'de> for Properties {
            type Value = Session;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a session's properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Session, A::Error> {
                let mut session = Session::default();
                while let Some((name, value)) = map.next_entry::<&str, Variant<'_>>()? {
                    session.set(name, value);
                }
                Ok(session)
            }
        }

        deserializer.deserialize_map(Properties)
    }
}

impl Session {
    fn set(&mut self, name: &str, value: Variant<'_>) {
        fn read<'v, T: TryFrom<Variant<'v>> + Default>(value: Variant<'v>) -> T {
            T::try_from(value).unwrap_or_default()
        }
        match name {
            "Id" => self.id = read(value),
            "App" => self.app = read(value),
            "Title" => self.title = read(value),
            "Device" => self.device = read(value),
            "DeviceName" => self.device_name = read(value),
            "Created" => self.created = read(value),
            "LastActive" => self.last_active = read(value),
            "Expires" => self.expires = read(value),
            "State" => self.state = read(value),
            "EndedBy" => self.ended_by = read(value),
            "EndedReason" => self.ended_reason = read(value),
            "EndedAt" => self.ended_at = read(value),
            // A newer daemon may have more to say.
            _ => {}
        }
    }

    /// An element of `kinctl sessions --json`, with the names of `devices`.
    pub(crate) fn json(&self, out: &Output, devices: &[Device]) -> Value {
        let ended = (self.state == "ended").then(|| {
            json!({
                "at": self.ended_at,
                "by": who(&self.ended_by, out, devices),
                "reason": out.hide("reason", &self.ended_reason),
            })
        });
        json!({
            "id": self.id,
            "short_id": short(&self.id),
            "app": self.app,
            "title": out.hide("title", &self.title),
            "device": who(&self.device, out, devices),
            "created": self.created,
            "last_active": self.last_active,
            "expires": self.expires,
            "state": self.state,
            "ended": ended,
        })
    }
}

/// A pairing, from either side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pairing {
    pub(crate) state: String,
    pub(crate) peer_name: String,
    pub(crate) peer_platform: String,
    pub(crate) peer_address: String,
    pub(crate) peer_fingerprint: String,
    pub(crate) peer_id: String,
    pub(crate) label: String,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) custody: String,
    pub(crate) tries_left: u32,
    pub(crate) error: String,
    pub(crate) error_message: String,
}

impl From<Props> for Pairing {
    fn from(mut props: Props) -> Self {
        Self {
            state: props.take("State"),
            peer_name: props.take("PeerName"),
            peer_platform: props.take("PeerPlatform"),
            peer_address: props.take("PeerAddress"),
            peer_fingerprint: props.take("PeerFingerprint"),
            peer_id: props.take("PeerId"),
            label: props.take("AccountLabel"),
            account: props.take("Account"),
            role: props.take("Role"),
            custody: props.take("Custody"),
            tries_left: props.take("TriesLeft"),
            error: props.take("Error"),
            error_message: props.take("ErrorMessage"),
        }
    }
}

impl Pairing {
    /// The `peer` of an event.
    pub(crate) fn peer(&self, out: &Output) -> Value {
        json!({
            "name": out.name(&self.peer_name),
            "platform": self.peer_platform,
            "address": out.address(&self.peer_address),
            "fingerprint": self.peer_fingerprint,
            "id": self.peer_id,
        })
    }
}

/// The first eight digits: enough to tell devices apart, and to type.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

/// The name of the device `id`, or the start of the id if it is not known here.
pub(crate) fn name_of(id: &str, out: &Output, devices: &[Device]) -> String {
    match devices.iter().find(|device| device.id == id) {
        Some(device) if !device.name.is_empty() => out.name(&device.name),
        _ => short(id).to_owned(),
    }
}

fn who(id: &str, out: &Output, devices: &[Device]) -> Value {
    if id.is_empty() { Value::Null } else { json!({"id": id, "name": name_of(id, out, devices)}) }
}

/// The last element of an object path: the id.
fn last(path: &str) -> String {
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

//! The objects: what a path names, and what its properties are for the one who asks.

use kinlink_proto::dbus::{self, DEVICES, PAIRINGS, ROOT, SESSIONS};
use kinlink_proto::engine::command::PairingId;
use kinlink_proto::id::{DeviceId, SessionId};
use zbus::{ObjectPath, Variant};

use super::call::Call;
use super::contract::Interface;
use super::error::Failure;
use super::{caller, device, manager, pairing, session};

/// Properties by name, in the order of their interface's table.
pub(super) type Values = Vec<(&'static str, Variant<'static>)>;

/// What a path names. Whether there is such a thing is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    Root,
    Device(DeviceId),
    Session(SessionId),
    Pairing(PairingId),
}

impl Object {
    /// The object at `path`. Each has one path: ids in upper case or numbers with leading zeros name nothing.
    pub(super) fn at(path: &str) -> Option<Self> {
        if path == ROOT {
            return Some(Self::Root);
        }
        let (folder, name) = path.rsplit_once('/')?;
        let object = match folder {
            DEVICES => Self::Device(name.parse().ok()?),
            SESSIONS => Self::Session(name.parse().ok()?),
            PAIRINGS => Self::Pairing(PairingId(name.parse().ok()?)),
            _ => return None,
        };
        (object.path() == path).then_some(object)
    }

    /// Its path.
    pub(super) fn path(&self) -> String {
        match self {
            Self::Root => ROOT.to_owned(),
            Self::Device(id) => dbus::device_path(id),
            Self::Session(id) => dbus::session_path(id),
            Self::Pairing(id) => dbus::pairing_path(id.0),
        }
    }

    /// Its path, for a message.
    pub(super) fn object_path(&self) -> ObjectPath<'static> {
        ObjectPath::from_string_unchecked(self.path())
    }

    /// Its interface.
    pub(super) fn interface(&self) -> &'static Interface {
        match self {
            Self::Root => &manager::INTERFACE,
            Self::Device(_) => &device::INTERFACE,
            Self::Session(_) => &session::INTERFACE,
            Self::Pairing(_) => &pairing::INTERFACE,
        }
    }

    /// The properties that the caller may read. Fails if there is no such object for this caller.
    pub(super) async fn values(&self, call: &Call<'_>) -> Result<Values, Failure> {
        let view = call.hub.core.view().borrow().clone();
        match self {
            Self::Root => {
                let key = call.hub.core.key().borrow().clone();
                Ok(manager::visible(manager::values(call.hub.core.facts(), &view, &key), &call.kind()))
            }
            Self::Device(_) if !caller::may_see_account(&call.kind()) => Err(call.not_allowed()),
            Self::Device(id) => {
                let found = view.devices.iter().find(|device| device.id == *id);
                found.map(device::values).ok_or_else(|| Failure::missing("device"))
            }
            Self::Session(id) => session::read(call, *id).await,
            Self::Pairing(id) => pairing::read(call, *id).await,
        }
    }
}

/// The names of what stands right below `path`, for introspection: of pairings the caller's own; sessions, which may
/// be ten thousand, are listed by `ListSessions` instead.
pub(super) fn below(call: &Call<'_>, path: &str) -> Vec<String> {
    let sees = caller::may_see_account(&call.kind());
    match path {
        DEVICES if sees => call.hub.core.view().borrow().devices.iter().map(|device| device.id.to_string()).collect(),
        PAIRINGS => call.hub.kept(call.client.id).iter().map(|(pairing, _)| pairing.0.to_string()).collect(),
        _ => folders(path),
    }
}

/// The next step from `path` to each folder.
fn folders(path: &str) -> Vec<String> {
    let prefix = if path == "/" { String::from("/") } else { format!("{path}/") };
    let step = |folder: &&str| folder.strip_prefix(&prefix).and_then(|rest| rest.split('/').next()).map(str::to_owned);
    let mut names: Vec<String> = [DEVICES, SESSIONS, PAIRINGS].iter().filter_map(step).collect();
    names.sort();
    names.dedup();
    names
}

/// Whether `path` is a folder: it leads to objects and is none.
pub(super) fn is_folder(path: &str) -> bool {
    [DEVICES, SESSIONS, PAIRINGS].contains(&path) || !folders(path).is_empty()
}

/// What changed from `old` to `new`.
pub(super) fn changes(old: &Values, new: Values) -> Values {
    new.into_iter().filter(|value| !old.contains(value)).collect()
}

/// A text that D-Bus can carry: it knows no NUL. What others wrote must not make a whole reply fail.
pub(super) fn text(text: impl Into<String>) -> String {
    let text: String = text.into();
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// [`text`] of what may be absent, empty then.
pub(super) fn shown<T: ToString>(value: Option<&T>) -> String {
    value.map(|value| text(value.to_string())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_object_has_one_path() {
        for object in [
            Object::Root,
            Object::Device(DeviceId([0xab; 32])),
            Object::Session(SessionId([1; 16])),
            Object::Pairing(PairingId(7)),
        ] {
            assert_eq!(Object::at(&object.path()), Some(object));
            assert!(ObjectPath::try_from(object.path()).is_ok());
        }
        let upper = format!("{DEVICES}/{}", DeviceId([0xab; 32]).to_string().to_uppercase());
        for path in
            ["/", DEVICES, &upper, "/org/kinlink/Kinlink1/pairing/07", "/org/kinlink/Kinlink1/pairing/+7", "/other"]
        {
            assert_eq!(Object::at(path), None, "{path}");
        }
    }

    #[test]
    fn folders_lead_to_the_objects() {
        assert_eq!(folders("/"), ["org"]);
        assert_eq!(folders("/org"), ["kinlink"]);
        assert_eq!(folders(ROOT), ["devices", "pairing", "sessions"]);
        assert!(is_folder("/") && is_folder(DEVICES) && !is_folder("/org/kin") && !is_folder("/etc"));
    }

    #[test]
    fn a_text_loses_its_nul_and_nothing_else() {
        assert_eq!(text("a\0b\n"), "a\u{fffd}b\n");
    }
}

//! A session in a listing. There may be thousands: each is written straight into the message, as collecting its
//! properties first takes longer than all the rest.

use std::borrow::Cow;

use kinlink_proto::engine::view::SessionView;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use zbus::wire::Signature;
use zbus::{Type, Variant, as_variant};

/// Its properties, and the name of its device.
pub(super) struct Listed<'s> {
    session: &'s SessionView,
    id: String,
    device: String,
    ended_by: String,
}

impl<'s> Listed<'s> {
    pub(super) fn new(session: &'s SessionView) -> Self {
        let ended_by = session.ended.as_ref().map(|ended| ended.by.to_string()).unwrap_or_default();
        Self { session, id: session.id.to_string(), device: session.device.to_string(), ended_by }
    }
}

impl Type for Listed<'_> {
    const SIGNATURE: &'static Signature = <std::collections::BTreeMap<&str, Variant<'_>>>::SIGNATURE;
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (session, ended) = (self.session, self.session.ended.as_ref());
        let texts = [
            ("Id", self.id.as_str()),
            ("App", &session.app),
            ("Title", &session.title),
            ("Device", &self.device),
            ("DeviceName", &session.device_name),
            ("State", if ended.is_some() { "ended" } else { "open" }),
            ("EndedBy", &self.ended_by),
            ("EndedReason", ended.map(|ended| ended.reason.as_str()).unwrap_or_default()),
        ];
        let times = [
            ("Created", session.created.0),
            ("LastActive", session.last_active.0),
            ("Expires", session.expires.0),
            ("EndedAt", ended.map_or(0, |ended| ended.at.0)),
        ];
        let mut map = serializer.serialize_map(Some(texts.len() + times.len()))?;
        for (name, text) in texts {
            map.serialize_entry(name, &as_variant::Serialize(&&*clean(text)))?;
        }
        for (name, time) in times {
            map.serialize_entry(name, &as_variant::Serialize(&time))?;
        }
        map.end()
    }
}

/// A text as D-Bus takes it.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { super::objects::text(text).into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kinlink_proto::engine::view::RevokedBy;
    use kinlink_proto::id::{DeviceId, SessionId};
    use kinlink_proto::time::Wall;
    use zbus::OwnedVariant;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    use super::*;
    use crate::bus::session;

    #[test]
    fn a_listing_has_what_the_object_has_and_its_device_s_name() {
        let by = RevokedBy { by: DeviceId([3; 32]), name: "phone".into(), reason: "lost\0".into(), at: Wall(4) };
        let mut view = SessionView {
            id: SessionId([1; 16]),
            app: "org.example.Notes".into(),
            title: "A\0B".into(),
            device: DeviceId([2; 32]),
            device_name: "laptop".into(),
            created: Wall(1),
            last_active: Wall(2),
            expires: Wall(3),
            ended: None,
        };
        for ended in [None, Some(by)] {
            view.ended = ended;
            let bytes = to_bytes(Context::new(LE, 0), &Listed::new(&view)).unwrap();
            let listed: BTreeMap<String, OwnedVariant> = bytes.deserialize().unwrap().0;
            let mut object = session::values(&view);
            object.push(("DeviceName", "laptop".into()));
            let object: BTreeMap<_, _> = object.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(listed.len(), object.len());
            for (name, value) in object {
                assert_eq!(*listed[&name], value, "{name}");
            }
        }
    }
}

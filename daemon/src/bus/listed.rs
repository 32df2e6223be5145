//! A session in a listing. There may be thousands: each is written straight into the message, as collecting its
//! properties first takes longer than all the rest.

use std::borrow::Cow;

use kinlink_proto::engine::view::SessionView;
use kinlink_proto::time::Wall;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use zbus::wire::Signature;
use zbus::{Type, Variant, as_variant};

/// Of what a listing has of a session, first the texts, then the times.
pub(super) const PROPERTIES: [&str; 12] = [
    "Id",
    "App",
    "Title",
    "Device",
    "DeviceName",
    "State",
    "EndedBy",
    "EndedReason",
    "Created",
    "LastActive",
    "Expires",
    "EndedAt",
];

/// Those of them that are wanted.
pub(super) struct Listed<'s> {
    session: &'s SessionView,
    wanted: &'s [bool; PROPERTIES.len()],
    id: String,
    device: String,
    ended_by: String,
}

impl<'s> Listed<'s> {
    pub(super) fn new(session: &'s SessionView, wanted: &'s [bool; PROPERTIES.len()]) -> Self {
        let ended_by = session.ended.as_ref().map(|ended| ended.by.to_string()).unwrap_or_default();
        Self { session, wanted, id: session.id.to_string(), device: session.device.to_string(), ended_by }
    }
}

impl Type for Listed<'_> {
    const SIGNATURE: &'static Signature = <std::collections::BTreeMap<&str, Variant<'_>>>::SIGNATURE;
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (session, ended) = (self.session, self.session.ended.as_ref());
        let texts = [
            self.id.as_str(),
            &session.app,
            &session.title,
            &self.device,
            &session.device_name,
            if ended.is_some() { "ended" } else { "open" },
            &self.ended_by,
            ended.map(|ended| ended.reason.as_str()).unwrap_or_default(),
        ];
        let times = [session.created, session.last_active, session.expires, ended.map_or(Wall(0), |ended| ended.at)];
        let mut names = PROPERTIES.iter().zip(self.wanted).map(|(name, wanted)| wanted.then_some(name));
        let mut map = serializer.serialize_map(None)?;
        for (text, name) in texts.into_iter().zip(&mut names) {
            if let Some(name) = name {
                map.serialize_entry(name, &as_variant::Serialize(&&*clean(text)))?;
            }
        }
        for (time, name) in times.into_iter().zip(&mut names) {
            if let Some(name) = name {
                map.serialize_entry(name, &as_variant::Serialize(&time.0))?;
            }
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
    use zbus::OwnedVariant;
    use zbus::wire::{LE, serialized::Context, to_bytes};

    use super::*;
    use crate::bus::session;

    fn read(listed: &Listed<'_>) -> BTreeMap<String, OwnedVariant> {
        to_bytes(Context::new(LE, 0), listed).unwrap().deserialize().unwrap().0
    }

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
            let listed = read(&Listed::new(&view, &[true; PROPERTIES.len()]));
            let mut object = session::values(&view);
            object.push(("DeviceName", "laptop".into()));
            let object: BTreeMap<_, _> = object.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            assert_eq!(listed.len(), object.len());
            for (name, value) in object {
                assert_eq!(*listed[&name], value, "{name}");
                let wanted = PROPERTIES.map(|one| one == name);
                assert_eq!(read(&Listed::new(&view, &wanted)), BTreeMap::from([(name, value.try_into().unwrap())]));
            }
        }
    }
}

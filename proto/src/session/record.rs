//! A session's own record and its end: PROTOCOL.md section 8, "Records".

use crate::id::DeviceId;
use crate::limits::{NAME_BYTES, REASON_BYTES, TITLE_BYTES};
use crate::time::Wall;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// The key of the record, in [`super::Space::Record`].
pub const RECORD_KEY: &[u8] = b"record";
/// The key of the end, in [`super::Space::Record`].
pub const END_KEY: &[u8] = b"end";

/// What a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The app's id: at most [`NAME_BYTES`] bytes.
    pub app: String,
    /// What people see: at most [`TITLE_BYTES`] bytes. It comes from others; clean it before it is shown.
    pub title: String,
    /// When it was made, by its maker's clock.
    pub created: Wall,
    /// When it ends by itself; 0 is never.
    pub expires: Wall,
    /// Where it was made.
    pub creator: DeviceId,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Who ended it.
    pub by: DeviceId,
    /// When, by that device's clock.
    pub time: Wall,
    /// Why: at most [`REASON_BYTES`] bytes. It comes from others; clean it before it is shown.
    pub reason: String,
}

impl Encode for Record {
    fn encode(&self, w: &mut Writer) {
        w.t8(&self.app);
        w.t16(&self.title);
        w.u64(self.created.0);
        w.u64(self.expires.0);
        self.creator.encode(w);
    }
}

impl Decode for Record {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            app: bounded("app", r.t8()?, NAME_BYTES)?,
            title: r.t16("title", TITLE_BYTES)?,
            created: Wall(r.u64()?),
            expires: Wall(r.u64()?),
            creator: DeviceId::decode(r)?,
        })
    }
}

impl Encode for End {
    fn encode(&self, w: &mut Writer) {
        self.by.encode(w);
        w.u64(self.time.0);
        w.t8(&self.reason);
    }
}

impl Decode for End {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { by: DeviceId::decode(r)?, time: Wall(r.u64()?), reason: bounded("reason", r.t8()?, REASON_BYTES)? })
    }
}

fn bounded(what: &'static str, text: String, max: usize) -> Result<String, DecodeError> {
    match text.len() {
        len if len > max => Err(DecodeError::TooLarge { what, len, max }),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_and_ends_round_trip() {
        let record = Record {
            app: "org.example.Notes".into(),
            title: "Zettel".into(),
            created: Wall(1),
            expires: Wall(2),
            creator: DeviceId([3; 32]),
        };
        assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        let end = End { by: DeviceId([4; 32]), time: Wall(5), reason: "sold".into() };
        assert_eq!(End::from_bytes(&end.to_bytes()), Ok(end));
    }

    #[test]
    fn a_title_or_reason_over_its_limit_is_refused() {
        let end = End { by: DeviceId([4; 32]), time: Wall(5), reason: "x".repeat(REASON_BYTES + 1) };
        assert!(matches!(End::from_bytes(&end.to_bytes()), Err(DecodeError::TooLarge { what: "reason", .. })));
        let title = "x".repeat(TITLE_BYTES + 1);
        let record = Record { app: String::new(), title, created: Wall(0), expires: Wall(0), creator: DeviceId::NONE };
        assert!(matches!(Record::from_bytes(&record.to_bytes()), Err(DecodeError::TooLarge { what: "title", .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(record) = Record::from_bytes(&bytes) {
                prop_assert_eq!(record.to_bytes(), bytes.clone());
            }
            if let Ok(end) = End::from_bytes(&bytes) {
                prop_assert_eq!(end.to_bytes(), bytes);
            }
        }
    }
}

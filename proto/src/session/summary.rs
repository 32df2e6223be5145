//! What of a session is kept in memory: its record and end, the names in the account session, and when it was last written
//! to. A sealed row of its own, so that a start does not read the journals.

use std::collections::BTreeMap;

use super::content::Space;
use super::record::{END_KEY, End, RECORD_KEY, Record};
use super::register::{OpId, Register};
use super::{SessionInfo, index};
use crate::id::RunId;
use crate::limits::{KEY_BYTES, VALUE_BYTES};
use crate::time::Wall;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// A live value of a key that is kept in memory; `None` reads as absent.
struct Kept {
    time: Wall,
    value: Option<Vec<u8>>,
}

/// One session's row.
pub(super) struct Summary {
    /// The session's number on this device.
    pub(super) number: u32,
    /// The highest number that one of its changes was given, and in which run: see [`super::changes`].
    pub(super) last: (u64, RunId),
    last_active: Wall,
    kept: BTreeMap<(Space, Vec<u8>), BTreeMap<OpId, Kept>>,
    /// What follows from the above, once the record is there.
    info: Option<SessionInfo>,
}

impl Summary {
    pub(super) fn numbered(number: u32) -> Self {
        Self { number, last: (0, RunId::NONE), last_active: Wall(0), kept: BTreeMap::new(), info: None }
    }

    pub(super) fn info(&self) -> Option<&SessionInfo> {
        self.info.as_ref()
    }

    /// Whether an end is here, with or without the record.
    pub(super) fn ended(&self) -> bool {
        self.shown(Space::Record, END_KEY).is_some()
    }

    /// The end that is shown.
    pub(super) fn end(&self) -> Option<End> {
        End::from_bytes(self.shown(Space::Record, END_KEY)?).ok()
    }

    /// Notes that something was written at `time`.
    pub(super) fn touch(&mut self, time: Wall) {
        self.last_active = self.last_active.max(time);
    }

    /// Keeps what `op` wrote if it is live, and drops what no longer is.
    pub(super) fn keep(&mut self, space: Space, key: &[u8], register: &Register, op: (OpId, Wall, Option<&[u8]>)) {
        let values = self.kept.entry((space, key.to_vec())).or_default();
        let (id, time, value) = op;
        values.insert(id, Kept { time, value: value.map(<[u8]>::to_vec) });
        values.retain(|id, _| register.is_live(*id));
    }

    /// The value of a kept key that is shown first.
    pub(super) fn shown(&self, space: Space, key: &[u8]) -> Option<&[u8]> {
        let values = self.kept.get(&(space, key.to_vec()))?;
        let (_, first) = values.iter().max_by_key(|(op, kept)| (kept.time, **op))?;
        first.value.as_deref()
    }

    /// Works out `info` anew.
    pub(super) fn refresh(&mut self) {
        let record = self.shown(Space::Record, RECORD_KEY).and_then(|bytes| Record::from_bytes(bytes).ok());
        self.info = record.map(|record| SessionInfo {
            app: record.app,
            title: record.title,
            creator: record.creator,
            created: record.created,
            last_active: self.last_active,
            expires: record.expires,
            ended: self.end(),
        });
    }
}

impl Encode for Summary {
    fn encode(&self, w: &mut Writer) {
        w.u8(index::LAYOUT);
        w.u32(self.number);
        w.u64(self.last.0);
        self.last.1.encode(w);
        w.u64(self.last_active.0);
        let values = self.kept.iter().flat_map(|(name, values)| values.iter().map(move |(op, kept)| (name, op, kept)));
        w.u32(u32::try_from(values.clone().count()).unwrap_or(u32::MAX));
        for ((space, key), op, kept) in values {
            w.u8(space.code());
            w.v16(key);
            op.encode(w);
            w.u64(kept.time.0);
            w.u8(kept.value.is_some().into());
            w.v32(kept.value.as_deref().unwrap_or_default());
        }
    }
}

impl Decode for Summary {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        index::version(r)?;
        let (number, last) = (r.u32()?, (r.u64()?, RunId::decode(r)?));
        let mut summary = Self { last, last_active: Wall(r.u64()?), ..Self::numbered(number) };
        for _ in 0..r.u32()? {
            let name = (Space::decode(r)?, r.v16("key", KEY_BYTES)?.to_vec());
            let op = OpId::decode(r)?;
            let (time, present) = (Wall(r.u64()?), r.u8()? == 1);
            let value = r.v32("value", VALUE_BYTES)?.to_vec();
            summary.kept.entry(name).or_default().insert(op, Kept { time, value: present.then_some(value) });
        }
        Ok(summary)
    }
}

//! Changes of rows in a few bytes: as they stand in the log, and where each begins.
//!
//! For each change, in the order of the keys: the length of the key; that of the value plus one, or 0 where the row was
//! deleted; the key; the value. Lengths are as [`Writer::varint`] writes them.

use std::ops::Range;

use kinlink_proto::wire::{Reader, Writer};

/// A key, and the value of its row; `None` where the row was deleted.
pub(super) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// Changes with ascending keys.
#[derive(Debug, Default)]
pub(super) struct Layer {
    bytes: Vec<u8>,
    /// Where each change begins.
    places: Vec<usize>,
}

impl Layer {
    /// Writes down `changes`, whose keys ascend. They take about `capacity` bytes.
    pub(super) fn new<'a>(changes: impl Iterator<Item = Change<'a>>, capacity: usize) -> Self {
        let (mut w, mut places) = (Writer::with_capacity(capacity), Vec::new());
        for (key, value) in changes {
            places.push(w.written().len());
            for len in [key.len(), value.map_or(0, |value| value.len() + 1)] {
                w.varint(u64::try_from(len).unwrap_or(u64::MAX));
            }
            w.raw(key);
            w.raw(value.unwrap_or_default());
        }
        let mut bytes = w.finish();
        bytes.shrink_to_fit();
        places.shrink_to_fit();
        Self { bytes, places }
    }

    /// Reads what was written down; `None` if that is damaged.
    pub(super) fn decode(bytes: Vec<u8>) -> Option<Self> {
        let (mut places, mut r) = (Vec::new(), Reader::new(&bytes));
        while r.remaining() > 0 {
            places.push(r.position());
            change(&mut r)?;
        }
        Some(Self { bytes, places })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The change of one row, if there is one.
    pub(super) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        let (found, value) = self.range(key, &[]).next()?;
        (found == key).then_some(value)
    }

    pub(super) fn all(&self) -> Part<'_> {
        Part { layer: self, left: 0..self.len() }
    }

    /// The changes with `from <= key < to`; an empty `to` is behind all keys.
    pub(super) fn range(&self, from: &[u8], to: &[u8]) -> Part<'_> {
        let before = |end: &[u8]| self.places.partition_point(|place| self.change(*place).0 < end);
        let end = if to.is_empty() { self.len() } else { before(to) };
        Part { layer: self, left: before(from)..end }
    }

    /// Both, where `newer` counts.
    pub(super) fn under(&self, newer: &Self) -> Self {
        Self::new(Newest::new([self.all(), newer.all()]), self.bytes.len() + newer.bytes.len())
    }

    fn change(&self, place: usize) -> Change<'_> {
        // It was whole when its place was noted.
        change(&mut Reader::new(&self.bytes[place..])).unwrap_or_default()
    }
}

/// Some changes of a layer, ascending.
#[derive(Clone, Debug)]
pub(super) struct Part<'a> {
    layer: &'a Layer,
    left: Range<usize>,
}

impl<'a> Part<'a> {
    fn key(&self) -> Option<&'a [u8]> {
        Some(self.clone().next()?.0)
    }
}

impl<'a> Iterator for Part<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        Some(self.layer.change(self.layer.places[self.left.next()?]))
    }
}

/// Changes of several layers, ascending: the newest of each key.
#[derive(Debug)]
pub(super) struct Newest<'a>(Vec<Part<'a>>);

impl<'a> Newest<'a> {
    /// Of layers, the newest last.
    pub(super) fn new(parts: impl IntoIterator<Item = Part<'a>>) -> Self {
        Self(parts.into_iter().collect())
    }
}

impl<'a> Iterator for Newest<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let key = self.0.iter().filter_map(Part::key).min()?;
        let mut found = None;
        for part in &mut self.0 {
            if part.key() == Some(key) {
                found = part.next();
            }
        }
        found
    }
}

/// Reads one change.
fn change<'a>(r: &mut Reader<'a>) -> Option<Change<'a>> {
    let mut len = || usize::try_from(r.varint().ok()?).ok();
    let (key, value) = (len()?, len()?);
    let key = r.take(key).ok()?;
    let value = match value.checked_sub(1) {
        Some(len) => Some(r.take(len).ok()?),
        None => None,
    };
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(changes: &[Change<'static>]) -> Layer {
        Layer::new(changes.iter().copied(), 0)
    }

    #[test]
    fn what_is_written_down_is_read_again() {
        let long = [7; 300];
        let changes: [Change<'_>; 4] = [(b"", Some(b"")), (b"a", None), (b"b", Some(&long)), (&long, Some(b"c"))];
        let again = Layer::decode(Layer::new(changes.into_iter(), 9).bytes().to_vec()).unwrap();
        assert_eq!(again.all().collect::<Vec<_>>(), changes);
    }

    #[test]
    fn what_was_cut_short_is_damaged() {
        let whole = layer(&[(b"key", Some(b"value"))]);
        for len in 1..whole.bytes().len() {
            assert!(Layer::decode(whole.bytes()[..len].to_vec()).is_none(), "{len} bytes");
        }
        assert!(Layer::decode(vec![0xff; 20]).is_none());
    }

    #[test]
    fn the_newest_change_of_a_key_counts() {
        let (old, new) = (layer(&[(b"a", Some(b"1")), (b"b", Some(b"1"))]), layer(&[(b"b", None), (b"c", Some(b"2"))]));
        let both = old.under(&new);
        assert_eq!(both.all().collect::<Vec<_>>(), [(&b"a"[..], Some(&b"1"[..])), (b"b", None), (b"c", Some(b"2"))]);
        assert_eq!((both.get(b"b"), both.get(b"bb"), both.get(b"d")), (Some(None), None, None));
        assert_eq!(both.range(b"aa", b"c").collect::<Vec<_>>(), [(&b"b"[..], None)]);
    }
}

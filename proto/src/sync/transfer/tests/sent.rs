//! What a sender puts into a transfer, and what it costs.

use super::*;

/// A device that stopped in the middle of what the others dropped since, and of which they keep one hash only.
#[test]
fn a_range_that_begins_within_a_dropped_subtree_is_sent_from_its_start() {
    let (mut a, mut b, mut c) = (Device::new(1), Device::new(2), Device::new(3));
    let journal = a.journal();
    a.write(300, 20);
    b.fetch(&a);
    let kept = b.content(journal);
    a.write(1500, 20);
    a.drop_range(journal, 0..1024);
    c.fetch(&a);
    let frames = c.frames(journal, 300);
    assert_eq!(TransferHeader::from_bytes(&frames[0].body).unwrap().from, 0);
    b.receive(&frames, None).unwrap();
    assert_eq!(b.journals.position(journal).unwrap().root, a.journals.position(journal).unwrap().root);
    assert_eq!(b.content(journal)[..300], kept);
    assert_eq!(b.content(journal)[300..], a.content(journal)[300..]);
    // What it kept cannot be verified by others, so it is passed on as it came.
    assert_eq!(b.frames(journal, 0), c.frames(journal, 0));
}

#[test]
fn a_dropped_block_costs_one_item() {
    let mut a = Device::new(4);
    a.write(2048, 20);
    a.drop_range(a.journal(), 0..1024);
    let frames = a.frames(a.journal(), 0);
    let segment = Segment::from_bytes(&frames[1].body).unwrap();
    assert!(matches!(segment.items[..], [Item::Dropped { level: 10, .. }]));
}

#[test]
fn large_values_make_segments_shorter() {
    let (mut a, mut b) = (Device::new(5), Device::new(6));
    a.write(1200, 20);
    a.write(12, 1 << 20);
    a.write(900, 20);
    let frames = a.frames(a.journal(), 0);
    assert!(frames.iter().all(|frame| frame.body.len() <= SEGMENT_BYTES && frame.body.len() <= FRAME_SEGMENT));
    assert!(TransferHeader::from_bytes(&frames[0].body).unwrap().level < SEGMENT_LEVEL);
    let middle = frames.len() / 2;
    b.receive(&frames[..middle], None).unwrap();
    b.receive(&a.frames(a.journal(), b.journals.size(a.journal())), None).unwrap();
    b.assert_same_as(&a, a.journal());
}

#[test]
fn middling_values_travel_as_parts_of_blocks() {
    let (mut a, mut b) = (Device::new(5), Device::new(6));
    a.write(1000, 16 << 10);
    a.write(1100, 16 << 10);
    let frames = a.frames(a.journal(), 0);
    let level = TransferHeader::from_bytes(&frames[0].body).unwrap().level;
    assert!((5..SEGMENT_LEVEL).contains(&level), "{level}");
    assert!(frames.iter().all(|frame| frame.body.len() <= SEGMENT_BYTES));
    b.receive(&frames, None).unwrap();
    b.assert_same_as(&a, a.journal());
    // Whoever took it in can pass it on alike, and so can one that gave up content and got it back.
    assert_eq!(b.frames(a.journal(), 0), frames);
    b.drop_range(a.journal(), 40..1030);
    b.receive(&frames, None).unwrap();
    assert_eq!(b.frames(a.journal(), 0), frames);
}

#[test]
fn small_ranges_travel_inline_and_large_ones_do_not() {
    let (mut a, mut b) = (Device::new(7), Device::new(8));
    a.write(50, 100);
    let Inline { header, segments } = inline(&a.store, a.journal(), 0, None).unwrap().unwrap();
    let frame = |body| Frame { kind: kind::SEGMENT, body };
    let frames: Vec<_> = std::iter::once(header.into()).chain(segments).map(frame).collect();
    let applied = b.receive(&frames, None).unwrap();
    assert_eq!((applied[0].from, applied[0].to, applied[0].done), (0, 50, true));
    assert_eq!(applied[0].operations.iter().cloned().map(Some).collect::<Vec<_>>(), a.content(a.journal()));
    assert_eq!(inline(&a.store, a.journal(), 50, None).unwrap(), None);
    a.write(4000, 200);
    assert_eq!(inline(&a.store, a.journal(), 50, None).unwrap(), None);
}

/// Counts the operations that are read through it.
struct Counting<'a> {
    store: &'a MemoryStore,
    read: Cell<usize>,
}

impl Read for Counting<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read.update(|read| read + usize::from(table == Table::Operations));
        self.store.get(table, key)
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        let rows = self.store.range(table, from, to, limit)?;
        self.read.update(|read| read + if table == Table::Operations { rows.len() } else { 0 });
        Ok(rows)
    }
}

#[test]
fn a_new_operation_is_sent_without_a_look_at_the_others() {
    let (mut a, mut b) = (Device::new(10), Device::new(11));
    for size in [1, 1000, 1024, 1500] {
        a.write(size - usize::try_from(a.journals.size(a.journal())).unwrap(), 100);
        b.fetch(&a);
        a.write(1, 100);
        let held = b.journals.size(a.journal());
        let counting = Counting { store: &a.store, read: Cell::new(0) };
        assert!(inline(&counting, a.journal(), held, None).unwrap().is_some());
        assert_eq!(counting.read.get(), 2, "once for its length and once for its content");
        b.receive(&a.frames(a.journal(), held), None).unwrap();
        b.assert_same_as(&a, a.journal());
    }
}

#[test]
fn what_is_not_signed_yet_is_not_sent() {
    let mut a = Device::new(9);
    a.write(3, 10);
    let identity = a.identity.clone();
    let author = Author { identity: &identity, account: ACCOUNT, run: RunId([1; 16]), generation: 0 };
    a.journals.append(&mut a.store, &author, SessionId([1; 16]), EpochId([1; 32]), |_| vec![1]).unwrap();
    assert!(a.frames(a.journal(), 3).is_empty());
    assert_eq!(Device::new(10).receive(&a.frames(a.journal(), 0), None).unwrap()[0].to, 3);
}

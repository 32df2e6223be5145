//! What a receiver does not take.

use super::*;

#[test]
fn a_transfer_that_does_not_fit_is_refused_with_the_reason() {
    let (mut a, mut b) = (Device::new(11), Device::new(12));
    let journal = a.journal();
    a.write(20, 10);
    let frames = a.frames(journal, 5);
    assert_eq!(b.receive(&frames, None), Err(TransferError::Gap { from: 5, size: 0 }));
    b.fetch(&a);
    assert_eq!(b.receive(&a.frames(journal, 0), None), Err(TransferError::Nothing));
    let header = TransferHeader::from_bytes(&frames[0].body).unwrap();
    let head = Head::open(&header.head).unwrap();
    let other = Incoming::start(&b.journals, &b.store, header, head, AccountId([8; 32]), None);
    assert_eq!(other.unwrap_err(), TransferError::Account);
}

/// Hashes and operations agree with one another, and are not what the device signed.
#[test]
fn a_forged_journal_under_a_true_head_is_refused() {
    for (size, from) in [(30, 0), (30, 10), (1024, 0), (2100, 0), (2100, 1500)] {
        let mut a = Device::new(16);
        a.write(from, 10);
        let mut b = Device::new(17);
        b.fetch(&a);
        let mut forger = twin(&a, 18);
        (forger.store, forger.journals) = (a.store.snapshot(), a.journals.clone());
        a.write(size - from, 10);
        forger.write(size - from, 10);

        let (journal, before) = (a.journal(), b.store.snapshot());
        let mut frames = forger.frames(journal, b.journals.size(journal));
        let mut header = TransferHeader::from_bytes(&frames[0].body).unwrap();
        header.head = a.journals.head(journal).unwrap().bytes().to_vec();
        frames[0].body = header.to_bytes().into();
        assert_eq!(b.receive(&frames, None), Err(TransferError::Mismatch), "{size} operations from {from}");
        assert_eq!(b.store, before);
    }
}

#[test]
fn items_out_of_place_are_refused() {
    let mut a = Device::new(19);
    a.write(5, 10);
    let frames = a.frames(a.journal(), 0);
    let honest = Segment::from_bytes(&frames[1].body).unwrap();
    let dropped = |level| Item::Dropped { level, hash: Hash::NONE };
    let misaligned = [&honest.items[..1], &[dropped(1)], &honest.items[3..]].concat();
    let too_long = [&honest.items[..4], &[dropped(2)]].concat();
    let too_many = [&honest.items[..], &honest.items[..1]].concat();
    let too_few = honest.items[..4].to_vec();
    for items in [misaligned, too_long, too_many, too_few] {
        let mut frames = frames.clone();
        frames[1].body = Segment { from: 0, items }.to_bytes().into();
        let mut b = Device::new(20);
        assert!(matches!(b.receive(&frames, None), Err(TransferError::Malformed(_))));
        assert_eq!(b.store, MemoryStore::new());
    }
}

//! Headers and segments in bytes.

use super::*;

fn any_item() -> impl Strategy<Value = Item> {
    let content = (any::<[u8; 16]>(), any::<[u8; 32]>(), any::<Vec<u8>>()).prop_map(|(session, epoch, ciphertext)| {
        Item::Content(Sealed::new(SessionId(session), EpochId(epoch), &ciphertext))
    });
    let dropped = (0..=SEGMENT_LEVEL, any::<[u8; 32]>());
    prop_oneof![content, dropped.prop_map(|(level, hash)| Item::Dropped { level, hash: Hash(hash) })]
}

proptest! {
    #[test]
    fn headers_and_segments_come_back_as_they_went(
        head in prop::collection::vec(any::<u8>(), 0..HEAD_BYTES), from: u64, level in 0..=SEGMENT_LEVEL,
        roots: Vec<[u8; 32]>, tail in prop::collection::vec(any::<[u8; 32]>(), 0..10), grease: [u8; 4],
        items in prop::collection::vec(any_item(), 0..20),
    ) {
        let hashes = |list: Vec<[u8; 32]>| list.into_iter().map(Hash).collect();
        let header = TransferHeader { head, from, level, roots: hashes(roots), tail: hashes(tail), ext: Extensions::grease(grease) };
        prop_assert_eq!(TransferHeader::from_bytes(&header.to_bytes()), Ok(header.clone()));
        prop_assert_eq!(TransferHeader::from_bytes(&[&header.to_bytes()[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        let segment = Segment { from, items };
        prop_assert_eq!(Segment::from_bytes(&segment.to_bytes()), Ok(segment.clone()));
        prop_assert_eq!(Segment::from_bytes(&[&segment.to_bytes()[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
    }

    #[test]
    fn noise_is_no_header_and_no_segment_but_never_a_panic(bytes: Vec<u8>) {
        prop_assert!(TransferHeader::from_bytes(&bytes).is_err());
        if let Ok(segment) = Segment::from_bytes(&bytes) {
            prop_assert_eq!(segment.to_bytes(), bytes);
        }
    }
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let dropped = Item::Dropped { level: 11, hash: Hash::NONE };
    let segment = |items| Segment { from: 0, items }.to_bytes();
    assert_eq!(Segment::from_bytes(&segment(vec![dropped])), Err(DecodeError::Invalid("level")));
    let many = vec![Item::Dropped { level: 0, hash: Hash::NONE }; ITEMS + 1];
    assert!(matches!(Segment::from_bytes(&segment(many)), Err(DecodeError::TooLarge { what: "items", .. })));
    let ciphertext = vec![0; crate::journal::operation::CIPHERTEXT_BYTES + 1];
    let large = Item::Content(Sealed::new(SessionId::NONE, EpochId::NONE, &ciphertext));
    assert!(matches!(
        Segment::from_bytes(&segment(vec![large])),
        Err(DecodeError::TooLarge { what: "ciphertext", .. })
    ));
}

//! Epochs: which are fit to write under, and how their secrets travel.

use super::super::epoch::{History, SealedEpoch, seal_epoch, seal_history};
use super::super::keyring::Keyring;
use super::*;
use crate::id::EpochId;
use crate::wire::DecodeError;

#[test]
fn an_epoch_is_fit_while_all_its_recipients_are_in_and_it_knows_of_everyone_who_is_out() {
    let start = "ga A genesis
         lb A link B owner
         lc A link C member
         e1 A epoch A B C
         ";
    Story::tell(&format!("{start}= e1 fit"));
    // Linked and revoked again: nobody else changed, but the epoch does not know of it.
    Story::tell(&format!("{start}ld B link D member\nrd B revoke D\n= e1 unfit"));
    Story::tell(&format!("{start}ld B link D member\nrd B revoke D\ne2 A epoch A B C\n= e1 unfit\n= e2 fit"));
    // A recipient that is out, a guest, or waits for an owner.
    Story::tell(&format!("{start}rc A revoke C\ne2 B epoch A B < e1\n= e1 unfit\n= e2 unfit"));
    Story::tell(&format!("{start}rc A revoke C\ne2 A epoch A B\n= e2 fit"));
    Story::tell(&format!("{start}lv C revoke C\n= C left\n= e1 unfit"));
    Story::tell(&format!("{start}dc A role C guest\n= e1 unfit"));
    Story::tell(&format!("{start}rc A revoke C\ne2 A epoch A B C\n= e2 unfit"));
    Story::tell(&format!("{start}ld A link D member\n= e1 fit"));
    // Suspended.
    Story::tell(&format!("{start}ra B revoke A < e1\nrb A revoke B < e1\ne2 C epoch C\n= e1 unfit\n= e2 fit"));
    Story::tell(&format!("{start}ra B revoke A < e1\nrb A revoke B < e1\ne2 C epoch C < e1 rb\n= e2 unfit"));
}

#[test]
fn the_fit_epoch_with_the_longest_past_is_written_under_and_then_the_lowest() {
    let story = Story::tell(
        "ga A genesis
         lb A link B owner
         e1 A epoch A B
         e2 A epoch A B < e1
         e3 B epoch B A < e1",
    );
    let evaluation = story.roster(3).evaluation().clone();
    let (e2, e3) = (EpochId::from(story.get("e2").id), EpochId::from(story.get("e3").id));
    assert_eq!(evaluation.write_epoch(), Some(e2.min(e3)));
    assert_eq!(evaluation.epoch(e2).unwrap().commitment, commitment(&Secret([3; 32])));
    assert_eq!(Story::tell("ga A genesis").roster(0).evaluation().write_epoch(), None);
}

#[test]
fn a_sealed_epoch_opens_for_its_recipient_in_its_account_alone() {
    let (b, c) = (identity("B"), identity("C"));
    let (account, epoch, secret) = (AccountId([1; 32]), EpochId([2; 32]), Secret([3; 32]));
    let bytes = seal_epoch(account, epoch, b.device(), b.hpke_public(), &secret, &mut rng(1)).unwrap();
    let sealed = SealedEpoch::decode(&bytes).unwrap();
    assert_eq!((sealed.epoch, sealed.recipient), (epoch, b.device()));
    assert_eq!(sealed.open(&b, account), Some(secret));
    assert_eq!(sealed.open(&c, account), None);
    assert_eq!(sealed.open(&b, AccountId([9; 32])), None);
    let mut moved = sealed.clone();
    moved.epoch = EpochId([8; 32]);
    assert_eq!(moved.open(&b, account), None, "as another epoch");
    assert_eq!(SealedEpoch::decode(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
    assert!(seal_epoch(account, epoch, b.device(), &[0; 9], &Secret([3; 32]), &mut rng(1)).is_none());
}

#[test]
fn a_history_opens_with_the_secret_of_its_epoch_and_holds_all_others() {
    let account = AccountId([1; 32]);
    let id = |i: u8| EpochId([i; 32]);
    let mut full = Keyring::new(account);
    (1..=3).for_each(|i| full.insert(id(i), Secret([i; 32])));
    let bytes = seal_history(&full, id(3), &mut rng(1)).unwrap();
    let history = History::decode(&bytes).unwrap();
    let mut newcomer = Keyring::new(account);
    assert_eq!(history.open(&newcomer), None);
    newcomer.insert(id(3), Secret([3; 32]));
    assert_eq!(history.open(&newcomer), Some(vec![(id(1), Secret([1; 32])), (id(2), Secret([2; 32]))]));
    let mut moved = history.clone();
    moved.epoch = id(2);
    assert_eq!(moved.open(&full), None, "under another epoch");
    full.insert(id(2), Secret([3; 32]));
    assert_eq!(moved.open(&full), None, "even of the same secret");
    assert_eq!(seal_history(&newcomer, id(1), &mut rng(1)), None);
    assert!(matches!(History::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated(1))));
}

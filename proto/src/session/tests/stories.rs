//! What a user would notice, one promise a test.

use proptest::prelude::*;

use super::*;
use crate::limits::{KEY_BYTES, SESSIONS_PER_APP, VALUE_BYTES};
use crate::wire::object::{CRITICAL, Extension, Extensions};

/// Two devices that both hold [`SESSION`].
fn pair() -> (Device, Device) {
    let (mut a, mut b) = (Device::new(0), Device::new(1));
    let record = a.create(SESSION, "org.example.Notes", "Zettel");
    assert_eq!(b.receive(&record), Some(Change::Created { session: SESSION }));
    (a, b)
}

#[test]
fn a_write_on_one_device_is_read_on_the_other() {
    let (mut a, mut b) = pair();
    let op = a.put("theme", "dark", 10);
    let change = b.receive(&op);
    let expected = Change::Entry { session: SESSION, key: b"theme".to_vec(), deleted: false, device: a.id() };
    assert_eq!(change, Some(expected));
    assert_eq!(b.values("theme"), some(&["dark"]));
    assert_eq!(b.receive(&op), None, "again is no news");
    let info = b.sessions.get(SESSION).unwrap();
    assert_eq!((info.app.as_str(), info.title.as_str()), ("org.example.Notes", "Zettel"));
    assert_eq!((info.creator, info.last_active), (a.id(), Wall(10)));
}

#[test]
fn concurrent_writes_both_survive_until_a_write_settles_them() {
    let (mut a, mut b) = pair();
    let (from_a, from_b) = (a.put("theme", "dark", 20), b.put("theme", "light", 10));
    a.receive(&from_b);
    b.receive(&from_a);
    assert_eq!(a.values("theme"), some(&["dark", "light"]));
    assert_eq!(b.values("theme"), some(&["dark", "light"]));
    // The clock of the device that settles it is far behind.
    let settled = b.put("theme", "sepia", 1);
    a.receive(&settled);
    assert_eq!((a.values("theme"), b.values("theme")), (some(&["sepia"]), some(&["sepia"])));
}

#[test]
fn a_delete_and_a_concurrent_write_are_a_conflict() {
    let (mut a, mut b) = pair();
    let first = a.put("theme", "dark", 10);
    b.receive(&first);
    let (deleted, written) = (a.delete("theme", 30), b.put("theme", "light", 20));
    assert_eq!((a.values("theme"), a.keys(SESSION)), (vec![], vec![]), "a delete alone reads as absent");
    a.receive(&written);
    b.receive(&deleted);
    for device in [&a, &b] {
        assert_eq!(device.values("theme"), [None, Some("light".into())]);
        assert_eq!(device.keys(SESSION), ["theme"], "nothing that was written is lost");
    }
    let settled = b.delete("theme", 40);
    a.receive(&settled);
    assert_eq!((a.values("theme"), a.keys(SESSION)), (vec![], vec![]));
}

#[test]
fn an_end_is_for_good_in_whatever_order_it_comes() {
    let (mut a, mut b) = pair();
    let written = b.put("theme", "dark", 10);
    let end = a.end(SESSION, "sold the laptop");
    let expected = End { by: a.id(), time: Wall(5), reason: "sold the laptop".into() };
    assert_eq!(a.receive(&written), None, "what comes later is no news of an ended session");
    assert_eq!(b.receive(&end), Some(Change::Ended { session: SESSION, end: expected.clone() }));
    for device in [&a, &b] {
        assert_eq!(device.read(SESSION, b"theme"), Err(ReadError::Ended));
        assert_eq!(device.sessions.keys(&device.store, SESSION, b"", None, 9), Err(ReadError::Ended));
        assert_eq!(device.sessions.get(SESSION).unwrap().ended, Some(expected.clone()));
        assert_eq!((device.sessions.open(), device.sessions.open_of("org.example.Notes")), (0, 0));
    }
    let mut c = Device::new(2);
    let record = a.journals.operation(&a.store, end.header.journal, 0).unwrap().unwrap();
    c.hold(&record);
    assert_eq!(c.receive(&end), None, "nobody knows the session yet");
    assert_eq!(c.apply(&record), Some(Change::Created { session: SESSION }));
    assert_eq!(c.sessions.get(SESSION).unwrap().ended, Some(expected));
}

#[test]
fn nobody_takes_an_end_back_or_speaks_for_another_or_ends_the_account() {
    let (mut a, mut b) = pair();
    let end = a.end(SESSION, "done");
    b.receive(&end);
    b.write(EPOCHS[0], SESSION, Content::new(Space::Record, Wall(99), record::END_KEY, vec![], None));
    b.write(EPOCHS[0], SESSION, Content::new(Space::Record, Wall(99), record::RECORD_KEY, vec![], None));
    assert_eq!((b.sessions.get(SESSION).unwrap().ended.is_some(), b.sessions.unreadable()), (true, 2));

    let (mut a, mut b) = pair();
    let forged = End { by: a.id(), time: Wall(1), reason: String::new() }.to_bytes();
    let content = Content::new(Space::Record, Wall(1), record::END_KEY, vec![], Some(&forged));
    let (op, _) = b.write(EPOCHS[0], SESSION, content);
    a.receive(&op);
    assert_eq!((a.sessions.get(SESSION).unwrap().ended.as_ref(), a.sessions.unreadable()), (None, 1));

    b.end(account_session(ACCOUNT), "no");
    b.create(account_session(ACCOUNT), "app", "title");
    assert_eq!((b.sessions.get(account_session(ACCOUNT)), b.sessions.unreadable()), (None, 3));
}

#[test]
fn operations_wait_for_the_key_of_their_epoch() {
    let mut a = Device::new(0);
    let ops = [a.create(SESSION, "app", "title"), a.put("k", "v", 3)];
    let mut b = Device::with_keys(1, Keyring::new(ACCOUNT));
    for op in &ops {
        assert_eq!(b.receive(op), None);
    }
    assert_eq!((b.sessions.get(SESSION), b.sessions.unreadable()), (None, 0));
    b.keyring.insert(EPOCHS[0], secret(EPOCHS[0]));
    let Device { sessions, store, keyring, journals, .. } = &mut b;
    assert_eq!(sessions.retry_waiting(store, keyring, journals, &EPOCHS[1..]).unwrap(), []);
    let changes = sessions.retry_waiting(store, keyring, journals, &EPOCHS).unwrap();
    let entry = Change::Entry { session: SESSION, key: b"k".to_vec(), deleted: false, device: a.id() };
    assert_eq!(changes, [Change::Created { session: SESSION }, entry]);
    assert_eq!(store.range(Table::Waiting, &[], &[u8::MAX; 99], 9).unwrap(), [], "they wait no longer");
    assert_eq!((b.values("k"), b.view()), (some(&["v"]), a.view()));
}

#[test]
fn what_only_a_newer_version_understands_waits_and_asks_for_an_update() {
    let (mut a, mut b) = pair();
    let ext = Extensions(vec![Extension { kind: CRITICAL | 3, value: vec![] }]);
    let content = Content { ext, ..Content::new(Space::Entry, Wall(1), b"k", vec![], Some(b"v")) };
    let (op, _) = a.write(EPOCHS[0], SESSION, content);
    assert_eq!((b.receive(&op), b.sessions.update_needed(), b.sessions.unreadable()), (None, true, 0));
    assert_eq!(b.store.range(Table::Waiting, &[], &[u8::MAX; 99], 9).unwrap().len(), 1, "for the version that does");
    let (ignorable, _) = a.write_raw(EPOCHS[0], SESSION, &[0x00, 0x77, 1, 2, 3]);
    assert_eq!((b.receive(&ignorable), b.sessions.unreadable()), (None, 0));
}

#[test]
fn the_store_holds_nothing_in_plain() {
    let words =
        ["org.example.Diary", "Dear-diary", "secret-key-name", "secret-value", "Kitchen-tablet", "device/", "record"];
    let mut a = Device::new(0);
    a.create(SESSION, words[0], words[1]);
    a.put(words[2], words[3], 1_700_000_000_123);
    let name = device_name_key(a.id());
    a.entry(account_session(ACCOUNT), std::str::from_utf8(&name).unwrap(), Some(words[4]), 4);
    let mut b = Device::with_keys(1, Keyring::new(ACCOUNT));
    b.receive(&a.journals.operation(&a.store, author(0, 1).journal(), 0).unwrap().unwrap());
    for device in [&a, &b] {
        for table in Table::ALL {
            for (key, value) in device.store.range(table, &[], &[u8::MAX; 99], usize::MAX).unwrap() {
                let all = [key, value].concat();
                let holds = |word: &[u8]| all.windows(word.len()).any(|window| window == word);
                let shown = words.iter().find(|word| holds(word.as_bytes()));
                assert!(shown.is_none(), "{} holds {shown:?}", table.name());
                assert!(!holds(&1_700_000_000_123_u64.to_be_bytes()), "{} holds a time", table.name());
            }
        }
    }
    assert_eq!(a.values(words[2]), some(&[words[3]]));
}

#[test]
fn the_index_opens_again_after_a_restart_and_only_with_its_key() {
    let (mut a, mut b) = pair();
    let (from_a, from_b) = (a.put("theme", "dark", 20), b.put("theme", "light", 10));
    a.receive(&from_b);
    b.receive(&from_a);
    let before = a.view();
    a.sessions = Sessions::load(&a.store, &index_key(), &a.keyring).unwrap();
    assert_eq!(a.view(), before);
    assert!(Sessions::load(&a.store, &Secret([0; 32]), &a.keyring).is_err());
}

#[test]
fn labels_and_names_come_from_the_account_session() {
    let (mut a, mut b) = pair();
    let account = account_session(ACCOUNT);
    let key = String::from_utf8(device_name_key(b.id())).unwrap();
    let (named, _) = a.entry(account, &key, Some("Kitchen"), 3);
    assert_eq!(b.receive(&named), Some(Change::Account { key: key.clone().into() }));
    assert_eq!((b.sessions.device_name(b.id()), b.sessions.device_name(a.id())), (Some("Kitchen"), None));
    let (labelled, _) = a.entry(account, "label", Some("Ada"), 3);
    b.receive(&labelled);
    assert_eq!(b.sessions.label(), Some("Ada"));
    let (relabelled, _) = b.entry(account, "label", Some("Ada & Bo"), 1);
    a.receive(&relabelled);
    assert_eq!(
        (a.sessions.label(), b.sessions.label()),
        (Some("Ada & Bo"), Some("Ada & Bo")),
        "whatever the clocks say"
    );
    let (removed, _) = a.entry(account, &key, None, 4);
    b.receive(&removed);
    assert_eq!(b.sessions.device_name(b.id()), None);
    let (other, _) = a.entry(account, "something else", Some("x"), 4);
    assert_eq!(b.receive(&other), None);
    b.sessions = Sessions::load(&b.store, &index_key(), &b.keyring).unwrap();
    assert_eq!((b.sessions.label(), b.sessions.get(account)), (Some("Ada & Bo"), None), "it is not listed");
}

#[test]
fn keys_are_listed_by_prefix_in_pages() {
    let (mut a, _) = pair();
    for key in ["b/2", "a/1", "b/1", "b/3", "c", "b"] {
        a.put(key, "v", 1);
    }
    a.delete("b/2", 2);
    let page = |after: Option<&str>| {
        let after = after.map(str::as_bytes);
        let (keys, more) = a.sessions.keys(&a.store, SESSION, b"b/", after, 1).unwrap();
        (keys.into_iter().map(|info| String::from_utf8(info.key).unwrap()).collect::<Vec<_>>(), more)
    };
    assert_eq!(page(None), (vec!["b/1".to_owned()], true));
    assert_eq!(page(Some("b/1")), (vec!["b/3".to_owned()], false));
    assert_eq!(a.keys(SESSION), ["a/1", "b", "b/1", "b/3", "c"]);
    assert_eq!(a.sessions.keys(&a.store, SessionId([0; 16]), b"", None, 1), Err(ReadError::NotFound));
}

#[test]
fn open_sessions_can_be_brought_along() {
    let (mut a, mut b) = pair();
    let (from_a, from_b) = (a.put("theme", "dark", 20), b.put("theme", "light", 10));
    a.receive(&from_b);
    b.receive(&from_a);
    a.create(SessionId([8; 16]), "gone", "ended");
    a.end(SessionId([8; 16]), "");
    a.put("gone", "x", 1);
    a.delete("gone", 2);
    let exported = a.sessions.export(&a.store, &a.keyring, &a.journals).unwrap();
    let brief: Vec<_> = exported.iter().map(|e| (e.session, e.space, e.key.as_slice(), e.conflicts)).collect();
    let expected = [(SESSION, Space::Record, record::RECORD_KEY, 0), (SESSION, Space::Entry, &b"theme"[..], 1)];
    assert_eq!(brief, expected);
    assert_eq!(exported[1].value, b"dark");
}

#[test]
fn limits_are_named() {
    let (mut a, _) = pair();
    let content = |key: usize, value: usize| {
        Content::new(Space::Entry, Wall(0), &vec![b'k'; key], vec![], Some(&vec![0; value])).within_limits()
    };
    assert_eq!(content(KEY_BYTES, VALUE_BYTES), Ok(()));
    assert_eq!(content(KEY_BYTES + 1, 0), Err(LimitError::Key(KEY_BYTES + 1)));
    assert_eq!(content(0, 0), Err(LimitError::Key(0)));
    assert_eq!(content(1, VALUE_BYTES + 1), Err(LimitError::Value(VALUE_BYTES + 1)));
    for n in 0..SESSIONS_PER_APP {
        assert_eq!(a.sessions.room_for("app"), Ok(()));
        let mut id = [1; 16];
        id[..8].copy_from_slice(&n.to_be_bytes());
        a.create(SessionId(id), "app", "t");
    }
    assert_eq!(a.sessions.room_for("app"), Err(LimitError::SessionsOfApp("app".into())));
    assert_eq!(a.sessions.room_for("another"), Ok(()));
}

#[test]
fn without_the_key_a_value_is_locked_and_the_rest_can_be_read() {
    let (mut a, _) = pair();
    a.put("old", "v", 1);
    a.write(EPOCHS[1], SESSION, Content::new(Space::Entry, Wall(2), b"new", vec![], Some(b"w")));
    a.keyring = Keyring::new(ACCOUNT);
    a.keyring.insert(EPOCHS[1], secret(EPOCHS[1]));
    assert_eq!(a.read(SESSION, b"old"), Err(ReadError::Locked));
    assert_eq!(a.values("new"), some(&["w"]));
}

proptest! {
    /// Whatever a linked device that cheats seals or sends: it is counted or taken in, the same everywhere, and
    /// what was there can still be read.
    #[test]
    fn malformed_operations_stop_nothing(
        plain in prop::collection::vec(any::<u8>(), 0..160),
        start in prop::sample::select(vec![
            vec![], vec![0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 6, b'r', b'e', b'c', b'o', b'r', b'd', 0],
            vec![0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, b'e', b'n', b'd', 0], vec![0x80, 2, 1], vec![0x80, 1, 1],
        ]),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 0..3),
        account: bool,
    ) {
        let (mut a, mut b) = pair();
        let kept = a.put("theme", "dark", 10);
        b.receive(&kept);
        let session = if account { account_session(ACCOUNT) } else { SESSION };
        let (mut op, _) = a.write_raw(EPOCHS[0], session, &[start, plain].concat());
        for (at, flip) in flips {
            let mut ciphertext = op.ciphertext().to_vec();
            let at = at.index(ciphertext.len());
            ciphertext[at] ^= flip;
            op = Operation::new(op.header, &ciphertext);
        }
        b.receive(&op);
        prop_assert!(b.read(SESSION, b"theme").is_ok_and(|values| values.len() == 1));
        let settled = b.put("theme", "light", 20);
        a.receive(&settled);
        prop_assert_eq!(a.values("theme"), some(&["light"]));
    }
}

//! The order of changes: an app that follows it from anywhere sees what a listing shows.

use proptest::prelude::*;
use proptest::sample::Index;

use super::random::{run, session, step};
use super::*;
use crate::id::Cursor;

/// An app that reads changes now and then, and keeps what it was told.
#[derive(Debug, Default)]
struct App {
    cursor: Option<Cursor>,
    known: BTreeMap<Vec<u8>, KeyInfo>,
    begun: usize,
}

impl App {
    /// Reads to the end, in pages of `limit`.
    fn read(&mut self, device: &Device, session: SessionId, limit: usize) {
        loop {
            let answer = device.sessions.changes_since(&device.store, session, self.cursor, limit);
            let (changes, next) = match answer {
                Err(ReadError::StartOver) => {
                    assert!(self.cursor.is_some(), "beginning always works");
                    *self = Self { begun: self.begun + 1, ..Self::default() };
                    continue;
                }
                Err(ReadError::NotFound | ReadError::Ended) => return,
                other => other.unwrap(),
            };
            assert!(changes.len() <= limit);
            self.cursor = Some(next);
            if changes.is_empty() {
                return;
            }
            for Changed { now, deleted } in changes {
                match deleted {
                    true => drop(self.known.remove(&now.key)),
                    false => drop(self.known.insert(now.key.clone(), now)),
                }
            }
        }
    }

    /// Whether it knows what a listing shows, where there is one.
    fn agrees(&self, device: &Device, session: SessionId) -> bool {
        match device.sessions.keys(&device.store, session, b"", None, usize::MAX) {
            Ok((keys, _)) => self.known.values().eq(keys.iter()),
            Err(_) => true,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn following_the_changes_from_anywhere_is_listing(
        steps in prop::collection::vec(step(), 1..40),
        order in prop::collection::vec(any::<Index>(), 0..60),
        looks in prop::collection::vec((any::<Index>(), 0usize..3, 1usize..4), 0..30),
        anew in any::<Index>(),
        out in 0usize..3,
    ) {
        let (_, written) = run(3, &steps);
        let out = IDENTITIES[out].device();
        let mut device = Device::new(4);
        written.iter().for_each(|op| device.hold(op));
        let arrivals: Vec<_> = order.iter().map(|index| index.get(&written)).chain(written.iter().rev()).collect();
        let (anew, mut apps) = (anew.index(arrivals.len()), [App::default(), App::default(), App::default()]);
        for (n, op) in arrivals.iter().enumerate() {
            device.apply(op);
            if n == anew {
                // The index is built anew without one device, and the daemon starts again.
                device.sessions.clear(&mut device.store).unwrap();
                for op in written.iter().filter(|op| op.header.journal.device != out) {
                    device.apply(op);
                }
                device.restart(4);
            }
            for (_, app, limit) in looks.iter().filter(|(at, ..)| at.index(arrivals.len()) == n) {
                apps[*app].read(&device, session(0), *limit);
                prop_assert!(apps[*app].agrees(&device, session(0)));
            }
        }
        for mut app in apps {
            app.read(&device, session(0), 2);
            prop_assert!(app.agrees(&device, session(0)));
            prop_assert!(app.begun <= 1, "it begins anew once, when the index was built anew");
        }
    }
}

/// What changed behind a cursor, as keys with a `-` in front of those that are gone; and the next cursor.
fn changes(device: &Device, cursor: Option<Cursor>, limit: usize) -> (Vec<String>, Cursor) {
    let (changes, next) = device.sessions.changes_since(&device.store, SESSION, cursor, limit).unwrap();
    let told = changes.into_iter().map(|Changed { now, deleted }| {
        format!("{}{}", if deleted { "-" } else { "" }, String::from_utf8(now.key).unwrap())
    });
    (told.collect(), next)
}

fn device() -> Device {
    let mut device = Device::new(0);
    device.create(SESSION, "app", "title");
    device
}

#[test]
fn each_key_comes_once_in_the_order_of_its_last_change() {
    let mut device = device();
    device.put("a", "1", 1);
    device.put("b", "1", 2);
    let (all, first) = changes(&device, None, 9);
    assert_eq!(all, ["a", "b"]);
    assert_eq!(changes(&device, Some(first), 9), (vec![], first));
    device.put("c", "1", 3);
    device.put("a", "2", 4);
    device.delete("b", 5);
    let (page, next) = changes(&device, Some(first), 2);
    assert_eq!(page, ["c", "a"]);
    assert_eq!(changes(&device, Some(next), 2).0, ["-b"]);
    assert_eq!(changes(&device, None, 9).0, ["c", "a", "-b"], "an empty cursor tells everything");
}

fn read(device: &Device, session: SessionId, cursor: Cursor) -> Result<(), ReadError> {
    device.sessions.changes_since(&device.store, session, Some(cursor), 9).map(|_| ())
}

#[test]
fn a_cursor_holds_over_a_restart_and_nowhere_else() {
    let mut device = device();
    device.put("a", "1", 1);
    device.create(SessionId([8; 16]), "app", "other");
    device.entry(SessionId([8; 16]), "a", Some("1"), 1);
    let (_, cursor) = changes(&device, None, 9);
    device.restart(4);
    assert_eq!(changes(&device, Some(cursor), 9), (vec![], cursor));
    device.put("b", "1", 2);
    assert_eq!(changes(&device, Some(cursor), 9).0, ["b"]);
    assert_eq!(read(&device, SessionId([8; 16]), cursor), Err(ReadError::StartOver), "another session");
    let mut ahead = cursor;
    ahead.0[7] += 1;
    assert_eq!(read(&device, SESSION, ahead), Err(ReadError::StartOver), "made up");
    device.sessions.clear(&mut device.store).unwrap();
    device.create(SESSION, "app", "title");
    assert_eq!(read(&device, SESSION, cursor), Err(ReadError::StartOver), "the index was built anew");
}

/// On a restored disk the same numbers are given again, to other changes: nothing may be skipped.
#[test]
fn a_cursor_from_before_a_restore_does_not_hold_behind_it() {
    let (mut device, mut other) = (device(), Device::new(1));
    device.put("a", "1", 1);
    let (_, kept) = changes(&device, None, 9);
    let record = device.journals.operation(&device.store, author(0, 1).journal(), 0).unwrap().unwrap();
    other.receive(&record);
    let theirs: Vec<Operation> = ["b", "c", "d"].map(|key| other.put(key, "1", 2)).into();
    let (disk, journals) = (device.store.snapshot(), Journals::load(&device.store).unwrap());
    device.receive(&theirs[0]);
    let (_, lost) = changes(&device, None, 9);
    (device.store, device.journals) = (disk, journals);
    device.restart(4);
    assert_eq!(read(&device, SESSION, lost), Err(ReadError::StartOver), "that number is yet to be given");
    theirs.iter().rev().for_each(|op| {
        device.apply(op);
    });
    assert_eq!(read(&device, SESSION, lost), Err(ReadError::StartOver), "that number is another change's");
    assert_eq!(changes(&device, Some(kept), 9).0, ["d", "c", "b"], "what was before the copy was made holds");
}

#[test]
fn a_version_is_of_what_is_live() {
    let (mut a, mut b) = (device(), Device::new(1));
    let version = |device: &Device| device.sessions.version(&device.store, SESSION, b"k").unwrap();
    assert_eq!(version(&a), None);
    let first = a.put("k", "1", 5);
    let one = version(&a);
    assert!(one.is_some());
    b.receive(&a.journals.operation(&a.store, first.header.journal, 0).unwrap().unwrap());
    let apart = b.put("k", "2", 1);
    a.receive(&apart);
    let both = version(&a);
    assert_ne!(both, one, "also where the value that is shown is the same");
    a.put("k", "1", 6);
    assert!(![None, one, both].contains(&version(&a)), "the same value, written again");
    a.delete("k", 7);
    assert_eq!(version(&a), None);
}

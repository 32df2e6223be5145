//! Disks that were set back to what they held before.

use std::collections::BTreeSet;

use super::*;
use crate::roster::Role;

impl Lab {
    /// The disk of a device is what it was; it starts again, without a connection.
    pub(super) fn set_back(&mut self, at: usize, disk: &MemoryStore) {
        self.unplug(at);
        self.devices[at].store = disk.snapshot();
        self.restart(at);
        self.feed(at, Input::Tick);
    }

    /// All values of a key that a device reads.
    fn values(&mut self, at: usize, session: SessionId, key: &str) -> BTreeSet<Vec<u8>> {
        match self.order(at, Command::Get { session, key: key.as_bytes().to_vec() }) {
            Ok(Reply::Values(values, _)) => values.into_iter().filter_map(|value| value.bytes).collect(),
            _ => BTreeSet::new(),
        }
    }

    #[track_caller]
    fn all_hold_the_same(&self, devices: &[usize]) {
        let held = |at: &usize| {
            let held = self.engine(*at).journals.vector().into_iter().filter(|held| held.size > 0);
            held.map(|held| (held.journal, held.size, held.root)).collect::<Vec<_>>()
        };
        for at in devices {
            assert_eq!(held(at), held(&devices[0]), "devices {at} and {}", devices[0]);
            assert!(devices.iter().all(|other| self.status(*at, *other) == Some(Status::Linked)), "device {at}");
        }
    }

    fn says_restored(&self, at: usize) -> bool {
        self.engine(at).view().status.warnings.iter().any(|warning| warning.contains("restored"))
    }
}

fn texts(values: &[&str]) -> BTreeSet<Vec<u8>> {
    values.iter().map(|value| value.as_bytes().to_vec()).collect()
}

/// Whatever was lost comes back, and whatever was written since stays: shorter, longer and of the same length.
#[test]
fn nothing_is_lost_by_a_disk_that_was_set_back() {
    for (lost, since) in [(1, 0), (3, 0), (1, 1), (3, 3), (4, 1), (1, 4), (1100, 3)] {
        let mut lab = Lab::account(80, 3);
        let session = lab.session(0);
        assert!(lab.put(0, session, "before", b"kept").is_ok());
        let disk = lab.devices[0].store.snapshot();
        for n in 0..lost {
            assert!(lab.put(0, session, &format!("lost {n}"), b"lost").is_ok());
        }
        lab.set_back(0, &disk);
        for n in 0..since {
            assert!(lab.put(0, session, &format!("since {n}"), b"since").is_ok());
        }
        lab.connect(0, 1);
        for at in [0, 1, 2] {
            assert_eq!(lab.read(at, session, "before"), Some(b"kept".to_vec()));
            for n in 0..lost {
                assert_eq!(lab.read(at, session, &format!("lost {n}")), Some(b"lost".to_vec()), "{at}: {n} of {lost}");
            }
            for n in 0..since {
                assert_eq!(
                    lab.read(at, session, &format!("since {n}")),
                    Some(b"since".to_vec()),
                    "{at}: {n} of {since}"
                );
            }
        }
        lab.all_hold_the_same(&[0, 1, 2]);
        assert!(lab.says_restored(0) && !lab.says_restored(1));
        assert!(lab.put(0, session, "after", b"v").is_ok());
        assert_eq!(lab.engine(0).own_journal().generation, 2);
        assert_eq!(lab.read(2, session, "after"), Some(b"v".to_vec()));
    }
}

/// What it wrote since reached one device, which wrote on top of it, before it met the one that knows what was lost.
#[test]
fn two_ends_of_a_journal_in_two_places_become_one() {
    for order in
        [[(0, 1), (0, 2), (1, 2)], [(1, 2), (0, 2), (0, 1)], [(1, 2), (0, 1), (0, 2)], [(0, 2), (1, 2), (0, 1)]]
    {
        let mut lab = Lab::account(81, 3);
        let session = lab.session(0);
        lab.unplug(2);
        let disk = lab.devices[0].store.snapshot();
        assert!(lab.put(0, session, "k", b"lost").is_ok());
        assert!(lab.put(0, session, "l", b"lost").is_ok());
        lab.set_back(0, &disk);
        lab.connect(0, 2);
        assert!(lab.put(0, session, "k", b"since").is_ok());
        assert!(lab.put(0, session, "m", b"since").is_ok());
        assert_eq!(lab.values(2, session, "k"), texts(&["since"]));
        assert!(lab.put(2, session, "k", b"upon").is_ok());
        lab.unplug(2);
        for (a, b) in order {
            lab.connect(a, b);
        }
        lab.all_hold_the_same(&[0, 1, 2]);
        for at in [0, 1, 2] {
            let k = lab.values(at, session, "k");
            assert!(texts(&["lost", "upon"]).is_subset(&k), "device {at}: {k:?}");
            assert_eq!(lab.values(at, session, "l"), texts(&["lost"]), "device {at}");
            assert_eq!(lab.values(at, session, "m"), texts(&["since"]), "device {at}");
        }
        // A later write settles it.
        assert!(lab.put(1, session, "k", b"settled").is_ok());
        for at in [0, 1, 2] {
            assert_eq!(lab.values(at, session, "k"), texts(&["settled"]), "device {at}");
        }
    }
}

/// Set back twice to the same copy: three ends, two of them elsewhere.
#[test]
fn a_disk_may_be_set_back_twice() {
    let mut lab = Lab::account(82, 3);
    let session = lab.session(0);
    lab.unplug(1);
    lab.unplug(2);
    let disk = lab.devices[0].store.snapshot();
    lab.connect(0, 1);
    assert!(lab.put(0, session, "first", b"v").is_ok());
    lab.set_back(0, &disk);
    lab.connect(0, 2);
    assert!(lab.put(0, session, "second", b"v").is_ok());
    lab.set_back(0, &disk);
    assert!(lab.put(0, session, "third", b"v").is_ok());
    lab.connect(0, 2);
    lab.connect(0, 1);
    lab.connect(1, 2);
    lab.all_hold_the_same(&[0, 1, 2]);
    for at in [0, 1, 2] {
        for key in ["first", "second", "third"] {
            assert_eq!(lab.read(at, session, key), Some(b"v".to_vec()), "device {at}: {key}");
        }
    }
}

/// What it had said in the roster and said otherwise since does not undo itself: who was linked is linked, who was
/// revoked is out.
#[test]
fn an_owner_that_was_set_back_does_not_contradict_itself_to_death() {
    let mut lab = Lab::account(83, 3);
    let disk = lab.devices[0].store.snapshot();
    lab.add(3);
    lab.link(0, 3);
    let three = lab.id(3);
    assert_eq!(lab.status(1, 3), Some(Status::Linked));
    lab.set_back(0, &disk);
    assert_eq!(lab.status(0, 3), None, "forgotten");
    // All by itself, it has to be able to revoke.
    assert!(lab.revoke(0, 2).is_ok());
    lab.connect(0, 1);
    for at in [0, 1] {
        assert_eq!(
            (lab.status(at, 2), lab.status(at, 3)),
            (Some(Status::Revoked), Some(Status::Linked)),
            "device {at}"
        );
        assert_eq!(lab.engine(at).roster.evaluation().role(three), Some(Role::Member));
    }
    lab.connect(1, 3);
    lab.connect(0, 3);
    assert_eq!(lab.status(3, 3), Some(Status::Linked));
    let session = lab.session(3);
    assert!(lab.put(3, session, "k", b"v").is_ok());
    assert_eq!((lab.read(0, session, "k"), lab.read(1, session, "k")), (Some(b"v".to_vec()), Some(b"v".to_vec())));
    assert!(lab.says_restored(0));
}

/// A revocation that was lost is back, and was never undone by what was said instead.
#[test]
fn a_revocation_that_was_lost_comes_back() {
    let mut lab = Lab::account(84, 4);
    let disk = lab.devices[0].store.snapshot();
    assert!(lab.revoke(0, 3).is_ok());
    lab.set_back(0, &disk);
    assert_eq!(lab.status(0, 3), Some(Status::Linked));
    let two = lab.id(2);
    assert!(lab.order(0, Command::SetRole { device: two, role: Role::Owner }).is_ok());
    lab.connect(0, 1);
    for at in [0, 1] {
        assert_eq!(lab.status(at, 3), Some(Status::Revoked), "device {at}");
        assert_eq!(lab.engine(at).roster.evaluation().role(two), Some(Role::Owner), "it is said again");
    }
}

/// Its reports count again: they would be older than those that the others have.
#[test]
fn a_device_that_was_set_back_is_heard_again() {
    let mut lab = Lab::account(85, 2);
    let disk = lab.devices[0].store.snapshot();
    let session = lab.session(0);
    for n in 0..5 {
        assert!(lab.put(0, session, "k", &[n]).is_ok());
        lab.pass(Duration::from_secs(5));
    }
    let counter = |lab: &Lab| lab.engine(1).reports[&lab.id(0)].content.counter;
    let before = counter(&lab);
    lab.set_back(0, &disk);
    lab.connect(0, 1);
    lab.pass(Duration::from_secs(5));
    assert!(counter(&lab) > before);
}

/// Of a device that wrote two journals and was revoked counts the one that its revoker honoured, also where the other is held.
#[test]
fn of_two_ends_the_honoured_one_counts() {
    let mut lab = Lab::account(86, 3);
    let session = lab.session(2);
    lab.unplug(1);
    let disk = lab.devices[2].store.snapshot();
    assert!(lab.put(2, session, "k", b"honoured").is_ok());
    assert!(lab.put(2, session, "l", b"honoured").is_ok());
    lab.set_back(2, &disk);
    assert!(lab.put(2, session, "k", b"other").is_ok());
    lab.connect(2, 1);
    assert_eq!(lab.read(1, session, "k"), Some(b"other".to_vec()));
    lab.unplug(2);
    assert!(lab.revoke(0, 2).is_ok());
    lab.connect(0, 1);
    for at in [0, 1] {
        assert_eq!(lab.values(at, session, "k"), texts(&["honoured"]), "device {at}");
        assert_eq!(lab.values(at, session, "l"), texts(&["honoured"]), "device {at}");
    }
    lab.all_hold_the_same(&[0, 1]);
}

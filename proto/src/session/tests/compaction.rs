//! Compaction: what is read does not change.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// The last of these is linked while the others have already dropped what they need not keep.
const DEVICES: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// One of the first three puts, or deletes without a value. A `terse` writer names only what is live.
    Write { device: usize, key: usize, value: Option<u8>, time: u64, terse: bool },
    /// A device gets all that another holds of one journal, dropped content as such.
    Sync { from: usize, to: usize, journal: Index },
    /// A device drops what it may.
    Sweep { device: usize, limit: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..DEVICES - 1, 0usize..2, prop::option::weighted(0.8, any::<u8>()), 0u64..9, any::<bool>())
            .prop_map(|(device, key, value, time, terse)| Step::Write { device, key, value, time, terse }),
        6 => (0..DEVICES, 0..DEVICES, any::<Index>()).prop_map(|(from, to, journal)| Step::Sync { from, to, journal }),
        2 => (0..DEVICES, 1usize..5).prop_map(|(device, limit)| Step::Sweep { device, limit }),
    ]
}

/// Gives `to` what it lacks of a journal: content where `from` holds it, the bare leaf where it was dropped.
fn give(devices: &mut [Device], from: usize, to: usize, journal: JournalId, all: &BTreeMap<OpId, Operation>) {
    for number in devices[to].journals.size(journal)..devices[from].journals.size(journal) {
        let op = &all[&OpId { journal, number }];
        let held = devices[from].journals.is_live(&devices[from].store, journal, number).unwrap();
        devices[to].hold(op);
        if held {
            devices[to].apply(op);
        } else {
            let Device { journals, store, .. } = &mut devices[to];
            journals.drop(store, journal, number).unwrap();
        }
    }
}

fn sweep(devices: &mut [Device], at: usize, limit: usize) -> usize {
    // The last one is counted only by itself: the others have not heard of it yet.
    let counted = (0..devices.len()).filter(|n| *n < DEVICES - 1 || *n == at);
    let sizes: Vec<BTreeMap<JournalId, u64>> = counted
        .map(|n| devices[n].journals.vector().into_iter().map(|position| (position.journal, position.size)).collect())
        .collect();
    let reported = |journal, number| sizes.iter().all(|size| size.get(&journal).is_some_and(|size| *size > number));
    let Device { sessions, store, keyring, journals, .. } = &mut devices[at];
    sessions.sweep(store, keyring, journals, reported, limit).unwrap()
}

/// The live operations of a key, and not what they replaced.
fn live_context(device: &Device, key: &str) -> Vec<Seen> {
    let entry = device.sessions.row(&device.store, SESSION, Space::Entry, key.as_bytes()).unwrap();
    let live = entry.map(|entry| entry.register.live()).unwrap_or_default();
    let mut context: Vec<Seen> =
        live.iter().map(|value| Seen { journal: value.op.journal, number: value.op.number }).collect();
    context.sort();
    context
}

/// What a user sees, but for the time of the last write: a device linked later does not get writes that were replaced.
fn shown(device: &Device) -> BTreeMap<SessionId, SeenSession> {
    let mut view = device.view();
    view.values_mut().for_each(|(info, _)| info.last_active = Wall(0));
    view
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sweeping_at_any_moment_changes_nothing_that_is_read(
        steps in prop::collection::vec(step(), 1..80),
        sources in prop::collection::vec(0..DEVICES, 16),
    ) {
        let mut devices: Vec<Device> = (0..DEVICES).map(Device::new).collect();
        let record = devices[0].create(SESSION, "app", "title");
        let mut all = BTreeMap::from([(id_of(&record), record)]);
        for step in &steps {
            match *step {
                Step::Write { device, key, value, time, terse } => {
                    let (key, value) = (["a", "b"][key], value.map(|value| value.to_string()));
                    let (op, _) = match terse {
                        false => devices[device].entry(SESSION, key, value.as_deref(), time),
                        true => {
                            let context = live_context(&devices[device], key);
                            let value = value.as_deref().map(str::as_bytes);
                            let content = Content::new(Space::Entry, Wall(time), key.as_bytes(), context, value);
                            devices[device].write_raw(EPOCHS[0], SESSION, &content.to_bytes())
                        }
                    };
                    all.insert(id_of(&op), op);
                }
                Step::Sync { from, to, journal } => {
                    let vector = devices[from].journals.vector();
                    let Some(position) = vector.get(journal.index(vector.len().max(1))) else { continue };
                    give(&mut devices, from, to, position.journal, &all);
                }
                Step::Sweep { device, limit } => {
                    let before = devices[device].view();
                    sweep(&mut devices, device, limit);
                    prop_assert_eq!(devices[device].view(), before);
                }
            }
        }
        // All meet, each taking what it lacks from somebody; then all sweep, and meet a last time.
        for (n, from) in sources.iter().chain(&[0, 1, 2, 0, 1, 2]).enumerate() {
            for position in devices[*from].journals.vector() {
                give(&mut devices, *from, n % DEVICES, position.journal, &all);
            }
        }
        for n in 0..DEVICES {
            for from in 0..DEVICES {
                for position in devices[from].journals.vector() {
                    give(&mut devices, from, n, position.journal, &all);
                }
            }
        }
        for n in 0..DEVICES {
            sweep(&mut devices, n, usize::MAX);
        }
        let mut everything = Device::new(4);
        all.values().for_each(|op| { everything.receive(op); });
        for device in &mut devices {
            prop_assert_eq!(shown(device), shown(&everything), "on {}", device.who);
            device.sessions.clear(&mut device.store).unwrap();
            for op in all.values() {
                if device.journals.is_live(&device.store, op.header.journal, op.header.number).unwrap() {
                    device.apply(op);
                }
            }
            prop_assert_eq!(shown(device), shown(&everything), "built anew on {}", device.who);
        }
    }
}

fn id_of(op: &Operation) -> OpId {
    OpId { journal: op.header.journal, number: op.header.number }
}

fn live(device: &Device, op: &Operation) -> bool {
    device.journals.is_live(&device.store, op.header.journal, op.header.number).unwrap()
}

/// Two devices with one session, everywhere.
fn pair() -> Vec<Device> {
    let mut devices: Vec<Device> = (0..2).map(Device::new).collect();
    let record = devices[0].create(SESSION, "app", "title");
    devices[1].receive(&record);
    devices
}

#[test]
fn content_goes_when_every_device_has_what_replaced_it_and_not_before() {
    let mut devices = pair();
    let old = devices[0].put("k", "old", 1);
    devices[1].receive(&old);
    let new = devices[1].put("k", "new", 2);
    assert_eq!(sweep(&mut devices, 1, 9), 0, "the other one has not reported it");
    devices[0].receive(&new);
    assert_eq!((sweep(&mut devices, 1, 9), sweep(&mut devices, 0, 9)), (1, 1));
    for device in &devices {
        assert_eq!((live(device, &old), live(device, &new)), (false, true));
        assert_eq!(device.values("k"), some(&["new"]));
    }
    assert_eq!(sweep(&mut devices, 1, 9), 0, "once");
}

#[test]
fn a_sweep_goes_on_where_the_last_one_ended() {
    let mut devices = pair();
    for n in 0..7 {
        let op = devices[0].put("k", &n.to_string(), n);
        devices[1].receive(&op);
    }
    let dropped: Vec<usize> = (0..5).map(|_| sweep(&mut devices, 0, 2)).collect();
    assert_eq!(dropped.iter().sum::<usize>(), 6, "{dropped:?}");
    assert!(dropped.iter().all(|dropped| *dropped <= 2));
}

#[test]
fn what_cannot_go_yet_does_not_hold_up_the_rest() {
    let mut a = pair().remove(0);
    let ops: Vec<Operation> = ["x", "x", "y", "y", "z", "z"].iter().map(|key| a.put(key, "v", 1)).collect();
    let newest = id_of(&ops[5]);
    let reported = |journal, number| OpId { journal, number } == newest;
    let Device { sessions, store, keyring, journals, .. } = &mut a;
    let mut sweep = || sessions.sweep(store, keyring, journals, reported, 1).unwrap();
    assert_eq!([sweep(), sweep(), sweep()], [0, 0, 1]);
    assert_eq!((live(&a, &ops[0]), live(&a, &ops[2]), live(&a, &ops[4])), (true, true, false));
}

#[test]
fn a_tombstone_is_kept_until_its_key_is_written_again() {
    let mut devices = pair();
    let old = devices[0].put("k", "old", 1);
    devices[1].receive(&old);
    let tombstone = devices[0].delete("k", 2);
    devices[1].receive(&tombstone);
    assert_eq!((sweep(&mut devices, 0, 9), live(&devices[0], &old)), (1, false));
    assert!(live(&devices[0], &tombstone));
    let mut late = Device::new(2);
    let record = devices[1].journals.operation(&devices[1].store, old.header.journal, 0).unwrap().unwrap();
    late.receive(&record);
    late.receive(&old);
    late.receive(&tombstone);
    assert_eq!(late.values("k"), [], "somebody who still holds the old content gave it away");
    let again = devices[0].put("k", "again", 3);
    devices[1].receive(&again);
    assert_eq!((sweep(&mut devices, 0, 9), live(&devices[0], &tombstone)), (1, false));
}

#[test]
fn content_is_kept_while_nothing_else_says_what_it_replaced() {
    let mut devices = pair();
    let first = devices[0].put("k", "first", 1);
    devices[1].receive(&first);
    let second = devices[1].put("k", "second", 2);
    devices[0].receive(&second);
    // A writer that names only what is live.
    let context = vec![Seen { journal: second.header.journal, number: second.header.number }];
    let content = |value: &[u8]| Content::new(Space::Entry, Wall(3), b"k", context.clone(), Some(value)).to_bytes();
    let mut third = Device::new(2);
    let (op, _) = third.write_raw(EPOCHS[0], SESSION, &content(b"third"));
    devices.iter_mut().for_each(|device| assert!(device.receive(&op).is_some()));
    sweep(&mut devices, 0, 9);
    assert_eq!((live(&devices[0], &first), live(&devices[0], &second)), (false, true));
    let last = devices[0].put("k", "last", 4);
    devices[1].receive(&last);
    sweep(&mut devices, 0, 9);
    assert!(!live(&devices[0], &second), "this one names everything");
}

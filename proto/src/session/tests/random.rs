//! Random writers, random delivery: the index is a function of the set of operations.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A device puts, or deletes without a value.
    Entry { device: Index, session: usize, key: usize, value: Option<u8>, time: u64, epoch: usize },
    /// A device makes a session, perhaps one that others made too.
    Create { device: Index, session: usize },
    /// A device ends a session.
    End { device: Index, session: usize },
    /// A device gets all that another holds of one journal.
    Sync { from: Index, to: Index, journal: Index },
    /// A device was rolled back and opens its next generation.
    Rollback { device: Index },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let device = any::<Index>;
    let session = 0usize..2;
    prop_oneof![
        6 => (device(), session.clone(), 0usize..3, prop::option::weighted(0.8, any::<u8>()), 0u64..9, 0usize..2)
            .prop_map(|(device, session, key, value, time, epoch)| Step::Entry { device, session, key, value, time, epoch }),
        1 => (device(), session.clone()).prop_map(|(device, session)| Step::Create { device, session }),
        1 => (device(), session).prop_map(|(device, session)| Step::End { device, session }),
        6 => (device(), device(), device()).prop_map(|(from, to, journal)| Step::Sync { from, to, journal }),
        1 => device().prop_map(|device| Step::Rollback { device }),
    ]
}

/// Runs `steps` on `count` devices; returns them with all operations, in the order in which they were written.
pub(super) fn run(count: usize, steps: &[Step]) -> (Vec<Device>, Vec<Operation>) {
    let mut devices: Vec<Device> = (0..count).map(Device::new).collect();
    let mut written = vec![devices[0].create(session(0), "app", "first")];
    for step in steps {
        match step {
            Step::Entry { device, session: s, key, value, time, epoch } => {
                let (key, value) = (["a", "b", "c"][*key].as_bytes(), value.map(|value| [value]));
                let content = Content::new(Space::Entry, Wall(*time), key, vec![], value.as_ref().map(|v| &v[..]));
                written.push(device.get_mut(&mut devices).write(EPOCHS[*epoch], session(*s), content).0);
            }
            Step::Create { device, session: s } => {
                written.push(device.get_mut(&mut devices).create(session(*s), "app", "again"));
            }
            Step::End { device, session: s } => written.push(device.get_mut(&mut devices).end(session(*s), "over")),
            Step::Sync { from, to, journal } => {
                let (from, to) = (from.index(count), to.index(count));
                let Some(missing) = missing(&devices[from], &devices[to], *journal) else { continue };
                missing.iter().for_each(|op| {
                    devices[to].receive(op);
                });
            }
            Step::Rollback { device } => device.get_mut(&mut devices).generation += 1,
        }
    }
    (devices, written)
}

pub(super) fn session(n: usize) -> SessionId {
    SessionId([u8::try_from(n).unwrap(); 16])
}

/// What `to` lacks of one of the journals that `from` holds.
fn missing(from: &Device, to: &Device, journal: Index) -> Option<Vec<Operation>> {
    let vector = from.journals.vector();
    let position = vector.get(journal.index(vector.len().max(1)))?;
    let numbers = to.journals.size(position.journal)..position.size;
    Some(numbers.map(|n| from.journals.operation(&from.store, position.journal, n).unwrap().unwrap()).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_repetition_reads_the_same_everywhere(
        count in 2usize..5,
        steps in prop::collection::vec(step(), 1..40),
        order in prop::collection::vec(any::<Index>(), 0..60),
        late in any::<Index>(),
    ) {
        let (mut devices, written) = run(count, &steps);
        let mut straight = Device::new(4);
        written.iter().for_each(|op| { straight.receive(op); });

        // Its keys come in the middle.
        let mut mixed = Device::with_keys(4, Keyring::new(ACCOUNT));
        written.iter().for_each(|op| mixed.hold(op));
        let late = late.index(order.len() + 1);
        let shuffled = order.iter().map(|index| index.get(&written)).chain(written.iter().rev());
        for (n, op) in shuffled.enumerate() {
            if n == late {
                EPOCHS.iter().for_each(|epoch| mixed.keyring.insert(*epoch, secret(*epoch)));
                mixed.sessions.retry_waiting(&mut mixed.store, &mixed.keyring, &mixed.journals, &EPOCHS).unwrap();
            }
            mixed.apply(op);
        }
        prop_assert_eq!(mixed.view(), straight.view());
        prop_assert_eq!(mixed.rows(), straight.rows());

        for device in &mut devices {
            written.iter().for_each(|op| { device.receive(op); });
            prop_assert_eq!(device.view(), straight.view());
            prop_assert_eq!(device.rows(), straight.rows());
            device.sessions = Sessions::load(&device.store, &index_key(), &device.keyring).unwrap();
            prop_assert_eq!(device.view(), straight.view(), "after a restart");
        }
    }

    #[test]
    fn an_index_built_anew_is_that_of_the_operations_that_still_count(
        steps in prop::collection::vec(step(), 1..40),
        out in 0usize..3,
    ) {
        let (_, written) = run(3, &steps);
        let out = IDENTITIES[out].device();
        let mut device = Device::new(4);
        written.iter().for_each(|op| { device.receive(op); });
        device.sessions.clear(&mut device.store).unwrap();
        let mut fresh = Device::new(4);
        for op in written.iter().filter(|op| op.header.journal.device != out) {
            device.apply(op);
            fresh.receive(op);
        }
        prop_assert_eq!(device.view(), fresh.view());
        prop_assert_eq!(device.rows(), fresh.rows());
    }

    #[test]
    fn what_a_writer_had_seen_is_replaced_and_everything_else_survives(
        steps in prop::collection::vec(step(), 1..40),
        key in 0usize..3,
    ) {
        let (mut devices, written) = run(3, &steps);
        let key = ["a", "b", "c"][key];
        // Each writes a last time with what it knows; then all meet.
        let last: Vec<Operation> = devices
            .iter_mut()
            .enumerate()
            .map(|(n, device)| device.entry(session(0), key, Some(["x", "y", "z"][n]), 5).0)
            .collect();
        let mut all = Device::new(4);
        written.iter().chain(&last).for_each(|op| { all.receive(op); });
        if all.sessions.get(session(0)).unwrap().ended.is_none() {
            let values = all.read(session(0), key.as_bytes()).unwrap();
            let mut shown: Vec<Vec<u8>> = values.into_iter().filter_map(|value| value.bytes).collect();
            shown.sort();
            prop_assert!([&b"x"[..], b"y", b"z"].iter().all(|value| shown.iter().any(|shown| shown == value)));
            all.entry(session(0), key, Some("settled"), 0);
            let values = all.read(session(0), key.as_bytes()).unwrap();
            prop_assert_eq!(values.into_iter().map(|value| value.bytes).collect::<Vec<_>>(), [Some(b"settled".to_vec())]);
        }
    }
}

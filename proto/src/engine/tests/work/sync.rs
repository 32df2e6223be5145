//! Two devices that hold nearly the same meet.

use super::*;

/// Operations in a full segment.
const SEGMENT: usize = 1 << limits::SEGMENT_LEVEL;

/// An account of so many devices that all hold `entries` entries of the first, and one of each of the others. None is connected
/// with another.
fn apart(devices: usize, entries: usize) -> (Lab, SessionId) {
    let mut lab = Lab::new(3, devices);
    (1..devices).for_each(|joiner| lab.link(0, joiner));
    let session = lab.session(0);
    lab.write_all(0, session, 0..entries);
    for device in 1..devices {
        lab.connect(0, device);
        lab.write_all(device, session, entries + device..entries + device + 1);
    }
    lab.count();
    (0..devices).for_each(|device| lab.unplug(device));
    (lab, session)
}

/// Ten more entries, half of them on one of two devices and half on the other: these meet.
fn differ_by_ten(devices: usize, entries: usize) -> Work {
    let (mut lab, session) = apart(devices, entries);
    let new = entries + devices;
    lab.write_all(0, session, new..new + 5);
    lab.write_all(1, session, new + 5..new + 10);
    meet(lab)
}

/// The first two meet, and hold the same in the end.
fn meet(mut lab: Lab) -> Work {
    lab.count();
    lab.connect(0, 1);
    assert_eq!(lab.engine(0).journals.vector(), lab.engine(1).journals.vector());
    lab.work
}

#[test]
fn ten_differences_cost_the_same_however_many_entries_there_are() {
    let few = differ_by_ten(2, 1000);
    for (one, other) in [(0, 1), (1, 0)] {
        assert_eq!(few.kinds(one, other), ["hello", "reports", "journal", "have"]);
        assert_eq!(few.shown(one), (5, 2), "one round trip from the connection");
        assert_eq!(few.commits(one), 1, "the entries, and with them the address and the report");
        assert_eq!(few.signatures(one), (0, 2));
    }
    assert_eq!(few.bytes(), 4996);
    // Whole segments more, so that the tail of the last one has as many hashes.
    let many = differ_by_ten(2, 1000 + 9 * SEGMENT);
    assert_eq!(many.deeds, few.deeds);
}

/// What each side says of one device: how far its journal is held, in its hello and in its report, and which report of it is
/// the newest.
#[test]
fn thirty_devices_cost_more_by_what_is_said_of_each() {
    const POSITION: usize = 32 + 4 + 8 + 32 + 8 + 16;
    const HELD: usize = 32 + 4 + 8 + 32;
    const REPORT: usize = 32 + 8;
    let (two, thirty) = (differ_by_ten(2, 100), differ_by_ten(30, 100));
    let frames = |work: &Work| work.frames().map(|sent| (sent.from, sent.kind, sent.hop)).collect::<Vec<_>>();
    assert_eq!(frames(&thirty), frames(&two));
    assert_eq!(thirty.bytes() - two.bytes(), 28 * 2 * (POSITION + HELD + REPORT));
    for device in [0, 1] {
        assert_eq!(thirty.shown(device), two.shown(device));
        assert_eq!(thirty.commits(device), two.commits(device));
        assert_eq!(thirty.signatures(device), two.signatures(device));
    }
}

/// Who lacks them asks for them: half a round trip more than where their author pushes them.
#[test]
fn ten_differences_of_a_third_device_cost_two_round_trips_at_most() {
    let (mut lab, session) = apart(3, 1000);
    lab.connect(1, 2);
    lab.write_all(2, session, 1100..1110);
    lab.count();
    lab.unplug(1);
    let work = meet(lab);
    assert_eq!(work.kinds(0, 1), ["hello", "want", "have"]);
    assert_eq!(work.kinds(1, 0), ["hello", "reports", "journal"]);
    assert_eq!(work.shown(0), (10, 3));
    assert_eq!([work.commits(0), work.commits(1)], [1, 0]);
    assert_eq!([work.signatures(0), work.signatures(1)], [(0, 3), (0, 0)]);
    assert_eq!(work.bytes(), 4896);
}

/// The receiver tells how far it is behind each segment; the sender must not take that for a loss.
#[test]
fn a_long_journal_crosses_once() {
    let (mut lab, session) = apart(2, 1000);
    lab.write_all(0, session, 2000..2000 + 5 * SEGMENT);
    let work = meet(lab);
    let kinds = work.kinds(0, 1);
    let segments = kinds.iter().filter(|kind| **kind == "segment").count();
    assert_eq!(segments, 6, "{kinds:?}");
    assert_eq!(work.shown(1).0, 5 * SEGMENT);
    let entries = 5 * SEGMENT * (100 + 150);
    assert!(work.bytes() < entries * 11 / 10, "{} bytes for entries of {entries}", work.bytes());
}

#[test]
fn a_long_journal_shows_how_far_it_came_and_goes_on_where_it_was_cut() {
    let (mut lab, session) = apart(2, 1000);
    lab.write_all(0, session, 2000..2000 + 5 * SEGMENT);
    let all = lab.engine(0).journals.size(lab.engine(0).own_journal());
    lab.count();
    let mut shown = Vec::new();
    for cut in [true, false] {
        lab.begin_connecting(0, 1);
        while let Some((device, hop, input)) = lab.queue.pop_front() {
            lab.hop = hop;
            lab.step(device, vec![input]);
            let arriving = lab.engine(1).view().status.arriving;
            shown.extend(arriving.filter(|now| shown.last() != Some(now)));
            if cut && shown.len() == 4 {
                lab.queue.retain(|(_, _, input)| !matches!(input, Input::Transfer { .. }));
                lab.unplug(1);
            }
        }
        assert_eq!(lab.engine(1).view().status.arriving, None, "cut off, or at the end");
    }
    let here: Vec<u64> = shown.iter().map(|now| now.here).collect();
    assert!(here.len() >= 6 && here.is_sorted(), "{here:?}");
    assert!(shown.iter().all(|now| now.total == all), "{shown:?} of {all}");
    assert_eq!(lab.work.shown(1).0, 5 * SEGMENT);
    let sent: usize = lab.work.frames().filter(|sent| sent.kind == kind::SEGMENT).count();
    assert!(sent <= 6 + 3, "{sent} segments, of which those count that were on their way when it was cut");
}

/// It is named in the hello, which comes before the link that makes it count.
#[test]
fn the_journal_of_a_device_that_was_not_known_comes_at_once() {
    let mut lab = Lab::new(17, 3);
    lab.link(0, 1);
    lab.link(1, 2);
    lab.connect(1, 2);
    lab.session(2);
    lab.unplug(2);
    let journal = lab.engine(2).own_journal();
    assert_eq!(lab.engine(0).journals.size(journal), 0);
    lab.connect(0, 1);
    assert_eq!(lab.engine(0).journals.position(journal), lab.engine(1).journals.position(journal));
    assert!(lab.engine(0).journals.size(journal) > 0);
}

//! Content that was replaced goes, however much of it there is.

use super::*;

fn rewrite(lab: &mut Lab, session: SessionId, times: u64) {
    let put = |n: u64| Input::Command {
        id: CommandId(1),
        caller: USER,
        command: Command::Put { session, key: b"k".to_vec(), value: n.to_be_bytes().to_vec(), only_if: None },
    };
    lab.step(0, (0..times).map(put).collect());
    lab.drain();
}

/// How many contents a device holds of the first one's journal.
fn live(lab: &Lab, at: usize) -> u64 {
    lab.engine(at).journals.position(lab.engine(0).own_journal()).unwrap().live
}

#[test]
fn what_was_replaced_is_dropped_to_the_last_without_further_writes() {
    const TIMES: u64 = 3000;
    let mut lab = Lab::account(41, 2);
    let session = lab.session(0);
    rewrite(&mut lab, session, 1);
    let before = live(&lab, 0);
    rewrite(&mut lab, session, TIMES);
    assert_eq!([live(&lab, 0), live(&lab, 1)], [before + TIMES; 2]);
    (0..40).for_each(|_| lab.pass(limits::REPORT_QUIET));
    assert_eq!([live(&lab, 0), live(&lab, 1)], [before; 2]);
    for device in [0, 1] {
        assert_eq!(lab.engine(device).sweep_due, None, "and then nothing is looked for any more");
    }
}

#[test]
fn nothing_is_dropped_that_a_device_has_not_reported() {
    let mut lab = Lab::account(42, 3);
    let session = lab.session(0);
    rewrite(&mut lab, session, 1);
    lab.unplug(2);
    let before = live(&lab, 0);
    rewrite(&mut lab, session, 600);
    (0..10).for_each(|_| lab.pass(limits::REPORT_QUIET));
    assert!(live(&lab, 0) >= before + 599, "what the third device holds is not replaced yet, and so is the rest");
}

//! What running time and clocks decide.

use std::time::Duration;

use super::{Lab, USER};
use crate::engine::command::{Command, Reply};
use crate::engine::error::ErrorKind;
use crate::limits;
use crate::roster::{Role, Status};
use crate::time::Wall;

impl Lab {
    /// Lets so many hours of running time go by.
    pub(super) fn hours(&mut self, hours: u64) {
        for _ in 0..hours * 6 {
            self.pass(Duration::from_secs(600));
        }
    }
}

#[test]
fn a_later_device_is_a_member_for_a_day_and_then_an_owner() {
    let mut lab = Lab::account(31, 3);
    let role = |lab: &Lab, at| lab.engine(at).roster.evaluation().role(lab.id(2));
    assert_eq!(role(&lab, 0), Some(Role::Member));
    lab.hours(23);
    assert_eq!(role(&lab, 0), Some(Role::Member), "not before its day is over");
    lab.hours(2);
    assert_eq!((role(&lab, 0), role(&lab, 1)), (Some(Role::Owner), Some(Role::Owner)));
}

#[test]
fn a_device_that_never_shows_up_is_revoked_after_a_day() {
    let mut lab = Lab::account(32, 3);
    lab.add(3);
    // It agreed, and was gone before the code was typed.
    let (pairing, code) = lab.agree(0, 3);
    lab.unplug(3);
    assert_eq!(lab.confirm(0, pairing, &code), Ok(Reply::Done));
    assert_eq!(lab.status(0, 3), Some(Status::Linked));
    lab.hours(23);
    assert_eq!(lab.status(0, 3), Some(Status::Linked));
    lab.hours(2);
    assert_eq!(lab.status(1, 3), Some(Status::Revoked), "everybody hears of it");
    let revocation = lab.engine(1).removal_of(lab.id(3));
    assert_eq!(revocation.reason, "never completed");
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut lab = Lab::account(33, 2);
    let expires = Wall(lab.now.wall.0 + 30 * 60 * 1000);
    let create = Command::CreateSession { app: "app".into(), title: "title".into(), expires };
    let Ok(Reply::Created(session)) = lab.order(0, create) else { panic!("no session") };
    assert_eq!(lab.put(1, session, "key", b"value"), Ok(Reply::Done));
    lab.hours(1);
    assert_eq!(lab.read(1, session, "key"), None);
    let refused = lab.put(1, session, "key", b"more").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::SessionEnded);
    let view = lab.engine(1).one_session(&USER, session);
    assert!(matches!(view, Ok(Reply::Session(view)) if view.ended.as_ref().is_some_and(|end| end.by == lab.id(0))));
}

/// A write goes behind what its writer had seen, though its own clock is slow; but nobody follows a clock that is far ahead.
#[test]
fn a_slow_clock_writes_behind_and_a_fast_one_is_not_followed() {
    let mut lab = Lab::account(34, 2);
    let session = lab.session(0);
    let time = |lab: &mut Lab, at, key: &str| match lab.order(at, Command::Get { session, key: key.into() }) {
        Ok(Reply::Values(values, _)) => values[0].time,
        other => panic!("{other:?}"),
    };
    let now = lab.now.wall;
    lab.now.wall = Wall(now.0 + 60_000);
    assert!(lab.put(0, session, "key", b"from the future").is_ok());
    lab.now.wall = now;
    assert!(lab.put(1, session, "key", b"from now").is_ok());
    assert_eq!(time(&mut lab, 0, "key"), Wall(now.0 + 60_001));

    let ahead = u64::try_from(2 * limits::CLOCK_AHEAD.as_millis()).unwrap();
    lab.now.wall = Wall(now.0 + ahead);
    assert!(lab.put(0, session, "key", b"from far ahead").is_ok());
    lab.now.wall = now;
    assert!(lab.put(1, session, "key", b"from now again").is_ok());
    assert_eq!(time(&mut lab, 1, "key"), now);
    assert_eq!(lab.read(0, session, "key").as_deref(), Some(&b"from now again"[..]), "it replaces what it had seen");
}

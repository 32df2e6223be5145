//! Conditional writes, and apps that ask what changed while they did not run.

use super::*;
use crate::engine::command::Seen;
use crate::engine::error::ErrorKind;
use crate::id::{Cursor, Version};

fn version(lab: &mut Lab, at: usize, session: SessionId, key: &str) -> Version {
    match lab.order(at, Command::Get { session, key: key.as_bytes().to_vec() }) {
        Ok(Reply::Values(_, version)) => version,
        other => panic!("{other:?}"),
    }
}

fn put_if(lab: &mut Lab, at: usize, session: SessionId, value: &[u8], seen: Seen) -> Result<Reply, ErrorKind> {
    let command = Command::Put { session, key: b"k".to_vec(), value: value.to_vec(), only_if: Some(seen) };
    lab.order(at, command).map_err(|error| error.kind)
}

/// A key, and whether it is gone.
type Told = (Vec<u8>, bool);

/// Keys behind a cursor with what is gone, and the next cursor.
fn changes(
    lab: &mut Lab,
    at: usize,
    session: SessionId,
    cursor: Option<Cursor>,
) -> Result<(Vec<Told>, Cursor), ErrorKind> {
    match lab.order(at, Command::Changes { session, cursor, limit: 100 }) {
        Ok(Reply::Changes(changes, next)) => {
            Ok((changes.into_iter().map(|(key, gone)| (key.key, gone)).collect(), next))
        }
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.kind),
    }
}

#[test]
fn of_writers_that_saw_the_same_one_succeeds() {
    let mut lab = Lab::account(1, 2);
    let session = lab.session(0);
    assert_eq!(put_if(&mut lab, 0, session, b"1", Seen::Absent), Ok(Reply::Done));
    assert_eq!(put_if(&mut lab, 0, session, b"2", Seen::Absent), Err(ErrorKind::Conflict));
    let seen = Seen::Version(version(&mut lab, 0, session, "k"));
    let written: Vec<_> = (0..5_u8).filter(|n| put_if(&mut lab, 0, session, &[*n], seen) == Ok(Reply::Done)).collect();
    assert_eq!(written, [0]);
    assert_eq!(lab.read(0, session, "k"), Some(vec![0]), "what was refused was not written");
    assert_eq!(lab.read(1, session, "k"), Some(vec![0]));
}

#[test]
fn a_write_that_came_from_another_device_is_seen() {
    let mut lab = Lab::account(1, 2);
    let session = lab.session(0);
    lab.put(0, session, "k", b"mine").unwrap();
    let seen = Seen::Version(version(&mut lab, 0, session, "k"));
    lab.put(1, session, "k", b"theirs").unwrap();
    assert_eq!(lab.read(0, session, "k"), Some(b"theirs".to_vec()));
    assert_eq!(put_if(&mut lab, 0, session, b"again", seen), Err(ErrorKind::Conflict));
    let delete = |only_if| Command::Delete { session, key: b"k".to_vec(), only_if };
    assert_eq!(lab.order(0, delete(Some(seen))).map_err(|error| error.kind), Err(ErrorKind::Conflict));
    let now = Seen::Version(version(&mut lab, 0, session, "k"));
    assert_eq!(lab.order(0, delete(Some(now))), Ok(Reply::Done));
    assert_eq!(put_if(&mut lab, 0, session, b"again", now), Err(ErrorKind::Conflict));
    assert_eq!(put_if(&mut lab, 0, session, b"again", Seen::Absent), Ok(Reply::Done));
}

#[test]
fn an_app_hears_what_changed_while_it_did_not_run() {
    let mut lab = Lab::account(1, 2);
    let session = lab.session(0);
    lab.put(0, session, "a", b"1").unwrap();
    let (all, cursor) = changes(&mut lab, 1, session, None).unwrap();
    assert_eq!(all, [(b"a".to_vec(), false)]);
    lab.put(0, session, "b", b"2").unwrap();
    lab.order(0, Command::Delete { session, key: b"a".to_vec(), only_if: None }).unwrap();
    let (now, cursor) = changes(&mut lab, 1, session, Some(cursor)).unwrap();
    assert_eq!(now, [(b"b".to_vec(), false), (b"a".to_vec(), true)]);
    lab.restart(1);
    lab.connect(0, 1);
    lab.put(1, session, "c", b"3").unwrap();
    assert_eq!(changes(&mut lab, 1, session, Some(cursor)).unwrap().0, [(b"c".to_vec(), false)]);
    let end = Command::EndSession { session, reason: String::new() };
    lab.order(0, end).unwrap();
    assert_eq!(changes(&mut lab, 1, session, None), Err(ErrorKind::SessionEnded));
}

/// As in `revoked.rs`: device 1 has what 0 had not seen when it revoked the writer.
#[test]
fn when_writes_of_a_revoked_device_are_taken_back_apps_begin_anew() {
    let mut lab = Lab::account(43, 3);
    let session = lab.session(0);
    lab.put(2, session, "kept", b"honoured").unwrap();
    lab.unplug_from(0, 2);
    lab.unplug_from(0, 1);
    lab.put(2, session, "stolen", b"x").unwrap();
    let (seen, cursor) = changes(&mut lab, 1, session, None).unwrap();
    assert_eq!(seen, [(b"kept".to_vec(), false), (b"stolen".to_vec(), false)]);
    lab.revoke(0, 2).unwrap();
    lab.connect(0, 1);
    assert_eq!(lab.read(1, session, "stolen"), None);
    assert_eq!(changes(&mut lab, 1, session, Some(cursor)), Err(ErrorKind::CursorExpired));
    assert_eq!(changes(&mut lab, 1, session, None).unwrap().0, [(b"kept".to_vec(), false)]);
}

//! The disk stops at every barrier and at every write, and loses what it may: what was acknowledged
//! is there afterwards, and what was not is there whole or not at all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what fails")]

use std::io::ErrorKind;

use kinlink_daemon::store::crash::{Break, CrashBackend, Loss};
use kinlink_daemon::store::{CommitError, Db};
use kinlink_proto::store::{MemoryStore, Read, Row, Store, StoreError, Table, prefix_end};

/// Commits of the workload: enough to free pages, use them again and make the file grow.
const COMMITS: u32 = 6;
/// Rows of entries that a commit leaves behind: one commit of the workload exceeds it, and the end leaves some.
const BEHIND: usize = 14;

fn seed() -> u64 {
    let seed = std::env::var("KINLINK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("KINLINK_SEED={seed}");
    seed
}

/// What the `n`-th transaction writes: new rows, changed rows, fewer rows, and one that grows.
fn write(n: u32, store: &mut impl Store) -> Result<(), StoreError> {
    store.put(Table::Meta, b"commits", &n.to_be_bytes())?;
    for row in 0..6_u32 {
        let key = [n.to_be_bytes(), row.to_be_bytes()].concat();
        store.put(Table::Operations, &key, &[u8::try_from(n % 251).unwrap(); 300])?;
        store.delete(Table::Operations, &[n.saturating_sub(2).to_be_bytes(), row.to_be_bytes()].concat())?;
    }
    store.put(Table::Entries, b"grows", &vec![u8::try_from(n).unwrap(); 40_000 * usize::try_from(n).unwrap()])?;
    for row in 0..4_u32 {
        let key = (n * 4 + row).wrapping_mul(0x9e37_79b9).to_be_bytes();
        store.put(Table::Entries, &key, &n.to_be_bytes())?;
    }
    store.delete(Table::Entries, &((n.saturating_sub(1)) * 4).wrapping_mul(0x9e37_79b9).to_be_bytes())?;
    if n == 4 {
        store.clear(Table::Entries)?;
        store.put(Table::Entries, b"cleared", b"since")?;
    }
    if n.is_multiple_of(3) {
        store.clear(Table::Reports)
    } else {
        store.put(Table::Reports, &n.to_be_bytes(), b"report")
    }
}

/// Everything in the store.
fn contents(store: &impl Read) -> Vec<(Table, Vec<Row>)> {
    let rows = |table| store.range(table, b"", &prefix_end(b"\xff"), usize::MAX).unwrap();
    Table::ALL.into_iter().map(|table| (table, rows(table))).collect()
}

fn expected(commits: u32) -> Vec<(Table, Vec<Row>)> {
    let mut model = MemoryStore::new();
    (1..=commits).for_each(|n| write(n, &mut model).unwrap());
    contents(&model)
}

fn commit(db: &Db, n: u32) -> Result<(), CommitError> {
    let mut txn = db.begin().map_err(CommitError::Undone)?;
    write(n, &mut txn).map_err(CommitError::Undone)?;
    txn.commit()
}

/// A disk with a new store. Its making is not part of the workload: a store in a file is made under
/// another name, and renamed when it is whole.
fn new_store() -> CrashBackend {
    let disk = CrashBackend::new();
    drop(Db::open_with(disk.clone()).unwrap());
    disk.after_crash(Loss::Unsynced)
}

/// Opens a store, commits until something fails, with a pause halfway, and settles: how many commits were acknowledged, and how
/// the last ended.
fn workload(disk: &CrashBackend) -> (u32, Option<Db>, Option<CommitError>) {
    let Ok(db) = Db::open_with(disk.clone()) else { return (0, None, None) };
    let db = db.behind_by(BEHIND);
    for n in 1..=COMMITS {
        if let Err(e) = commit(&db, n) {
            return (n - 1, Some(db), Some(e));
        }
        if n == COMMITS / 2
            && let Err(e) = db.rest()
        {
            return (n, Some(db), Some(e));
        }
    }
    let settled = db.rest().and_then(|()| db.settle());
    (COMMITS, Some(db), settled.err())
}

fn commits(db: &Db) -> u32 {
    let bytes = db.snapshot().unwrap().get(Table::Meta, b"commits").unwrap();
    bytes.map_or(0, |bytes| u32::from_be_bytes(bytes.try_into().unwrap()))
}

/// Every acknowledged commit is there, at most the one under way besides, and nothing by halves.
fn check(db: &Db, acknowledged: u32, ended: Option<&CommitError>, place: &str) {
    let found = commits(db);
    let most = if matches!(ended, Some(CommitError::Unknown(_))) { acknowledged + 1 } else { acknowledged };
    assert!((acknowledged..=most).contains(&found), "{place}: {acknowledged} acknowledged, {found} found, {ended:?}");
    assert!(contents(&db.snapshot().unwrap()) == expected(found), "{place}: commit {found} is there by halves");
}

/// One more commit, in its place or behind.
fn goes_on(db: &Db) {
    let next = commits(db) + 1;
    commit(db, next).unwrap();
    check(db, next, None, "one more");
    db.settle().unwrap();
    check(db, next, None, "one more, settled");
}

/// Every place at which the workload can be stopped.
fn places() -> impl Iterator<Item = Break> {
    let probe = new_store();
    assert_eq!(workload(&probe).0, COMMITS);
    let (syncs, writes) = (probe.syncs(), probe.writes());
    println!("{syncs} barriers, {writes} writes");
    (1..=syncs).map(Break::Sync).chain((1..=writes).map(Break::Write))
}

#[test]
fn a_power_failure_at_any_moment_loses_nothing_acknowledged() {
    let seed = seed();
    for (n, place) in places().enumerate() {
        let disk = new_store();
        disk.break_at(place);
        let (acknowledged, db, ended) = workload(&disk);
        let torn = seed.wrapping_mul(1_000_003).wrapping_add(u64::try_from(n).unwrap());
        let images: Vec<_> = [Loss::Unsynced, Loss::Torn(torn), Loss::Torn(!torn), Loss::Nothing]
            .into_iter()
            .map(|loss| (loss, disk.after_crash(loss)))
            .collect();
        drop(db);
        for (loss, image) in images {
            let db = Db::open_with(image).unwrap_or_else(|e| panic!("{place:?}, {loss:?}: {e}"));
            check(&db, acknowledged, ended.as_ref(), &format!("{place:?}, {loss:?}"));
            goes_on(&db);
        }
    }
}

/// Whether redb would read all of this disk to find out which pages are free.
fn is_read_whole(disk: CrashBackend) -> bool {
    let opened = redb::Database::builder().set_repair_callback(redb::RepairSession::abort).create_with_backend(disk);
    matches!(opened, Err(redb::DatabaseError::RepairAborted))
}

#[test]
fn a_crash_in_a_pause_costs_no_look_at_the_whole_store() {
    let (disk, losses) = (new_store(), [Loss::Unsynced, Loss::Torn(seed()), Loss::Nothing]);
    let db = Db::open_with(disk.clone()).unwrap();
    for n in 1..=COMMITS {
        commit(&db, n).unwrap();
        assert!(is_read_whole(disk.after_crash(Loss::Unsynced)), "there was nothing to save");
        db.rest().unwrap();
        for loss in losses {
            assert!(!is_read_whole(disk.after_crash(loss)), "commit {n}, {loss:?}");
            let again = Db::open_with(disk.after_crash(loss)).unwrap();
            check(&again, n, None, "a pause");
            goes_on(&again);
        }
    }
}

#[test]
fn a_disk_that_was_full_goes_on_after_reopening() {
    for place in places() {
        let disk = new_store();
        disk.break_with(place, ErrorKind::StorageFull);
        let (acknowledged, db, ended) = workload(&disk);
        let Some(mut db) = db else { continue };
        assert!(disk.is_broken() == ended.is_some());
        if ended.is_some() {
            assert!(db.begin().is_err(), "{place:?}: a store takes writes after a commit that failed");
        }
        disk.heal();
        db.reopen().unwrap();
        check(&db, acknowledged, ended.as_ref(), &format!("{place:?}, full"));
        goes_on(&db);
    }
}

#[test]
fn a_store_that_could_not_be_reopened_says_so_and_opens_later() {
    let disk = new_store();
    let mut db = Db::open_with(disk.clone()).unwrap();
    commit(&db, 1).unwrap();
    disk.break_at(Break::Sync(disk.syncs() + 1));
    let mut txn = db.begin().unwrap();
    txn.put(Table::Peers, b"a", b"small write that needs no room").unwrap();
    assert!(matches!(txn.commit(), Err(CommitError::Unknown(_))));
    assert!(db.reopen().is_err());
    assert!(db.begin().unwrap_err().to_string().contains("closed"));
    disk.heal();
    db.reopen().unwrap();
    assert_eq!(commits(&db), 1);
}

#[test]
fn the_disk_keeps_what_was_synced_and_loses_the_rest() {
    use redb::StorageBackend;
    let disk = CrashBackend::new();
    disk.write(0, &[1; 2048]).unwrap();
    disk.sync_data().unwrap();
    disk.write(0, &[2; 2048]).unwrap();
    let read = |disk: &CrashBackend| {
        let mut bytes = vec![0; usize::try_from(disk.len().unwrap()).unwrap()];
        disk.read(0, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(read(&disk), [2; 2048]);
    assert_eq!(read(&disk.after_crash(Loss::Unsynced)), [1; 2048]);
    assert_eq!(read(&disk.after_crash(Loss::Nothing)), [2; 2048]);
    let torn: Vec<_> = (0..20).map(|seed| read(&disk.after_crash(Loss::Torn(seed)))).collect();
    assert!(torn.iter().any(|bytes| bytes.contains(&1) && bytes.contains(&2)), "nothing was ever torn");
    assert_eq!(torn[7], read(&disk.after_crash(Loss::Torn(7))), "a seed gives the same crash again");
}

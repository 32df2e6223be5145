//! What a store holds, as its one user sees it: rows, transactions, snapshots, files.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use kinlink_daemon::store::crash::{CrashBackend, Loss};
use kinlink_daemon::store::{Db, OpenError};
use kinlink_proto::store::{MemoryStore, Read, Store, Table, prefix_end};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

fn seed() -> u64 {
    let seed = std::env::var("KINLINK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("KINLINK_SEED={seed}");
    seed
}

#[test]
fn a_transaction_sees_its_own_writes_and_nobody_else_does_before_the_commit() {
    let db = Db::in_memory().unwrap();
    let mut txn = db.begin().unwrap();
    assert!(!txn.is_dirty());
    txn.put(Table::Meta, b"k", b"v").unwrap();
    assert!(txn.is_dirty());
    assert_eq!(txn.get(Table::Meta, b"k").unwrap().unwrap(), b"v");
    let before = db.snapshot().unwrap();
    assert_eq!(before.get(Table::Meta, b"k").unwrap(), None);
    txn.commit().unwrap();
    assert_eq!(before.get(Table::Meta, b"k").unwrap(), None, "a snapshot changed");
    assert_eq!(db.snapshot().unwrap().get(Table::Meta, b"k").unwrap().unwrap(), b"v");
}

#[test]
fn what_was_aborted_or_dropped_never_happened() {
    let db = Db::in_memory().unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(Table::Meta, b"aborted", b"").unwrap();
    txn.abort().unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(Table::Meta, b"dropped", b"").unwrap();
    drop(txn);
    assert!(db.snapshot().unwrap().range(Table::Meta, b"", &prefix_end(b"\xff"), 9).unwrap().is_empty());
}

#[test]
fn a_second_writer_is_told_instead_of_waiting_forever() {
    let db = Db::in_memory().unwrap();
    let first = db.begin().unwrap();
    assert!(db.begin().unwrap_err().to_string().contains("another write transaction"));
    drop(first);
    db.begin().unwrap();
}

#[test]
fn a_snapshot_can_be_read_by_another_thread_while_the_store_goes_on() {
    let db = Db::in_memory().unwrap();
    let mut txn = db.begin().unwrap();
    txn.put(Table::Operations, b"1", b"old").unwrap();
    txn.commit().unwrap();
    let snapshot = db.snapshot().unwrap();
    let mut txn = db.begin().unwrap();
    txn.clear(Table::Operations).unwrap();
    txn.commit().unwrap();
    let reader = std::thread::spawn(move || snapshot.get(Table::Operations, b"1").unwrap());
    assert_eq!(reader.join().unwrap().unwrap(), b"old");
}

/// Does the same at random to a store and to the model, and compares them.
struct Twins {
    db: Db,
    model: MemoryStore,
    rng: ChaCha20Rng,
}

impl Twins {
    fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n
    }

    fn key(&mut self) -> Vec<u8> {
        let len = 1 + self.below(2);
        (0..len).map(|_| u8::try_from(self.below(6)).unwrap()).collect()
    }

    fn write(&mut self, txn: &mut impl Store) {
        let table = [Table::Entries, Table::Waiting][usize::try_from(self.below(2)).unwrap()];
        let key = self.key();
        match self.below(20) {
            0 => {
                txn.clear(table).unwrap();
                self.model.clear(table).unwrap();
            }
            1..8 => {
                txn.delete(table, &key).unwrap();
                self.model.delete(table, &key).unwrap();
            }
            _ => {
                let value = self.key();
                txn.put(table, &key, &value).unwrap();
                self.model.put(table, &key, &value).unwrap();
            }
        }
    }

    fn compare(&mut self, real: &impl Read) {
        let model = self.model.snapshot();
        self.compare_with(real, &model);
    }

    fn compare_with(&mut self, real: &impl Read, model: &MemoryStore) {
        for table in [Table::Entries, Table::Waiting] {
            let (from, to) = (self.key(), self.key());
            let limit = usize::try_from(self.below(12)).unwrap();
            let (left, right) = (real.range(table, &from, &to, limit), model.range(table, &from, &to, limit));
            assert_eq!(left, right, "{from:?}..{to:?}, at most {limit}");
            assert_eq!(real.get(table, &from), model.get(table, &from));
            let mut shown = Vec::new();
            let mut show = |key: &[u8], value: &[u8]| {
                shown.push((key.to_vec(), value.to_vec()));
                Ok(())
            };
            real.each(table, &from, &to, &mut show).unwrap();
            assert_eq!(shown, model.range(table, &from, &to, usize::MAX).unwrap(), "{from:?}..{to:?}");
        }
    }

    /// A transaction, committed or given up.
    fn transact(&mut self) {
        let kept = self.model.snapshot();
        let mut txn = self.db.begin().unwrap();
        for _ in 0..self.below(12) {
            self.write(&mut txn);
            self.compare(&txn);
        }
        if self.below(4) == 0 {
            txn.abort().unwrap();
            self.model = kept;
        } else {
            txn.commit().unwrap();
        }
    }
}

/// Random transactions on a store that leaves up to `behind` rows behind, settled and opened again now and then.
fn twins(behind: usize) {
    let db = Db::in_memory().unwrap().behind_by(behind);
    let mut twins = Twins { db, model: MemoryStore::new(), rng: ChaCha20Rng::seed_from_u64(seed()) };
    let mut earlier = None;
    for _ in 0..150 {
        twins.transact();
        if let Some((snapshot, model)) = &earlier {
            twins.compare_with(snapshot, model);
        }
        match twins.below(12) {
            0 => twins.db.settle().unwrap(),
            4 => twins.db.rest().unwrap(),
            1 => {
                earlier = None;
                twins.db.reopen().unwrap();
            }
            2..4 => earlier = Some((twins.db.snapshot().unwrap(), twins.model.snapshot())),
            _ => {}
        }
        let snapshot = twins.db.snapshot().unwrap();
        (0..5).for_each(|_| twins.compare(&snapshot));
    }
}

#[test]
fn the_store_does_what_the_store_in_memory_does() {
    for behind in [0, 1, 9, 60, usize::MAX] {
        println!("{behind} rows behind");
        twins(behind);
    }
}

#[test]
fn the_file_is_private_and_keeps_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = Db::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    let mut txn = db.begin().unwrap();
    txn.put(Table::Reports, b"device", b"report").unwrap();
    txn.commit().unwrap();
    drop(db);
    let db = Db::open(&path).unwrap();
    assert_eq!(db.snapshot().unwrap().get(Table::Reports, b"device").unwrap().unwrap(), b"report");
}

#[test]
fn a_store_whose_making_was_cut_short_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    fs::write(dir.path().join("store.new"), vec![0; 100_000]).unwrap();
    drop(Db::open(&path).unwrap());
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "something was left behind");
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = Db::open(&path).unwrap();
    assert!(matches!(Db::open(&path), Err(OpenError::InUse)));
    drop(db);
    Db::open(&path).unwrap();
}

#[test]
fn a_file_of_others_or_one_that_they_can_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    drop(Db::open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let said = Db::open(&path).unwrap_err().to_string();
    assert!(said.contains("0644") && said.contains("chmod 600"), "{said}");
    // Only root can give a file away.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        assert!(Db::open(&path).unwrap_err().to_string().contains("belongs to user 12345"));
    }
}

#[test]
fn a_link_in_place_of_the_file_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("target");
    drop(Db::open(&target).unwrap());
    std::os::unix::fs::symlink(&target, dir.path().join("store")).unwrap();
    assert!(Db::open(dir.path().join("store")).is_err());
}

#[test]
fn other_files_and_stores_of_other_versions_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "not a store at all, but long enough to hold a header\n".repeat(200)).unwrap();
    fs::set_permissions(&text, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Db::open(&text), Err(OpenError::NotAStore)));

    let foreign = dir.path().join("foreign");
    with_schema(&foreign, redb::TableDefinition::new("other"), 1);
    assert!(matches!(Db::open(&foreign), Err(OpenError::NotAStore)));

    let newer = dir.path().join("newer");
    with_schema(&newer, redb::TableDefinition::new("kinlink"), 1000);
    let said = Db::open(&newer).unwrap_err().to_string();
    assert!(said.contains("made by a newer kinlinkd") && said.contains("schema 1000"), "{said}");

    for schema in [1, 2] {
        let older = dir.path().join(format!("older-{schema}"));
        with_schema(&older, redb::TableDefinition::new("kinlink"), schema);
        let before = fs::read(&older).unwrap();
        let said = Db::open(&older).unwrap_err().to_string();
        assert!(said.contains("before its first release") && said.contains("link this device"), "{said}");
        assert_eq!(fs::read(&older).unwrap().len(), before.len(), "it stays as it is");
    }
}

fn with_schema(path: &std::path::Path, table: redb::TableDefinition<'_, &str, u64>, number: u64) {
    let db = redb::Database::create(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(table).unwrap().insert("schema", number).unwrap();
    txn.commit().unwrap();
    drop(db);
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// What lies in redb's own tables: rows of the log, and of the entries' tree.
fn lies(store: &redb::Database) -> (u64, u64) {
    use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
    let txn = store.begin_read().unwrap();
    let log = txn.open_table(redb::TableDefinition::<u64, &[u8]>::new("behind"));
    let log = log.map_or(0, |log| log.len().unwrap());
    let tree = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new("entries"));
    (log, tree.map_or(0, |tree| tree.len().unwrap()))
}

/// What lies on a disk now, after a look whether a store opened from it has as many rows as were committed.
fn lies_on(disk: &CrashBackend, rows: usize) -> (u64, u64) {
    let db = Db::open_with(disk.after_crash(Loss::Nothing)).unwrap();
    let found = db.snapshot().unwrap().range(Table::Entries, &[], &[0xff; 9], usize::MAX).unwrap();
    assert_eq!(found.len(), rows);
    lies(&redb::Database::builder().create_with_backend(disk.after_crash(Loss::Nothing)).unwrap())
}

#[test]
fn entries_go_to_their_tree_by_and_by_when_many_are_behind() {
    let disk = CrashBackend::new();
    let db = Db::open_with(disk.clone()).unwrap().behind_by(8);
    let commit = |rows: std::ops::Range<u8>| {
        let mut txn = db.begin().unwrap();
        rows.clone().for_each(|row| txn.put(Table::Entries, &[row.reverse_bits()], b"row").unwrap());
        txn.commit().unwrap();
        lies_on(&disk, rows.end.into())
    };
    let small: Vec<_> = (0..15).map(|row| commit(row..row + 1)).collect();
    let gathering = (1..=8).map(|rows| (rows, 0));
    let moving = [(9, 3), (10, 6), (8, 8), (6, 8), (5, 8), (6, 8), (7, 8)];
    assert_eq!(small, gathering.chain(moving).collect::<Vec<_>>());
    assert_eq!(commit(15..17), (8, 12), "a larger one brings more");
    assert_eq!(commit(17..30), (0, 30), "more than enough is behind");
    assert_eq!(commit(30..32), (1, 30));
    db.settle().unwrap();
    assert_eq!(lies_on(&disk, 32), (0, 32));
}

#[test]
fn what_was_behind_when_a_store_was_closed_is_behind_when_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let commit = |rows: std::ops::Range<u8>| {
        let db = Db::open(&path).unwrap().behind_by(5);
        let mut txn = db.begin().unwrap();
        rows.for_each(|row| txn.put(Table::Entries, &[row], b"row").unwrap());
        txn.commit().unwrap();
        drop(db);
        lies(&redb::Database::open(&path).unwrap())
    };
    assert_eq!(commit(0..3), (1, 0));
    assert_eq!(commit(3..5), (2, 0), "one row of the log is one commit");
    assert_eq!(commit(4..6), (3, 4), "too much was behind");
    Db::open(&path).unwrap().settle().unwrap();
    assert_eq!(lies(&redb::Database::open(&path).unwrap()), (0, 6));
}

#[test]
fn an_idle_store_does_what_is_worth_a_commit_and_then_nothing() {
    let db = Db::in_memory().unwrap();
    let commit = |rows: std::ops::Range<u16>| {
        let mut txn = db.begin().unwrap();
        rows.for_each(|row| txn.put(Table::Entries, &row.to_be_bytes(), b"row").unwrap());
        txn.commit().unwrap();
    };
    assert_eq!(db.rest_due(), None);
    commit(0..10);
    let due = db.rest_due().unwrap();
    db.rest().unwrap();
    assert_eq!(db.rest_due(), None, "ten rows may stay behind");
    commit(10..1000);
    assert!(db.rest_due().unwrap() > due, "a write did not put it off");
    db.rest().unwrap();
    assert!(db.rest_due().unwrap() > due, "a thousand rows may stay behind");
    db.rest().unwrap();
    assert_eq!(db.rest_due(), None);
    assert_eq!(db.snapshot().unwrap().range(Table::Entries, &[], &[0xff; 9], usize::MAX).unwrap().len(), 1000);
}

#[test]
fn values_that_shrink_leave_no_pages_that_are_mostly_empty() {
    let disk = CrashBackend::new();
    let db = Db::open_with(disk.clone()).unwrap();
    let commit = |len: usize| {
        let mut txn = db.begin().unwrap();
        (0..3000_u32).for_each(|n| txn.put(Table::Operations, &n.to_be_bytes(), &vec![7; len]).unwrap());
        txn.commit().unwrap();
        let store = redb::Database::builder().create_with_backend(disk.after_crash(Loss::Nothing)).unwrap();
        store.begin_write().unwrap().stats().unwrap().leaf_pages()
    };
    assert!(commit(1100) > 900);
    assert!(commit(33) < 90, "30 would do");
    assert_eq!(db.snapshot().unwrap().range(Table::Operations, &[], &[0xff; 9], usize::MAX).unwrap().len(), 3000);
}

#[test]
fn clearing_every_table_leaves_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    let db = Db::open(&path).unwrap();
    let mut txn = db.begin().unwrap();
    Table::ALL.into_iter().for_each(|table| txn.clear(table).unwrap());
    txn.commit().unwrap();
    assert_eq!(db.snapshot().unwrap().get(Table::Meta, b"x").unwrap(), None);
    drop(db);
    Db::open(&path).unwrap();
}

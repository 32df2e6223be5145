//! A real process that is killed, and a real file system that is full.

#![allow(clippy::unwrap_used, reason = "a test stops at what fails")]

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kinlink_daemon::store::Db;
use kinlink_proto::store::{Read, Store, Table};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Tells the child which store to write to.
const CHILD: &str = "KINLINK_TEST_KILL_STORE";
const ROUNDS: usize = 10;

/// Commit number `n`: the number in one table, and rows that name it in others.
fn commit(db: &Db, n: u64) -> Result<(), String> {
    let mut txn = db.begin().map_err(|e| e.to_string())?;
    txn.put(Table::Meta, b"commits", &n.to_be_bytes()).unwrap();
    txn.put(Table::Operations, &n.to_be_bytes(), &[7; 5000]).unwrap();
    txn.put(Table::Entries, &scattered(n), b"row").unwrap();
    txn.commit().map_err(|e| e.to_string())
}

/// A key of its own for each number, in no order.
fn scattered(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
}

/// How many commits are there, after a look whether they are whole.
fn commits(db: &Db) -> u64 {
    let snapshot = db.snapshot().unwrap();
    let number = snapshot.get(Table::Meta, b"commits").unwrap();
    let number = number.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
    let rows = snapshot.range(Table::Operations, &[], &[0xff], usize::MAX).unwrap();
    let expected: Vec<_> = (1..=number).map(|n| n.to_be_bytes().to_vec()).collect();
    assert_eq!(rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), expected, "rows and number disagree");
    assert!(rows.iter().all(|(_, value)| value == &[7; 5000]));
    let entries = snapshot.range(Table::Entries, &[], &[0xff; 9], usize::MAX).unwrap();
    let mut expected: Vec<_> = (1..=number).map(|n| scattered(n).to_vec()).collect();
    expected.sort();
    assert_eq!(entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), expected, "entries and number disagree");
    number
}

/// Commits until it is killed, and says each number after its commit.
fn child(store: &OsStr) {
    let db = Db::open(store).unwrap().behind_by(7);
    for n in commits(&db) + 1.. {
        commit(&db, n).unwrap();
        println!("\nacknowledged {n}");
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    if let Some(store) = std::env::var_os(CHILD) {
        return child(&store);
    }
    let seed = std::env::var("KINLINK_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("KINLINK_SEED={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    for round in 0..ROUNDS {
        let acknowledged = kill_after(&store, 1 + rng.next_u64() % 12);
        let found = commits(&Db::open(&store).unwrap());
        assert!((acknowledged..=acknowledged + 1).contains(&found), "round {round}: {acknowledged}, then {found}");
    }
}

/// Kills a child right after its `acks`-th acknowledgement, while it goes on: the last number that it said.
fn kill_after(store: &Path, acks: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_was_acknowledged_survives_kill_9", "--nocapture"])
        .env(CHILD, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut numbers = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
    let before = (&mut numbers).take(usize::try_from(acks).unwrap()).last();
    child.kill().unwrap();
    let after = numbers.last();
    child.wait().unwrap();
    after.or(before).unwrap()
}

/// A file system of 4 MiB, unmounted at the end.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` if we may not mount.
    fn mount(at: &Path) -> Option<Self> {
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "kinlink-test"]).arg(at).output().ok()?;
        done.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a child that the other test is starting holds our files open until it runs.
        let done = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.0.display());
    }
}

#[test]
fn a_full_file_system_costs_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mounted) = Tmpfs::mount(dir.path()) else {
        return println!("may not mount a tmpfs: store_crash.rs has the same over a backend that is full");
    };
    let (store, ballast) = (dir.path().join("store"), dir.path().join("ballast"));
    let mut db = Db::open(&store).unwrap();
    std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
    let (acknowledged, said) = (1..).find_map(|n| Some((n - 1, commit(&db, n).err()?))).unwrap();
    assert!(said.contains("No space left"), "{said}");
    assert!(db.begin().is_err(), "a store takes writes after a commit that failed");
    if let Err(e) = db.reopen() {
        println!("while the disk is full: {e}");
    }
    std::fs::remove_file(&ballast).unwrap();
    db.reopen().unwrap();
    let found = commits(&db);
    assert!((acknowledged..=acknowledged + 1).contains(&found), "{acknowledged}, then {found}");
    commit(&db, found + 1).unwrap();
    assert_eq!(commits(&db), found + 1);
}

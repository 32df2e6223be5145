//! What redb alone takes on this disk.

use std::path::Path;
use std::time::Instant;

use redb::{Database, Durability, ReadableDatabase as _, TableDefinition};

/// Rows whose keys rise.
pub(super) const ROWS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("rows");

/// Writes rows `from..from + count` in one durable commit.
pub(super) fn commit<'a>(db: &Database, from: u64, rows: impl Iterator<Item = &'a [u8]>) -> anyhow::Result<()> {
    let mut txn = db.begin_write()?;
    txn.set_durability(Durability::Immediate)?;
    let mut table = txn.open_table(ROWS)?;
    for (number, row) in (from..).zip(rows) {
        table.insert(number, row)?;
    }
    drop(table);
    Ok(txn.commit()?)
}

/// Seconds of each of `commits` commits of `batch` rows of `size` bytes.
pub(crate) fn commits(dir: &Path, commits: u64, batch: u64, size: usize) -> anyhow::Result<Vec<f64>> {
    let db = Database::create(dir.join("commits"))?;
    let row = vec![7; size];
    (0..commits)
        .map(|at| {
            let begun = Instant::now();
            commit(&db, at * batch, (0..batch).map(|_| row.as_slice()))?;
            Ok(begun.elapsed().as_secs_f64())
        })
        .collect()
}

/// Seconds of each of `rounds` in which `count` stores commit a row of `size` bytes at once, until the last has done so.
pub(crate) fn slowest(dir: &Path, rounds: u64, count: usize, size: usize) -> anyhow::Result<Vec<f64>> {
    let row = vec![7; size];
    let stores: Vec<Database> =
        (0..count).map(|at| Database::create(dir.join(format!("store {at}")))).collect::<Result<_, _>>()?;
    (0..rounds)
        .map(|round| {
            let begun = Instant::now();
            std::thread::scope(|scope| {
                let commits: Vec<_> = stores
                    .iter()
                    .map(|db| scope.spawn(|| commit(db, round, std::iter::once(row.as_slice()))))
                    .collect();
                commits.into_iter().try_for_each(|done| done.join().map_err(|_| anyhow::anyhow!("storing failed"))?)
            })?;
            Ok(begun.elapsed().as_secs_f64())
        })
        .collect()
}

/// Bytes of the file that holds `count` rows of `size` bytes, written in commits of 1,000.
pub(crate) fn file_bytes(dir: &Path, count: u64, size: usize) -> anyhow::Result<u64> {
    let path = dir.join("rows");
    let mut db = Database::create(&path)?;
    let row = vec![7; size];
    for from in (0..count).step_by(1000) {
        commit(&db, from, (from..count.min(from + 1000)).map(|_| row.as_slice()))?;
    }
    db.compact()?;
    anyhow::ensure!(db.begin_read()?.open_table(ROWS)?.get(0)?.is_some(), "nothing was written");
    drop(db);
    Ok(std::fs::metadata(path)?.len())
}

//! What was committed at one moment.

use std::sync::OnceLock;

use kinlink_proto::store::{Each, Read, Row, StoreError, Table};
use redb::{ReadOnlyTable, ReadTransaction, TableError};

use super::behind::Behind;
use super::merged::Merged;
use super::{definition, error, slot};

type Tree = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// All that was committed at one moment. It can be moved to another task, and read there while the
/// store goes on; pages that it shows are not reused meanwhile, so it should not be kept for long.
pub struct Snapshot {
    txn: ReadTransaction,
    /// Each table as it was opened at its first use; `None` if the store has no such table.
    tables: [OnceLock<Option<Tree>>; Table::ALL.len()],
    behind: Behind,
}

impl Snapshot {
    pub(super) fn new(txn: ReadTransaction, behind: Behind) -> Self {
        Self { txn, tables: Default::default(), behind }
    }

    fn table(&self, table: Table) -> Result<Option<&Tree>, StoreError> {
        let cell = &self.tables[slot(table)];
        if let Some(open) = cell.get() {
            return Ok(open.as_ref());
        }
        let open = match self.txn.open_table(definition(table.name())) {
            Ok(open) => Some(open),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(e) => return Err(error(e)),
        };
        Ok(cell.get_or_init(|| open).as_ref())
    }

    /// Rows with `from <= key < to`, ascending, read as the iterator goes.
    pub(super) fn rows(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>>, StoreError> {
        let rows = match self.table(table)? {
            Some(tree) if from < to => Some(tree.range::<&[u8]>(from..to).map_err(error)?),
            _ => None,
        };
        let rows = rows.into_iter().flatten().map(|row| {
            let (key, value) = row.map_err(error)?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        Ok(Merged::new(rows, self.behind.range(table, from, to).into_iter().flatten()))
    }
}

impl Read for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(change) = self.behind.get(table, key) {
            return Ok(change.map(<[u8]>::to_vec));
        }
        let Some(tree) = self.table(table)? else { return Ok(None) };
        Ok(tree.get(key).map_err(error)?.map(|value| value.value().to_vec()))
    }

    fn range(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, StoreError> {
        self.rows(table, from, to)?.take(limit).collect()
    }

    fn each(&self, table: Table, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), StoreError> {
        if self.behind.range(table, from, to).is_some() {
            return self.rows(table, from, to)?.try_for_each(|row| row.and_then(|(key, value)| each(&key, &value)));
        }
        let Some(tree) = self.table(table)?.filter(|_| from < to) else { return Ok(()) };
        tree.range::<&[u8]>(from..to).map_err(error)?.try_for_each(|row| {
            let (key, value) = row.map_err(error)?;
            each(key.value(), value.value())
        })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot(…)")
    }
}

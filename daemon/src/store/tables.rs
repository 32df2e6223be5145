//! What is on disk: the tables and the schema number; where an older store will become a newer one.
//!
//! Schema 3: one redb table of bytes to bytes for each [`Table`], by [`Table::name`]; what stands in
//! their rows is written down in `kinlink_proto::store`. Rows of `entries` that are not there yet stand in a table besides:
//! see [`behind`]. The number itself has a table of its own, so that clearing every [`Table`] leaves it in place.
//!
//! Schemas 1 and 2 were never released.

use kinlink_proto::store::Table;
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

use super::open::OpenError;
use super::{behind, definition};

/// The schema that this program reads and writes. A change of any row's format raises it.
pub(super) const SCHEMA: u64 = 3;

/// The schema number, under [`NUMBER`]. The name stays forever: a future store is recognised by it.
const KINLINK: TableDefinition<'static, &'static str, u64> = TableDefinition::new("kinlink");
const NUMBER: &str = "schema";

/// Makes the tables in a new store; checks the schema of an old one.
pub(super) fn prepare(db: &Database) -> Result<(), OpenError> {
    let txn = db.begin_write()?;
    match schema(&txn)? {
        Some(SCHEMA) => Ok(txn.abort()?),
        Some(newer) if newer > SCHEMA => Err(OpenError::Newer { found: newer, known: SCHEMA }),
        Some(found @ 1..SCHEMA) => Err(OpenError::Unreleased { found }),
        Some(_) => Err(OpenError::NotAStore),
        None => create(txn),
    }
}

/// The schema number; `None` in a database without any table.
fn schema(txn: &WriteTransaction) -> Result<Option<u64>, OpenError> {
    if txn.list_tables()?.next().is_none() {
        return Ok(None);
    }
    // Opening would make the table, but this transaction is given up unless the store is new.
    let number = txn.open_table(KINLINK)?.get(NUMBER)?.map(|value| value.value());
    number.map(Some).ok_or(OpenError::NotAStore)
}

/// Makes the tables of a new store.
fn create(txn: WriteTransaction) -> Result<(), OpenError> {
    txn.open_table(KINLINK)?.insert(NUMBER, SCHEMA)?;
    for table in Table::ALL {
        drop(txn.open_table(definition(table.name()))?);
    }
    drop(txn.open_table(behind::LOG)?);
    Ok(txn.commit()?)
}

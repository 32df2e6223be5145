//! Dropping content that nobody will read again.
//!
//! A covered operation goes once every linked device has reported the operation that covers it. One more thing
//! is asked: that the covering operation names all that the covered one named. A device to which the content of the
//! latter never comes, because it was dropped elsewhere, then still learns what it had replaced. Writers name all they
//! know, so this holds but for contexts over their limit; then content is kept until a later write names it all.
//!
//! A tombstone is kept while it is live. Positions do not tell whether somebody still holds the *content* that it
//! covers; if so, a device linked later could be given that by one peer and a dropped tombstone by another, and the deleted
//! entry would be back there, for good. A tombstone is some 200 bytes, and goes as soon as its key is written again.

use super::content::{Content, Seen};
use super::index;
use super::read::{self, ReadError};
use super::register::OpId;
use super::{Sessions, index::ENTRY_KEY};
use crate::id::JournalId;
use crate::journal::Journals;
use crate::roster::keyring::Keyring;
use crate::store::{Store, StoreError, Table};
use crate::wire::Reader;

impl Sessions {
    /// Drops the content of operations that are covered by ones which every linked device has reported: `reported` says
    /// so for a journal and a number in it. Looks at `limit` covered operations at most, going on where the last
    /// call ended; returns how many were dropped. What is read does not change.
    ///
    /// # Errors
    /// If the store fails.
    pub fn sweep(
        &mut self,
        store: &mut dyn Store,
        keyring: &Keyring,
        journals: &mut Journals,
        reported: impl Fn(JournalId, u64) -> bool,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let page = store.range(Table::Covered, &self.swept, &[u8::MAX; 64], limit)?;
        // Behind the last row it begins anew.
        self.swept =
            page.last().filter(|_| page.len() == limit).map(|(last, _)| index::after(last)).unwrap_or_default();
        let mut dropped = 0;
        for (name, row) in page {
            let Some((op, entry, first)) = self.covered(&name, &row) else { continue };
            let candidates = [Some(first), self.covering(store, entry, op)?];
            let reported = candidates.into_iter().flatten().filter(|by| reported(by.journal, by.number));
            if replaced(store, keyring, journals, op, reported)? {
                dropped += usize::from(journals.drop(store, op.journal, op.number)?);
                store.delete(Table::Covered, &name)?;
            }
        }
        Ok(dropped)
    }

    /// A row of [`Table::Covered`]: the covered operation, the row of its key, and the operation that covered it first.
    fn covered<'a>(&self, name: &[u8], row: &'a [u8]) -> Option<(OpId, &'a [u8], OpId)> {
        let (entry, by) = row.split_at_checked(ENTRY_KEY)?;
        // What cannot be read covers nothing that is known: its content stays.
        let op = |bytes| self.index.authors().read_op(&mut Reader::new(bytes)).ok();
        Some((op(name)?, entry, op(by)?))
    }

    fn covering(&self, store: &dyn Store, entry: &[u8], op: OpId) -> Result<Option<OpId>, StoreError> {
        Ok(self.index.entry(store, entry)?.and_then(|entry| entry.register.covering(op)))
    }
}

/// Whether one of `by` names all that `op` named, or the content of `op` is gone already.
fn replaced(
    store: &dyn Store,
    keyring: &Keyring,
    journals: &Journals,
    op: OpId,
    by: impl Iterator<Item = OpId>,
) -> Result<bool, StoreError> {
    if !journals.is_live(store, op.journal, op.number)? {
        return Ok(true);
    }
    for by in by {
        let (Some(old), Some(new)) = (content(store, keyring, journals, op)?, content(store, keyring, journals, by)?)
        else {
            continue;
        };
        if names_all(&new, by, &old, op) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn content(store: &dyn Store, keyring: &Keyring, journals: &Journals, op: OpId) -> Result<Option<Content>, StoreError> {
    match read::open(store, keyring, journals, op) {
        Ok(content) => Ok(Some(content)),
        Err(ReadError::Store(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether the writer of `new` had seen `op` and all that the writer of `old` had seen.
fn names_all(new: &Content, by: OpId, old: &Content, op: OpId) -> bool {
    let itself = Seen { journal: op.journal, number: op.number };
    let seen = |wanted: &Seen| {
        let own = wanted.journal == by.journal && wanted.number < by.number;
        own || new.context.iter().any(|seen| seen.journal == wanted.journal && seen.number >= wanted.number)
    };
    // What an operation says of its own journal from itself on does not count.
    let named = old.context.iter().filter(|seen| seen.journal != op.journal);
    named.chain([&itself]).all(seen)
}

//! Short numbers for the journals that are named in the rows of the index: 36 bytes each are much in rows of 50.
//!
//! They are given in the order in which journals first wrote here, and stay: they are local, and never sent.

use std::collections::BTreeMap;

use super::register::OpId;
use crate::id::JournalId;
use crate::store::{Read, Store, StoreError, Table, prefix_end};
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// Rows of [`Table::Meta`]: this, then the number as `u32` → JournalId.
const ROW: &[u8] = b"index author ";

/// The journals by their numbers, and back.
#[derive(Default)]
pub(super) struct Authors {
    journals: Vec<JournalId>,
    numbers: BTreeMap<JournalId, u32>,
}

impl Authors {
    pub(super) fn load(store: &dyn Read) -> Result<Self, StoreError> {
        let mut authors = Self::default();
        for (_, journal) in store.range(Table::Meta, ROW, &prefix_end(ROW), usize::MAX)? {
            let journal = JournalId::from_bytes(&journal);
            authors.add(journal.map_err(|_| StoreError("the number of a journal in the index is damaged".into()))?);
        }
        Ok(authors)
    }

    /// Gives a journal a number, if it has none.
    pub(super) fn note(&mut self, store: &mut dyn Store, journal: JournalId) -> Result<(), StoreError> {
        if self.numbers.contains_key(&journal) {
            return Ok(());
        }
        let number = self.add(journal);
        store.put(Table::Meta, &[ROW, &number.to_be_bytes()].concat(), &journal.to_bytes())
    }

    fn add(&mut self, journal: JournalId) -> u32 {
        // Journals are limited to some thousands.
        let number = u32::try_from(self.journals.len()).unwrap_or(u32::MAX);
        self.journals.push(journal);
        self.numbers.insert(journal, number);
        number
    }

    /// Writes a journal by its number. One that was not noted reads as damaged.
    pub(super) fn write(&self, w: &mut Writer, journal: JournalId) {
        w.varint(self.numbers.get(&journal).copied().unwrap_or(u32::MAX).into());
    }

    pub(super) fn read(&self, r: &mut Reader<'_>) -> Result<JournalId, DecodeError> {
        let number = usize::try_from(r.varint()?).unwrap_or(usize::MAX);
        self.journals.get(number).copied().ok_or(DecodeError::Invalid("number of a journal"))
    }

    pub(super) fn write_op(&self, w: &mut Writer, op: OpId) {
        self.write(w, op.journal);
        w.varint(op.number);
    }

    pub(super) fn read_op(&self, r: &mut Reader<'_>) -> Result<OpId, DecodeError> {
        Ok(OpId { journal: self.read(r)?, number: r.varint()? })
    }
}

//! What counts of a revoked device's journals.

use super::{Cx, Engine, Fail};
use crate::id::JournalId;
use crate::store::StoreError;
use crate::sync::transfer::Limit;

impl Engine {
    /// Forgets the operations of revoked devices behind their honoured positions, and reads what is left anew:
    /// an operation that does not count must not cover one that does.
    pub(super) fn honour(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let limited: Vec<(JournalId, Limit)> = self
            .journals
            .vector()
            .iter()
            .filter_map(|position| {
                let limit = self.limit(position.journal).flatten()?;
                (position.size >= limit.size).then_some((position.journal, limit))
            })
            .collect();
        let mut changed = false;
        for (journal, limit) in limited {
            changed |= self.cut(cx, journal, limit)?;
        }
        if changed {
            self.reindex(cx)?;
        }
        Ok(())
    }

    /// Cuts a journal to what counts of it; all of it, if the device had written two and the other one was honoured.
    fn cut(&mut self, cx: &mut Cx<'_>, journal: JournalId, limit: Limit) -> Result<bool, StoreError> {
        let honoured = self.journals.peaks_at(cx.store, journal, limit.size)?;
        if limit.size > 0 && honoured.is_some_and(|peaks| peaks.root() != limit.root) {
            self.discard(cx, journal, 0)?;
            return Ok(true);
        }
        if self.journals.size(journal) == limit.size {
            return Ok(false);
        }
        self.journals.truncate(cx.store, journal, limit.size)?;
        self.changed.advanced.insert(journal);
        self.changed.cut.insert(journal);
        Ok(true)
    }

    /// Builds the sessions anew from the journals.
    pub(super) fn reindex(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.sessions.clear(cx.store)?;
        for position in self.journals.vector() {
            for number in 0..position.size {
                if let Some(operation) = self.journals.operation(cx.store, position.journal, number)? {
                    // What is read again is no news to anybody.
                    self.sessions.apply(cx.store, &self.keyring, &operation.header, operation.ciphertext(), None)?;
                }
            }
        }
        Ok(())
    }
}

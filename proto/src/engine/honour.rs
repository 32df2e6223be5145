//! What counts of a revoked device's journals.

use super::{Cx, Engine, Fail};
use crate::id::JournalId;
use crate::store::StoreError;

impl Engine {
    /// Forgets the operations of revoked devices behind their honoured positions, and reads what is left anew:
    /// an operation that does not count must not cover one that does.
    pub(super) fn honour(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let beyond: Vec<(JournalId, u64)> = self
            .journals
            .vector()
            .iter()
            .filter_map(|position| {
                let limit = self.limit(position.journal).flatten()?;
                (position.size > limit.size).then_some((position.journal, limit.size))
            })
            .collect();
        if beyond.is_empty() {
            return Ok(());
        }
        for (journal, limit) in beyond {
            self.journals.truncate(cx.store, journal, limit)?;
            self.changed.advanced.insert(journal);
        }
        self.reindex(cx)?;
        Ok(())
    }

    /// Builds the sessions anew from the journals.
    fn reindex(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.sessions.clear(cx.store)?;
        for position in self.journals.vector() {
            for number in 0..position.size {
                if let Some(operation) = self.journals.operation(cx.store, position.journal, number)? {
                    // What is read again is no news to anybody.
                    self.sessions.apply(cx.store, &self.keyring, &operation.header, &operation.ciphertext)?;
                }
            }
        }
        Ok(())
    }
}

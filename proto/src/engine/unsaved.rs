//! What is stored with the next batch that is committed anyway: what others keep and tell again, and where they are. It is not
//! worth a commit of its own, nor that a hello or an answer waits for one.
//!
//! A batch that commits stores all of it, so that the disk holds what the engine knew at the end of some batch, and never
//! something without what it follows from.

use std::collections::BTreeSet;

use super::{Cx, Engine};
use crate::id::DeviceId;
use crate::limits;
use crate::store::{StoreError, Table};
use crate::time::Mono;

/// Rows that are not on the disk yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    /// Where these devices are, and when they were seen.
    pub(super) peers: BTreeSet<DeviceId>,
    /// The newest reports of these.
    pub(super) reports: BTreeSet<DeviceId>,
    /// So many of the statements, the last ones.
    pub(super) statements: usize,
    /// When they are stored at the latest.
    due: Option<Mono>,
}

impl Unsaved {
    fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.reports.is_empty() && self.statements == 0
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Something of it is stored with this batch.
    pub(super) fn at_once(&mut self) {
        self.due = Some(Mono(0));
    }
}

impl Engine {
    /// Stores what is not stored yet along with what this batch commits, or when it has waited for long enough.
    pub(super) fn save_along(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let now = cx.now.mono;
        if !self.unsaved.is_empty() && !cx.store.is_dirty() && self.unsaved.due.is_none_or(|due| due > now) {
            self.unsaved.due.get_or_insert(now.after(limits::SAVE));
            return Ok(());
        }
        self.save_statements(cx)?;
        for device in std::mem::take(&mut self.unsaved.peers) {
            self.save_peer(cx, device)?;
        }
        for device in std::mem::take(&mut self.unsaved.reports) {
            if let Some(report) = self.reports.get(&device) {
                cx.store.put(Table::Reports, device.as_bytes(), report.bytes())?;
            }
        }
        self.unsaved.due = None;
        Ok(())
    }

    /// Numbers them as they became valid, so that loading meets parents first.
    pub(super) fn save_statements(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let unsaved = std::mem::take(&mut self.unsaved.statements);
        if unsaved == 0 {
            return Ok(());
        }
        let saved = self.roster.statements().count() - unsaved;
        for (number, statement) in self.roster.statements().enumerate().skip(saved) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            cx.store.put(Table::Statements, &number.to_be_bytes(), &statement.bytes)?;
        }
        Ok(())
    }
}

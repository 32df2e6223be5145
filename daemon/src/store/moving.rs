//! Bringing changes into their tree, a slice with each commit, so that nobody waits for all of them.
//!
//! The changes that were behind at one moment move on in the order of their keys, and readers see all of them over the tree
//! until the last one is there. Only then are their rows of the log removed, the oldest first: after a crash, what
//! is left of them is the newest change of each key, or older ones together with it, which changes nothing.

use std::ops::Range;
use std::sync::Arc;

use kinlink_proto::store::StoreError;
use redb::WriteTransaction;

use super::behind::{LOG, TABLE};
use super::error;
use super::known::Known;
use super::layer::{Layer, Newest};
use super::txn::put;

/// Changes that are older than all others which are behind.
#[derive(Clone, Debug, Default)]
pub(super) struct Moving {
    /// The newest comes last. None are left when all are in the tree.
    layers: Vec<Arc<Layer>>,
    /// Those before this key are in the tree.
    from: Vec<u8>,
    /// Their rows of the log, and nothing else's.
    log: Range<u64>,
}

impl Moving {
    pub(super) fn new(layers: &[Arc<Layer>], log: Range<u64>) -> Self {
        Self { layers: layers.to_vec(), from: Vec::new(), log }
    }

    /// What readers have to see over the tree. The newest comes last.
    pub(super) fn layers(&self) -> &[Arc<Layer>] {
        &self.layers
    }

    pub(super) fn is_done(&self) -> bool {
        self.layers.is_empty() && self.log.is_empty()
    }

    /// The changes that are not in the tree yet.
    pub(super) fn left(&self) -> impl Iterator<Item = super::layer::Part<'_>> {
        self.layers.iter().map(|layer| layer.range(&self.from, &[]))
    }

    /// Goes on by so many changes, or rows of the log.
    pub(super) fn step(
        self,
        writer: &WriteTransaction,
        slice: usize,
        known: Option<&Known>,
    ) -> Result<Self, StoreError> {
        if self.layers.is_empty() {
            return self.forget(writer, slice);
        }
        let mut left = Newest::new(self.left());
        bring(writer, left.by_ref().take(slice), known)?;
        let next = left.next().map(|(key, _)| key.to_vec());
        match next {
            Some(from) => Ok(Self { from, ..self }),
            None => Self { log: self.log, ..Self::default() }.forget(writer, slice),
        }
    }

    fn forget(self, writer: &WriteTransaction, rows: usize) -> Result<Self, StoreError> {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let now = self.log.start..self.log.end.min(self.log.start.saturating_add(rows));
        if !now.is_empty() {
            let mut log = writer.open_table(LOG).map_err(error)?;
            log.retain_in(now.clone(), |_, _| false).map_err(error)?;
        }
        Ok(Self { log: now.end..self.log.end, ..self })
    }
}

/// Brings changes into the tree, and notes which rows that makes.
pub(super) fn bring<'a>(
    writer: &WriteTransaction,
    changes: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    known: Option<&Known>,
) -> Result<(), StoreError> {
    let note = |(key, value): &(&[u8], Option<&[u8]>)| {
        if let (Some(known), true) = (known, value.is_some()) {
            known.note(key);
        }
    };
    put(writer, TABLE, changes.inspect(note))
}

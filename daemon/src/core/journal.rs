//! A journal on its way to a peer.

use kinlink_proto::id::JournalId;
use kinlink_proto::store::StoreError;
use kinlink_proto::sync::transfer::Outgoing;
use kinlink_proto::wire::frame::Frame;

use crate::store::Snapshot;

/// The frames of a journal, read from a snapshot as fast as the peer takes them.
pub(super) struct JournalFrames {
    snapshot: Snapshot,
    outgoing: Outgoing,
}

impl JournalFrames {
    pub(super) fn new(
        snapshot: Snapshot,
        journal: JournalId,
        from: u64,
        upto: Option<u64>,
    ) -> Result<Option<Self>, StoreError> {
        let outgoing = Outgoing::new(&snapshot, journal, from, upto)?;
        Ok(outgoing.map(|outgoing| Self { snapshot, outgoing }))
    }
}

impl Iterator for JournalFrames {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        match self.outgoing.frame(&self.snapshot) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::error!(%error, "a journal cannot be read");
                None
            }
        }
    }
}

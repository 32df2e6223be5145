//! Notices that a peer gives no sign of life though something was sent to it. QUIC itself goes on repeating, ever more rarely,
//! until its idle time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kinlink_proto::limits;
use quinn::Connection;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::event::NetEvent;

/// Writes to one peer: how many are under way, and that there was one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Writes(Arc<State>);

#[derive(Debug, Default)]
struct State {
    under_way: AtomicUsize,
    begun: Notify,
}

impl Writes {
    /// Waits for `write`, which counts as under way meanwhile.
    pub(super) async fn during<T>(&self, write: impl Future<Output = T>) -> T {
        let _under_way = UnderWay::new(&self.0);
        write.await
    }

    /// Tells when nothing came from the peer for [`limits::SILENT`] after or while something was written; never returns. A peer
    /// that is only slow acknowledges what it gets, and that comes.
    pub(super) async fn watch<T>(&self, connection: &Connection, name: u64, events: &mpsc::Sender<NetEvent>) -> T {
        let received = || connection.stats().udp_rx.datagrams;
        loop {
            if self.0.under_way.load(Ordering::Relaxed) == 0 {
                self.0.begun.notified().await;
            }
            let before = received();
            sleep(limits::SILENT).await;
            if received() == before && events.send(NetEvent::Silent { conn: name }).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// One write under way, until dropped: a connection that ends drops its writes.
struct UnderWay<'a>(&'a State);

impl<'a> UnderWay<'a> {
    fn new(state: &'a State) -> Self {
        state.under_way.fetch_add(1, Ordering::Relaxed);
        state.begun.notify_one();
        Self(state)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

//! Notices that a peer gives no sign of life though something was sent to it. QUIC itself goes on repeating, ever more rarely,
//! until its idle time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quinn::Connection;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::event::NetEvent;

/// Writes to one peer, and whether anything came back. Cheap to clone.
#[derive(Clone)]
pub(super) struct Writes(Arc<State>);

struct State {
    under_way: AtomicUsize,
    begun: Notify,
    /// What had come from the peer when the latest write began.
    before: AtomicU64,
    /// Datagrams that came from the peer so far.
    received: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl Writes {
    /// Of a connection.
    pub(super) fn of(connection: &Connection) -> Self {
        let connection = connection.clone();
        Self::counting(move || connection.stats().udp_rx.datagrams)
    }

    fn counting(received: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let (under_way, begun, before) = (AtomicUsize::new(0), Notify::new(), AtomicU64::new(received()));
        Self(Arc::new(State { under_way, begun, before, received: Box::new(received) }))
    }

    /// Waits for `write`, which counts as under way meanwhile.
    pub(super) async fn during<T>(&self, write: impl Future<Output = T>) -> T {
        let _under_way = UnderWay::new(&self.0);
        write.await
    }

    /// Tells when nothing came from the peer for `silent` after or while something was written; never returns. A peer that is
    /// only slow acknowledges what it gets, and that comes.
    pub(super) async fn watch<T>(&self, silent: Duration, name: u64, events: &mpsc::Sender<NetEvent>) -> T {
        loop {
            let before = self.unanswered().await;
            sleep(silent).await;
            if (self.0.received)() == before && events.send(NetEvent::Silent { conn: name }).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until there is a write that nothing has followed yet; what had come before it.
    async fn unanswered(&self) -> u64 {
        loop {
            let received = (self.0.received)();
            if self.0.under_way.load(Ordering::Relaxed) > 0 {
                return received;
            }
            // A write that begins from here on leaves its mark, even if it is over before this waits.
            self.0.begun.notified().await;
            let before = self.0.before.load(Ordering::Relaxed);
            if (self.0.received)() == before {
                return before;
            }
        }
    }
}

/// One write under way, until dropped: a connection that ends drops its writes.
struct UnderWay<'a>(&'a State);

impl<'a> UnderWay<'a> {
    fn new(state: &'a State) -> Self {
        state.before.store((state.received)(), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Short, as tests wait for it; a machine that is slow makes it longer, and changes nothing else.
    const SILENT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn only_a_write_that_nothing_follows_is_silence() {
        let came = Arc::new(AtomicU64::new(0));
        let count = came.clone();
        let writes = Writes::counting(move || count.load(Ordering::Relaxed));
        let (tx, mut events) = mpsc::channel(1);
        let watched = writes.clone();
        let watch = tokio::spawn(async move { watched.watch::<()>(SILENT, 7, &tx).await });
        // Each write is answered, also those that begin while an earlier one is looked at; then nothing happens any more.
        for _ in 0..8 {
            writes.during(async {}).await;
            came.fetch_add(1, Ordering::Relaxed);
            sleep(SILENT / 4).await;
        }
        let told = tokio::time::timeout(20 * SILENT, events.recv()).await;
        assert!(told.is_err(), "a peer that answered everything is no silent one");

        writes.during(async {}).await;
        assert!(matches!(events.recv().await, Some(NetEvent::Silent { conn: 7 })));
        watch.abort();
    }

    #[tokio::test]
    async fn a_write_that_the_peer_does_not_take_is_silence_as_long_as_nothing_comes() {
        let writes = Writes::counting(|| 3);
        let (tx, mut events) = mpsc::channel(1);
        let watched = writes.clone();
        let watch = tokio::spawn(async move { watched.watch::<()>(SILENT, 7, &tx).await });
        let stuck = tokio::spawn(async move { writes.during(std::future::pending::<()>()).await });
        for _ in 0..2 {
            assert!(matches!(events.recv().await, Some(NetEvent::Silent { conn: 7 })));
        }
        stuck.abort();
        watch.abort();
    }
}

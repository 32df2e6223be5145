//! What waits to be written to a link, and what becomes of it when nobody reads there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc};
use zbus::names::OwnedUniqueName;
use zbus::{Connection, Message};

use super::{limits, signals};

/// The way to a link.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Message>,
    cut: Arc<Notify>,
    lost: Arc<Lost>,
}

/// The end that is written from.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Receiver<Message>,
    lost: Arc<Lost>,
}

/// Who is to be told that changes were not signalled. On a bus clients have names.
#[derive(Debug, Default)]
struct Lost {
    clients: Mutex<BTreeSet<Option<OwnedUniqueName>>>,
    noted: Notify,
}

impl Outbox {
    /// An empty one.
    pub(super) fn new() -> (Self, Writer) {
        let (queue, messages) = mpsc::channel(limits::OUTBOX);
        let lost = Arc::<Lost>::default();
        (Self { queue, cut: Arc::default(), lost: lost.clone() }, Writer { queue: messages, lost })
    }

    /// Puts a message in. A link that leaves it full is cut.
    pub(super) async fn push(&self, message: Message) {
        if self.queue.send_timeout(message, limits::UNREAD).await.is_err() {
            self.cut.notify_one();
        }
    }

    /// Puts a message in if there is room.
    pub(super) fn offer(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            tracing::debug!("a client that does not read was not answered");
        }
    }

    /// Puts in one of what may be very many signals, for the client of that name. Where there is no room the client is told
    /// later that it missed some: nobody else waits for it.
    pub(super) fn push_change(&self, message: Message, client: Option<&OwnedUniqueName>) {
        if self.queue.capacity() <= limits::OUTBOX_RESERVED || self.queue.try_send(message).is_err() {
            self.missed(client);
        }
    }

    /// The client of that name missed signals, and will be told so.
    pub(super) fn missed(&self, client: Option<&OwnedUniqueName>) {
        self.lost.clients().insert(client.cloned());
        self.lost.noted.notify_one();
    }

    /// Waits until the link is to be cut.
    pub(super) async fn overflow(&self) {
        self.cut.notified().await;
    }
}

impl Writer {
    /// Writes what waits, in as few writes as the socket takes, until the link ends.
    pub(super) async fn run(mut self, connection: Connection) {
        let mut messages = Vec::new();
        loop {
            tokio::select! {
                biased;
                taken = self.queue.recv_many(&mut messages, limits::AT_ONCE) => if taken == 0 { return },
                () = self.lost.noted.notified() => {}
            }
            // Behind everything that was signalled: who reads again then misses nothing.
            if self.queue.is_empty() {
                let clients = std::mem::take(&mut *self.lost.clients());
                messages.extend(clients.iter().filter_map(|client| signals::lost(client.as_ref())));
            }
            if let Err(error) = connection.send_all(&messages).await {
                return tracing::debug!("a D-Bus client is gone: {error}");
            }
            messages.clear();
        }
    }
}

impl Lost {
    /// A panic while it was held cannot leave it half changed: each change is one insert or take.
    fn clients(&self) -> std::sync::MutexGuard<'_, BTreeSet<Option<OwnedUniqueName>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! One connection: a task that reads, writes and ends it.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinlink_proto::limits;
use kinlink_proto::wire::frame::{CloseCode, Frame, HEADER};
use quinn::{Connection, ConnectionError, Endpoint, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::admission::Admission;
use super::event::NetEvent;
use super::framing::{self, FrameError};
use super::gate::Permit;
use super::quic::{self, Protocol};
use super::silence::Writes;
use super::stranger::Place;
use super::transfer::{self, Produce};

/// Bytes of frames that wait for a peer. One that takes nothing is closed at this point, and asks for what it lacks
/// when it comes back.
const OUTBOX: usize = 16 << 20;

/// An established connection and its control stream.
pub(super) struct Live {
    pub(super) protocol: Protocol,
    /// Whether this side dialled.
    pub(super) dialled: bool,
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    pub(super) control: (SendStream, RecvStream),
    /// Held for as long as a stranger is connected.
    pub(super) permit: Option<Permit>,
    /// On `kinlink/1`, of a key that is not known: its place, and the introduction that it began with.
    pub(super) stranger: Option<(Place, Frame)>,
}

impl Live {
    /// One that this side dialled: whom it leads to is known.
    pub(super) fn dialled(
        protocol: Protocol,
        endpoint: Endpoint,
        connection: Connection,
        control: (SendStream, RecvStream),
    ) -> Self {
        Self { protocol, dialled: true, endpoint, connection, control, permit: None, stranger: None }
    }

    /// Bytes of a control frame that the peer may send. Keys on `kinlink/1` are in the roster, and the shower is pinned.
    fn frame_max(&self) -> usize {
        match (self.protocol, self.dialled) {
            (Protocol::Sync, _) => limits::FRAME_CONTROL,
            (Protocol::Link, true) => limits::FRAME_SHOWER,
            (Protocol::Link, false) => limits::FRAME_STRANGER,
        }
    }

    fn stranger(&self) -> bool {
        self.protocol == Protocol::Link && !self.dialled
    }
}

/// All connections by their names. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Registry {
    handles: Arc<Mutex<BTreeMap<u64, Handle>>>,
    names: Arc<AtomicU64>,
    /// Tasks that hold a connection.
    running: Arc<watch::Sender<usize>>,
    admission: Admission,
}

/// What the owner of the state holds of a connection.
struct Handle {
    outbox: mpsc::UnboundedSender<Frame>,
    queued: Arc<AtomicUsize>,
    transfers: mpsc::UnboundedSender<Produce>,
    end: oneshot::Sender<Order>,
    /// Bytes of the next control frame that the peer may send; 0 while an unknown key waits for what is made of the last one.
    granted: Arc<watch::Sender<usize>>,
    /// Of an unknown key, until it turned out to be linked.
    place: Option<Place>,
    stranger: bool,
    endpoint: Endpoint,
    connection: Connection,
}

/// An order to close.
struct Order {
    code: CloseCode,
    linger: Duration,
}

impl Order {
    /// When nobody is left to give another.
    const STOP: Self = Self { code: CloseCode::ShuttingDown, linger: Duration::ZERO };
}

impl Registry {
    /// Without any. What transfers bring is opened with what `admission` has.
    pub(super) fn new(admission: Admission) -> Self {
        Self { admission, ..Self::default() }
    }

    /// Takes a connection in and runs it in a task of its own; `announce` makes the event that tells its name.
    pub(super) fn run(&self, mut live: Live, events: mpsc::Sender<NetEvent>, announce: impl FnOnce(u64) -> NetEvent) {
        let name = self.names.fetch_add(1, Ordering::Relaxed);
        let (outbox, frames) = mpsc::unbounded_channel();
        let (transfers, produces) = mpsc::unbounded_channel();
        let (end, order) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let (place, first) = live.stranger.take().unzip();
        let granted = Arc::new(watch::Sender::new(if place.is_some() { 0 } else { live.frame_max() }));
        let handle = Handle {
            outbox,
            queued: queued.clone(),
            transfers,
            end,
            granted: granted.clone(),
            place,
            stranger: live.stranger(),
            endpoint: live.endpoint.clone(),
            connection: live.connection.clone(),
        };
        self.handles().insert(name, handle);
        let task = Task { name, events, frames, queued, produces, order, granted, first };
        let running = Running::new(self.running.clone());
        tokio::spawn(task.run(self.clone(), live, running, announce(name)));
    }

    /// How many there are, strangers aside: those have a cap of their own.
    pub(super) fn peers(&self) -> usize {
        self.handles().values().filter(|handle| !handle.stranger).count()
    }

    /// Queues a frame. A connection that has ended takes none: the event that says so is on its way.
    pub(super) fn send(&self, name: u64, frame: Frame) {
        let handles = self.handles();
        let Some(handle) = handles.get(&name) else { return };
        let bytes = HEADER + frame.body.len();
        let queued = handle.queued.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if queued > OUTBOX {
            tracing::warn!(conn = name, queued, "closing a connection whose peer takes nothing");
            quic::close(&handle.connection, CloseCode::Protocol);
        } else if handle.outbox.send(frame).is_err() {
            tracing::debug!(conn = name, "a frame for a connection that has just ended");
        }
    }

    /// Queues a transfer.
    pub(super) fn transfer(&self, name: u64, produce: Produce) {
        if let Some(handle) = self.handles().get(&name)
            && handle.transfers.send(produce).is_err()
        {
            tracing::debug!(conn = name, "a transfer for a connection that has just ended");
        }
    }

    /// Lets an unknown key send its next frame; from [`limits::FRAME_CONTROL`] bytes on it is a peer like any other, and
    /// its address is returned.
    pub(super) fn widen(&self, name: u64, bytes: usize) -> Option<IpAddr> {
        let mut handles = self.handles();
        let handle = handles.get_mut(&name)?;
        let known = bytes >= limits::FRAME_CONTROL;
        if known {
            quic::widen(&handle.connection);
            if let Some(place) = handle.place.take() {
                place.leave();
            }
        }
        handle.granted.send_replace(bytes);
        known.then(|| handle.connection.remote_address().ip())
    }

    /// Orders a connection to end.
    pub(super) fn close(&self, name: u64, code: CloseCode, linger: Duration) {
        if let Some(handle) = self.handles().remove(&name) {
            handle.close(code, linger);
        }
    }

    /// Orders the connections of strangers to end.
    pub(super) fn close_strangers(&self, code: CloseCode, linger: Duration) {
        self.handles().extract_if(.., |_, handle| handle.stranger).for_each(|(_, handle)| handle.close(code, linger));
    }

    /// Orders all connections to end at once.
    pub(super) fn close_all(&self, code: CloseCode) {
        std::mem::take(&mut *self.handles()).into_values().for_each(|handle| handle.close(code, Duration::ZERO));
    }

    /// Waits until no task holds a connection any more.
    pub(super) async fn none_running(&self) {
        let mut running = self.running.subscribe();
        if running.wait_for(|count| *count == 0).await.is_err() {
            tracing::debug!("the count of connections is gone"); // It cannot be: this registry holds its sender.
        }
    }

    /// Where a connection goes, and QUIC's smoothed round trip.
    pub(super) fn path(&self, name: u64) -> Option<(SocketAddr, Duration)> {
        let handles = self.handles();
        let connection = &handles.get(&name)?.connection;
        Some((connection.remote_address(), connection.rtt()))
    }

    /// The sockets that connections use.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        self.handles().values().map(|handle| handle.endpoint.clone()).collect()
    }

    // Poisoning cannot leave the map half-changed: each change is one call.
    fn handles(&self) -> MutexGuard<'_, BTreeMap<u64, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    fn close(self, code: CloseCode, linger: Duration) {
        if self.end.send(Order { code, linger }).is_err() {
            tracing::debug!("an order to close a connection that has just ended");
        }
    }
}

/// One task that holds a connection, until dropped.
struct Running(Arc<watch::Sender<usize>>);

impl Running {
    fn new(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// The ends of a connection's channels that its task holds.
struct Task {
    name: u64,
    events: mpsc::Sender<NetEvent>,
    frames: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
    produces: mpsc::UnboundedReceiver<Produce>,
    order: oneshot::Receiver<Order>,
    granted: Arc<watch::Sender<usize>>,
    /// What an unknown key began with.
    first: Option<Frame>,
}

/// Why a connection's task stops.
enum End {
    /// It was told to.
    Ordered(Order),
    /// The connection is gone.
    Closed(ConnectionError),
    /// The peer broke the protocol.
    Fault,
}

impl Task {
    async fn run(mut self, registry: Registry, live: Live, running: Running, announcement: NetEvent) {
        let ended = tokio::select! {
            biased;
            order = &mut self.order => Some(order.unwrap_or(Order::STOP).code),
            told = self.events.send(announcement) => told.is_err().then_some(CloseCode::ShuttingDown),
        };
        let code = match ended {
            None => self.exchange(live, &registry.admission).await,
            // Nobody has heard of it.
            Some(code) => {
                quic::close(&live.connection, code);
                drop(live);
                None
            }
        };
        drop(running);
        drop(registry.handles().remove(&self.name));
        if ended.is_none() && self.events.send(NetEvent::Disconnected { conn: self.name, code }).await.is_err() {
            tracing::debug!("a connection ended while the daemon was stopping");
        }
    }

    /// Reads and writes until the connection ends; the code that the peer closed with.
    async fn exchange(&mut self, live: Live, admission: &Admission) -> Option<CloseCode> {
        let unknown = self.first.is_some();
        if let Some(frame) = self.first.take()
            && self.events.send(NetEvent::Received { conn: self.name, frame }).await.is_err()
        {
            return None;
        }
        let grants = Grants { granted: self.granted.clone(), unknown };
        let Live { protocol, connection, control: (mut send, mut recv), permit, .. } = live;
        let writes = Writes::of(&connection);
        let mut writing = Writing::new(write_all(&mut send, &mut self.frames, &self.queued, &writes));
        let end = tokio::select! {
            biased;
            order = &mut self.order => End::Ordered(order.unwrap_or(Order::STOP)),
            end = read_control(&connection, &mut recv, &grants, self.name, &self.events) => end,
            () = receive_transfers(&connection, &grants, self.name, &self.events, admission) => End::Fault,
            never = transfer::send(&connection, &mut self.produces, &writes) => never,
            never = writing.forever() => never,
            never = writes.watch(limits::SILENT, self.name, &self.events), if protocol == Protocol::Sync => never,
        };
        drop(permit);
        match end {
            End::Closed(error) => return quic::code_of(&error),
            End::Fault => quic::close(&connection, CloseCode::Protocol),
            End::Ordered(Order { code, linger }) => {
                if timeout(linger, writing.done()).await.is_err() {
                    tracing::debug!(conn = self.name, "closing before everything was acknowledged");
                }
                quic::close(&connection, code);
            }
        }
        None
    }
}

/// What the peer may send next.
struct Grants {
    granted: Arc<watch::Sender<usize>>,
    /// The key was unknown at first: each frame waits for a grant of its own until it is known.
    unknown: bool,
}

impl Grants {
    /// Bytes of the next frame, once there may be one.
    async fn next(&self) -> usize {
        if !self.unknown {
            return *self.granted.borrow();
        }
        let mut changes = self.granted.subscribe();
        // This end holds the sender, so the wait ends with a grant or with the connection.
        let max = changes.wait_for(|max| *max > 0).await.map_or(0, |max| *max);
        if max < limits::FRAME_CONTROL {
            self.granted.send_replace(0);
        }
        max
    }

    /// Waits until the peer is one like any other.
    async fn known(&self) {
        let mut changes = self.granted.subscribe();
        if self.unknown && changes.wait_for(|max| *max >= limits::FRAME_CONTROL).await.is_err() {
            pending::<()>().await;
        }
    }
}

/// Hands transfers on, of peers that are known.
async fn receive_transfers(
    connection: &Connection,
    grants: &Grants,
    name: u64,
    events: &mpsc::Sender<NetEvent>,
    admission: &Admission,
) {
    grants.known().await;
    transfer::receive(connection, name, events, admission).await;
}

/// Hands frames of the control stream on. What arrived before the peer closed is still handed on.
async fn read_control(
    connection: &Connection,
    stream: &mut RecvStream,
    grants: &Grants,
    name: u64,
    events: &mpsc::Sender<NetEvent>,
) -> End {
    loop {
        let max = tokio::select! {
            max = grants.next() => max,
            error = connection.closed() => return End::Closed(error),
        };
        match framing::read(stream, max).await {
            Ok(Some(frame)) => {
                if events.send(NetEvent::Received { conn: name, frame }).await.is_err() {
                    return End::Ordered(Order::STOP);
                }
            }
            // The peer says no more, and closes when it has heard all.
            Ok(None) => return End::Closed(connection.closed().await),
            Err(FrameError::Broken(ReadError::ConnectionLost(error))) => return End::Closed(error),
            Err(error) => {
                tracing::info!(conn = name, %error, "closing a connection over a broken frame");
                return End::Fault;
            }
        }
    }
}

/// Writes frames until there are no more to come, then waits until the peer has acknowledged all.
async fn write_all(
    stream: &mut SendStream,
    frames: &mut mpsc::UnboundedReceiver<Frame>,
    queued: &AtomicUsize,
    writes: &Writes,
) -> Result<(), WriteError> {
    while let Some(frame) = frames.recv().await {
        writes.during(framing::write(stream, &frame)).await?;
        queued.fetch_sub(HEADER + frame.body.len(), Ordering::Relaxed);
    }
    // Errors: the peer stopped listening or is gone, so nothing is left to wait for.
    if stream.finish().is_ok() && stream.stopped().await.is_err() {
        tracing::debug!("the peer was gone before it acknowledged everything");
    }
    Ok(())
}

/// The writer, which goes on after the readers were dropped.
struct Writing<F> {
    /// `None` when it is done.
    writer: Option<Pin<Box<F>>>,
}

impl<F: Future<Output = Result<(), WriteError>>> Writing<F> {
    fn new(writer: F) -> Self {
        Self { writer: Some(Box::pin(writer)) }
    }

    /// Goes on until it is done, or the peer takes no more.
    async fn done(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = writer.as_mut().await {
            tracing::debug!(%error, "the peer takes no more frames");
        }
        self.writer = None;
    }

    /// Goes on and never returns: the readers say how the connection ends.
    async fn forever<T>(&mut self) -> T {
        self.done().await;
        pending().await
    }
}

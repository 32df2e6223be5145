//! Streams of their own for long ranges of a journal.

use std::future::pending;
use std::sync::Arc;

use kinlink_proto::limits;
use kinlink_proto::sync::transfer::{Prepared, Preparer};
use kinlink_proto::wire::frame::{CloseCode, Frame};
use kinlink_proto::wire::message::kind;
use quinn::{Connection, ReadError, RecvStream, SendStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet, spawn_blocking};

use super::admission::Admission;
use super::event::NetEvent;
use super::framing::{self, FrameError};
use super::quic;
use super::silence::Writes;

/// Produces the frames of one transfer into a channel, blocking; stops when the other end is gone.
pub(super) type Produce = Box<dyn FnOnce(mpsc::Sender<Frame>) + Send>;

/// Frames that were read from the store and not yet written: the next one, while one is under way.
const AHEAD: usize = 1;
/// Frames of one peer's transfers, of at most 6 MiB each, that are arriving or wait for the owner of the state: one is stored
/// while the next ones come.
const WAITING: usize = 3;
/// Bytes of a segment from which on working it out takes longer than waking a thread for it.
const WORTH_IT: usize = 64 * 1024;
/// Behind the control stream: live changes overtake a first sync.
const PRIORITY: i32 = -1;

/// As a [`Produce`].
pub(super) fn produce(frames: impl Iterator<Item = Frame> + Send + 'static) -> Produce {
    Box::new(move |channel| {
        for frame in frames {
            if channel.blocking_send(frame).is_err() {
                return;
            }
        }
    })
}

/// Why a transfer did not go through.
#[derive(Debug, thiserror::Error)]
enum TransferError {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error(transparent)]
    Write(#[from] quinn::WriteError),
    #[error("reading the journal failed: {0}")]
    Produce(#[from] JoinError),
}

/// Sends the transfers that are ordered, a few at once; never returns. When dropped, those under way are cut: the
/// receiver resumes behind the last segment that it verified.
pub(super) async fn send<T>(
    connection: &Connection,
    orders: &mut mpsc::UnboundedReceiver<Produce>,
    writes: &Writes,
) -> T {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            Some(produce) = orders.recv(), if running.len() < quic::TRANSFERS as usize => {
                running.spawn(send_one(connection.clone(), produce, writes.clone()));
            }
            Some(done) = running.join_next(), if !running.is_empty() => match done {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::info!(%error, "a transfer was cut"),
                Err(error) => tracing::error!(%error, "a transfer failed"),
            },
            else => pending().await,
        }
    }
}

async fn send_one(connection: Connection, produce: Produce, writes: Writes) -> Result<(), TransferError> {
    let stream = connection.open_uni().await?;
    if stream.set_priority(PRIORITY).is_err() {
        tracing::debug!("a stream was closed as it was opened");
    }
    let mut stream = Outgoing(Some(stream));
    let (channel, mut frames) = mpsc::channel(AHEAD);
    let producer = spawn_blocking(move || produce(channel));
    while let Some(frame) = frames.recv().await {
        writes.during(stream.write(&frame)).await?;
    }
    producer.await?;
    stream.finish();
    Ok(())
}

/// A stream that is reset unless it was finished: quinn would finish it when dropped, and half a transfer would look
/// like a whole one.
struct Outgoing(Option<SendStream>);

impl Outgoing {
    async fn write(&mut self, frame: &Frame) -> Result<(), TransferError> {
        if let Some(stream) = &mut self.0 {
            framing::write(stream, frame).await?;
        }
        Ok(())
    }

    fn finish(mut self) {
        drop(self.0.take()); // Finishes it; quinn goes on to deliver what was written.
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0
            && stream.reset(quic::number(CloseCode::Done)).is_err()
        {
            tracing::debug!("a transfer's stream was closed already");
        }
    }
}

/// Hands the frames of the peer's transfers on; returns when the peer broke the protocol.
pub(super) async fn receive(
    connection: &Connection,
    name: u64,
    events: &mpsc::Sender<NetEvent>,
    admission: &Admission,
) {
    let mut running = JoinSet::new();
    let room = Arc::new(Semaphore::new(WAITING));
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => {
                    let (events, room, admission) = (events.clone(), room.clone(), admission.clone());
                    running.spawn(receive_one(stream, name, events, room, admission));
                }
                Err(_) => pending().await, // The reader of the control stream says how the connection ended.
            },
            Some(done) = running.join_next(), if !running.is_empty() => {
                if let Ok(Err(error)) = done {
                    tracing::info!(conn = name, %error, "closing a connection over a broken transfer");
                    return;
                }
            }
        }
    }
}

async fn receive_one(
    mut stream: RecvStream,
    name: u64,
    events: mpsc::Sender<NetEvent>,
    room: Arc<Semaphore>,
    admission: Admission,
) -> Result<(), FrameError> {
    let number = stream.id().index();
    let mut preparer = Preparer::default();
    // The semaphore is never closed.
    while let Ok(room) = room.clone().acquire_owned().await {
        match framing::read(&mut stream, limits::FRAME_SEGMENT).await {
            Ok(Some(frame)) => {
                let prepared;
                (preparer, prepared) = prepare(preparer, &frame, &admission).await;
                let event = NetEvent::Transfer { conn: name, stream: number, frame, prepared, room };
                if events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            // The sender cut it, or is gone; what was verified stands.
            Ok(None) | Err(FrameError::Broken(ReadError::Reset(_) | ReadError::ConnectionLost(_))) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Works a segment out on another thread, while the owner of the state stores the one before.
async fn prepare(mut preparer: Preparer, frame: &Frame, admission: &Admission) -> (Preparer, Option<Prepared>) {
    match frame.kind {
        kind::TRANSFER_HEADER => preparer.header(&frame.body),
        kind::SEGMENT if frame.body.len() >= WORTH_IT => {
            let (body, keyring) = (frame.body.clone(), admission.keyring());
            let worked = spawn_blocking(move || {
                let prepared = preparer.segment(&body, &keyring);
                (preparer, prepared)
            });
            // It fails only while the runtime stops.
            return worked.await.unwrap_or_default();
        }
        _ => {}
    }
    (preparer, None)
}

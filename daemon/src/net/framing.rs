//! Frames on QUIC streams.

use bytes::Bytes;
use kinlink_proto::wire::DecodeError;
use kinlink_proto::wire::frame::{Frame, HEADER};
use quinn::{ReadError, ReadExactError, RecvStream, SendStream, WriteError};

/// What is set aside for a body before any of it has arrived: a length alone costs no more.
const AT_ONCE: usize = 64 * 1024;

/// Why no frame could be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The frame is longer than this peer may send.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream ended within a frame.
    #[error("the stream ended within a frame")]
    Cut,
    /// The stream or its connection broke.
    #[error(transparent)]
    Broken(#[from] ReadError),
}

/// The next frame with a body of at most `max` bytes; `None` at the end of the stream.
pub(super) async fn read(stream: &mut RecvStream, max: usize) -> Result<Option<Frame>, FrameError> {
    let mut header = [0; HEADER];
    match stream.read_exact(&mut header).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(ReadExactError::FinishedEarly(_)) => return Err(FrameError::Cut),
        Err(ReadExactError::ReadError(error)) => return Err(error.into()),
    }
    let (kind, len) = Frame::header(header, max)?;
    Ok(Some(Frame::new(kind, read_body(stream, len).await?)))
}

async fn read_body(stream: &mut RecvStream, len: usize) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::with_capacity(len.min(AT_ONCE));
    while body.len() < len {
        if body.len() == body.capacity() {
            // A peer that has sent so much means it.
            body.reserve_exact(len - body.len());
        }
        let chunk = stream.read_chunk(len - body.len(), true).await?.ok_or(FrameError::Cut)?;
        body.extend_from_slice(&chunk.bytes);
    }
    Ok(body)
}

/// Writes one frame; waits while the peer does not take it.
pub(super) async fn write(stream: &mut SendStream, frame: &Frame) -> Result<(), WriteError> {
    stream.write_all_chunks(&mut [Bytes::copy_from_slice(&frame.head()), frame.body.clone()]).await
}

//! UDP sockets for QUIC that wake this process for what arrives, and not for what has left.
//!
//! tokio's own socket is watched for both: whenever a datagram leaves the buffer that it was put in, the process wakes up to
//! hear that there is room, as there nearly always was. Here room is waited for only after there was none.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{AsyncTimer, AsyncUdpSocket, TokioRuntime, UdpPoller};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// tokio, with these sockets.
#[derive(Debug)]
pub(super) struct Runtime;

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        TokioRuntime.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Udp::new(socket)?))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

#[derive(Debug)]
struct Udp {
    state: UdpSocketState,
    socket: AsyncFd<UdpSocket>,
    /// Whether there was no room for the latest datagram.
    full: AtomicBool,
}

impl Udp {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Self { state, socket: watched(socket, Interest::READABLE)?, full: AtomicBool::new(false) })
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe; a socket stays the descriptor that it is until it is dropped"
)]
fn watched(socket: UdpSocket, what_for: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, what_for)
}

impl AsyncUdpSocket for Udp {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Room { udp: self, waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = self.state.send(self.socket.get_ref().into(), transmit);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            self.full.store(true, Ordering::Relaxed);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut readable = ready!(self.socket.poll_read_ready(cx))?;
            let received = readable.try_io(|socket| self.state.recv(socket.get_ref().into(), buffers, meta));
            // If nothing is there, that was noted: it is waited for.
            if let Ok(received) = received {
                return Poll::Ready(received);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// One task's wait for room.
#[derive(Debug)]
struct Room {
    udp: Arc<Udp>,
    /// The socket once more, watched for room, while there is none.
    waiting: Option<AsyncFd<UdpSocket>>,
}

impl UdpPoller for Room {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { udp, waiting } = self.get_mut();
        if udp.full.load(Ordering::Relaxed) {
            let watched = match waiting.take() {
                Some(watched) => watched,
                None => watched(udp.socket.get_ref().try_clone()?, Interest::WRITABLE)?,
            };
            let watched = waiting.insert(watched);
            drop(ready!(watched.poll_write_ready(cx))?);
            udp.full.store(false, Ordering::Relaxed);
        }
        *waiting = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn room_is_waited_for_only_after_there_was_none() {
        let udp = Arc::new(Udp::new(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap());
        let mut room = Room { udp: udp.clone(), waiting: None };
        let mut now = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut room).poll_writable(&mut now).is_ready() && room.waiting.is_none());

        udp.full.store(true, Ordering::Relaxed);
        assert!(Pin::new(&mut room).poll_writable(&mut now).is_pending(), "it has to be asked for first");
        assert!(room.waiting.is_some());
        poll_fn(|cx| Pin::new(&mut room).poll_writable(cx)).await.unwrap();
        assert!(room.waiting.is_none() && !udp.full.load(Ordering::Relaxed));
    }
}

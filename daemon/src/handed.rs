//! What the service manager hands over at the start, and what it keeps for the next: `sd_listen_fds(3)`, and the file
//! descriptor store of `sd_pid_notify_with_fds(3)`.
//!
//! | name | what | from |
//! | --- | --- | --- |
//! | `bus` | the private socket, listening | `kinlinkd.socket` |
//! | `sync` | the UDP socket of `kinlink/1` | the last run, through the store |

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::{AddressFamily, SocketType};
use sd_notify::NotifyState;

/// The private socket's name.
const BUS: &str = "bus";
/// The name of the socket of `kinlink/1`.
const SYNC: &str = "sync";
/// The name of the helper's socket.
const CALLERS: &str = "callers";

/// Sockets that were there before this process.
#[derive(Debug, Default)]
pub struct Handed {
    /// The private socket.
    pub bus: Option<UnixListener>,
    /// The UDP socket of the last run, with the packets that have come in since.
    pub sync: Option<UdpSocket>,
}

impl Handed {
    /// Takes what was handed to this process. Call it once, before any thread is started: it takes the variables away.
    ///
    /// # Errors
    /// If something else goes by one of the names.
    pub fn take() -> io::Result<Self> {
        let (names, mut fds) = environment();
        let mut handed = Self::default();
        for (at, name) in names.iter().enumerate() {
            match name.as_str() {
                BUS => handed.bus = fds.take_unix_listener(at).map_err(named(name))?,
                SYNC => handed.sync = fds.take_udp_socket(at).map_err(named(name))?,
                // Left open, and to nobody's harm: an option of a unit that somebody has changed.
                _ => {}
            }
        }
        Ok(handed)
    }
}

/// The helper's socket, if it was handed one. Call it once, before any thread is started.
///
/// # Errors
/// If something else goes by its name.
pub fn helper() -> io::Result<Option<OwnedFd>> {
    let (names, mut fds) = environment();
    let Some(at) = names.iter().position(|name| name == CALLERS) else { return Ok(None) };
    let (family, kind) = (i32::from(AddressFamily::UNIX.as_raw()), SocketType::SEQPACKET.as_raw());
    let kind = i32::try_from(kind).unwrap_or_default();
    fds.take_custom(at, family, kind, "unix seqpacket socket").map_err(named(CALLERS))
}

fn environment() -> (Vec<String>, ListenFd) {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    (names.split(':').map(str::to_owned).collect(), ListenFd::from_env())
}

fn named(name: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::other(format!("what the service manager handed over as '{name}' is of no use: {error}"))
}

/// Gives a socket to the service manager in place of the one before, to keep until the next start: its packets wait, and
/// nobody else gets its port. Without a service manager this does nothing.
pub fn keep(socket: &UdpSocket) {
    // There is room for one, and these are taken in order.
    let_go();
    // A port that nobody listens on, somewhere, is no reason to drop it: the manager would see the ICMP error and do so.
    let state = [NotifyState::FdStore, NotifyState::FdName(SYNC), NotifyState::Custom("FDPOLL=0")];
    told(sd_notify::notify_with_fds(&state, &[socket.as_fd()]));
}

/// Takes back what [`keep`] gave: the port is to be free when the last of this process's sockets on it is closed.
pub fn let_go() {
    told(sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(SYNC)]));
}

fn told(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the service manager could not be told what to keep");
    }
}

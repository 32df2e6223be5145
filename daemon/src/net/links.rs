//! Notices that this machine's network changed: the kernel says so, nothing is polled.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout_at};

use super::interfaces;

/// A change comes as a burst of messages: it is told after this much quiet.
const QUIET: Duration = Duration::from_millis(50);
/// A burst that goes on is told after this much: what waits for it waits for people.
const BURST: Duration = Duration::from_millis(500);
/// Between two changes at least: a network that never rests, or a neighbour that floods this machine with router
/// advertisements, costs one look at the connections a second.
const APART: Duration = Duration::from_secs(1);
/// How often the addresses are looked at where the kernel does not tell of changes.
const LOOK: Duration = Duration::from_secs(10);

// rtnetlink(7): which messages, and the multicast groups that carry them.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400; // link; IPv4 address, route; IPv6 address, route
const LINKS_AND_ADDRESSES: [u16; 4] = [16, 17, 20, 21];
const ROUTES: [u16; 2] = [24, 25];
/// Bytes of a message's header: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// Where a route message's flags stand, and the flag of a cache entry, which is no change.
const ROUTE_FLAGS: usize = HEADER + 8;
const CLONED: u32 = 0x200;
/// More than any message has; what does not fit is cut, and still a message.
const BUFFER: usize = 32 * 1024;

/// Tells of changes: of interfaces, of their addresses and their carriers, of routes, and whatever else
/// [`Links::nudge`] says is one. Cheap to clone; each clone sees each change that comes after it was made, several at once
/// as one.
#[derive(Clone, Debug)]
pub struct Links {
    changes: watch::Receiver<u64>,
    told: watch::Sender<u64>,
}

impl Links {
    /// Watches until the last clone is gone. To be called within a tokio runtime.
    #[must_use]
    pub fn watch() -> Self {
        let (told, changes) = watch::channel(0);
        let links = Self { changes, told: told.clone() };
        tokio::spawn(watching(told));
        links
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        // This struct holds a sender, so the channel cannot be closed.
        if self.changes.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Says that something changed which the kernel does not tell of: the machine slept, the port is another.
    pub fn nudge(&self) {
        tell(&self.told);
    }
}

fn tell(told: &watch::Sender<u64>) {
    told.send_modify(|changes| *changes = changes.wrapping_add(1));
}

async fn watching(told: watch::Sender<u64>) {
    match subscribe() {
        Ok(socket) => follow(&socket, &told).await,
        Err(error) => {
            tracing::info!(%error, "the kernel does not tell of network changes; looking every few seconds");
            poll(&told).await;
        }
    }
}

/// A netlink socket that hears of links, addresses and routes.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe; an OwnedFd stays the descriptor that it is until it is dropped"
)]
fn subscribe() -> io::Result<AsyncFd<OwnedFd>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Whether anybody but the watcher itself still listens: each [`Links`] holds one receiver.
fn is_wanted(told: &watch::Sender<u64>) -> bool {
    told.receiver_count() > 0
}

async fn follow(socket: &AsyncFd<OwnedFd>, told: &watch::Sender<u64>) {
    let mut before = fingerprint();
    loop {
        let mut routed = false;
        let first = tokio::select! {
            heard = hear(socket) => heard,
            () = told.closed() => return,
        };
        match first {
            Ok(heard) => routed |= heard.routes,
            Err(error) => {
                tracing::warn!(%error, "the kernel no longer tells of network changes; looking every few seconds");
                return poll(told).await;
            }
        }
        routed |= settle(socket).await;
        let now = fingerprint();
        if routed || now != before {
            before = now;
            tell(told);
            sleep(APART).await;
        }
    }
}

/// Hears a burst to its end; whether a route was among it.
async fn settle(socket: &AsyncFd<OwnedFd>) -> bool {
    let end = Instant::now() + BURST;
    let mut routed = false;
    while let Ok(Ok(heard)) = timeout_at(end.min(Instant::now() + QUIET), hear(socket)).await {
        routed |= heard.routes;
    }
    routed
}

/// What one read brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heard {
    /// Links or addresses: whether they differ is to be looked up, as much else is told of a link.
    links: bool,
    /// Routes: told of only when they changed.
    routes: bool,
}

/// Waits for messages that tell of anything.
async fn hear(socket: &AsyncFd<OwnedFd>) -> io::Result<Heard> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = |fd: &OwnedFd| Ok(recv(fd, &mut buffer[..], RecvFlags::DONTWAIT)?.0);
        let heard = match socket.async_io(Interest::READABLE, read).await {
            Ok(length) => judge(buffer.get(..length).unwrap_or_default()),
            // Messages were lost: anything may have changed.
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {
                Heard { links: true, routes: true }
            }
            Err(error) => return Err(error),
        };
        if heard != Heard::default() {
            return Ok(heard);
        }
    }
}

/// Reads the headers of netlink messages (netlink(7)); what is cut off or unknown tells nothing.
fn judge(mut bytes: &[u8]) -> Heard {
    let mut heard = Heard::default();
    while let (Some(length), Some(kind)) = (word(bytes, 0), half(bytes, 4)) {
        heard.links |= LINKS_AND_ADDRESSES.contains(&kind);
        heard.routes |= ROUTES.contains(&kind) && word(bytes, ROUTE_FLAGS).is_some_and(|flags| flags & CLONED == 0);
        let next = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER).next_multiple_of(4);
        bytes = bytes.get(next..).unwrap_or_default();
    }
    heard
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

async fn poll(told: &watch::Sender<u64>) {
    let mut before = fingerprint();
    let mut ticks = interval(LOOK);
    while is_wanted(told) {
        ticks.tick().await;
        let now = fingerprint();
        if now != before {
            before = now;
            tell(told);
        }
    }
}

/// What matters of the interfaces: name, whether it is up and has a carrier, and its addresses.
fn fingerprint() -> BTreeSet<(String, i32, Option<IpAddr>, Option<IpAddr>)> {
    let Ok(interfaces) = getifaddrs() else { return BTreeSet::new() };
    interfaces.map(|interface| trait_of(&interface)).collect()
}

fn trait_of(interface: &InterfaceAddress) -> (String, i32, Option<IpAddr>, Option<IpAddr>) {
    let state = interface.flags & (InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
    let ip = |address: &Option<_>| address.as_ref().and_then(interfaces::ip);
    (interface.interface_name.clone(), state.bits(), ip(&interface.address), ip(&interface.netmask))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let header = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10]].concat();
        let mut bytes = [&header[..], body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn route(flags: u32) -> Vec<u8> {
        message(24, &[&[0; 8][..], &flags.to_ne_bytes()].concat())
    }

    #[test]
    fn what_the_kernel_says_is_told_apart() {
        let links = Heard { links: true, routes: false };
        let routes = Heard { links: false, routes: true };
        assert_eq!(judge(&message(16, &[0; 16])), links);
        assert_eq!(judge(&route(0)), routes);
        assert_eq!(judge(&route(CLONED)), Heard::default(), "a cache entry is no change");
        assert_eq!(judge(&message(28, &[0; 12])), Heard::default(), "a neighbour is no change");
        assert_eq!(
            judge(&[message(28, &[0; 3]), route(0), message(21, &[])].concat()),
            Heard { links: true, routes: true }
        );
    }

    #[test]
    fn broken_messages_end() {
        let mut zero = message(16, &[]);
        zero[..4].fill(0);
        assert!(judge(&zero).links);
        zero[..4].fill(0xff);
        assert!(judge(&[zero, route(0)].concat()).links);
        assert_eq!(judge(&[1, 2, 3]), Heard::default());
        assert_eq!(judge(&route(0)[..HEADER + 9]), Heard::default());
    }

    #[tokio::test]
    async fn a_nudge_is_a_change_for_every_listener() {
        let links = Links::watch();
        let (mut one, mut other) = (links.clone(), links.clone());
        links.nudge();
        one.changed().await;
        other.changed().await;
    }

    #[tokio::test]
    async fn the_kernel_lets_itself_be_listened_to() {
        subscribe().unwrap();
        assert!(!fingerprint().is_empty());
    }
}

//! Which way packets leave this machine: the kernel is asked (rtnetlink(7)), nothing is sent to the peer.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

// linux/netlink.h and linux/rtnetlink.h.
const NLM_F_REQUEST: u16 = 1;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_VIA: u16 = 18;
const RTN_LOCAL: u8 = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// Bytes of a message's header: length, type, flags, sequence, port.
const HEADER: usize = 16;
/// Bytes of what a route message says before its attributes: family, lengths of prefixes, ..., type, flags.
const ROUTE: usize = 12;
/// Where the type stands in that.
const TYPE: usize = 7;
/// More than an answer has.
const BUFFER: usize = 4096;

/// How packets to a peer leave this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// Through which interface.
    pub(super) interface: u32,
    /// They do not leave it: the peer is this machine.
    pub(super) here: bool,
    /// They are handed to a router.
    pub(super) router: bool,
}

impl Route {
    /// The route to `peer`.
    ///
    /// # Errors
    /// If there is none, or the kernel does not say.
    pub(super) fn to(peer: SocketAddr) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        sendto(&socket, &question(peer), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0; BUFFER];
        // It has answered by now: requests are served while they are sent.
        let length = recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT)?.0;
        let answer = buffer.get(..length).and_then(Self::read);
        answer.ok_or_else(|| io::Error::from(io::ErrorKind::NetworkUnreachable))
    }

    /// Reads the answer; `None` if it is an error.
    fn read(message: &[u8]) -> Option<Self> {
        if half(message, 4)? != RTM_NEWROUTE {
            return None;
        }
        let here = *message.get(HEADER + TYPE)? == RTN_LOCAL;
        let (mut interface, mut router) = (None, false);
        let mut rest = message.get(HEADER + ROUTE..)?;
        while let (Some(length), Some(kind)) = (half(rest, 0), half(rest, 2)) {
            match kind {
                RTA_OIF => interface = Some(u32::from_ne_bytes(rest.get(4..8)?.try_into().ok()?)),
                RTA_GATEWAY | RTA_VIA => router = true,
                _ => {}
            }
            let next = usize::from(length).max(4).next_multiple_of(4);
            rest = rest.get(next..).unwrap_or_default();
        }
        Some(Self { interface: interface?, here, router })
    }
}

/// `RTM_GETROUTE` for a peer; for a link-local one, on its interface.
fn question(peer: SocketAddr) -> Vec<u8> {
    let scope = match peer {
        SocketAddr::V6(peer) if peer.ip().is_unicast_link_local() => Some(peer.scope_id()),
        _ => None,
    };
    let (family, ip) = match peer.ip().to_canonical() {
        IpAddr::V4(ip) => (AF_INET, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AF_INET6, ip.octets().to_vec()),
    };
    let bits = if family == AF_INET { 32 } else { 128 };
    let mut body = vec![family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    attribute(&mut body, RTA_DST, &ip);
    if let Some(scope) = scope {
        attribute(&mut body, RTA_OIF, &scope.to_ne_bytes());
    }
    let length = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(RTM_GETROUTE.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Appends an attribute; all that are used here have lengths that are multiples of four.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_where_this_machine_is() {
        for text in ["127.0.0.1:4", "[::ffff:127.0.0.9]:4"] {
            let route = Route::to(text.parse().unwrap()).unwrap();
            assert!(route.here && !route.router && route.interface > 0, "{text}: {route:?}");
        }
    }

    #[test]
    fn answers_that_say_nothing_are_none() {
        let mut answer = [&[0; 4][..], &RTM_NEWROUTE.to_ne_bytes(), &[0; 10], &[0; ROUTE]].concat();
        assert_eq!(Route::read(&answer), None, "no interface");
        attribute(&mut answer, RTA_GATEWAY, &[0; 4]);
        attribute(&mut answer, RTA_OIF, &7_u32.to_ne_bytes());
        assert_eq!(Route::read(&answer), Some(Route { interface: 7, here: false, router: true }));
        for length in 0..answer.len() {
            assert!(Route::read(&answer[..length]).is_none(), "cut to {length}");
        }
        answer[4] = 2; // NLMSG_ERROR
        assert_eq!(Route::read(&answer), None);
    }
}

//! UDP sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops, set_ipv6_v6only};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

/// Packets of the linking socket die at the first router.
const LINK_HOPS: u8 = 1;

/// For IPv6 and IPv4 on one port, or IPv4 alone on a machine without IPv6; port 0 draws one.
///
/// # Errors
/// If neither can be had, with the reason of the latter.
pub(super) fn open(port: u16) -> io::Result<UdpSocket> {
    dual_stack(port).or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))
}

/// As [`open`] on a port that is drawn, for packets that do not leave this network.
///
/// # Errors
/// If no socket can be had.
pub(super) fn open_link_local() -> io::Result<UdpSocket> {
    let socket = open(0)?;
    set_ip_ttl(&socket, LINK_HOPS.into())?;
    if socket.local_addr()?.is_ipv6() {
        set_ipv6_unicast_hops(&socket, Some(LINK_HOPS))?;
    }
    Ok(socket)
}

fn dual_stack(port: u16) -> io::Result<UdpSocket> {
    let fd = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    set_ipv6_v6only(&fd, false)?;
    bind(&fd, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))?;
    Ok(fd.into())
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{ip_ttl, ipv6_unicast_hops};

    use super::*;

    #[test]
    fn a_port_is_had_once() {
        let socket = open(0).unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(open(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn linking_packets_do_not_pass_a_router() {
        let socket = open_link_local().unwrap();
        assert_eq!(ip_ttl(&socket).unwrap(), 1);
        if socket.local_addr().unwrap().is_ipv6() {
            assert_eq!(ipv6_unicast_hops(&socket).unwrap(), 1);
        }
    }
}

//! Sockets for Multicast DNS: one for each interface and IP version, which hears and reaches that interface only.
//!
//! They are bound to the group, so nothing that was sent to this machine alone arrives on them, from near or far, and
//! shared with whoever else speaks Multicast DNS here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rustix::net::SendFlags;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::interfaces::Interface;

/// RFC 6762 section 3.
const PORT: u16 = 5353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// RFC 6762 section 11.
const HOPS: u32 = 255;
/// The longest message, RFC 6762 section 17.
pub(super) const MESSAGE: usize = 9000;

/// A socket on one interface.
#[derive(Debug)]
pub(super) struct Multicast {
    socket: UdpSocket,
    group: SocketAddr,
}

impl Multicast {
    /// One for each IP version that the interface has addresses of. What cannot be had is left out, and said in the log.
    pub(super) fn open(interface: &Interface) -> Vec<Self> {
        let has = |v4| interface.addresses.iter().any(|ip| ip.is_ipv4() == v4);
        let groups = [(true, IpAddr::from(GROUP_V4)), (false, GROUP_V6.into())];
        let wanted = groups.into_iter().filter(|(v4, _)| has(*v4));
        let opened = wanted.filter_map(|(_, group)| match Self::bind(interface, group) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::info!(interface = interface.name, %group, %error, "no search on this interface");
                None
            }
        });
        opened.collect()
    }

    fn bind(interface: &Interface, group: IpAddr) -> io::Result<Self> {
        let group = match group {
            IpAddr::V4(ip) => SocketAddr::from((ip, PORT)),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, PORT, 0, interface.index).into(),
        };
        let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.name.as_bytes()))?;
        match group {
            SocketAddr::V4(_) => {
                socket.bind(&group.into())?;
                socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(interface.index))?;
                socket.set_multicast_ttl_v4(HOPS)?;
            }
            SocketAddr::V6(_) => {
                socket.set_only_v6(true)?;
                socket.bind(&group.into())?;
                socket.join_multicast_v6(&GROUP_V6, interface.index)?;
                socket.set_multicast_if_v6(interface.index)?;
                socket.set_multicast_hops_v6(HOPS)?;
            }
        }
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, group })
    }

    /// Sends to everybody on the interface, or to nobody: packets get lost.
    pub(super) fn send(&self, packet: &[u8]) {
        // Past tokio, which would not send on a socket before it has once waited for it.
        if let Err(error) = rustix::net::sendto(&self.socket, packet, SendFlags::DONTWAIT, &self.group) {
            tracing::debug!(group = %self.group, %error, "an announcement was not sent");
        }
    }

    /// The next message.
    ///
    /// # Errors
    /// If the socket is of no use any more.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(buffer).await
    }
}

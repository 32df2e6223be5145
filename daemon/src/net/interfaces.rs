//! The addresses of this machine, and what counts as its own network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kinlink_proto::limits;
use kinlink_proto::wire::address::Address;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

/// One address of an interface that is up, with its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    ip: IpAddr,
    mask: IpAddr,
    loopback: bool,
}

/// The addresses of this machine's broadcast and loopback interfaces. Point-to-point ones (tunnels, mobile data) are
/// left out: what is behind them is not this network.
///
/// # Errors
/// If the system does not say.
pub(super) fn locals() -> io::Result<Vec<Local>> {
    Ok(getifaddrs()?.filter_map(|interface| local(&interface)).collect())
}

/// Whether `ip` is within a prefix of one of these.
pub(super) fn on_link(locals: &[Local], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    locals.iter().any(|local| local.contains(ip))
}

/// What to tell others to dial, best first: IPv4 of this network, then IPv6 that is not link-local, and loopback only for
/// want of anything else.
pub(super) fn usable(locals: &[Local], port: u16) -> Vec<Address> {
    let others = || locals.iter().filter(|local| !local.loopback).map(|local| local.ip);
    let v4 = others().filter(|ip| matches!(ip, IpAddr::V4(ip) if !ip.is_link_local()));
    let v6 = others().filter(|ip| matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local()));
    let mut found: Vec<IpAddr> = v4.chain(v6).take(limits::ADDRESSES).collect();
    if found.is_empty() {
        found.push(Ipv4Addr::LOCALHOST.into());
    }
    found.into_iter().map(|ip| SocketAddr::new(ip, port).into()).collect()
}

impl Local {
    fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, self.mask, ip) {
            (IpAddr::V4(own), IpAddr::V4(mask), IpAddr::V4(ip)) => {
                !mask.is_unspecified() && own.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits()
            }
            (IpAddr::V6(own), IpAddr::V6(mask), IpAddr::V6(ip)) => {
                !mask.is_unspecified() && own.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits()
            }
            _ => false,
        }
    }
}

fn local(interface: &InterfaceAddress) -> Option<Local> {
    let flags = interface.flags;
    let loopback = flags.contains(InterfaceFlags::IFF_LOOPBACK);
    let up = flags.contains(InterfaceFlags::IFF_UP);
    if !up || !(loopback || flags.contains(InterfaceFlags::IFF_BROADCAST)) {
        return None;
    }
    Some(Local { ip: ip(interface.address.as_ref()?)?, mask: ip(interface.netmask.as_ref()?)?, loopback })
}

pub(super) fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn local(ip: &str, mask: &str) -> Local {
        let ip: IpAddr = ip.parse().unwrap();
        Local { ip, mask: mask.parse().unwrap(), loopback: ip.is_loopback() }
    }

    fn machine() -> Vec<Local> {
        vec![
            local("127.0.0.1", "255.0.0.0"),
            local("fe80::1", "ffff:ffff:ffff:ffff::"),
            local("2001:db8::1", "ffff:ffff:ffff:ffff::"),
            local("192.168.7.20", "255.255.255.0"),
        ]
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_own_network_is_what_shares_a_prefix() {
        let near = ["192.168.7.1", "127.0.0.9", "2001:db8::2", "fe80::2", "::ffff:192.168.7.1"];
        let far = ["192.168.8.1", "8.8.8.8", "2001:db8:0:1::1", "::1"];
        assert!(near.iter().all(|text| on_link(&machine(), ip(text))));
        assert!(!far.iter().any(|text| on_link(&machine(), ip(text))));
        assert!(!on_link(&[local("10.0.0.1", "0.0.0.0")], ip("8.8.8.8")), "a prefix of nothing is not a network");
    }

    #[test]
    fn addresses_are_given_best_first() {
        let text = |locals: &[Local]| usable(locals, 4).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&machine()), ["192.168.7.20:4", "[2001:db8::1]:4"]);
        assert_eq!(text(&machine()[..2]), ["127.0.0.1:4"]);
    }

    #[test]
    fn this_machine_reaches_itself() {
        assert!(on_link(&locals().unwrap(), Ipv4Addr::LOCALHOST.into()));
        assert!(!on_link(&locals().unwrap(), Ipv6Addr::UNSPECIFIED.into()));
    }
}

//! The addresses of this machine, and what counts as its own network.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kinlink_proto::engine::view::Place;
use kinlink_proto::limits;
use kinlink_proto::wire::address::Address;
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::SockaddrStorage;

use super::route::Route;

/// One address of an interface that is up, with its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    ip: IpAddr,
    mask: IpAddr,
    kind: Kind,
    /// Of the interface.
    index: u32,
}

/// What an interface leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// This machine.
    Loopback,
    /// A network of which this machine is part: it can call to all of it.
    Lan,
    /// Whoever is at the other end: VPNs, mobile data. What is behind it is not this network, whatever its addresses.
    Tunnel,
}

/// An interface on which others can be searched for: up, with a carrier, and neither a tunnel nor loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    /// In ascending order.
    pub(super) addresses: Vec<IpAddr>,
}

/// The addresses of this machine.
///
/// # Errors
/// If the system does not say.
pub(super) fn locals() -> io::Result<Vec<Local>> {
    Ok(getifaddrs()?.filter_map(|interface| local(&interface)).collect())
}

/// The interfaces on which others can be searched for.
///
/// # Errors
/// If the system does not say.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for interface in getifaddrs()?.filter(|interface| is_searchable(interface.flags)) {
        if let Some(ip) = interface.address.as_ref().and_then(ip) {
            found.entry(interface.interface_name).or_default().push(ip);
        }
    }
    let interface = |(name, mut addresses): (String, Vec<IpAddr>)| {
        addresses.sort_unstable();
        // One that is gone by now is left out.
        let index = if_nametoindex(name.as_str()).ok()?;
        Some(Interface { index, name, addresses })
    };
    Ok(found.into_iter().filter_map(interface).collect())
}

fn is_searchable(flags: InterfaceFlags) -> bool {
    let must = InterfaceFlags::IFF_UP
        | InterfaceFlags::IFF_RUNNING
        | InterfaceFlags::IFF_BROADCAST
        | InterfaceFlags::IFF_MULTICAST;
    let must_not = InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT;
    flags.contains(must) && !flags.intersects(must_not)
}

/// What to announce on the local network, best first: link-local addresses last, and some of them at least.
pub(super) fn announced(interfaces: &[Interface], port: u16) -> Vec<Address> {
    /// Room that is kept for link-local addresses.
    const LINK_LOCAL: usize = 2;
    let all = || interfaces.iter().flat_map(|interface| interface.addresses.iter().copied());
    let near: Vec<IpAddr> = all().filter(is_link_local).collect();
    let room = limits::ADDRESSES - near.len().min(LINK_LOCAL);
    let far = all().filter(|ip| !is_link_local(ip)).take(room);
    far.chain(near.iter().copied()).map(|ip| SocketAddr::new(ip, port).into()).take(limits::ADDRESSES).collect()
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether `peer` is on this network: within the prefix of an interface that is no tunnel, and what is sent there leaves through
/// that very interface and not by way of a router, nor through a tunnel that has been laid into the prefix. Nothing is sent to
/// find out.
pub(super) fn is_near(locals: &[Local], peer: SocketAddr) -> bool {
    Route::to(peer).is_ok_and(|route| leads_near(locals, peer, route))
}

fn leads_near(locals: &[Local], peer: SocketAddr, route: Route) -> bool {
    let ip = peer.ip().to_canonical();
    let scope = match peer {
        SocketAddr::V6(peer) if peer.ip().is_unicast_link_local() => Some(peer.scope_id()),
        _ => None,
    };
    let mut networks = locals.iter().filter(|local| local.kind != Kind::Tunnel && local.contains(ip));
    networks.any(|local| {
        scope.is_none_or(|scope| scope == local.index)
            && (route.here || !route.router && route.interface == local.index)
    })
}

/// Where `peer` is, seen from this machine.
pub(super) fn place(locals: &[Local], peer: SocketAddr) -> Place {
    let ip = peer.ip().to_canonical();
    match ip {
        _ if ip.is_loopback() || locals.iter().any(|local| local.ip == ip) => Place::Here,
        _ if is_near(locals, peer) => Place::Lan,
        _ => Place::Routed,
    }
}

/// What to tell the other devices of the account to dial, best first: addresses of this network, then those of tunnels, through
/// which they may be the only way.
pub(super) fn usable(locals: &[Local], port: u16) -> Vec<Address> {
    /// Room that is kept for addresses of tunnels.
    const TUNNELS: usize = 2;
    let (near, tunnels) = (of_kind(locals, Kind::Lan), of_kind(locals, Kind::Tunnel));
    let room = limits::ADDRESSES - tunnels.len().min(TUNNELS);
    to_dial(near.into_iter().take(room).chain(tunnels), port)
}

/// What a challenge tells the new device to dial, best first. Whoever is on this network finds the shower without it, so if the
/// new device may be anywhere, tunnels come first: a QR code has room for one address.
pub(super) fn in_challenge(locals: &[Local], port: u16, anywhere: bool) -> Vec<Address> {
    let tunnels = if anywhere { of_kind(locals, Kind::Tunnel) } else { Vec::new() };
    to_dial(tunnels.into_iter().chain(of_kind(locals, Kind::Lan)), port)
}

/// The addresses of such interfaces that others can use, IPv4 first.
fn of_kind(locals: &[Local], kind: Kind) -> Vec<IpAddr> {
    let all = || locals.iter().filter(|local| local.kind == kind && !is_link_local(&local.ip)).map(|local| local.ip);
    all().filter(IpAddr::is_ipv4).chain(all().filter(IpAddr::is_ipv6)).collect()
}

/// As many as are carried; loopback only for want of anything else.
fn to_dial(found: impl Iterator<Item = IpAddr>, port: u16) -> Vec<Address> {
    let mut found: Vec<IpAddr> = found.take(limits::ADDRESSES).collect();
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
    let kind = kind(interface.flags)?;
    let (ip, mask) = (ip(interface.address.as_ref()?)?, ip(interface.netmask.as_ref()?)?);
    let index = if_nametoindex(interface.interface_name.as_str()).ok()?;
    Some(Local { ip, mask, kind, index })
}

/// `None` if it is down.
fn kind(flags: InterfaceFlags) -> Option<Kind> {
    if !flags.contains(InterfaceFlags::IFF_UP) {
        return None;
    }
    Some(match flags {
        _ if flags.contains(InterfaceFlags::IFF_LOOPBACK) => Kind::Loopback,
        _ if flags.contains(InterfaceFlags::IFF_POINTOPOINT) => Kind::Tunnel,
        _ if flags.contains(InterfaceFlags::IFF_BROADCAST) => Kind::Lan,
        // Tunnels to several ends are neither.
        _ => Kind::Tunnel,
    })
}

pub(super) fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(ip: &str, mask: &str) -> Local {
        let ip: IpAddr = ip.parse().unwrap();
        let kind = if ip.is_loopback() { Kind::Loopback } else { Kind::Lan };
        Local { ip, mask: mask.parse().unwrap(), kind, index: 2 }
    }

    fn tunnel(ip: &str, mask: &str) -> Local {
        Local { kind: Kind::Tunnel, index: 3, ..local(ip, mask) }
    }

    fn machine() -> Vec<Local> {
        vec![
            local("127.0.0.1", "255.0.0.0"),
            local("fe80::1", "ffff:ffff:ffff:ffff::"),
            local("2001:db8::1", "ffff:ffff:ffff:ffff::"),
            local("192.168.7.20", "255.255.255.0"),
        ]
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().map(|ip: IpAddr| (ip, 4).into()).or_else(|_| text.parse()).unwrap()
    }

    /// Straight through an interface.
    fn through(interface: u32) -> Route {
        Route { interface, here: false, router: false }
    }

    #[test]
    fn the_own_network_is_what_shares_a_prefix() {
        let is_near = |locals: &[Local], text| leads_near(locals, at(text), through(2));
        let near = ["192.168.7.1", "127.0.0.9", "2001:db8::2", "[fe80::2%2]:4", "::ffff:192.168.7.1"];
        let far = ["192.168.8.1", "8.8.8.8", "2001:db8:0:1::1", "::1", "[fe80::2%3]:4", "fe80::2"];
        assert!(near.iter().all(|text| is_near(&machine(), text)));
        assert!(!far.iter().any(|text| is_near(&machine(), text)));
        assert!(!is_near(&[local("10.0.0.1", "0.0.0.0")], "8.8.8.8"), "a prefix of nothing is not a network");
        let tunnel = tunnel("10.0.0.1", "255.0.0.0");
        assert!(!leads_near(&[tunnel], at("10.0.0.2"), through(tunnel.index)), "a tunnel is not a network");
    }

    #[test]
    fn what_leaves_another_way_is_not_on_the_own_network() {
        let is_near = |route| leads_near(&machine(), at("192.168.7.1"), route);
        assert!(is_near(through(2)));
        assert!(!is_near(through(3)), "through a tunnel laid into the prefix");
        assert!(!is_near(Route { router: true, ..through(2) }));
        assert!(leads_near(&machine(), at("192.168.7.20"), Route { here: true, ..through(1) }), "this machine itself");
    }

    #[test]
    fn a_place_is_here_or_far() {
        let place = |text| place(&machine(), at(text));
        assert_eq!([place("127.0.0.1"), place("192.168.7.20"), place("::1")], [Place::Here; 3]);
        assert_eq!([place("240.0.0.1"), place("2001:db8:0:1::1")], [Place::Routed; 2]);
    }

    #[test]
    fn addresses_are_given_best_first() {
        let text = |locals: &[Local]| usable(locals, 4).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(text(&machine()), ["192.168.7.20:4", "[2001:db8::1]:4"]);
        assert_eq!(text(&machine()[..2]), ["127.0.0.1:4"]);
    }

    #[test]
    fn tunnels_are_told_to_devices_last_and_to_who_may_be_anywhere_first() {
        let text = |addresses: Vec<Address>| addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut machine = machine();
        machine
            .splice(0..0, [tunnel("fe80::9", "ffff::"), tunnel("fd09::1", "ffff::"), tunnel("10.9.0.1", "255.0.0.0")]);
        let (near, far) = (["192.168.7.20:4", "[2001:db8::1]:4"], ["10.9.0.1:4", "[fd09::1]:4"]);
        assert_eq!(text(usable(&machine, 4)), [near, far].concat());
        assert_eq!(text(in_challenge(&machine, 4, true)), [far, near].concat());
        assert_eq!(text(in_challenge(&machine, 4, false)), near);
        machine.extend((1..20).map(|at| local(&format!("10.0.{at}.1"), "255.255.255.0")));
        assert_eq!(text(usable(&machine, 4))[6..], far, "however many networks there are");
    }

    #[test]
    fn an_interface_that_cannot_call_to_all_is_a_tunnel() {
        let up = InterfaceFlags::IFF_UP;
        assert_eq!(kind(up | InterfaceFlags::IFF_BROADCAST), Some(Kind::Lan));
        assert_eq!(kind(up | InterfaceFlags::IFF_LOOPBACK), Some(Kind::Loopback));
        assert_eq!(kind(up | InterfaceFlags::IFF_POINTOPOINT), Some(Kind::Tunnel));
        assert_eq!(kind(up | InterfaceFlags::IFF_NOARP), Some(Kind::Tunnel));
        assert_eq!(kind(InterfaceFlags::IFF_BROADCAST), None);
    }

    #[test]
    fn link_local_addresses_are_announced_last_and_never_left_out() {
        let interface = |index, texts: &[&str]| Interface {
            index,
            name: format!("eth{index}"),
            addresses: texts.iter().map(|text| text.parse().unwrap()).collect(),
        };
        let many: Vec<String> = (1..20).map(|at| format!("10.0.{at}.1")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let text: Vec<String> = announced(&[interface(1, &["fe80::1", "10.0.0.1"]), interface(2, &many)], 4)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!((text.len(), text[0].as_str(), text[7].as_str()), (8, "10.0.0.1:4", "[fe80::1]:4"));
    }

    #[test]
    fn tunnels_and_loopback_are_not_searched() {
        let lan = InterfaceFlags::IFF_UP
            | InterfaceFlags::IFF_RUNNING
            | InterfaceFlags::IFF_BROADCAST
            | InterfaceFlags::IFF_MULTICAST;
        assert!(is_searchable(lan));
        for other in [InterfaceFlags::IFF_LOOPBACK, InterfaceFlags::IFF_POINTOPOINT] {
            assert!(!is_searchable(lan | other));
        }
        assert!(!is_searchable(lan - InterfaceFlags::IFF_RUNNING), "there is no cable");
    }

    #[test]
    fn this_machine_reaches_itself() {
        let locals = locals().unwrap();
        assert!(is_near(&locals, at("127.0.0.1")));
        assert!(is_near(&locals, at("::ffff:127.0.0.1")));
        assert!(!is_near(&locals, at("::")));
    }
}

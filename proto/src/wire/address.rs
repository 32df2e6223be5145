//! Typed addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::codec::{Decode, DecodeError, Encode, Reader, Writer};

/// Where a device can be reached. Unknown types are carried on and skipped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and UDP port.
    Socket(SocketAddr),
    /// A type that this version does not know (0: "not known").
    Other {
        /// The type.
        kind: u8,
        /// The content, unread.
        value: Vec<u8>,
    },
}

const NONE: u8 = 0;
const IPV4: u8 = 1;
const IPV6: u8 = 2;

impl Address {
    /// "Not known".
    #[must_use]
    pub fn none() -> Self {
        Self::Other { kind: NONE, value: Vec::new() }
    }

    /// The socket address, if this is one.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(addr) => Some(*addr),
            Self::Other { .. } => None,
        }
    }

    /// Whether this can be dialled at another time, from another place: not if it names no host, several hosts, or one
    /// host only together with an interface. What this version does not know is kept for those that do.
    #[must_use]
    pub fn is_worth_keeping(&self) -> bool {
        let Self::Socket(at) = self else { return true };
        let one = match at.ip() {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
        };
        one && at.port() != 0
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Socket(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Other { .. } => f.write_str("unknown address"),
        }
    }
}

impl Encode for Address {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Socket(addr) => {
                let mut inner = Writer::new();
                let kind = match addr.ip() {
                    IpAddr::V4(ip) => {
                        inner.raw(&ip.octets());
                        IPV4
                    }
                    IpAddr::V6(ip) => {
                        inner.raw(&ip.octets());
                        IPV6
                    }
                };
                inner.u16(addr.port());
                w.u8(kind);
                w.v8(inner.written());
            }
            Self::Other { kind, value } => {
                w.u8(*kind);
                w.v8(value);
            }
        }
    }
}

impl Decode for Address {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let value = r.v8()?;
        let mut inner = Reader::new(value);
        let ip: IpAddr = match kind {
            IPV4 => Ipv4Addr::from(inner.array::<4>()?).into(),
            IPV6 => Ipv6Addr::from(inner.array::<16>()?).into(),
            _ => return Ok(Self::Other { kind, value: value.to_vec() }),
        };
        let port = inner.u16()?;
        inner.finish()?;
        Ok(Self::Socket(SocketAddr::new(ip, port)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_one_host_from_anywhere_is_worth_keeping() {
        let worth = |text: &str| Address::from(text.parse::<SocketAddr>().unwrap()).is_worth_keeping();
        let kept = ["192.0.2.1:1", "10.0.0.1:65535", "127.0.0.1:1", "169.254.1.1:1", "[2001:db8::1]:1", "[fd00::1]:1"];
        assert!(kept.into_iter().all(worth));
        let hosts = ["0.0.0.0", "224.0.0.251", "255.255.255.255", "[::]", "[ff02::fb]", "[fe80::1]", "[fe80::1%2]"];
        assert!(!hosts.iter().any(|host| worth(&format!("{host}:1"))));
        assert!(!worth("[::ffff:224.0.0.251]:1"), "IPv4 in disguise");
        assert!(!worth("192.0.2.1:0"), "nothing is at port 0");
        assert!(Address::none().is_worth_keeping() && Address::Other { kind: 9, value: vec![1] }.is_worth_keeping());
    }
}

//! Where a device can be reached, as people write it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::wire::Address;
use crate::wire::codec::{Decode, DecodeError, Encode, Reader, Writer};

/// Characters of a host name (RFC 1035 section 2.3.4); what is longer resolves nowhere.
const NAME: usize = 253;
/// Characters of one label of it.
const LABEL: usize = 63;

/// A host and a port: `192.0.2.7:4000`, `[2001:db8::7]:4000` or `laptop.example:4000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

/// Why a text is no address, and how one looks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// No port.
    #[error("'{0}' has no port: write HOST:PORT; the other device's port is shown there by `kinctl config port`")]
    NoPort(String),
    /// Colons, and no brackets.
    #[error("an IPv6 address stands in brackets: [{0}]:PORT")]
    NoBrackets(Ipv6Addr),
    /// Not a number from 1 to 65535.
    #[error("'{0}' is no port: a number from 1 to 65535")]
    Port(String),
    /// Neither an IP address nor a host name.
    #[error("'{0}' is neither an IP address nor a host name")]
    Host(String),
    /// An IP address that no single device has.
    #[error("{0} is no address of one device on a network")]
    Unusable(IpAddr),
    /// It means another machine on each interface.
    #[error("{0} is link-local, which says nothing without an interface: such devices are found by themselves")]
    LinkLocal(Ipv6Addr),
}

impl HostPort {
    /// The address, if it is one and not a name.
    #[must_use]
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Some(SocketAddr::new(*ip, self.port)),
            Host::Name(_) => None,
        }
    }

    /// [`Self::socket`], typed.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.socket().map(Address::from)
    }

    /// The name and the port, if it is a name.
    #[must_use]
    pub fn name(&self) -> Option<(&str, u16)> {
        match &self.host {
            Host::Ip(_) => None,
            Host::Name(name) => Some((name, self.port)),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let text = text.trim();
        if let Ok(ip) = text.parse::<Ipv6Addr>() {
            return Err(HostPortError::NoBrackets(ip));
        }
        let Some((host, port)) = text.rsplit_once(':') else { return Err(HostPortError::NoPort(shown(text))) };
        if host.starts_with('[') && !host.ends_with(']') {
            return Err(HostPortError::NoPort(shown(text)));
        }
        // A sign is no digit, though a number may have one elsewhere.
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port != 0);
        let port =
            port.ok_or_else(|| HostPortError::Port(shown(text.rsplit_once(':').map_or("", |(_, port)| port))))?;
        Ok(Self { host: parse_host(host)?, port })
    }
}

fn parse_host(host: &str) -> Result<Host, HostPortError> {
    let bad = || HostPortError::Host(shown(host));
    if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return usable(inner.parse::<Ipv6Addr>().map_err(|_| bad())?.into());
    }
    if let Ok(ip) = host.parse::<IpAddr>() {
        return if let IpAddr::V6(ip) = ip { Err(HostPortError::NoBrackets(ip)) } else { usable(ip) };
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    // What looks like a number is an address that was mistyped: no top-level domain is all digits (RFC 3696 section 2).
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if name.len() > NAME || numeric || !name.split('.').all(label) {
        return Err(bad());
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

fn usable(ip: IpAddr) -> Result<Host, HostPortError> {
    let ip = ip.to_canonical();
    match ip {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Err(HostPortError::LinkLocal(v6)),
        IpAddr::V4(v4) if v4.is_broadcast() => Err(HostPortError::Unusable(ip)),
        _ if ip.is_unspecified() || ip.is_multicast() => Err(HostPortError::Unusable(ip)),
        _ => Ok(Host::Ip(ip)),
    }
}

/// As much of what somebody wrote as fits an error.
fn shown(text: &str) -> String {
    crate::names::clean(text)
}

impl Encode for HostPort {
    fn encode(&self, w: &mut Writer) {
        // Names have at most 253 characters, a port and a colon 6: more than a t8 holds together, so apart.
        match &self.host {
            Host::Ip(ip) => w.t8(&ip.to_string()),
            Host::Name(name) => w.t8(name),
        }
        w.u16(self.port);
    }
}

impl Decode for HostPort {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (host, port) = (r.t8()?, r.u16()?);
        let host = host.parse().map_or(Host::Name(host), Host::Ip);
        Ok(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, HostPortError> {
        let host: HostPort = text.parse()?;
        let mut w = Writer::new();
        host.encode(&mut w);
        assert_eq!(HostPort::from_bytes(&w.finish()), Ok(host.clone()));
        Ok(host.to_string())
    }

    #[test]
    fn what_people_write_is_read() {
        for text in ["192.0.2.7:4000", "[2001:db8::7]:4000", "laptop:1", "my-laptop.tail_net.example:65535"] {
            assert_eq!(parse(text), Ok(text.to_owned()));
        }
        assert_eq!(parse(" Laptop.Example.:4000 "), Ok("laptop.example:4000".to_owned()));
        assert_eq!(parse("[::ffff:192.0.2.7]:4000"), Ok("192.0.2.7:4000".to_owned()));
        assert_eq!(parse("127.0.0.1:4000"), Ok("127.0.0.1:4000".to_owned()));
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        use HostPortError::{Host, LinkLocal, NoBrackets, NoPort, Port, Unusable};
        for text in ["laptop", "192.0.2.7", "[2001:db8::7]", ""] {
            assert!(matches!(parse(text), Err(NoPort(_))), "{text}");
        }
        for text in ["2001:db8::7", "::1", "2001:db8::7:4000"] {
            assert!(matches!(parse(text), Err(NoBrackets(_))), "{text}");
        }
        for text in ["laptop:", "laptop:0", "laptop:65536", "laptop:+1", "laptop:x"] {
            assert!(matches!(parse(text), Err(Port(_))), "{text}");
        }
        for text in [":1", "-a:1", "a..b:1", "a b:1", "1.2.3:1", "[1.2.3.4]:1", "é:1", "a/b:1"] {
            assert!(matches!(parse(text), Err(Host(_))), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "224.0.0.251:1", "[ff02::fb]:1", "255.255.255.255:1"] {
            assert!(matches!(parse(text), Err(Unusable(_))), "{text}");
        }
        assert!(matches!(parse("[fe80::1]:1"), Err(LinkLocal(_))));
        assert!(parse(&format!("{}:1", "a.".repeat(128))).is_err());
    }
}

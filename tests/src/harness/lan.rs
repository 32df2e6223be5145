//! Several hosts on one machine: a network namespace for each, cabled to bridges in one of their own.
//!
//! Nothing of it touches the machine's own network. Host `i` has `eth0` with 10.77.SEGMENT.(i + 1) and
//! fd77:0:0:SEGMENT::(i + 1). Segments are joined by a router, so that a packet with hop limit 1 does not leave one.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Host;
use super::capture::Capture;
use super::delay::Delay;
use super::faults::{Faults, port};
use super::netns::{Namespace, number};
use super::tunnel::Tunnel;

/// How far the addresses of a host are moved by [`Lan::readdress`].
const STRIDE: u8 = 50;

/// What a LAN is like.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many hosts are on each segment.
    pub segments: Vec<usize>,
    /// Whether there is IPv4.
    pub v4: bool,
    /// Whether there is IPv6.
    pub v6: bool,
    /// The largest packet, in bytes.
    pub mtu: u32,
}

impl Plan {
    /// `hosts` on one segment with IPv4 and IPv6.
    #[must_use]
    pub fn of(hosts: usize) -> Self {
        Self { segments: vec![hosts], v4: true, v6: true, mtu: 1500 }
    }
}

/// A LAN. Its namespaces are removed with it, also when the test fails.
#[derive(Debug)]
pub struct Lan {
    stations: Vec<Station>,
    /// The bridges, one for each segment.
    wires: Namespace,
    router: Option<Namespace>,
    faults: Mutex<Faults>,
    delays: Mutex<Vec<Delay>>,
    plan: Plan,
}

/// A host's place: a namespace with one interface, `eth0`.
#[derive(Debug)]
struct Station {
    space: Arc<Namespace>,
    segment: usize,
    /// The last part of its addresses.
    last: AtomicU8,
}

impl Lan {
    /// Whether a test may make one: as root, it must. Otherwise it is skipped on a developer's machine, and fails in CI.
    ///
    /// # Panics
    /// In CI without root.
    #[must_use]
    pub fn possible() -> bool {
        let root = rustix::process::getuid().is_root();
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(root || !ci, "network namespaces need root");
        if !root {
            eprintln!("skipped: network namespaces need root");
        }
        root
    }

    /// `hosts` on one segment with IPv4 and IPv6.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        Self::plan(Plan::of(hosts))
    }

    /// What `plan` says.
    #[must_use]
    pub fn plan(plan: Plan) -> Self {
        let lan = number();
        let wires = Namespace::new(lan, "net");
        let router = (plan.segments.len() > 1).then(|| Namespace::new(lan, "router"));
        for segment in 0..plan.segments.len() {
            wires.ip(&format!("link add br{segment} type bridge mcast_snooping 0"));
            wires.ip(&format!("link set br{segment} up"));
            if let Some(router) = &router {
                cable(&wires, &format!("router{segment}"), segment, router, &format!("eth{segment}"), plan.mtu);
                address(router, &format!("eth{segment}"), &plan, segment, 254);
            }
        }
        if let Some(router) = &router {
            router.sysctl("ipv4/ip_forward", "1");
            router.sysctl("ipv6/conf/all/forwarding", "1");
        }
        let segments = plan.segments.iter().enumerate().flat_map(|(segment, hosts)| vec![segment; *hosts]);
        let stations = segments.enumerate().map(|(index, segment)| {
            let space = Namespace::new(lan, &format!("h{index}"));
            cable(&wires, &port(index), segment, &space, "eth0", plan.mtu);
            let station =
                Station { space: space.into(), segment, last: AtomicU8::new(u8::try_from(index).unwrap() + 1) };
            station.configure(&plan);
            station
        });
        Self { stations: stations.collect(), wires, router, faults: Mutex::default(), delays: Mutex::default(), plan }
    }

    /// A device called `name` on host `index`, whose daemon runs.
    #[must_use]
    pub fn host(&self, index: usize, name: &str) -> Host {
        let host = self.stopped(index, name);
        host.start();
        host
    }

    /// A device called `name` on host `index`, whose daemon was not started yet.
    #[must_use]
    pub fn stopped(&self, index: usize, name: &str) -> Host {
        Host::placed(name, self.stations[index].space.clone())
    }

    /// The namespace of host `index`: to run other programs there, or to change it by hand.
    #[must_use]
    pub fn space(&self, index: usize) -> &Namespace {
        &self.stations[index].space
    }

    /// The IPv4 address of host `index`.
    #[must_use]
    pub fn v4(&self, index: usize) -> Ipv4Addr {
        self.stations[index].v4()
    }

    /// The IPv6 address of host `index`.
    #[must_use]
    pub fn v6(&self, index: usize) -> Ipv6Addr {
        self.stations[index].v6()
    }

    /// The router between the segments passes nothing on any more.
    ///
    /// # Panics
    /// If there is none, as there is one segment.
    pub fn close_router(&self) {
        let router = self.router.as_ref().expect("one segment has no router");
        router.sysctl("ipv4/ip_forward", "0");
        router.sysctl("ipv6/conf/all/forwarding", "0");
    }

    /// A VPN between two hosts: an interface `vpn0` on each, with 10.99.0.(i + 1)/24 and fd99::(i + 1)/64.
    #[must_use]
    pub fn vpn(&self, a: usize, b: usize) -> Tunnel {
        let tunnel = self.tunnel(a, b);
        for host in [a, b] {
            let last = host + 1;
            self.space(host).ip(&format!("addr add 10.99.0.{last}/24 dev vpn0"));
            self.space(host).ip(&format!("addr add fd99::{last}/64 dev vpn0 nodad"));
        }
        tunnel
    }

    /// [`vpn`](Self::vpn) without addresses: what goes through it is up to the routes.
    #[must_use]
    pub fn tunnel(&self, a: usize, b: usize) -> Tunnel {
        Tunnel::start(self.space(a), self.space(b), "vpn0")
    }

    /// Pulls the cable of host `index`: its interface has no carrier.
    pub fn unplug(&self, index: usize) {
        self.wires.ip(&format!("link set {} down", port(index)));
    }

    /// Puts the cable back.
    pub fn replug(&self, index: usize) {
        self.wires.ip(&format!("link set {} up", port(index)));
    }

    /// Lets nothing pass between two hosts of one segment, not even who is there. Others reach both.
    pub fn cut(&self, a: usize, b: usize) {
        assert_eq!(self.stations[a].segment, self.stations[b].segment, "cut works within a segment");
        self.change(|faults| {
            faults.cut.insert((a.min(b), a.max(b)));
        });
    }

    /// Takes one [`cut`](Self::cut) back.
    pub fn mend(&self, a: usize, b: usize) {
        self.change(|faults| {
            faults.cut.remove(&(a.min(b), a.max(b)));
        });
    }

    /// Parts hosts into groups between which nothing passes; hosts not named keep reaching everyone.
    pub fn part(&self, groups: &[&[usize]]) {
        self.change(|faults| {
            for (at, group) in groups.iter().enumerate() {
                let others = groups[at + 1..].iter().flat_map(|group| group.iter());
                for other in others {
                    faults.cut.extend(group.iter().map(|host| (*host.min(other), *host.max(other))));
                }
            }
        });
    }

    /// Loses `percent` of all frames at random, in each direction.
    pub fn lose(&self, percent: u8) {
        self.change(|faults| faults.loss = percent);
    }

    /// Delays every UDP packet by this, in each direction.
    ///
    /// # Panics
    /// If the kernel or `iptables` does not play along.
    pub fn delay(&self, by: Duration) {
        let mut delays = self.delays.lock().unwrap();
        delays.clear();
        delays.extend(self.stations.iter().map(|station| Delay::start(&station.space, by)));
    }

    /// Takes back all that [`cut`](Self::cut), [`part`](Self::part), [`lose`](Self::lose) and [`delay`](Self::delay)
    /// did.
    pub fn heal(&self) {
        self.delays.lock().unwrap().clear();
        self.change(|faults| *faults = Faults::default());
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        let mut faults = self.faults.lock().unwrap();
        change(&mut faults);
        self.wires.nft(&faults.rules());
    }

    /// Gives host `index` other addresses, as a network that it is carried to would. What is under way is not told.
    pub fn readdress(&self, index: usize) {
        let station = &self.stations[index];
        station.space.ip("addr flush dev eth0 scope global");
        station.last.fetch_add(STRIDE, Ordering::Relaxed);
        station.configure(&self.plan);
    }

    /// Captures what the first segment carries, into `file`. Packets are cut to size before they go on the wire from
    /// now on, as a network card would.
    #[must_use]
    pub fn capture(&self, file: &Path) -> Capture {
        for station in &self.stations {
            station.space.ip("link set dev eth0 gso_max_segs 1");
        }
        Capture::start(&self.wires, "br0", file)
    }
}

impl Station {
    /// Gives `eth0` its addresses and routes.
    fn configure(&self, plan: &Plan) {
        address(&self.space, "eth0", plan, self.segment, self.last.load(Ordering::Relaxed));
        if plan.v4 {
            self.space.ip("route replace 224.0.0.0/4 dev eth0");
        }
        if plan.segments.len() > 1 && plan.v4 {
            self.space.ip(&format!("route replace default via {}", v4(self.segment, 254)));
        }
        if plan.segments.len() > 1 && plan.v6 {
            self.space.ip(&format!("-6 route replace default via {}", v6(self.segment, 254)));
        }
    }

    fn v4(&self) -> Ipv4Addr {
        v4(self.segment, self.last.load(Ordering::Relaxed))
    }

    fn v6(&self) -> Ipv6Addr {
        v6(self.segment, self.last.load(Ordering::Relaxed))
    }
}

/// Lays a cable from the bridge of `segment` to `interface` of a namespace, and sets both ends up.
fn cable(wires: &Namespace, port: &str, segment: usize, space: &Namespace, interface: &str, mtu: u32) {
    // An address can be used at once: nobody else on these wires has it.
    space.sysctl("ipv6/conf/default/accept_dad", "0");
    let other = space.name();
    wires.ip(&format!("link add {port} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {other}"));
    wires.ip(&format!("link set {port} master br{segment} up"));
    space.ip(&format!("link set {interface} up"));
}

/// Gives an interface the addresses that end in `last`.
fn address(space: &Namespace, interface: &str, plan: &Plan, segment: usize, last: u8) {
    if plan.v4 {
        space.ip(&format!("addr add {}/24 dev {interface}", v4(segment, last)));
    }
    if plan.v6 {
        space.ip(&format!("addr add {}/64 dev {interface} nodad", v6(segment, last)));
    } else {
        space.sysctl(&format!("ipv6/conf/{interface}/disable_ipv6"), "1");
    }
}

fn v4(segment: usize, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, u8::try_from(segment).unwrap(), last)
}

fn v6(segment: usize, last: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, u16::try_from(segment).unwrap(), 0, 0, 0, last.into())
}

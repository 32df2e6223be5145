//! Finding devices on the local network, and being found there: the one task that drives [`Mdns`].
//!
//! It runs apart from the owner of the state, which hears only of what could be opened, so a flood does not reach it. While
//! there is nothing to announce or look for, no socket is open.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kinlink_proto::discovery::{Key, Keys, Kind, Mdns, Output, Recogniser, Sighting};
use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::time::Mono;
use kinlink_proto::wire::address::Address;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::event::NetEvent;
use super::interfaces::{self, Interface};
use super::links::Links;
use super::multicast::{MESSAGE, Multicast};
use crate::clock::{entropy, now};

/// Messages that wait to be read. What comes while these wait is dropped by the system.
const MESSAGES: usize = 32;
/// Messages read in a second from one socket: ten times what a crowded office says. A flood beyond it is not read at all.
const MESSAGES_PER_SECOND: usize = 2000;
/// The longest sleep: a deadline beyond it is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);
/// Addresses of one shower that wait to be dialled.
pub(super) const FOUND: usize = 32;

/// A handle to the task. It says goodbye and ends when [`Discovery::stop`] is called.
#[derive(Debug)]
pub(super) struct Discovery {
    plan: watch::Sender<Plan>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What to announce and look for; the latest counts.
#[derive(Clone, Debug, Default)]
struct Plan {
    /// Of `kinlink/1`.
    port: u16,
    account: Option<Keys>,
    /// The linking socket: what it is announced under, this device, its port.
    link: Option<(Key, DeviceId, u16)>,
    joins: BTreeMap<u64, Join>,
    stop: bool,
}

/// A shower that is looked for.
#[derive(Clone, Debug)]
struct Join {
    shower: DeviceId,
    key: Key,
    found: mpsc::Sender<SocketAddr>,
}

/// Looks for a shower until it is dropped.
pub(super) struct Search<'a> {
    discovery: &'a Discovery,
    pairing: u64,
    /// Where it announced itself.
    pub(super) found: mpsc::Receiver<SocketAddr>,
}

impl Discovery {
    /// Starts the task, for a device whose `kinlink/1` is on `port`; `links` tells when interfaces may have changed.
    pub(super) fn start(port: u16, events: mpsc::Sender<NetEvent>, links: Links) -> Self {
        let (plan, orders) = watch::channel(Plan { port, ..Plan::default() });
        let task = tokio::spawn(Task::new(Plan { port, ..Plan::default() }, events).run(orders, links));
        Self { plan, task: Mutex::new(Some(task)) }
    }

    /// Announces and recognises with these keys from now on, or does neither.
    pub(super) fn account(&self, keys: Option<Keys>) {
        self.plan.send_modify(|plan| plan.account = keys);
    }

    /// `kinlink/1` is on another port from now on.
    pub(super) fn moved(&self, port: u16) {
        self.plan.send_modify(|plan| plan.port = port);
    }

    /// Announces the linking socket, or no more.
    pub(super) fn link(&self, link: Option<(Key, DeviceId, u16)>) {
        self.plan.send_if_modified(|plan| {
            let differs = plan.link != link;
            plan.link = link;
            differs
        });
    }

    /// Looks for a shower.
    pub(super) fn search(&self, pairing: u64, shower: DeviceId, key: Key) -> Search<'_> {
        let (tx, found) = mpsc::channel(FOUND);
        self.plan.send_modify(|plan| {
            plan.joins.insert(pairing, Join { shower, key, found: tx });
        });
        Search { discovery: self, pairing, found }
    }

    /// Takes back what was announced, and ends.
    pub(super) async fn stop(&self) {
        self.plan.send_modify(|plan| plan.stop = true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = async { Some(task?.await) }.await {
            tracing::error!(%error, "the search of the network failed");
        }
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.discovery.plan.send_modify(|plan| {
            plan.joins.remove(&self.pairing);
        });
    }
}

struct Task {
    plan: Plan,
    events: mpsc::Sender<NetEvent>,
    mdns: Mdns,
    devices: Recogniser,
    showers: BTreeMap<u64, Recogniser>,
    interfaces: Vec<Interface>,
    sockets: BTreeMap<u32, Vec<Arc<Multicast>>>,
    readers: JoinSet<()>,
    /// Where readers put what they read, and where it is taken from.
    heard_tx: mpsc::Sender<(u32, Vec<u8>)>,
    heard: mpsc::Receiver<(u32, Vec<u8>)>,
    /// What the core is to be told, once it has room.
    news: VecDeque<NetEvent>,
    /// When names and texts are drawn anew.
    redraw: Option<Mono>,
}

impl Task {
    fn new(plan: Plan, events: mpsc::Sender<NetEvent>) -> Self {
        let (heard_tx, heard) = mpsc::channel(MESSAGES);
        Self {
            plan,
            events,
            mdns: Mdns::default(),
            devices: Recogniser::default(),
            showers: BTreeMap::new(),
            interfaces: Vec::new(),
            sockets: BTreeMap::new(),
            readers: JoinSet::new(),
            heard_tx,
            heard,
            news: VecDeque::new(),
            redraw: None,
        }
    }

    async fn run(mut self, mut orders: watch::Receiver<Plan>, mut links: Links) {
        let events = self.events.clone();
        loop {
            self.carry_out();
            let wait = self.until_due();
            tokio::select! {
                ordered = orders.changed() => {
                    let plan = orders.borrow_and_update().clone();
                    if ordered.is_err() || plan.stop {
                        break;
                    }
                    self.follow(plan);
                }
                // What cannot be seen in the interfaces, as sleep, may have cost announcements all the same.
                () = links.changed() => if !self.look() {
                    self.draw(&Kind::ALL);
                },
                Some((interface, packet)) = self.heard.recv() => {
                    self.mdns.received(now().mono, interface, &packet, &mut entropy());
                }
                Ok(permit) = events.reserve(), if !self.news.is_empty() => {
                    if let Some(news) = self.news.pop_front() {
                        permit.send(news);
                    }
                }
                () = sleep(wait) => self.tick(),
            }
        }
        Kind::ALL.into_iter().for_each(|kind| self.mdns.serve(now().mono, kind, None, &mut entropy()));
        self.carry_out();
    }

    fn until_due(&self) -> Duration {
        let due = self.mdns.deadline().into_iter().chain(self.redraw).min();
        let wait = due.map(|due| Duration::from_millis(due.0.saturating_sub(now().mono.0)));
        wait.unwrap_or(LONGEST).min(LONGEST)
    }

    fn tick(&mut self) {
        let now = now().mono;
        if self.redraw.is_some_and(|due| due <= now) {
            self.draw(&Kind::ALL);
        }
        self.mdns.tick(now);
    }

    fn follow(&mut self, plan: Plan) {
        let old = std::mem::replace(&mut self.plan, plan);
        if old.account != self.plan.account {
            let keys = self.plan.account.as_ref().map(|keys| keys.recognise.clone());
            self.devices.learn(keys.unwrap_or_default());
        }
        self.showers.retain(|pairing, _| self.plan.joins.contains_key(pairing));
        for (pairing, join) in &self.plan.joins {
            self.showers.entry(*pairing).or_default().learn(vec![join.key.clone()]);
        }
        let (now, mut entropy) = (now().mono, entropy());
        self.mdns.search(now, Kind::Account, self.plan.account.is_some(), &mut entropy);
        self.mdns.search(now, Kind::Link, !self.plan.joins.is_empty(), &mut entropy);
        if self.look() {
            return;
        }
        let changed = [
            (Kind::Account, (&old.account, old.port) != (&self.plan.account, self.plan.port)),
            (Kind::Link, old.link != self.plan.link),
        ];
        let changed: Vec<Kind> = changed.into_iter().filter(|(_, changed)| *changed).map(|(kind, _)| kind).collect();
        self.draw(&changed);
    }

    fn is_idle(&self) -> bool {
        self.plan.account.is_none() && self.plan.link.is_none() && self.plan.joins.is_empty()
    }

    /// Looks at the interfaces. If anything about them changed, sockets are opened anew, and everything is announced and
    /// asked for under fresh names. Whether that was so.
    fn look(&mut self) -> bool {
        let found = match interfaces::interfaces() {
            _ if self.is_idle() => Vec::new(),
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot read the interfaces of this machine");
                return false;
            }
        };
        if found == self.interfaces {
            return false;
        }
        // What was announced where it still can be taken back.
        Kind::ALL.into_iter().for_each(|kind| self.mdns.serve(now().mono, kind, None, &mut entropy()));
        self.carry_out();
        self.interfaces = found;
        self.open();
        let addresses = |interface: &Interface| (interface.index, interface.addresses.clone());
        self.mdns.interfaces(now().mono, self.interfaces.iter().map(addresses).collect());
        self.draw(&Kind::ALL);
        true
    }

    fn open(&mut self) {
        self.readers = JoinSet::new();
        self.sockets.clear();
        for interface in &self.interfaces {
            let sockets: Vec<Arc<Multicast>> = Multicast::open(interface).into_iter().map(Arc::new).collect();
            for socket in &sockets {
                self.readers.spawn(read(socket.clone(), interface.index, self.heard_tx.clone()));
            }
            self.sockets.insert(interface.index, sockets);
        }
    }

    /// Announces under fresh names, sealed anew.
    fn draw(&mut self, kinds: &[Kind]) {
        let now = now().mono;
        for kind in kinds {
            let announced = match kind {
                Kind::Account => self.plan.account.as_ref().map(|keys| (&keys.announce, keys.device, self.plan.port)),
                Kind::Link => self.plan.link.as_ref().map(|(key, device, port)| (key, *device, *port)),
            };
            let sealed = announced.map(|(key, device, port)| {
                key.seal(device, &interfaces::announced(&self.interfaces, port), &mut entropy())
            });
            self.mdns.serve(now, *kind, sealed.as_deref(), &mut entropy());
        }
        self.redraw = (!self.is_idle()).then(|| now.after(limits::REDRAW));
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.mdns.poll() {
            match output {
                Output::Send { interface, packet } => {
                    let sockets = self.sockets.get(&interface).into_iter().flatten();
                    sockets.for_each(|socket| socket.send(&packet));
                }
                Output::Heard { kind: Kind::Account, interface, sealed } => self.device_heard(interface, &sealed),
                Output::Heard { kind: Kind::Link, interface, sealed } => self.shower_heard(interface, &sealed),
            }
        }
    }

    fn device_heard(&mut self, interface: u32, sealed: &[u8]) {
        let Some(sighting) = self.devices.recognise(now().mono, sealed) else { return };
        let own = self.plan.account.as_ref().is_some_and(|keys| keys.device == sighting.device);
        let addresses: Vec<Address> = near(interface, &sighting).into_iter().map(Address::Socket).collect();
        if own || addresses.is_empty() || self.news.len() >= limits::SIGHTINGS {
            return;
        }
        tracing::debug!(device = ?sighting.device, addresses = addresses.len(), "a device announced itself");
        self.news.push_back(NetEvent::Heard { device: sighting.device, addresses });
    }

    fn shower_heard(&mut self, interface: u32, sealed: &[u8]) {
        for (pairing, recogniser) in &mut self.showers {
            let Some(join) = self.plan.joins.get(pairing) else { continue };
            let Some(sighting) = recogniser.recognise(now().mono, sealed) else { continue };
            if sighting.device != join.shower {
                continue;
            }
            for address in near(interface, &sighting) {
                if join.found.try_send(address).is_err() {
                    tracing::debug!("an address of the shower too many");
                }
            }
        }
    }
}

/// The addresses of a sighting that are on a network of this machine: nobody makes it dial any others.
fn near(interface: u32, sighting: &Sighting) -> Vec<SocketAddr> {
    let Ok(locals) = interfaces::locals() else { return Vec::new() };
    let scoped = sighting.addresses.iter().map(|address| match address {
        SocketAddr::V6(at) if at.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*at.ip(), at.port(), 0, interface).into()
        }
        _ => *address,
    });
    scoped.filter(|address| interfaces::is_near(&locals, *address)).collect()
}

/// Reads from one socket until it fails or the task is aborted.
async fn read(socket: Arc<Multicast>, interface: u32, heard: mpsc::Sender<(u32, Vec<u8>)>) {
    let mut buffer = vec![0; MESSAGE];
    let (mut since, mut count) = (Instant::now(), 0);
    loop {
        let len = match socket.receive(&mut buffer).await {
            Ok(len) => len,
            Err(error) => {
                // The interface is going; the next look sees that.
                tracing::debug!(%error, "an interface cannot be listened on");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if heard.send((interface, buffer[..len].to_vec())).await.is_err() {
            return;
        }
        count += 1;
        if since.elapsed() > Duration::from_secs(1) {
            (since, count) = (Instant::now(), 0);
        } else if count >= MESSAGES_PER_SECOND {
            tracing::debug!(interface, "reading less than is said on this network");
            sleep_until(since + Duration::from_secs(1)).await;
        }
    }
}

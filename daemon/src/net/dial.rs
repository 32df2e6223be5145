//! Dialling: several addresses, one connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kinlink_proto::id::DeviceId;
use kinlink_proto::limits;
use kinlink_proto::reach::HostPort;
use kinlink_proto::wire::frame::CloseCode;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::net::lookup_host;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::quic;

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses tried for one order: what a device can be remembered and announced at, and as much again.
const ATTEMPTS: usize = 4 * limits::ADDRESSES;
/// Not sent: a device is known by its key.
const SERVER_NAME: &str = "kinlink";

/// Why no address led to the device.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(super) struct DialError {
    /// The code that the peer closed with, if it did.
    pub(super) code: Option<CloseCode>,
    /// For people.
    pub(super) reason: String,
}

impl DialError {
    pub(super) fn new(code: Option<CloseCode>, reason: impl ToString) -> Self {
        Self { code, reason: reason.to_string() }
    }

    /// The more telling of two: a peer that answered, then the later one.
    fn or(self, later: Self) -> Self {
        if self.code.is_some() && later.code.is_none() { self } else { later }
    }
}

impl From<quinn::ConnectionError> for DialError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::new(quic::code_of(&error), error)
    }
}

/// The dials that are under way.
#[derive(Debug, Default)]
pub(super) struct Dials(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    dials: BTreeMap<DeviceId, Dial>,
    /// The number of the last one.
    last: u64,
}

#[derive(Debug)]
struct Dial {
    number: u64,
    more: Sender<SocketAddr>,
    task: AbortHandle,
}

impl Dials {
    /// Begins a dial with `start`, which is given its number and where further addresses come from. One that is under way takes
    /// `addresses` in instead; if it is to be done `anew`, that one ends.
    pub(super) fn begin(
        &self,
        device: DeviceId,
        addresses: &[SocketAddr],
        anew: bool,
        start: impl FnOnce(u64, Receiver<SocketAddr>) -> AbortHandle,
    ) {
        let mut under_way = self.lock();
        match under_way.dials.remove(&device) {
            Some(earlier) if anew => earlier.task.abort(),
            Some(dial) => {
                // What it has no room for is tried the next time.
                addresses.iter().take_while(|address| dial.more.try_send(**address).is_ok()).for_each(drop);
                under_way.dials.insert(device, dial);
                return;
            }
            None => {}
        }
        let (more, found) = channel(ATTEMPTS);
        under_way.last += 1;
        let number = under_way.last;
        let task = start(number, found);
        under_way.dials.insert(device, Dial { number, more, task });
    }

    /// A dial is over. Another one to the same device may have begun.
    pub(super) fn end(&self, device: &DeviceId, number: u64) {
        let mut under_way = self.lock();
        if under_way.dials.get(device).is_some_and(|dial| dial.number == number) {
            under_way.dials.remove(device);
        }
    }

    /// Poisoning cannot leave it half-changed: what runs under it does not panic.
    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses that become known while others are being dialled.
pub(super) struct More<'a> {
    found: &'a mut Receiver<SocketAddr>,
    /// Until when they are waited for, if nothing else is.
    until: Instant,
}

impl<'a> More<'a> {
    /// Waits for addresses until `limit` has passed, and takes them in as long as others are being dialled.
    pub(super) fn within(limit: Duration, found: &'a mut Receiver<SocketAddr>) -> Self {
        Self { found, until: Instant::now() + limit }
    }

    fn ready(&mut self) -> Option<SocketAddr> {
        self.found.try_recv().ok()
    }

    /// The next one; `None` once none is waited for. `idle` says that nothing else is.
    async fn next(&mut self, idle: bool) -> Option<SocketAddr> {
        if idle { timeout_at(self.until, self.found.recv()).await.unwrap_or_default() } else { self.found.recv().await }
    }
}

/// Dials the addresses one after the other, without waiting long for each, those of the names as soon as they are resolved, and
/// those that are found meanwhile; the first that leads to the device wins, and the other attempts end. `failure` says what it
/// means if there is none.
pub(super) async fn any(
    endpoint: &Endpoint,
    config: &ClientConfig,
    addresses: Vec<SocketAddr>,
    names: Vec<HostPort>,
    mut more: More<'_>,
    mut failure: DialError,
) -> Result<Connection, DialError> {
    let mut tried = BTreeSet::new();
    let mut queue = VecDeque::from(addresses);
    let mut resolving: JoinSet<_> = names.into_iter().map(resolve).collect();
    let mut attempts = JoinSet::new();
    let mut closed = false;
    loop {
        if let Some(address) = queue.pop_front().or_else(|| more.ready())
            && tried.len() < ATTEMPTS
            && tried.insert(address)
        {
            attempts.spawn(one(endpoint.clone(), config.clone(), address));
        }
        let idle = attempts.is_empty() && queue.is_empty() && resolving.is_empty();
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = failure.or(error),
                Err(error) => failure = failure.or(DialError::new(None, error)),
            },
            Some(resolved) = resolving.join_next() => match resolved {
                Ok(Ok(found)) => queue.extend(found),
                Ok(Err(error)) => failure = failure.or(error),
                Err(error) => failure = failure.or(DialError::new(None, error)),
            },
            found = more.next(idle), if idle || !closed => match found {
                Some(address) => queue.push_back(address),
                None if idle => return Err(failure),
                None => closed = true,
            },
            () = sleep(STAGGER), if !queue.is_empty() => {}
        }
    }
}

/// Asks the system where a name leads, within [`limits::RESOLVE`].
async fn resolve(name: HostPort) -> Result<Vec<SocketAddr>, DialError> {
    let Some(host) = name.name() else { return Ok(name.socket().into_iter().collect()) };
    let failed = |why: &dyn std::fmt::Display| DialError::new(None, format!("{name} does not resolve: {why}"));
    match timeout(limits::RESOLVE, lookup_host(host)).await {
        Ok(Ok(found)) => Ok(found.take(limits::ADDRESSES).collect::<Vec<_>>()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format_args!("no answer within {} seconds", limits::RESOLVE.as_secs()))),
    }
}

async fn one(endpoint: Endpoint, config: ClientConfig, address: SocketAddr) -> Result<Connection, DialError> {
    let connecting = endpoint
        .connect_with(config, address, SERVER_NAME)
        .map_err(|error| DialError::new(None, format!("{address}: {error}")))?;
    match timeout(limits::HANDSHAKE, connecting).await {
        Ok(connected) => Ok(connected?),
        Err(_) => {
            let seconds = limits::HANDSHAKE.as_secs();
            Err(DialError::new(None, format!("{address} did not answer within {seconds} seconds")))
        }
    }
}

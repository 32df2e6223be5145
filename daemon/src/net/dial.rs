//! Dialling: several addresses, one connection.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
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

/// Addresses that may be found while those that are known are being dialled.
pub(super) struct More<'a> {
    found: &'a mut Receiver<SocketAddr>,
    /// No more are waited for.
    until: Instant,
}

impl<'a> More<'a> {
    /// What comes within `limit`.
    pub(super) fn within(limit: Duration, found: &'a mut Receiver<SocketAddr>) -> Self {
        Self { found, until: Instant::now() + limit }
    }

    async fn next(more: &mut Option<Self>) -> Option<SocketAddr> {
        let Some(Self { found, until }) = more else { return std::future::pending().await };
        let next = timeout_at(*until, found.recv()).await.unwrap_or_default();
        if next.is_none() {
            *more = None;
        }
        next
    }
}

/// Dials the addresses one after the other, without waiting long for each, and those that are found meanwhile; the first
/// that leads to the device wins, and the other attempts end. `failure` says what it means if there is none.
pub(super) async fn any(
    endpoint: &Endpoint,
    config: &ClientConfig,
    addresses: Vec<SocketAddr>,
    mut more: Option<More<'_>>,
    mut failure: DialError,
) -> Result<Connection, DialError> {
    let mut tried = BTreeSet::new();
    let mut queue = VecDeque::from(addresses);
    let mut attempts = JoinSet::new();
    loop {
        if let Some(address) = queue.pop_front() {
            if tried.len() < ATTEMPTS && tried.insert(address) {
                attempts.spawn(one(endpoint.clone(), config.clone(), address));
            }
        } else if attempts.is_empty() && more.is_none() {
            return Err(failure);
        }
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = failure.or(error),
                Err(error) => failure = failure.or(DialError::new(None, error)),
            },
            found = More::next(&mut more), if more.is_some() => queue.extend(found),
            () = sleep(STAGGER), if !queue.is_empty() => {}
        }
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

//! Dialling: several addresses, one connection.

use std::net::SocketAddr;
use std::time::Duration;

use kinlink_proto::limits;
use kinlink_proto::wire::frame::CloseCode;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::quic;

/// How long an address has before the next one is tried beside it (RFC 8305 section 5).
const STAGGER: Duration = Duration::from_millis(250);
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

/// Dials the addresses one after the other, without waiting long for each; the first that leads to the device wins,
/// and the other attempts end.
pub(super) async fn any(
    endpoint: &Endpoint,
    config: &ClientConfig,
    addresses: Vec<SocketAddr>,
) -> Result<Connection, DialError> {
    let mut queue = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = DialError::new(None, "no address of it is known");
    loop {
        if let Some(address) = queue.next() {
            attempts.spawn(one(endpoint.clone(), config.clone(), address));
        } else if attempts.is_empty() {
            return Err(failure);
        }
        let more = !queue.as_slice().is_empty();
        tokio::select! {
            Some(attempt) = attempts.join_next() => match attempt {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failure = failure.or(error),
                Err(error) => failure = failure.or(DialError::new(None, error)),
            },
            () = sleep(STAGGER), if more => {}
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

//! The session bus: its name, and what the bus knows of its clients.

use std::os::fd::AsFd;
use std::sync::Arc;

use kinlink_proto::dbus::BUS_NAME;
use kinlink_proto::engine::command::CallerKind;
use tokio::time::timeout;
use zbus::fdo::{ConnectionCredentials, DBusProxy, RequestNameFlags, RequestNameReply};
use zbus::names::{BusName, OwnedUniqueName, UniqueName, WellKnownName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, Message, MessageStream, connection, message};

use super::error::StartError;
use super::hub::Hub;
use super::{SessionBus, caller, limits};
use crate::callers::{self, Unavailable};

const BUS: &str = "org.freedesktop.DBus";

/// Takes the name on the session bus. A bus that is not there is no error.
pub(super) async fn connect(which: SessionBus) -> Result<Option<MessageStream>, StartError> {
    let builder = match which {
        SessionBus::No => return Ok(None),
        SessionBus::Default => connection::Builder::session(),
        SessionBus::Address(address) => connection::Builder::address(address.as_str()),
    };
    let connected = async {
        let stream = builder.build_message_stream().await?;
        let reply = claim(&Connection::from(&stream)).await?;
        Ok::<_, zbus::Error>((stream, reply))
    };
    match timeout(limits::SESSION_BUS, connected).await {
        Ok(Ok((stream, RequestNameReply::PrimaryOwner | RequestNameReply::AlreadyOwner))) => Ok(Some(stream)),
        Ok(Ok((stream, _))) => Err(taken(&Connection::from(&stream)).await),
        Ok(Err(error)) => {
            tracing::info!("no session bus, the private socket alone is served: {error}");
            Ok(None)
        }
        Err(_) => {
            tracing::warn!("the session bus does not answer, the private socket alone is served");
            Ok(None)
        }
    }
}

/// Listens for clients that leave, then takes the name: in this order, so that none is missed.
async fn claim(connection: &Connection) -> Result<RequestNameReply, zbus::Error> {
    let bus = bus(connection).await?;
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(BUS)
        .interface(BUS)
        .member("NameOwnerChanged")
        .build()?;
    bus.add_match_rule(rule).await?;
    Ok(bus.request_name(WellKnownName::from_static_str(BUS_NAME)?, RequestNameFlags::DO_NOT_QUEUE).await?)
}

async fn bus(connection: &Connection) -> Result<DBusProxy<'_>, zbus::Error> {
    DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await
}

async fn taken(connection: &Connection) -> StartError {
    let holder = holder(connection).await.unwrap_or_else(|_| "another process".to_owned());
    StartError::NameTaken { name: BUS_NAME, holder }
}

async fn holder(connection: &Connection) -> Result<String, zbus::Error> {
    let bus = bus(connection).await?;
    let pid = bus.get_connection_unix_process_id(BusName::from_static_str(BUS_NAME)?).await?;
    let name = tokio::fs::read_to_string(format!("/proc/{pid}/comm")).await.unwrap_or_default();
    Ok(format!("process {pid} {}", kinlink_proto::names::clean(&name)))
}

/// Whom a message of the bus says to have left. Others may send such a message too: only the bus is believed.
pub(super) fn departed(message: &Message) -> Option<OwnedUniqueName> {
    let header = message.header();
    let from_bus = header.sender().is_some_and(|sender| sender.as_str() == BUS);
    if !from_bus || header.member().is_none_or(|member| member.as_str() != "NameOwnerChanged") {
        return None;
    }
    let body = message.body();
    let (name, _, now) = body.deserialize::<(&str, &str, &str)>().ok()?;
    let gone = now.is_empty() && name.starts_with(':');
    gone.then(|| UniqueName::try_from(name).ok().map(|name| name.to_owned().into())).flatten()
}

/// What the client called `name` may do, by what the bus knows of its process; without a name, the one at the other end.
///
/// # Errors
/// [`Unavailable`]: nobody can say now.
pub(super) async fn identify(
    hub: &Hub,
    connection: &Connection,
    name: Option<&OwnedUniqueName>,
) -> Result<CallerKind, Unavailable> {
    let seen = match name {
        Some(name) => credentials(connection, name).await.map(Arc::new),
        None => connection.peer_creds().await.cloned().map_err(zbus::Error::from),
    };
    match seen {
        Ok(seen) => look_up(hub, &seen).await,
        Err(error) => {
            tracing::debug!("a client is not identified: {error}");
            Ok(caller::unknown())
        }
    }
}

async fn credentials(connection: &Connection, name: &OwnedUniqueName) -> Result<ConnectionCredentials, zbus::Error> {
    Ok(bus(connection).await?.get_connection_credentials(BusName::from(name.as_ref())).await?)
}

/// What the process at the other end may do: nothing, if it is another user's.
///
/// # Errors
/// [`Unavailable`]: nobody can say now.
async fn look_up(hub: &Hub, seen: &ConnectionCredentials) -> Result<CallerKind, Unavailable> {
    if seen.unix_user_id() != Some(hub.uid) {
        return Ok(caller::unknown());
    }
    // The process that connected, not the one that has its id by now: where neither bus nor kernel pins it, the id.
    let pinned = seen.process_fd().map(|fd| fd.as_fd().try_clone_to_owned().ok());
    hub.callers.look_up(pinned.unwrap_or_else(|| callers::process(seen.process_id()))).await
}

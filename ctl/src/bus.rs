//! The connection to kinlinkd: over its private socket, else over the session bus.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use kinlink_proto::dbus::{BUS_NAME, DEVICE, MANAGER, PAIRING, ROOT, SESSION, SOCKET};
use tokio::sync::mpsc;
use zbus::names::{InterfaceName, OwnedUniqueName};
use zbus::proxy::CacheProperties;
use zbus::{Connection, MatchRule, Message, MessageStream, connection, fdo, message};

use crate::error::Failure;
use crate::model::{Device, Manager, Pairing, Props, Session};
use crate::proxy::{DeviceProxy, ManagerProxy, Options, PairingProxy, SessionProxy};

/// How long the daemon may take over one call. None of them waits for a person or for another device.
const CALL: Duration = Duration::from_secs(30);

/// A connection to the daemon.
#[derive(Clone, Debug)]
pub(crate) struct Bus {
    connection: Connection,
    /// Who the daemon is on the session bus: only its signals count. None on the private socket.
    owner: Option<OwnedUniqueName>,
}

impl Bus {
    /// Connects to `socket` if given; else to the private socket, else over the session bus.
    pub(crate) async fn connect(socket: Option<&Path>) -> Result<Self, Failure> {
        let given = socket.map(Path::to_owned).or_else(chosen);
        let path = given.clone().unwrap_or_else(usual);
        let mut tried = match private(&path).await {
            Ok(connection) => return Ok(Self { connection, owner: None }),
            Err(error) => vec![format!("{} ({})", path.display(), plain(&error))],
        };
        if given.is_none() {
            match session().await {
                Ok((connection, owner)) => return Ok(Self { connection, owner: Some(owner) }),
                Err(error) => tried.push(format!("the session bus ({})", plain(&error))),
            }
        }
        Err(Failure::NoDaemon { tried })
    }

    /// The methods of the root object.
    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'static>, Failure> {
        Ok(ManagerProxy::builder(&self.connection).cache_properties(CacheProperties::No).build().await?)
    }

    /// The methods of a device.
    pub(crate) async fn device(&self, path: &str) -> Result<DeviceProxy<'static>, Failure> {
        let builder = DeviceProxy::builder(&self.connection).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The methods of a session.
    pub(crate) async fn session(&self, path: &str) -> Result<SessionProxy<'static>, Failure> {
        let builder = SessionProxy::builder(&self.connection).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The methods of a pairing.
    pub(crate) async fn pairing(&self, path: &str) -> Result<PairingProxy<'static>, Failure> {
        let builder = PairingProxy::builder(&self.connection).path(path.to_owned());
        Ok(builder.cache_properties(CacheProperties::No).build().await?)
    }

    /// The root object's properties.
    pub(crate) async fn status(&self) -> Result<Manager, Failure> {
        Ok(Manager::from(self.properties(ROOT, MANAGER).await?))
    }

    /// One device's properties.
    pub(crate) async fn device_state(&self, path: &str) -> Result<Device, Failure> {
        Ok(Device::new(path, self.properties(path, DEVICE).await?))
    }

    /// One session's properties.
    pub(crate) async fn session_state(&self, path: &str) -> Result<Session, Failure> {
        Ok(Session::from(self.properties(path, SESSION).await?))
    }

    /// A pairing's properties.
    pub(crate) async fn pairing_state(&self, path: &str) -> Result<Pairing, Failure> {
        Ok(Pairing::from(self.properties(path, PAIRING).await?))
    }

    /// All devices, this one first, then by name; those that are out last, by time.
    pub(crate) async fn devices(&self) -> Result<Vec<Device>, Failure> {
        let manager = fdo::ObjectManagerProxy::builder(&self.connection).destination(BUS_NAME).path(ROOT);
        let objects = manager.cache_properties(CacheProperties::No).build().await?.get_managed_objects().await?;
        let device = |(path, mut interfaces): (_, HashMap<_, _>)| {
            Some(Device::new(&zbus::OwnedObjectPath::to_string(&path), Props::new(interfaces.remove(DEVICE)?)))
        };
        let mut devices: Vec<Device> = objects.into_iter().filter_map(device).collect();
        devices.sort_by_cached_key(Device::order);
        Ok(devices)
    }

    /// Every session that `filter` lets through, over as many pages as it takes.
    pub(crate) async fn sessions(&self, filter: &Options<'_>) -> Result<Vec<Session>, Failure> {
        let manager = self.manager().await?;
        let (mut sessions, mut after) = (Vec::new(), String::new());
        loop {
            let mut page: Options<'_> =
                filter.iter().map(|(key, value)| Ok((*key, value.try_clone()?))).collect::<zbus::Result<_>>()?;
            page.insert("limit", 1000_u32.into());
            if !after.is_empty() {
                page.insert("after", after.as_str().into());
            }
            let (more, cursor) = manager.list_sessions(&page).await?;
            sessions.extend(more);
            if cursor.is_empty() || cursor == after {
                return Ok(sessions);
            }
            after = cursor;
        }
    }

    /// The signals of the objects at and below `path`, from now on.
    pub(crate) async fn signals(&self, path: &str) -> Result<Signals, Failure> {
        let mut rule = MatchRule::builder().msg_type(message::Type::Signal).path_namespace(path.to_owned());
        if let Some(owner) = &self.owner {
            rule = rule.sender(owner.clone());
        }
        let stream = MessageStream::for_match_rule(rule.build()?, &self.connection, None).await?;
        let gone = self.gone().await?;
        Ok(Signals::spawn(stream, gone))
    }

    /// Ends when the daemon leaves the session bus. On the private socket its connection ends instead.
    async fn gone(&self) -> Result<Option<MessageStream>, Failure> {
        let Some(owner) = &self.owner else { return Ok(None) };
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .arg(0, owner.to_string())
            .build()?;
        Ok(Some(MessageStream::for_match_rule(rule, &self.connection, None).await?))
    }

    async fn properties(&self, path: &str, interface: &'static str) -> Result<Props, Failure> {
        let builder = fdo::PropertiesProxy::builder(&self.connection).destination(BUS_NAME).path(path.to_owned());
        let proxy = builder.cache_properties(CacheProperties::No).build().await?;
        let interface = InterfaceName::from_static_str(interface)?;
        Ok(Props::new(proxy.get_all(interface).await?))
    }
}

/// Signals, in order. Drained by a task of its own: a full queue would stop the connection that a method
/// call made meanwhile waits on.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::UnboundedReceiver<Message>);

impl Signals {
    fn spawn(mut stream: MessageStream, gone: Option<MessageStream>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut gone = std::pin::pin!(vanished(gone));
            loop {
                let message = tokio::select! {
                    message = stream.next() => message,
                    () = &mut gone => None,
                };
                let Some(Ok(message)) = message else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// The next signal. Fails when the daemon has gone.
    pub(crate) async fn next(&mut self) -> Result<Message, Failure> {
        let gone = || zbus::Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        Ok(self.0.recv().await.ok_or_else(gone)?)
    }
}

async fn vanished(stream: Option<MessageStream>) {
    match stream {
        Some(mut stream) => drop(stream.next().await),
        None => std::future::pending().await,
    }
}

/// The private socket of the daemon that the environment singles out.
fn chosen() -> Option<PathBuf> {
    std::env::var_os("KINLINK_RUNTIME_DIR").filter(|dir| !dir.is_empty()).map(|dir| PathBuf::from(dir).join("bus"))
}

/// The private socket below `XDG_RUNTIME_DIR`, or where that normally is.
fn usual() -> PathBuf {
    let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let normally = || PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    given.unwrap_or_else(normally).join(SOCKET)
}

async fn private(path: &Path) -> Result<Connection, zbus::Error> {
    let stream = UnixStream::connect(path)?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(std::io::Error::from)?;
    if peer.uid != rustix::process::getuid() {
        return Err(std::io::Error::other("it belongs to another user").into());
    }
    stream.set_nonblocking(true)?;
    connection::Builder::unix_stream(stream).p2p().method_timeout(CALL).build().await
}

async fn session() -> Result<(Connection, OwnedUniqueName), zbus::Error> {
    let connection = connection::Builder::session().method_timeout(CALL).build().await?;
    let bus = fdo::DBusProxy::new(&connection).await?;
    if let Ok(owner) = bus.get_name_owner(BUS_NAME.try_into()?).await {
        return Ok((connection, owner));
    }
    // Not running: the bus starts it, if it is installed for activation. (Asked of one that runs and is not
    // installed so, this would be an error.)
    bus.start_service_by_name(BUS_NAME.try_into()?, 0).await?;
    let owner = bus.get_name_owner(BUS_NAME.try_into()?).await?;
    Ok((connection, owner))
}

/// The core of an error: zbus wraps the system's words in its own.
fn plain(error: &zbus::Error) -> String {
    match error {
        zbus::Error::InputOutput(error) => error.to_string(),
        zbus::Error::Connection(error, _) => error.to_string(),
        zbus::Error::FDO(error) if matches!(**error, fdo::Error::ServiceUnknown(_)) => {
            "nobody has its name there".to_owned()
        }
        zbus::Error::FDO(error) => error.to_string(),
        other => other.to_string(),
    }
}

//! A D-Bus service over a scripted core, and clients of it. What the real core does is tested elsewhere.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test support")]

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kinlink_daemon::bus::{Bus, BusOptions, Private, SessionBus};
use kinlink_daemon::handle::{Core, Facts, Job, Vault};
use kinlink_proto::dbus::BUS_NAME;
use kinlink_proto::engine::command::{Caller, CallerId, Command, Reply};
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::{
    DeviceStatus, DeviceView, Direction, PairingState, PairingView, SessionView, Standing, Status, View,
};
use kinlink_proto::id::{DeviceId, SessionId};
use kinlink_proto::roster::{Custody, Role};
use kinlink_proto::time::Wall;
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, watch};
use zbus::message::{Message, Type};
use zbus::{Connection, DBusError, DynamicType, MessageStream, OwnedVariant, Variant, connection};

/// Nothing here takes longer, unless it hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// What the core was told.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Command(Caller, Command),
    Gone(CallerId),
}

pub type Script = fn(&Caller, &Command) -> Result<Reply, CommandError>;

/// What the core tells.
type Events = broadcast::Sender<Arc<Event>>;

/// The service, and the core's ends of its channels.
pub struct Service {
    pub bus: Bus,
    pub views: watch::Sender<Arc<View>>,
    pub events: Events,
    pub seen: mpsc::UnboundedReceiver<Seen>,
    pub socket: PathBuf,
    _dir: tempfile::TempDir,
}

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it hangs")
}

pub fn core(script: Script) -> (Core, watch::Sender<Arc<View>>, Events, mpsc::UnboundedReceiver<Seen>) {
    let (jobs, mut orders) = mpsc::channel(64);
    let (views, view) = watch::channel(Arc::new(view()));
    let (events, _) = broadcast::channel(64);
    let (log, seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(job) = orders.recv().await {
            let fact = match job {
                // Nothing but a look at it.
                Job::Command(caller, command @ Command::Pairing(_), reply) => {
                    drop(reply.send(script(&caller, &command)));
                    continue;
                }
                Job::Command(caller, command, reply) => {
                    // A client that left does not wait for its reply.
                    drop(reply.send(script(&caller, &command)));
                    Seen::Command(caller, command)
                }
                Job::CallerGone(caller) => Seen::Gone(caller),
                Job::Ping(answer) => {
                    answer.send(()).ok();
                    continue;
                }
                Job::Unlock(_, answer) | Job::MoveKey(_, answer) => {
                    answer.send(Ok(())).ok();
                    continue;
                }
            };
            if log.send(fact).is_err() {
                return;
            }
        }
    });
    let facts = Facts { version: "1.2.3".to_owned() };
    (Core::new(jobs, view, events.clone(), facts, Vault::file()), views, events, seen)
}

pub async fn start(script: Script, session: SessionBus) -> Service {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kinlink/bus");
    let (core, views, events, seen) = core(script);
    let options = BusOptions { private: Private::Path(socket.clone()), session };
    let bus = within(Bus::start(core, options)).await.unwrap();
    Service { bus, views, events, seen, socket, _dir: dir }
}

impl Service {
    pub async fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.socket).unwrap();
        Client::new(within(connection::Builder::unix_stream(stream).p2p().build()).await.unwrap())
    }

    /// The next thing that the core is told.
    pub async fn next(&mut self) -> Seen {
        within(self.seen.recv()).await.unwrap()
    }

    /// Who gave the next order.
    pub async fn next_caller(&mut self) -> Caller {
        match self.next().await {
            Seen::Command(caller, _) => caller,
            gone => panic!("{gone:?}"),
        }
    }
}

/// A client, and the messages that reach it.
pub struct Client {
    pub connection: Connection,
    messages: MessageStream,
}

pub type Dict = BTreeMap<String, OwnedVariant>;
pub type Options<'a> = BTreeMap<&'a str, Variant<'a>>;

pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

pub fn none() -> Options<'static> {
    Options::new()
}

impl Client {
    pub fn new(connection: Connection) -> Self {
        let mut messages = MessageStream::from(&connection);
        // Replies queue up here too, and a full queue would stop the connection.
        messages.set_max_queued(NonZeroUsize::new(4096).unwrap());
        Self { connection, messages }
    }

    pub async fn call<B: Serialize + DynamicType>(
        &self,
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Result<Message, String> {
        let call = self.connection.call_method(Some(BUS_NAME), path, Some(interface), member, body);
        within(call).await.map_err(|error| match error {
            zbus::Error::MethodError(name, ..) => name.to_string(),
            zbus::Error::FDO(error) => error.name().to_string(),
            other => panic!("{other}"),
        })
    }

    pub async fn all(&self, path: &str, interface: &str) -> Result<Dict, String> {
        let reply = self.call(path, PROPERTIES, "GetAll", &interface).await?;
        Ok(reply.body().deserialize().unwrap())
    }

    pub async fn introspect(&self, path: &str) -> Result<String, String> {
        let reply = self.call(path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).await?;
        Ok(reply.body().deserialize().unwrap())
    }

    /// The next signal of the service, as "path interface member".
    pub async fn signal(&mut self) -> (String, Message) {
        loop {
            let message = within(self.messages.next()).await.unwrap().unwrap();
            let header = message.header();
            let path = header.path().map(ToString::to_string).unwrap_or_default();
            if message.message_type() == Type::Signal && !path.starts_with("/org/freedesktop") {
                let (interface, member) = (header.interface().unwrap(), header.member().unwrap());
                let name = format!("{path} {interface} {member}");
                return (name, message.clone());
            }
        }
    }

    /// The next method call that the service makes.
    pub async fn call_to_us(&mut self) -> Message {
        loop {
            let message = within(self.messages.next()).await.unwrap().unwrap();
            if message.message_type() == Type::MethodCall {
                return message;
            }
        }
    }

    /// What `PropertiesChanged` says in the next signal.
    pub async fn changed(&mut self) -> (String, Dict) {
        let (name, message) = self.signal().await;
        assert!(name.ends_with("PropertiesChanged"), "{name}");
        let (_, changed, _) = message.body().deserialize::<(String, Dict, Vec<String>)>().unwrap();
        (name.split(' ').next().unwrap().to_owned(), changed)
    }
}

pub fn text(dict: &Dict, name: &str) -> String {
    String::try_from(dict[name].try_clone().unwrap()).unwrap()
}

pub fn id(byte: u8) -> DeviceId {
    DeviceId([byte; 32])
}

pub fn device(byte: u8, name: &str) -> DeviceView {
    DeviceView {
        new: false,
        id: id(byte),
        name: name.to_owned(),
        platform: "Debian 12".to_owned(),
        role: Role::Owner,
        custody: Custody::Personal,
        status: DeviceStatus::Linked,
        this: byte == 1,
        linked_at: Wall(1000),
        linked_by: id(1),
        linked_from: None,
        online: true,
        last_seen: Wall(2000),
        address: None,
        addresses: Vec::new(),
        lease: 0,
        revoked: None,
        seen_at: Vec::new(),
        wrong_pins: 0,
        applied: (0, 0),
    }
}

/// This device alone.
pub fn view() -> View {
    let status = Status { standing: Standing::Linked, device: id(1), name: "desk".to_owned(), ..Status::default() };
    View { status, devices: vec![device(1, "desk")] }
}

pub fn pairing(state: PairingState) -> PairingView {
    PairingView {
        direction: Direction::Show,
        state,
        peer: None,
        peer_name: String::new(),
        peer_platform: String::new(),
        peer_address: None,
        account: None,
        label: String::new(),
        role: Role::Member,
        custody: Custody::Personal,
        expires: Wall(5000),
        tries_left: 3,
        error: None,
    }
}

pub const NOTES: &str = "org.example.Notes";

pub fn session() -> SessionView {
    SessionView {
        id: SessionId([2; 16]),
        app: NOTES.to_owned(),
        title: "Shopping\0 list".to_owned(),
        device: id(1),
        device_name: "desk".to_owned(),
        created: Wall(1),
        last_active: Wall(2),
        expires: Wall(0),
        ended: None,
    }
}

pub fn not_found() -> CommandError {
    CommandError::new(ErrorKind::NotFound, "no such thing")
}

/// A bus of our own; killed when dropped.
pub struct DbusDaemon {
    child: Child,
    pub address: String,
}

impl DbusDaemon {
    /// None where `dbus-daemon` is not installed: a developer's machine may lack it; CI, and root, who can install it, may not.
    pub fn start() -> Option<Self> {
        let mut process = Process::new("dbus-daemon");
        process.args(["--session", "--nofork", "--nosyslog", "--print-address=1"]).stdout(Stdio::piped());
        let mut child = match process.spawn() {
            Ok(child) => child,
            Err(error) => {
                let must = std::env::var("CI").is_ok_and(|ci| ci == "true") || rustix::process::getuid().is_root();
                assert!(!must, "dbus-daemon: {error}; run: tests/setup");
                eprintln!("not tested on a bus: dbus-daemon: {error}; run: tests/setup");
                return None;
            }
        };
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Some(Self { child, address: address.trim().to_owned() })
    }

    pub async fn client(&self) -> Client {
        Client::new(within(connection::Builder::address(self.address.as_str()).build()).await.unwrap())
    }
}

impl Drop for DbusDaemon {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("dbus-daemon was not stopped: {error}");
        }
    }
}

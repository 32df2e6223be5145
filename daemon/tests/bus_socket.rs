//! The private socket's file, and the name on the bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bus_support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use bus_support::*;
use kinlink_daemon::bus::{Bus, BusOptions, Private, SessionBus, StartError};
use kinlink_proto::dbus;
use kinlink_proto::engine::command::{Caller, Command, Reply};
use kinlink_proto::engine::error::CommandError;

fn nothing(_: &Caller, _: &Command) -> Result<Reply, CommandError> {
    Err(not_found())
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

async fn serve_at(path: &std::path::Path, session: SessionBus) -> Result<Bus, StartError> {
    let (core, ..) = core(nothing);
    within(Bus::start(core, BusOptions { private: Private::Path(path.to_owned()), session })).await
}

#[tokio::test]
async fn the_socket_is_private_and_gone_in_the_end() {
    let service = start(nothing, SessionBus::No).await;
    assert_eq!((mode(service.socket.parent().unwrap()), mode(&service.socket)), (0o700, 0o600));
    let (socket, client) = (service.socket.clone(), service.client().await);
    within(service.bus.shutdown()).await;
    assert!(!socket.exists());
    within(client.connection.closed()).await;
}

#[tokio::test]
async fn an_open_directory_is_closed_and_a_dead_socket_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    let bus = serve_at(&path, SessionBus::No).await.unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    UnixStream::connect(&path).unwrap();
    bus.shutdown().await;
}

#[tokio::test]
async fn a_socket_that_is_served_and_a_file_that_is_none_are_left_alone() {
    let service = start(nothing, SessionBus::No).await;
    let taken = serve_at(&service.socket, SessionBus::No).await.unwrap_err();
    assert!(matches!(taken, StartError::SocketTaken(_)), "{taken}");
    service.client().await.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    service.bus.shutdown().await;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bus");
    std::fs::write(&file, "precious").unwrap();
    let refused = serve_at(&file, SessionBus::No).await.unwrap_err();
    assert!(refused.to_string().contains("not a socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn a_socket_that_was_handed_over_is_served_and_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bus");
    let listener = UnixListener::bind(&path).unwrap();
    let (core, _views, _events, _seen) = core(nothing);
    let bus =
        Bus::start(core, BusOptions { private: Private::Listener(listener), session: SessionBus::No }).await.unwrap();
    let stream = UnixStream::connect(&path).unwrap();
    let client = Client::new(within(zbus::connection::Builder::unix_stream(stream).p2p().build()).await.unwrap());
    assert_eq!(text(&client.all(dbus::ROOT, dbus::MANAGER).await.unwrap(), "Version"), "1.2.3");
    bus.shutdown().await;
    assert!(path.exists());
}

#[tokio::test]
async fn clients_beyond_the_cap_are_turned_away_until_one_leaves() {
    let service = start(nothing, SessionBus::No).await;
    let mut clients = Vec::new();
    for _ in 0..64 {
        let client = service.client().await;
        client.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
        clients.push(client);
    }
    let stream = UnixStream::connect(&service.socket).unwrap();
    assert!(within(zbus::connection::Builder::unix_stream(stream).p2p().build()).await.is_err());
    let mut seen = service.seen;
    clients.pop().unwrap().connection.close().await.unwrap();
    assert!(matches!(within(seen.recv()).await, Some(Seen::Gone(_))));
    service.bus.shutdown().await;
}

#[tokio::test]
async fn a_missing_bus_is_no_error_and_a_taken_name_names_its_holder() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = SessionBus::Address(format!("unix:path={}/none", dir.path().display()));
    let bus = serve_at(&dir.path().join("a"), nowhere).await.unwrap();
    assert!(!bus.on_session_bus());
    bus.shutdown().await;

    let Some(daemon) = DbusDaemon::start() else { return };
    let address = SessionBus::Address(daemon.address.clone());
    let first = start(nothing, address.clone()).await;
    let second = dir.path().join("b");
    let taken = serve_at(&second, address.clone()).await.unwrap_err().to_string();
    assert!(taken.contains(dbus::BUS_NAME) && taken.contains(&format!("process {}", std::process::id())), "{taken}");
    assert!(!second.exists(), "the socket of a service that did not start");
    // The name is free again once the service has stopped.
    first.bus.shutdown().await;
    let again = serve_at(&second, address).await.unwrap();
    assert!(again.on_session_bus());
    again.shutdown().await;
}

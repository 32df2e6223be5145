//! Agents: whom the service asks, and whose answer counts. `tests/tests/lab_dbus.rs` links real devices with them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bus_support;

use std::collections::BTreeMap;

use bus_support::*;
use kinlink_daemon::bus::SessionBus;
use kinlink_proto::dbus;
use kinlink_proto::engine::command::{Caller, CallerId, Command, PairingId, Reply};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::PairingState;
use kinlink_proto::time::Wall;
use zbus::{Message, ObjectPath, OwnedVariant};

const AGENT: &str = "/org/example/agent";

fn opens(_: &Caller, command: &Command) -> Result<Reply, CommandError> {
    match command {
        Command::OpenPairing { .. } => {
            let (qr, text) = ("KL:X".to_owned(), "kinlink:x".to_owned());
            Ok(Reply::Opened { pairing: PairingId(7), qr, text, expires: Wall(9) })
        }
        Command::ConfirmCode { .. } | Command::CancelPairing(_) => Ok(Reply::Done),
        _ => Err(not_found()),
    }
}

/// Registers an agent and opens a pairing.
async fn open(service: &mut Service, client: &Client) -> CallerId {
    let path = ObjectPath::try_from(AGENT).unwrap();
    client.call(dbus::ROOT, dbus::MANAGER, "RegisterAgent", &(path, none())).await.unwrap();
    client.call(dbus::ROOT, dbus::MANAGER, "OpenPairing", &none()).await.unwrap();
    service.next_caller().await.id
}

fn state(service: &Service, owner: CallerId, state: PairingState) {
    service.events.send(Event::Pairing { pairing: PairingId(7), owner, view: pairing(state) }.into()).unwrap();
}

/// The next call of the agent: its method, and the message.
async fn asked(client: &mut Client) -> (String, Message) {
    let message = client.call_to_us().await;
    let header = message.header();
    assert_eq!((header.path().unwrap().as_str(), header.interface().unwrap().as_str()), (AGENT, dbus::AGENT));
    (header.member().unwrap().to_string(), message.clone())
}

async fn answer(client: &Client, call: &Message, code: &str) {
    let reply = Message::method_return(&call.header()).build(&code).unwrap();
    client.connection.send(&reply).await.unwrap();
}

#[tokio::test]
async fn the_answer_of_an_agent_is_an_order_of_its_client() {
    let mut service = start(opens, SessionBus::No).await;
    let mut client = service.client().await;
    let owner = open(&mut service, &client).await;
    state(&service, owner, PairingState::Waiting);
    state(&service, owner, PairingState::Code);
    // Told twice, it is asked once.
    state(&service, owner, PairingState::Code);
    let (method, call) = asked(&mut client).await;
    let body = call.body();
    let (path, properties, options) =
        body.deserialize::<(ObjectPath<'_>, Dict, BTreeMap<String, OwnedVariant>)>().unwrap();
    assert_eq!((method.as_str(), path.as_str()), ("EnterCode", dbus::pairing_path(7).as_str()));
    assert_eq!((text(&properties, "State").as_str(), options.len()), ("code", 0));
    answer(&client, &call, "123456").await;
    let confirm = Command::ConfirmCode { pairing: PairingId(7), code: "123456".to_owned() };
    let Seen::Command(caller, command) = service.next().await else { panic!("no order") };
    assert_eq!((caller.id, command), (owner, confirm));
    state(&service, owner, PairingState::Linked);
    assert_eq!(asked(&mut client).await.0, "Cancel");
    service.bus.shutdown().await;
}

/// Whoever can send messages on the bus must not be able to type the code for the user.
#[tokio::test]
async fn an_answer_in_anothers_name_approves_nobody() {
    let Some(bus) = DbusDaemon::start() else { return };
    let mut service = start(opens, SessionBus::Address(bus.address.clone())).await;
    let (mut client, thief) = (bus.client().await, bus.client().await);
    let owner = open(&mut service, &client).await;
    state(&service, owner, PairingState::Code);
    let (_, call) = asked(&mut client).await;
    answer(&thief, &call, "666666").await;
    // The bus keeps the thief's messages in order: when this is answered, the forged one was delivered, or dropped.
    thief.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    answer(&client, &call, "123456").await;
    match service.next().await {
        Seen::Command(_, Command::CancelPairing(PairingId(7))) => {}
        Seen::Command(_, Command::ConfirmCode { code, .. }) => assert_eq!(code, "123456"),
        other => panic!("{other:?}"),
    }
    service.bus.shutdown().await;
}

#[tokio::test]
async fn silence_is_a_no_when_the_agent_is_taken_back_or_leaves() {
    let mut service = start(opens, SessionBus::No).await;
    let mut client = service.client().await;
    let owner = open(&mut service, &client).await;
    state(&service, owner, PairingState::Code);
    asked(&mut client).await;
    client.call(dbus::ROOT, dbus::MANAGER, "UnregisterAgent", &none()).await.unwrap();
    let cancel = Command::CancelPairing(PairingId(7));
    assert!(matches!(service.next().await, Seen::Command(caller, command) if caller.id == owner && command == cancel));
    client.connection.close().await.unwrap();
    assert_eq!(service.next().await, Seen::Gone(owner));
    service.bus.shutdown().await;
}

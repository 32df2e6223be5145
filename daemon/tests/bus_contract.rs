//! The live service against `proto/dbus/*.xml`, member by member.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bus_support;

use std::collections::{BTreeMap, BTreeSet};

use bus_support::*;
use kinlink_daemon::bus::SessionBus;
use kinlink_proto::dbus;
use kinlink_proto::engine::command::{Caller, Command, PairingId, Reply};
use kinlink_proto::engine::error::{CommandError, ErrorKind};
use kinlink_proto::engine::view::PairingState;
use kinlink_proto::id::SessionId;
use zbus::Variant;

/// Answers reads, and refuses everything else: no test here gives an order that is carried out.
fn reads(_: &Caller, command: &Command) -> Result<Reply, CommandError> {
    match command {
        Command::Session(_) => Ok(Reply::Session(session())),
        Command::Pairing(PairingId(7)) => Ok(Reply::Pairing(pairing(PairingState::Waiting))),
        Command::Sessions(_) => Ok(Reply::Sessions(vec![session()], false)),
        Command::Pairing(_) => Err(not_found()),
        _ => Err(CommandError::new(ErrorKind::Refused, "not now")),
    }
}

/// Path, interface and contract of one object of each kind.
fn objects() -> [(String, &'static str, &'static str); 4] {
    [
        (dbus::ROOT.to_owned(), dbus::MANAGER, dbus::MANAGER_XML),
        (dbus::device_path(&id(1)), dbus::DEVICE, dbus::DEVICE_XML),
        (dbus::session_path(&SessionId([2; 16])), dbus::SESSION, dbus::SESSION_XML),
        (dbus::pairing_path(7), dbus::PAIRING, dbus::PAIRING_XML),
    ]
}

fn attribute<'x>(tag: &'x str, name: &str) -> &'x str {
    tag.split_once(&format!("{name}=\"")).map(|(_, rest)| rest.split('"').next().unwrap()).unwrap_or_default()
}

/// The members of an interface, each in one line with its arguments and annotations in order.
fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let uncommented: String = xml
        .split("<!--")
        .enumerate()
        .map(|(n, part)| if n == 0 { part } else { part.split_once("-->").unwrap().1 })
        .collect();
    let body = uncommented.split_once(&format!("<interface name=\"{interface}\">")).expect("the interface").1;
    let mut found: Vec<String> = Vec::new();
    for tag in body.split("</interface>").next().unwrap().split('<') {
        let (kind, name) = (tag.split_whitespace().next().unwrap_or_default(), attribute(tag, "name"));
        match kind {
            "method" | "signal" => found.push(format!("{kind} {name}")),
            "property" => found.push(format!("{kind} {name} {} {}", attribute(tag, "type"), attribute(tag, "access"))),
            "arg" => {
                *found.last_mut().unwrap() +=
                    &format!(" {}:{}:{}", attribute(tag, "direction"), attribute(tag, "type"), name)
            }
            "annotation" => *found.last_mut().unwrap() += &format!(" {name}={}", attribute(tag, "value")),
            _ => {}
        }
    }
    found.into_iter().collect()
}

#[tokio::test]
async fn introspection_is_the_contract() {
    let service = start(reads, SessionBus::No).await;
    let client = service.client().await;
    for (path, interface, xml) in objects() {
        let live = client.introspect(&path).await.unwrap();
        let (live, contract) = (members(&live, interface), members(xml, interface));
        assert!(contract.len() > 8, "the contract was not read");
        assert_eq!(live, contract, "{interface}");
    }
    service.bus.shutdown().await;
}

#[tokio::test]
async fn each_property_of_the_contract_has_a_value_of_its_type() {
    let service = start(reads, SessionBus::No).await;
    let client = service.client().await;
    for (path, interface, xml) in objects() {
        let all = client.all(&path, interface).await.unwrap();
        let live: BTreeMap<_, _> =
            all.iter().map(|(name, value)| (name.clone(), value.value_signature().to_string())).collect();
        let words = |member: &String| member.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let listed = members(xml, interface);
        let contract = listed.iter().map(words).filter(|words| words[0] == "property");
        let contract: BTreeMap<_, _> = contract.map(|words| (words[1].clone(), words[2].clone())).collect();
        assert_eq!(live, contract, "{interface}");
        for name in contract.keys() {
            let one = client.call(&path, PROPERTIES, "Get", &(interface, name)).await.unwrap();
            assert_eq!(
                one.body().deserialize::<Variant<'_>>().unwrap(),
                Variant::try_from(&all[name]).unwrap(),
                "{name}"
            );
        }
    }
    service.bus.shutdown().await;
}

/// Calls a method with the arguments `given`, types as in the contract.
async fn call_with(
    client: &Client,
    path: &str,
    interface: &str,
    method: &str,
    types: &[&str],
    options: Options<'_>,
) -> Result<(), String> {
    let result = match types {
        ["a{sv}"] => client.call(path, interface, method, &options).await,
        ["s", "a{sv}"] => client.call(path, interface, method, &(valid(method), options)).await,
        ["o", "a{sv}"] => {
            let agent = zbus::ObjectPath::try_from("/agent").unwrap();
            client.call(path, interface, method, &(agent, options)).await
        }
        ["s", "s", "a{sv}"] => client.call(path, interface, method, &(NOTES, "x", options)).await,
        ["s", "ay", "a{sv}"] => client.call(path, interface, method, &("x", vec![1_u8], options)).await,
        other => panic!("{other:?}"),
    };
    result.map(|_| ())
}

fn valid(method: &str) -> &str {
    match method {
        "SetRole" => "owner",
        "MoveKey" => "file",
        _ => "x",
    }
}

#[tokio::test]
async fn each_method_refuses_unknown_options_and_wrong_types() {
    let service = start(reads, SessionBus::No).await;
    let client = service.client().await;
    let mut methods = 0;
    for (path, interface, xml) in objects() {
        for member in members(xml, interface).iter().filter(|member| member.starts_with("method ")) {
            let mut words = member.split(' ').skip(1);
            let method = words.next().unwrap();
            let types: Vec<&str> =
                words.filter_map(|arg| arg.strip_prefix("in:")).map(|arg| arg.split(':').next().unwrap()).collect();
            let unknown = Options::from([("surprise", true.into())]);
            let refused = call_with(&client, &path, interface, method, &types, unknown).await;
            assert_eq!(refused, Err(dbus::Error::InvalidOption.name().to_owned()), "{method}");
            let mistyped = client.call(&path, interface, method, &(1_u32, 2_u32)).await.map(|_| ());
            assert_eq!(mistyped, Err("org.freedesktop.DBus.Error.InvalidArgs".to_owned()), "{method}");
            methods += 1;
        }
    }
    assert_eq!(methods, 37, "methods of the contract");
    service.bus.shutdown().await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_its_standard_name() {
    let service = start(reads, SessionBus::No).await;
    let client = service.client().await;
    let error = |name: &str| Err(format!("org.freedesktop.DBus.Error.{name}"));
    let names = [
        (client.call("/nowhere", dbus::MANAGER, "Leave", &none()).await, error("UnknownObject")),
        (client.call(dbus::ROOT, dbus::DEVICE, "Leave", &none()).await, error("UnknownInterface")),
        (client.call(dbus::ROOT, dbus::MANAGER, "Nonsense", &none()).await, error("UnknownMethod")),
        (client.call(dbus::ROOT, PROPERTIES, "Get", &(dbus::MANAGER, "Nonsense")).await, error("UnknownProperty")),
        (
            client.call(dbus::ROOT, PROPERTIES, "Set", &(dbus::MANAGER, "Epoch", Variant::from("x"))).await,
            error("PropertyReadOnly"),
        ),
        (
            client.call(&dbus::device_path(&id(9)), PROPERTIES, "GetAll", &dbus::DEVICE).await,
            Err(dbus::Error::NotFound.name().to_owned()),
        ),
    ];
    for (got, expected) in names {
        assert_eq!(got.map(|_| ()), expected);
    }
    service.bus.shutdown().await;
}

/// The kind is asked for in the session's title.
fn each_kind(_: &Caller, command: &Command) -> Result<Reply, CommandError> {
    let Command::CreateSession { title, .. } = command else { panic!("{command:?}") };
    Err(CommandError::new(ErrorKind::ALL[title.parse::<usize>().unwrap()], "as asked"))
}

#[tokio::test]
async fn each_error_has_its_own_name() {
    let service = start(each_kind, SessionBus::No).await;
    let client = service.client().await;
    for (n, kind) in ErrorKind::ALL.iter().enumerate() {
        let refused = client.call(dbus::ROOT, dbus::MANAGER, "CreateSession", &(NOTES, n.to_string(), none())).await;
        assert_eq!(refused.map(|_| ()), Err(format!("{}{kind:?}", dbus::ERROR_PREFIX)));
    }
    service.bus.shutdown().await;
}

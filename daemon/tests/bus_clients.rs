//! Who hears and sees what: on the private socket, and on a bus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bus_support;

use std::sync::Arc;

use bus_support::*;
use kinlink_daemon::bus::SessionBus;
use kinlink_proto::dbus;
use kinlink_proto::engine::command::{Caller, CallerKind, Command, PairingId, Reply};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::{PairingState, RevokedBy, View};
use kinlink_proto::id::SessionId;
use kinlink_proto::time::Wall;
use zbus::{MatchRule, Message, Variant, fdo};

/// Opens pairing 7, which the core has forgotten again when it is asked for it.
fn opens(_: &Caller, command: &Command) -> Result<Reply, CommandError> {
    match command {
        Command::OpenPairing { .. } => {
            let (qr, text) = ("KL:X".to_owned(), "kinlink:x".to_owned());
            Ok(Reply::Opened { pairing: PairingId(7), qr, text, expires: Wall(9) })
        }
        Command::Session(_) => Ok(Reply::Session(session())),
        Command::Rename { .. } => Ok(Reply::Done),
        _ => Err(not_found()),
    }
}

/// A service with two clients: on the private socket, or on a bus.
struct Stage {
    service: Service,
    ours: Client,
    other: Client,
    _bus: Option<DbusDaemon>,
}

impl Stage {
    async fn private() -> Self {
        let service = start(opens, SessionBus::No).await;
        let (ours, other) = (service.client().await, service.client().await);
        Self { service, ours, other, _bus: None }
    }

    async fn public() -> Option<Self> {
        let bus = DbusDaemon::start()?;
        let service = start(opens, SessionBus::Address(bus.address.clone())).await;
        assert!(service.bus.on_session_bus());
        let (ours, other) = (bus.client().await, bus.client().await);
        for client in [&ours, &other] {
            // Everything that the service sends: what is meant for another is still not received.
            let rule = MatchRule::builder().sender(dbus::BUS_NAME).build().unwrap();
            fdo::DBusProxy::new(&client.connection).await.unwrap().add_match_rule(rule).await.unwrap();
        }
        Some(Self { service, ours, other, _bus: Some(bus) })
    }
}

/// Runs a scenario on both transports.
macro_rules! on_both {
    ($($name:ident: $scenario:ident,)*) => {
        mod private {
            $(#[tokio::test]
            async fn $name() {
                super::$scenario(super::Stage::private().await).await;
            })*
        }
        mod public {
            $(#[tokio::test]
            async fn $name() {
                if let Some(stage) = super::Stage::public().await {
                    super::$scenario(stage).await;
                }
            })*
        }
    };
}

on_both! {
    only_subscribers_hear_of_sessions: subscribers,
    a_pairing_is_there_for_its_owner_only: pairings,
    what_a_client_opened_ends_when_it_leaves: leaving,
    devices_come_change_and_go_by_signal: devices,
    orders_carry_their_caller: callers,
}

fn entry_changed(key: &str) -> Event {
    let (session, app) = (SessionId([2; 16]), NOTES.to_owned());
    Event::EntryChanged { session, app, key: key.into(), deleted: false, device: id(1) }
}

async fn open_pairing(client: &Client) -> String {
    let reply = client.call(dbus::ROOT, dbus::MANAGER, "OpenPairing", &none()).await.unwrap();
    let body = reply.body();
    let (path, qr, text, expires) = body.deserialize::<(zbus::ObjectPath<'_>, &str, &str, u64)>().unwrap();
    assert_eq!((qr, text, expires), ("KL:X", "kinlink:x", 9));
    path.to_string()
}

async fn managed(client: &Client) -> Vec<String> {
    let manager = "org.freedesktop.DBus.ObjectManager";
    let reply = client.call(dbus::ROOT, manager, "GetManagedObjects", &()).await.unwrap();
    let objects = reply.body().deserialize::<fdo::ManagedObjects>().unwrap();
    objects.keys().map(ToString::to_string).collect()
}

async fn subscribers(mut stage: Stage) {
    stage.ours.call(dbus::ROOT, dbus::MANAGER, "Subscribe", &none()).await.unwrap();
    // The other one is known, and did not subscribe.
    stage.other.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    stage.service.events.send(entry_changed("milk").into()).unwrap();
    let by = RevokedBy { by: id(1), name: "desk".to_owned(), reason: "done".to_owned(), at: Wall(7) };
    stage
        .service
        .events
        .send(Event::SessionEnded { session: SessionId([2; 16]), app: NOTES.to_owned(), by }.into())
        .unwrap();

    let path = dbus::session_path(&SessionId([2; 16]));
    let (name, message) = stage.ours.signal().await;
    assert_eq!(name, format!("{path} {} EntryChanged", dbus::SESSION));
    let body = message.body();
    assert_eq!(
        body.deserialize::<(String, String, String)>().unwrap(),
        ("milk".into(), "put".into(), id(1).to_string())
    );
    let (changed, values) = stage.ours.changed().await;
    assert_eq!((changed.as_str(), text(&values, "State").as_str()), (path.as_str(), "ended"));
    assert_eq!(stage.ours.signal().await.0, format!("{path} {} Ended", dbus::SESSION));

    // Nothing of it reached the other: the first signal that it sees is a later one, for all.
    stage.service.views.send_modify(|view| Arc::make_mut(view).status.pairing_open = true);
    assert_eq!(stage.other.changed().await.0, dbus::ROOT);

    stage.ours.changed().await;
    stage.ours.call(dbus::ROOT, dbus::MANAGER, "Unsubscribe", &none()).await.unwrap();
    stage.service.events.send(entry_changed("eggs").into()).unwrap();
    stage.service.views.send_modify(|view| Arc::make_mut(view).status.pairing_open = false);
    assert_eq!(stage.ours.changed().await.0, dbus::ROOT);
    stage.service.bus.shutdown().await;
}

async fn pairings(mut stage: Stage) {
    let path = open_pairing(&stage.ours).await;
    let owner = stage.service.next_caller().await.id;
    stage.other.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    for state in [PairingState::Waiting, PairingState::Cancelled] {
        let event = Event::Pairing { pairing: PairingId(7), owner, view: pairing(state) };
        stage.service.events.send(event.into()).unwrap();
    }
    stage.service.events.send(Event::PairingGone(PairingId(7)).into()).unwrap();

    assert!(stage.ours.signal().await.0.ends_with("InterfacesAdded"));
    assert_eq!(text(&stage.ours.changed().await.1, "State"), "waiting");
    let (_, changed) = stage.ours.changed().await;
    assert_eq!((changed.len(), text(&changed, "State").as_str()), (1, "cancelled"));

    // Its owner can still read how it ended; nobody else can tell that it was there.
    assert_eq!(text(&stage.ours.all(&path, dbus::PAIRING).await.unwrap(), "State"), "cancelled");
    stage.ours.call(&path, dbus::PAIRING, "Cancel", &none()).await.unwrap();
    let hidden = Err(dbus::Error::NotFound.name().to_owned());
    assert_eq!(stage.other.all(&path, dbus::PAIRING).await.map(|_| ()), hidden);
    assert_eq!(stage.other.introspect(&path).await.map(|_| ()), hidden);
    assert_eq!(stage.other.call(&path, dbus::PAIRING, "Cancel", &none()).await.map(|_| ()), hidden);
    assert!(stage.ours.introspect(dbus::PAIRINGS).await.unwrap().contains("\"7\""));
    assert!(!stage.other.introspect(dbus::PAIRINGS).await.unwrap().contains("\"7\""));
    for (client, there) in [(&stage.ours, true), (&stage.other, false)] {
        let objects = managed(client).await;
        assert_eq!(objects.contains(&path), there);
        assert!(objects.contains(&dbus::device_path(&id(1))));
    }
    stage.service.views.send_modify(|view| Arc::make_mut(view).status.pairing_open = true);
    assert_eq!(stage.other.changed().await.0, dbus::ROOT, "the first signal that the other client saw");
    stage.service.bus.shutdown().await;
}

async fn leaving(mut stage: Stage) {
    open_pairing(&stage.ours).await;
    let owner = stage.service.next_caller().await.id;
    open_pairing(&stage.other).await;
    assert_ne!(stage.service.next_caller().await.id, owner, "each client is another caller");
    stage.ours.connection.close().await.unwrap();
    assert_eq!(stage.service.next().await, Seen::Gone(owner));
    // The rest leave when the service stops.
    stage.service.bus.shutdown().await;
    assert!(matches!(within(stage.service.seen.recv()).await, Some(Seen::Gone(_))));
}

async fn devices(mut stage: Stage) {
    stage.ours.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    let change = |change: fn(&mut View)| stage.service.views.send_modify(|view| change(Arc::make_mut(view)));

    change(|view| view.devices.push(device(2, "phone")));
    let (name, message) = stage.ours.signal().await;
    assert_eq!(name, format!("{} org.freedesktop.DBus.ObjectManager InterfacesAdded", dbus::ROOT));
    let body = message.body();
    let (path, added) = body.deserialize::<(zbus::ObjectPath<'_>, std::collections::BTreeMap<String, Dict>)>().unwrap();
    assert_eq!(
        (path.as_str(), text(&added[dbus::DEVICE], "Name").as_str()),
        (dbus::device_path(&id(2)).as_str(), "phone")
    );

    // Having been seen later is no signal: the next one is of what else changed, and of that alone.
    change(|view| view.devices[1].last_seen = Wall(9999));
    change(|view| view.devices[1].name = "old phone".to_owned());
    let (path, changed) = stage.ours.changed().await;
    assert_eq!((path, changed.len(), text(&changed, "Name").as_str()), (dbus::device_path(&id(2)), 1, "old phone"));
    let now = stage.ours.all(&dbus::device_path(&id(2)), dbus::DEVICE).await.unwrap();
    assert_eq!(u64::try_from(now["LastSeen"].try_clone().unwrap()), Ok(9999));

    change(|view| drop(view.devices.pop()));
    let (name, message) = stage.ours.signal().await;
    assert!(name.ends_with("InterfacesRemoved"), "{name}");
    let body = message.body();
    let (path, removed) = body.deserialize::<(zbus::ObjectPath<'_>, Vec<String>)>().unwrap();
    assert_eq!((path.to_string(), removed), (dbus::device_path(&id(2)), vec![dbus::DEVICE.to_owned()]));
    stage.service.bus.shutdown().await;
}

async fn callers(mut stage: Stage) {
    let path = dbus::device_path(&id(1));
    stage.ours.call(&path, PROPERTIES, "Set", &(dbus::DEVICE, "Name", Variant::from("den"))).await.unwrap();
    let Seen::Command(caller, command) = stage.service.next().await else { panic!("no order") };
    assert_eq!((caller.kind, command), (CallerKind::User, Command::Rename { device: id(1), name: "den".to_owned() }));
    let long = "x".repeat(256);
    let refused = stage.ours.call(&path, PROPERTIES, "Set", &(dbus::DEVICE, "Name", Variant::from(long))).await;
    assert_eq!(refused.map(|_| ()), Err(dbus::Error::TooLarge.name().to_owned()));
    let refused = stage.ours.call(dbus::ROOT, dbus::MANAGER, "Join", &("not a challenge", none())).await;
    assert_eq!(refused.map(|_| ()), Err(dbus::Error::BadChallenge.name().to_owned()));
    let brief = Options::from([("timeout", 29_u32.into())]);
    let refused = stage.ours.call(dbus::ROOT, dbus::MANAGER, "OpenPairing", &brief).await;
    assert_eq!(refused.map(|_| ()), Err(dbus::Error::InvalidArgument.name().to_owned()));
    // Of the refused ones, none was ordered.
    open_pairing(&stage.ours).await;
    let Seen::Command(next, command) = stage.service.next().await else { panic!("no order") };
    assert!(matches!(command, Command::OpenPairing { ref addresses, .. } if addresses.is_empty()), "{command:?}");
    assert_eq!(next.id, caller.id, "one client is one caller");
    stage.service.bus.shutdown().await;
}

/// Opens pairing 7, and keeps it waiting.
fn waits(caller: &Caller, command: &Command) -> Result<Reply, CommandError> {
    match command {
        Command::Pairing(PairingId(7)) => Ok(Reply::Pairing(pairing(PairingState::Waiting))),
        _ => opens(caller, command),
    }
}

#[tokio::test]
async fn a_pairing_is_listed_as_soon_as_it_is_open() {
    let mut service = start(waits, SessionBus::No).await;
    let mut client = service.client().await;
    let path = open_pairing(&client).await;
    assert!(managed(&client).await.contains(&path));
    assert!(client.signal().await.0.ends_with("InterfacesAdded"));
    // From then on its owner is told what changed, and that alone.
    let owner = service.next_caller().await.id;
    let event = Event::Pairing { pairing: PairingId(7), owner, view: pairing(PairingState::Claimed) };
    service.events.send(event.into()).unwrap();
    let (changed, values) = client.changed().await;
    assert_eq!((changed, values.len(), text(&values, "State").as_str()), (path, 1, "claimed"));
    service.bus.shutdown().await;
}

/// On a bus, whoever may talk to a service hears its broadcasts, a sandboxed app too: nothing is broadcast.
#[tokio::test]
async fn who_never_called_overhears_nothing() {
    let Some(mut stage) = Stage::public().await else { return };
    stage.ours.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    let change = |change: fn(&mut View)| stage.service.views.send_modify(|view| change(Arc::make_mut(view)));
    change(|view| view.devices.push(device(2, "phone")));
    stage.ours.signal().await;
    change(|view| view.devices[1].name = "old phone".to_owned());
    stage.ours.signal().await;
    change(|view| view.status.pairing_open = true);
    stage.ours.signal().await;
    stage.other.all(dbus::ROOT, dbus::MANAGER).await.unwrap();
    change(|view| view.devices[1].online = false);
    let (path, changed) = stage.other.changed().await;
    assert_eq!((path, changed.len()), (dbus::device_path(&id(2)), 1), "the first signal that it is sent");
    assert!(changed.contains_key("Online"), "{changed:?}");
    stage.service.bus.shutdown().await;
}

#[tokio::test]
async fn only_the_bus_is_believed_that_a_client_left() {
    let Some(mut stage) = Stage::public().await else { return };
    open_pairing(&stage.ours).await;
    let owner = stage.service.next_caller().await.id;
    let victim = stage.ours.connection.unique_name().unwrap().as_str();
    let forged = Message::signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged");
    let forged = forged.destination(dbus::BUS_NAME).build(&(victim, victim, "")).unwrap();
    stage.other.connection.send(&forged).await.unwrap();
    // The service reads one client's messages in order: when this is answered, the forged one was seen.
    open_pairing(&stage.other).await;
    stage.service.next_caller().await;
    open_pairing(&stage.ours).await;
    assert_eq!(stage.service.next_caller().await.id, owner);
    stage.service.bus.shutdown().await;
}

/// Whoever does not read hears less, and later that it did; whoever reads hears everything, and waits for nobody.
#[tokio::test]
async fn a_client_that_does_not_read_slows_nobody_down() {
    const CHANGES: usize = 20_000;
    let Stage { service, mut ours, other: mut sleeper, .. } = Stage::private().await;
    for client in [&ours, &sleeper] {
        client.call(dbus::ROOT, dbus::MANAGER, "Subscribe", &none()).await.unwrap();
    }
    let lost = format!("{} {} SignalsLost", dbus::ROOT, dbus::MANAGER);
    let keys: Vec<String> = (0..CHANGES).map(|number| number.to_string()).collect();
    for burst in keys.chunks(50) {
        for key in burst {
            service.events.send(entry_changed(key).into()).unwrap();
        }
        for key in burst {
            let (name, message) = ours.signal().await;
            assert_ne!(name, lost, "before {key}");
            assert_eq!(message.body().deserialize::<(String, String, String)>().unwrap().0, *key);
        }
    }
    let mut heard = 0;
    while sleeper.signal().await.0 != lost {
        heard += 1;
    }
    assert!((1..CHANGES).contains(&heard), "{heard}");
    // It reads again, and is told of what comes from now on.
    service.events.send(entry_changed("later").into()).unwrap();
    let (_, message) = sleeper.signal().await;
    assert_eq!(message.body().deserialize::<(String, String, String)>().unwrap().0, "later");
    service.bus.shutdown().await;
}

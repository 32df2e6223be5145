//! What happened in the core, told to those who may know.
//!
//! All signals go unicast: on a bus, a sandboxed app that may talk to the daemon hears whatever is broadcast. Changes of
//! devices and status, found by comparing snapshots, go to the clients that called something before and may see the
//! account; events of sessions to subscribers that may see the session; those of pairings to their owner.

use std::collections::BTreeMap;
use std::sync::Arc;

use kinlink_proto::engine::command::{Caller, CallerId, CallerKind, Command, PairingId, Reply};
use kinlink_proto::engine::io::Event;
use kinlink_proto::engine::view::{DeviceView, PairingView, View};
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use zbus::names::OwnedUniqueName;
use zbus::{DynamicType, Message};

use super::agent::Prompts;
use super::contract::Emits;
use super::hub::{Client, Hub};
use super::objects::{Object, Values, changes};
use super::{device, manager, pairing, session, standard, stopped};
use crate::handle::KeyView;

/// Tells until the daemon stops. A barrier is answered once every event sent before it has been told.
pub(super) async fn run(
    hub: Arc<Hub>,
    mut events: broadcast::Receiver<Arc<Event>>,
    mut barriers: mpsc::Receiver<oneshot::Sender<()>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut views = hub.core.view();
    let mut last = views.borrow_and_update().clone();
    let mut keys = hub.core.key();
    let mut key = keys.borrow_and_update().clone();
    let mut prompts = Prompts::default();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            event = events.recv() => match event {
                Ok(event) => tell(&hub, &mut prompts, Arc::unwrap_or_clone(event)).await,
                Err(RecvError::Lagged(lost)) => catch_up(&hub, &mut prompts, lost).await,
                Err(RecvError::Closed) => return,
            },
            changed = views.changed() => {
                if changed.is_err() {
                    return;
                }
                let (next, now) = (views.borrow_and_update().clone(), keys.borrow_and_update().clone());
                compare(&hub, (&last, &key), (&next, &now)).await;
                (last, key) = (next, now);
            }
            Ok(()) = keys.changed() => {
                let now = keys.borrow_and_update().clone();
                compare(&hub, (&last, &key), (&last, &now)).await;
                key = now;
            }
            Some(barrier) = barriers.recv() => if barrier.send(()).is_err() {
                tracing::trace!("nobody waits for the events any more");
            },
        }
    }
}

async fn tell(hub: &Arc<Hub>, prompts: &mut Prompts, event: Event) {
    match event {
        // Taken from the snapshot itself, which cannot fall behind.
        Event::View(_) => {}
        // Sessions are found with ListSessions; a forgotten pairing stays readable until its owner leaves.
        Event::SessionCreated { .. } | Event::PairingGone(_) => {}
        Event::Pairing { pairing, owner, view } => {
            tell_owner(hub, pairing, owner, view.clone()).await;
            prompts.follow(hub, pairing, owner, view);
        }
        Event::EntryChanged { session, app, key, deleted, device } => {
            let body = (session::name(&key), session::kind(deleted), device.to_string());
            let signal = Signal::of(Object::Session(session), "EntryChanged");
            for client in hub.subscribers(&app) {
                if let Some(message) = signal.message(client.name.as_ref(), &body) {
                    client.outbox.push_change(message, client.name.as_ref());
                }
            }
        }
        Event::SessionEnded { session, app, by } => {
            let subscribers = hub.subscribers(&app);
            let object = Object::Session(session);
            let (name, reason) = (super::objects::text(by.name.as_str()), super::objects::text(by.reason.as_str()));
            let body = (by.by.to_string(), name, reason);
            tell_all(&subscribers, &Signal::changed(object), &changed(object, session::ending(Some(&by)))).await;
            tell_all(&subscribers, &Signal::of(object, "Ended"), &body).await;
        }
    }
}

/// Events were lost because they came faster than they could be told. What is kept is read again.
async fn catch_up(hub: &Arc<Hub>, prompts: &mut Prompts, lost: u64) {
    tracing::warn!("{lost} events were not signalled: clients read again what they watch");
    for client in hub.all_subscribers() {
        client.outbox.missed(client.name.as_ref());
    }
    for (pairing, owner) in hub.all_kept() {
        let caller = Caller { id: owner, kind: CallerKind::User };
        if let Ok(Reply::Pairing(view)) = hub.core.command(caller, Command::Pairing(pairing)).await {
            tell_owner(hub, pairing, owner, view.clone()).await;
            prompts.follow(hub, pairing, owner, view);
        }
    }
}

async fn tell_owner(hub: &Hub, pairing: PairingId, owner: CallerId, view: PairingView) {
    let Some(client) = hub.client(owner) else { return };
    let this = hub.core.view().borrow().status.device;
    let (object, values) = (Object::Pairing(pairing), pairing::values(&view, this));
    match hub.keep(pairing, owner, view) {
        Some(before) => tell_changes(&client, object, changes(&pairing::values(&before, this), values)).await,
        // The client may have read it already, as it was before: it is told everything.
        None => {
            tell_added(&client, object, values.clone()).await;
            tell_changes(&client, object, values).await;
        }
    }
}

/// Tells a client of an object that is there for it alone.
pub(super) async fn tell_added(client: &Client, object: Object, values: Values) {
    let body = (object.object_path(), standard::interfaces(&object, values));
    if let Some(message) = Signal::added().message(client.name.as_ref(), &body) {
        client.outbox.push(message).await;
    }
}

async fn tell_changes(client: &Arc<Client>, object: Object, values: Values) {
    let values = signalled(object, values);
    if !values.is_empty() {
        tell_all(std::slice::from_ref(client), &Signal::changed(object), &changed(object, values)).await;
    }
}

/// Tells what differs between two snapshots.
async fn compare(hub: &Hub, (old, key_before): (&View, &KeyView), (new, key): (&View, &KeyView)) {
    let facts = hub.core.facts();
    let root = changes(&manager::values(facts, old, key_before), manager::values(facts, new, key));
    announce(&hub.apps(), Object::Root, manager::of_apps(root.clone())).await;
    let everybody = hub.everybody();
    announce(&everybody, Object::Root, root).await;
    let before: BTreeMap<_, &DeviceView> = old.devices.iter().map(|device| (device.id, device)).collect();
    for now in &new.devices {
        let object = Object::Device(now.id);
        match before.get(&now.id) {
            Some(before) => announce(&everybody, object, changes(&device::values(before), device::values(now))).await,
            None => {
                let body = (object.object_path(), standard::interfaces(&object, device::values(now)));
                tell_all(&everybody, &Signal::added(), &body).await;
            }
        }
    }
    for gone in before.keys().filter(|id| new.devices.iter().all(|device| device.id != **id)) {
        let object = Object::Device(*gone);
        let body = (object.object_path(), vec![object.interface().name]);
        tell_all(&everybody, &Signal::removed(), &body).await;
    }
}

async fn announce(clients: &[Arc<Client>], object: Object, values: Values) {
    let values = signalled(object, values);
    if !values.is_empty() {
        tell_all(clients, &Signal::changed(object), &changed(object, values)).await;
    }
}

/// Those of `values` whose changes are signalled.
fn signalled(object: Object, mut values: Values) -> Values {
    let table = object.interface();
    values.retain(|(name, _)| table.property(name).is_some_and(|property| property.emits == Emits::Value));
    values
}

type Changed = (&'static str, BTreeMap<&'static str, zbus::Variant<'static>>, Vec<&'static str>);

/// The body of `PropertiesChanged`.
fn changed(object: Object, values: Values) -> Changed {
    (object.interface().name, values.into_iter().collect(), Vec::new())
}

/// Which signal, from where.
struct Signal {
    object: Object,
    interface: &'static str,
    member: &'static str,
}

impl Signal {
    /// One of the object's own.
    fn of(object: Object, member: &'static str) -> Self {
        Self { object, interface: object.interface().name, member }
    }

    fn changed(object: Object) -> Self {
        Self { object, interface: standard::PROPERTIES, member: "PropertiesChanged" }
    }

    fn added() -> Self {
        Self { object: Object::Root, interface: standard::OBJECT_MANAGER, member: "InterfacesAdded" }
    }

    fn removed() -> Self {
        Self { object: Object::Root, interface: standard::OBJECT_MANAGER, member: "InterfacesRemoved" }
    }

    /// The message, to one client.
    fn message<B: Serialize + DynamicType>(&self, to: Option<&OwnedUniqueName>, body: &B) -> Option<Message> {
        let mut signal = Message::signal(self.object.object_path(), self.interface, self.member);
        if let Some(name) = to {
            signal = signal.destination(name.as_ref());
        }
        let failed = |error| tracing::error!("the signal {} cannot be built: {error}", self.member);
        signal.build(body).map_err(failed).ok()
    }
}

/// What tells a client that signals about sessions did not reach it.
pub(super) fn lost(client: Option<&OwnedUniqueName>) -> Option<Message> {
    Signal::of(Object::Root, "SignalsLost").message(client, &())
}

async fn tell_all<B: Serialize + DynamicType>(clients: &[Arc<Client>], signal: &Signal, body: &B) {
    for client in clients {
        if let Some(message) = signal.message(client.name.as_ref(), body) {
            client.outbox.push(message).await;
        }
    }
}

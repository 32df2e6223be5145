//! One D-Bus connection: reads calls, answers each in a task of its own, and notices who leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use kinlink_proto::engine::command::CallerKind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zbus::message::{Flags, Type};
use zbus::names::{OwnedUniqueName, UniqueName};
use zbus::{Connection, Message, MessageStream};

use super::error::{Failure, Standard};
use super::hub::{Client, Hub};
use super::outbox::Outbox;
use super::{call, limits, public, stopped};

/// Who is at the other end.
#[derive(Debug)]
pub(super) enum Side {
    /// A bus: clients are told apart by their unique names.
    Bus,
    /// One client, and what it may do, if anybody could say.
    Peer(Option<CallerKind>),
}

/// A client with its calls under way.
struct Guest {
    client: Arc<Client>,
    calls: JoinSet<()>,
}

/// Serves until the other end leaves, reads too slowly, or the daemon stops.
pub(super) async fn serve(hub: Arc<Hub>, mut messages: MessageStream, side: Side, mut stop: watch::Receiver<bool>) {
    let (outbox, queue) = Outbox::new();
    let mut link = Link::new(hub, Connection::from(&messages), side, outbox.clone());
    let writer = tokio::spawn(queue.run(link.connection.clone()));
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = outbox.overflow() => {
                tracing::warn!("a D-Bus client that does not read its messages is disconnected");
                break;
            }
            // No call is awaited here: replies of the bus itself come through the same reader.
            message = messages.next() => match message {
                Some(Ok(message)) => link.receive(message),
                Some(Err(_)) | None => break,
            },
        }
    }
    link.leave().await;
    writer.abort();
}

struct Link {
    hub: Arc<Hub>,
    connection: Connection,
    outbox: Outbox,
    /// The client of a link that has only one.
    peer: Option<Guest>,
    /// The clients of a bus.
    guests: BTreeMap<OwnedUniqueName, Guest>,
    departures: JoinSet<()>,
}

impl Link {
    fn new(hub: Arc<Hub>, connection: Connection, side: Side, outbox: Outbox) -> Self {
        let peer = match side {
            Side::Bus => None,
            Side::Peer(kind) => Some(hub.admit(None, kind, outbox.clone())),
        };
        let peer = peer.map(|client| Guest { client, calls: JoinSet::new() });
        Self { hub, connection, outbox, peer, guests: BTreeMap::new(), departures: JoinSet::new() }
    }

    fn receive(&mut self, message: Message) {
        reap(&mut self.departures);
        match message.message_type() {
            Type::MethodCall => self.call(message),
            Type::Signal => {
                if let Some(name) = public::departed(&message) {
                    self.depart(&name);
                }
            }
            Type::MethodReturn | Type::Error => {}
        }
    }

    /// Answers a call, unless its sender has too many under way.
    fn call(&mut self, message: Message) {
        let (hub, connection) = (self.hub.clone(), self.connection.clone());
        let Some(guest) = self.guest(&message) else { return };
        reap(&mut guest.calls);
        if guest.calls.len() >= limits::CALLS_PER_CLIENT {
            let failure = Failure::standard(Standard::LimitsExceeded, "too many calls at once; wait for replies");
            return refuse(&guest.client, &message, &failure);
        }
        guest.calls.spawn(answer(hub, connection, guest.client.clone(), message));
    }

    /// The sender: on a link of its own whoever is there, on a bus the name that the bus wrote into the message.
    fn guest(&mut self, message: &Message) -> Option<&mut Guest> {
        if self.peer.is_some() {
            return self.peer.as_mut();
        }
        let sender = OwnedUniqueName::from(message.header().sender()?.to_owned());
        let (hub, outbox) = (&self.hub, &self.outbox);
        let admit = |name: &OwnedUniqueName| Guest {
            client: hub.admit(Some(name.clone()), None, outbox.clone()),
            calls: JoinSet::new(),
        };
        Some(self.guests.entry(sender).or_insert_with_key(admit))
    }

    fn depart(&mut self, name: &UniqueName<'_>) {
        if let Some(guest) = self.guests.remove(name.as_str()) {
            self.departures.spawn(depart(self.hub.clone(), guest));
        }
    }

    /// Everybody on this link leaves with it.
    async fn leave(mut self) {
        for guest in self.peer.into_iter().chain(std::mem::take(&mut self.guests).into_values()) {
            self.departures.spawn(depart(self.hub.clone(), guest));
        }
        while self.departures.join_next().await.is_some() {}
        if let Err(error) = self.connection.close().await {
            tracing::debug!("closing a D-Bus connection: {error}");
        }
    }
}

/// Lets a client's last calls reach the core, then says that it left: what it opened ends.
async fn depart(hub: Arc<Hub>, mut guest: Guest) {
    hub.forget(guest.client.id);
    let last_calls = async { while guest.calls.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::LAST_CALLS, last_calls).await.is_err() {
        guest.calls.shutdown().await;
    }
    hub.core.caller_gone(guest.client.id).await;
}

async fn answer(hub: Arc<Hub>, connection: Connection, client: Arc<Client>, message: Message) {
    // If nobody can say now what it is, its next call asks again; this one is nobody's.
    let identify = || public::identify(&hub, &connection, client.name.as_ref());
    if let Err(error) = client.kind.get_or_try_init(identify).await {
        tracing::debug!("a D-Bus call from nobody: {error}");
    }
    let reply = call::answer(&hub, &connection, &client, &message).await;
    if message.header().primary().flags().contains(Flags::NO_REPLY_EXPECTED) {
        return;
    }
    if let Err(error) = match reply {
        Ok(reply) => connection.send(&reply).await,
        Err(error) => Err(error),
    } {
        tracing::debug!("a D-Bus call was not answered: {error}");
    }
}

fn refuse(client: &Client, message: &Message, failure: &Failure) {
    match failure.reply(&message.header()) {
        Ok(reply) => client.outbox.offer(reply),
        Err(error) => tracing::debug!("a D-Bus call was not answered: {error}"),
    }
}

/// Forgets tasks that have ended, and reports those that failed.
fn reap(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.try_join_next() {
        if let Err(error) = ended {
            tracing::error!("a D-Bus call failed: {error}");
        }
    }
}

//! One method call: find the object and the member, check that the caller may, and let the interface answer.

use kinlink_proto::dbus::Error as Name;
use kinlink_proto::engine::command::{Caller, CallerKind, Command, Reply};
use serde::Serialize;
use zbus::message::{Body, Header};
use zbus::wire::DynamicDeserialize;
use zbus::{Connection, DynamicType, Message};

use super::contract::Method;
use super::error::{Failure, Standard};
use super::hub::{Client, Hub};
use super::objects::Object;
use super::{caller, device, manager, pairing, session, standard, vault};
use crate::log;

/// A call in hand.
pub(super) struct Call<'a> {
    /// What all calls share.
    pub(super) hub: &'a Hub,
    /// Where the call came from.
    pub(super) connection: &'a Connection,
    /// Who calls.
    pub(super) client: &'a Client,
    header: Header<'a>,
    body: Body,
}

/// The message that answers `message`.
pub(super) async fn answer(
    hub: &Hub,
    connection: &Connection,
    client: &Client,
    message: &Message,
) -> Result<Message, zbus::Error> {
    let call = Call { hub, connection, client, header: message.header(), body: message.body() };
    match route(&call).await {
        Ok(reply) => Ok(reply),
        Err(failure) => failure.reply(&call.header),
    }
}

async fn route(call: &Call<'_>) -> Result<Message, Failure> {
    let path = call.header.path().map(|path| path.as_str()).unwrap_or_default();
    let unknown = || Failure::standard(Standard::UnknownObject, "there is no such object");
    let object = Object::at(path);
    match call.interface() {
        // To ask whether somebody is there needs no object.
        Some(standard::PEER) => standard::peer(call),
        Some(standard::INTROSPECTABLE) => standard::introspect(call, path, object).await,
        Some(standard::PROPERTIES) => standard::properties(call, &object.ok_or_else(unknown)?).await,
        Some(standard::OBJECT_MANAGER) => standard::object_manager(call, &object.ok_or_else(unknown)?).await,
        interface => own(call, object.ok_or_else(unknown)?, interface).await,
    }
}

/// A method of one of our interfaces; without an interface, of the only one that the object has.
async fn own(call: &Call<'_>, object: Object, interface: Option<&str>) -> Result<Message, Failure> {
    let table = object.interface();
    if interface.is_some_and(|name| name != table.name) {
        return Err(Failure::standard(Standard::UnknownInterface, "the object has no such interface"));
    }
    let unknown = || Failure::standard(Standard::UnknownMethod, "the interface has no such method");
    let method = table.method(call.member()).ok_or_else(unknown)?;
    if !caller::may_call(&call.kind(), table.name, method.name) {
        return Err(call.not_allowed());
    }
    call.check(method)?;
    vault::check(call, &object, method.name)?;
    match object {
        Object::Root => manager::call(call, method.name).await,
        Object::Device(id) => device::call(call, id, method.name).await,
        Object::Session(id) => session::call(call, id, method.name).await,
        Object::Pairing(id) => pairing::call(call, id, method.name).await,
    }
}

impl Call<'_> {
    /// The interface that was named.
    pub(super) fn interface(&self) -> Option<&str> {
        self.header.interface().map(|name| name.as_str())
    }

    /// The method that was named.
    pub(super) fn member(&self) -> &str {
        self.header.member().map(|name| name.as_str()).unwrap_or_default()
    }

    /// What the caller may do.
    pub(super) fn kind(&self) -> CallerKind {
        self.client.caller().kind
    }

    /// Gives one order to the core, in the caller's name.
    pub(super) async fn order(&self, command: Command) -> Result<Reply, Failure> {
        let caller: Caller = self.client.caller();
        Ok(self.hub.core.command(caller, command).await?)
    }

    /// Gives an order that is answered without a value.
    pub(super) async fn done(&self, command: Command) -> Result<Message, Failure> {
        match self.order(command).await? {
            // Revoke is answered with the devices that it revoked.
            Reply::Done | Reply::Revoked(_) => self.reply(&()),
            other => Err(unexpected(&other)),
        }
    }

    /// The arguments, whose signature was checked.
    pub(super) fn args<'s, T: DynamicDeserialize<'s>>(&'s self) -> Result<T, Failure> {
        let malformed = |error| Failure::standard(Standard::InvalidArgs, format!("malformed arguments: {error}"));
        self.body.deserialize().map_err(malformed)
    }

    /// The reply, with `body`.
    pub(super) fn reply<B: Serialize + DynamicType>(&self, body: &B) -> Result<Message, Failure> {
        Ok(Message::method_return(&self.header).build(body)?)
    }

    /// Refuses arguments of other types than `method` takes.
    pub(super) fn check(&self, method: &Method) -> Result<(), Failure> {
        let (given, takes) = (self.body.signature().to_string_no_parens(), method.signature());
        if given == takes {
            return Ok(());
        }
        let message = format!("{} takes arguments of the types '{takes}', not '{given}'", method.name);
        Err(Failure::standard(Standard::InvalidArgs, message))
    }

    /// The refusal of what this caller may not do.
    pub(super) fn not_allowed(&self) -> Failure {
        self.log_refusal();
        let message = match self.kind() {
            _ if self.client.kind.get().is_none() => {
                "kinlinkd cannot tell programs apart, so it refuses all: its helper does not answer; look at: \
                 systemctl --user status kinlinkd-callers.socket"
            }
            CallerKind::Sandboxed(app) if app.is_empty() => {
                "kinlinkd cannot tell which program asks; run it outside of containers and sandboxes"
            }
            _ => "an app in a sandbox may use its own sessions only; use kinctl or the desktop's settings",
        };
        Failure::new(Name::NotAllowed, message)
    }
}

impl Call<'_> {
    /// Once for each client: an app that tries again and again must not fill the log.
    fn log_refusal(&self) {
        if !self.client.note_refused() {
            return;
        }
        let CallerKind::Sandboxed(app) = self.kind() else { return };
        let (interface, method) = (self.interface().unwrap_or_default(), self.member());
        let app = kinlink_proto::names::clean(&app);
        tracing::warn!(event = log::REFUSED, app, interface, method, "a caller in a sandbox was refused");
    }
}

/// A reply that does not belong to its command. It is not shown: it may hold a secret.
pub(super) fn unexpected(_: &Reply) -> Failure {
    Failure::internal("the core gave a reply of another command")
}

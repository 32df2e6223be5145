//! The standard interfaces: Peer, Introspectable, Properties and ObjectManager.

use std::collections::BTreeMap;

use zbus::{Message, ObjectPath, Variant};

use super::call::Call;
use super::contract::{Interface, Method};
use super::error::{Failure, Standard};
use super::objects::{self, Object, Values};
use super::{caller, device, manager, pairing, vault};

pub(super) const PEER: &str = "org.freedesktop.DBus.Peer";
pub(super) const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
pub(super) const OBJECT_MANAGER: &str = "org.freedesktop.DBus.ObjectManager";

static PEER_TABLE: Interface = Interface {
    name: PEER,
    methods: &[
        Method { name: "Ping", takes: &[], gives: &[] },
        Method { name: "GetMachineId", takes: &[], gives: &[("machine_uuid", "s")] },
    ],
    signals: &[],
    properties: &[],
};

static INTROSPECTABLE_TABLE: Interface = Interface {
    name: INTROSPECTABLE,
    methods: &[Method { name: "Introspect", takes: &[], gives: &[("xml_data", "s")] }],
    signals: &[],
    properties: &[],
};

static PROPERTIES_TABLE: Interface = Interface {
    name: PROPERTIES,
    methods: &[
        Method { name: "Get", takes: &[("interface_name", "s"), ("property_name", "s")], gives: &[("value", "v")] },
        Method { name: "GetAll", takes: &[("interface_name", "s")], gives: &[("properties", "a{sv}")] },
        Method { name: "Set", takes: &[("interface_name", "s"), ("property_name", "s"), ("value", "v")], gives: &[] },
    ],
    signals: &[(
        "PropertiesChanged",
        &[("interface_name", "s"), ("changed_properties", "a{sv}"), ("invalidated_properties", "as")],
    )],
    properties: &[],
};

static OBJECT_MANAGER_TABLE: Interface = Interface {
    name: OBJECT_MANAGER,
    methods: &[Method { name: "GetManagedObjects", takes: &[], gives: &[("objects", "a{oa{sa{sv}}}")] }],
    signals: &[
        ("InterfacesAdded", &[("object", "o"), ("interfaces", "a{sa{sv}}")]),
        ("InterfacesRemoved", &[("object", "o"), ("interfaces", "as")]),
    ],
    properties: &[],
};

fn method<'t>(call: &Call<'_>, table: &'t Interface) -> Result<&'t Method, Failure> {
    let unknown = || Failure::standard(Standard::UnknownMethod, "the interface has no such method");
    let method = table.method(call.member()).ok_or_else(unknown)?;
    call.check(method)?;
    Ok(method)
}

/// `org.freedesktop.DBus.Peer`. The machine's id is nothing that a linked device should be recognised by elsewhere: it
/// is not given.
pub(super) fn peer(call: &Call<'_>) -> Result<Message, Failure> {
    match method(call, &PEER_TABLE)?.name {
        "Ping" => call.reply(&()),
        _ => Err(Failure::standard(Standard::NotSupported, "kinlinkd does not tell the machine's id")),
    }
}

/// `org.freedesktop.DBus.Introspectable`, also of the folders on the way.
pub(super) async fn introspect(call: &Call<'_>, path: &str, object: Option<Object>) -> Result<Message, Failure> {
    method(call, &INTROSPECTABLE_TABLE)?;
    let mut xml = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n  \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    PEER_TABLE.introspect(&mut xml);
    INTROSPECTABLE_TABLE.introspect(&mut xml);
    if let Some(object) = object {
        object.values(call).await?;
        PROPERTIES_TABLE.introspect(&mut xml);
        object.interface().introspect(&mut xml);
    } else if !objects::is_folder(path) {
        return Err(Failure::standard(Standard::UnknownObject, "there is no such object"));
    }
    if object == Some(Object::Root) {
        OBJECT_MANAGER_TABLE.introspect(&mut xml);
    }
    for name in objects::below(call, path) {
        xml.push_str(&format!("  <node name=\"{name}\"/>\n"));
    }
    xml.push_str("</node>\n");
    call.reply(&xml)
}

/// `org.freedesktop.DBus.Properties`.
pub(super) async fn properties(call: &Call<'_>, object: &Object) -> Result<Message, Failure> {
    match method(call, &PROPERTIES_TABLE)?.name {
        "Get" => {
            let (interface, name) = call.args::<(&str, &str)>()?;
            call.reply(&one(call, object, interface, name).await?)
        }
        "GetAll" => {
            let interface = call.args::<&str>()?;
            // The standard interfaces are there, and have none.
            let ours = names(object, interface)?;
            let values = if ours { object.values(call).await? } else { Values::new() };
            call.reply(&values.into_iter().collect::<BTreeMap<_, _>>())
        }
        _ => {
            let (interface, name, value) = call.args::<(&str, &str, Variant<'_>)>()?;
            set(call, object, interface, name, value).await
        }
    }
}

/// Whether `interface` is ours, or at least one that the object has. The empty name means any.
fn names(object: &Object, interface: &str) -> Result<bool, Failure> {
    if interface.is_empty() || interface == object.interface().name {
        return Ok(true);
    }
    if [PEER, INTROSPECTABLE, PROPERTIES].contains(&interface)
        || (interface == OBJECT_MANAGER && *object == Object::Root)
    {
        return Ok(false);
    }
    Err(Failure::standard(Standard::UnknownInterface, "the object has no such interface"))
}

fn known<'t>(object: &Object, interface: &str, name: &str) -> Result<&'t super::contract::Property, Failure> {
    let unknown = || Failure::standard(Standard::UnknownProperty, "the interface has no such property");
    if !names(object, interface)? {
        return Err(unknown());
    }
    object.interface().property(name).ok_or_else(unknown)
}

async fn one(call: &Call<'_>, object: &Object, interface: &str, name: &str) -> Result<Variant<'static>, Failure> {
    let property = known(object, interface, name)?;
    let values = object.values(call).await?;
    let found = values.into_iter().find(|(name, _)| *name == property.name);
    // A property that exists and has no value is one that this caller may not read.
    found.map(|(_, value)| value).ok_or_else(|| call.not_allowed())
}

/// The properties that can be set are a device's name and the port.
async fn set(
    call: &Call<'_>,
    object: &Object,
    interface: &str,
    name: &str,
    value: Variant<'_>,
) -> Result<Message, Failure> {
    let property = known(object, interface, name)?;
    if property.writable && !caller::may_see_account(&call.kind()) {
        return Err(call.not_allowed());
    }
    match object {
        Object::Device(id) if property.writable => device::rename(call, *id, value).await,
        Object::Root if property.writable => manager::set_port(call, value).await,
        _ => Err(Failure::standard(Standard::PropertyReadOnly, "the property cannot be set")),
    }
}

/// `org.freedesktop.DBus.ObjectManager`, of the root: devices, and the caller's own pairings.
pub(super) async fn object_manager(call: &Call<'_>, object: &Object) -> Result<Message, Failure> {
    if *object != Object::Root {
        return Err(Failure::standard(Standard::UnknownInterface, "only the root object manages others"));
    }
    method(call, &OBJECT_MANAGER_TABLE)?;
    if !caller::may_see_account(&call.kind()) {
        return Err(call.not_allowed());
    }
    vault::check(call, object, "GetManagedObjects")?;
    call.hub.settle().await;
    let view = call.hub.core.view().borrow().clone();
    let devices = view.devices.iter().map(|device| (Object::Device(device.id), device::values(device)));
    let this = view.status.device;
    let pairings = call.hub.kept(call.client.id).into_iter();
    let pairings = pairings.map(|(id, view)| (Object::Pairing(id), pairing::values(&view, this)));
    let objects: BTreeMap<ObjectPath<'_>, _> =
        devices.chain(pairings).map(|(object, values)| (object.object_path(), interfaces(&object, values))).collect();
    call.reply(&objects)
}

/// An object's interface with its properties, as ObjectManager writes it.
pub(super) fn interfaces(
    object: &Object,
    values: Values,
) -> BTreeMap<&'static str, BTreeMap<&'static str, Variant<'static>>> {
    BTreeMap::from([(object.interface().name, values.into_iter().collect())])
}

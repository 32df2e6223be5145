//! kinlinkd's interfaces, as far as kinctl uses their methods. Properties are read whole, as snapshots:
//! see [`crate::model`]. `proto/dbus/*.xml` documents each member.

use std::collections::HashMap;

use zbus::{OwnedObjectPath, OwnedVariant, Variant, proxy};

use crate::model::Session;

/// The `a{sv}` that every method ends in.
pub(crate) type Options<'a> = HashMap<&'a str, Variant<'a>>;

#[proxy(
    interface = "org.kinlink.Kinlink1.Manager",
    default_service = "org.kinlink.Kinlink1",
    default_path = "/org/kinlink/Kinlink1"
)]
pub(crate) trait Manager {
    fn open_pairing(&self, options: &Options<'_>) -> zbus::Result<(OwnedObjectPath, String, String, u64)>;
    fn join(&self, challenge: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    fn leave(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn revoke_others(&self, reason: &str, options: &Options<'_>) -> zbus::Result<Vec<OwnedObjectPath>>;
    fn set_pin(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn remove_pin(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn verify_pin(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn create_session(&self, app: &str, title: &str, options: &Options<'_>) -> zbus::Result<OwnedObjectPath>;
    fn list_sessions(&self, filter: &Options<'_>) -> zbus::Result<(Vec<Session>, String)>;
    fn subscribe(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn erase(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn key_status(&self, options: &Options<'_>) -> zbus::Result<HashMap<String, OwnedVariant>>;
    fn move_key(&self, place: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn unlock(&self, options: &Options<'_>) -> zbus::Result<()>;
    #[zbus(property)]
    fn set_port(&self, port: u16) -> zbus::Result<()>;
}

#[proxy(interface = "org.kinlink.Kinlink1.Device", default_service = "org.kinlink.Kinlink1")]
pub(crate) trait Device {
    fn dismiss(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn add_address(&self, address: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn remove_address(&self, address: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn ping(&self, options: &Options<'_>) -> zbus::Result<HashMap<String, OwnedVariant>>;
    fn revoke(&self, reason: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn suspend(&self, reason: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn readmit(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn set_role(&self, role: &str, options: &Options<'_>) -> zbus::Result<()>;
    #[zbus(property)]
    fn set_name(&self, name: &str) -> zbus::Result<()>;
}

#[proxy(interface = "org.kinlink.Kinlink1.Session", default_service = "org.kinlink.Kinlink1")]
pub(crate) trait Session {
    fn get(&self, key: &str, options: &Options<'_>) -> zbus::Result<(Vec<u8>, HashMap<String, OwnedVariant>)>;
    fn put(&self, key: &str, value: &[u8], options: &Options<'_>) -> zbus::Result<()>;
    fn delete(&self, key: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn list(&self, options: &Options<'_>) -> zbus::Result<(Vec<(String, u64, String, u64)>, String)>;
    fn changes_since(
        &self,
        cursor: &str,
        options: &Options<'_>,
    ) -> zbus::Result<(Vec<(String, String, u64, String, u64)>, String)>;
    fn conflicts(&self, key: &str, options: &Options<'_>) -> zbus::Result<Vec<(Vec<u8>, u64, String)>>;
    fn end(&self, reason: &str, options: &Options<'_>) -> zbus::Result<()>;
}

#[proxy(interface = "org.kinlink.Kinlink1.Pairing", default_service = "org.kinlink.Kinlink1")]
pub(crate) trait Pairing {
    fn confirm(&self, code: &str, options: &Options<'_>) -> zbus::Result<()>;
    fn accept(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn code(&self, options: &Options<'_>) -> zbus::Result<String>;
    fn reject(&self, options: &Options<'_>) -> zbus::Result<()>;
    fn cancel(&self, options: &Options<'_>) -> zbus::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinlink_proto::dbus;
    use zbus::proxy::Defaults;

    #[test]
    fn names_are_those_of_the_contract() {
        let interfaces = [
            (ManagerProxy::INTERFACE, dbus::MANAGER),
            (DeviceProxy::INTERFACE, dbus::DEVICE),
            (SessionProxy::INTERFACE, dbus::SESSION),
            (PairingProxy::INTERFACE, dbus::PAIRING),
        ];
        for (ours, contract) in interfaces {
            assert_eq!(ours.as_ref().map(ToString::to_string).as_deref(), Some(contract));
        }
        assert_eq!(ManagerProxy::DESTINATION.as_ref().map(ToString::to_string).as_deref(), Some(dbus::BUS_NAME));
        assert_eq!(ManagerProxy::PATH.as_ref().map(ToString::to_string).as_deref(), Some(dbus::ROOT));
    }
}

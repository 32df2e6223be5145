//! The D-Bus contract: names, paths, error names, and the documented XML of each interface.
//!
//! `proto/dbus/*.xml` is the contract; daemon and clients take every name from here, and a test holds
//! the daemon's live introspection against the XML.

use core::fmt;

use crate::id::{DeviceId, SessionId};

/// The well-known name on the session bus.
pub const BUS_NAME: &str = "org.kinlink.Kinlink1";
/// The root object: [`MANAGER`] and the `ObjectManager` of devices and pairings.
pub const ROOT: &str = "/org/kinlink/Kinlink1";
/// Devices stand below here, by [`device_path`].
pub const DEVICES: &str = "/org/kinlink/Kinlink1/devices";
/// Sessions stand below here, by [`session_path`].
pub const SESSIONS: &str = "/org/kinlink/Kinlink1/sessions";
/// Pairings stand below here, numbered.
pub const PAIRINGS: &str = "/org/kinlink/Kinlink1/pairing";

/// The interface of the root object.
pub const MANAGER: &str = "org.kinlink.Kinlink1.Manager";
/// The interface of a device.
pub const DEVICE: &str = "org.kinlink.Kinlink1.Device";
/// The interface of a session.
pub const SESSION: &str = "org.kinlink.Kinlink1.Session";
/// The interface of a pairing.
pub const PAIRING: &str = "org.kinlink.Kinlink1.Pairing";

/// [`MANAGER`], documented member by member.
pub const MANAGER_XML: &str = include_str!("../dbus/org.kinlink.Kinlink1.Manager.xml");
/// [`DEVICE`], documented member by member.
pub const DEVICE_XML: &str = include_str!("../dbus/org.kinlink.Kinlink1.Device.xml");
/// [`SESSION`], documented member by member.
pub const SESSION_XML: &str = include_str!("../dbus/org.kinlink.Kinlink1.Session.xml");
/// [`PAIRING`], documented member by member.
pub const PAIRING_XML: &str = include_str!("../dbus/org.kinlink.Kinlink1.Pairing.xml");

/// The interface that a client with prompts of its own provides.
pub const AGENT: &str = "org.kinlink.Kinlink1.Agent";
/// [`AGENT`], documented member by member.
pub const AGENT_XML: &str = include_str!("../dbus/org.kinlink.Kinlink1.Agent.xml");

/// What every error name starts with.
pub const ERROR_PREFIX: &str = "org.kinlink.Kinlink1.Error.";
/// Where the private socket stands, below `XDG_RUNTIME_DIR`.
pub const SOCKET: &str = "kinlink/bus";

/// The object of a device.
#[must_use]
pub fn device_path(id: &DeviceId) -> String {
    format!("{DEVICES}/{id}")
}

/// The object of a session.
#[must_use]
pub fn session_path(id: &SessionId) -> String {
    format!("{SESSIONS}/{id}")
}

/// The object of the pairing numbered `number`.
#[must_use]
pub fn pairing_path(number: u64) -> String {
    format!("{PAIRINGS}/{number}")
}

/// Declares [`Error`] once, so that no variant can lack a name or be missing from [`Error::ALL`].
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The errors that a method may answer with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Error {
            $($(#[$doc])* $name,)*
        }

        impl Error {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The full D-Bus error name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("org.kinlink.Kinlink1.Error.", stringify!($name)),)*
                }
            }
        }
    };
}

errors! {
    /// No such device, session, key or pairing.
    NotFound,
    /// The name fits several.
    Ambiguous,
    /// This state does not allow it, or the other side's user said no.
    Refused,
    /// This caller may not do it.
    NotAllowed,
    /// The challenge is over its time.
    Expired,
    /// The challenge has linked a device already.
    AlreadyUsed,
    /// By the user of either side.
    Cancelled,
    /// This device is linked there already.
    AlreadyLinked,
    /// There is no account yet.
    NotLinked,
    /// This device belongs to an account with other devices.
    LeaveFirst,
    /// A pairing is open already.
    PairingOpen,
    /// The pairing is over, or not at this point.
    PairingClosed,
    /// The text is not a challenge, or was altered.
    BadChallenge,
    /// The proof of having seen the challenge does not verify.
    BadProof,
    /// The typed code is not the one shown.
    WrongCode,
    /// The third wrong code.
    TooManyTries,
    /// The account has a PIN, and this needs it.
    PinRequired,
    /// That is not the PIN, or there were too many wrong ones: the message says how long to wait.
    PinWrong,
    /// A second device proved to have seen the challenge.
    SecondClaimant,
    /// Nobody answered.
    Unreachable,
    /// The UDP port is taken, or may not be had.
    PortUnavailable,
    /// The other side speaks for another account.
    WrongAccount,
    /// Only an owner may do this.
    NotOwner,
    /// The last owner cannot go while others remain.
    LastOwner,
    /// The account is full.
    TooManyDevices,
    /// This device was revoked.
    Revoked,
    /// The session is over.
    SessionEnded,
    /// Over a limit.
    TooLarge,
    /// An argument is malformed.
    InvalidArgument,
    /// An option that is not known.
    InvalidOption,
    /// Something critical was made by a newer version.
    UpdateNeeded,
    /// The keys that this needs are not here (yet).
    Locked,
    /// The passphrase is not the one that the store key is sealed under.
    WrongPassphrase,
    /// A conditional write met another value.
    Conflict,
    /// The order of changes that a cursor is of is gone: begin anew.
    CursorExpired,
    /// The store failed; whether it was done is not known.
    Storage,
    /// A fault of the daemon.
    Internal,
}

impl Error {
    /// The error of that full D-Bus name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|error| error.name() == name)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_round_trip() {
        for error in Error::ALL {
            assert!(error.name().starts_with(ERROR_PREFIX));
            assert_eq!(Error::from_name(error.name()), Some(*error));
        }
        assert_eq!(Error::from_name("org.freedesktop.DBus.Error.Failed"), None);
    }

    #[test]
    fn each_xml_declares_its_interface() {
        for (interface, xml) in [
            (MANAGER, MANAGER_XML),
            (DEVICE, DEVICE_XML),
            (SESSION, SESSION_XML),
            (PAIRING, PAIRING_XML),
            (AGENT, AGENT_XML),
        ] {
            assert!(xml.contains(&format!("<interface name=\"{interface}\">")), "{interface}");
        }
    }

    /// A member without a comment right before it is a member without documentation.
    #[test]
    fn each_member_is_documented() {
        for xml in [MANAGER_XML, DEVICE_XML, SESSION_XML, PAIRING_XML, AGENT_XML] {
            for (at, tag) in ["<method name=\"", "<signal name=\"", "<property name=\""]
                .iter()
                .flat_map(|tag| xml.match_indices(tag))
            {
                let name = xml[at + tag.len()..].split('"').next().unwrap_or_default();
                let comment = xml[..at].trim_end().rsplit("<!--").next().unwrap_or_default();
                assert!(comment.ends_with("-->") && comment.trim_start().starts_with(&format!("{name}:")), "{name}");
            }
        }
    }

    /// An error that no member may answer with would be a name for nothing.
    #[test]
    fn each_error_is_told_of_in_the_xml() {
        let all = [MANAGER_XML, DEVICE_XML, SESSION_XML, PAIRING_XML].concat();
        let words: Vec<&str> = all.split(|c: char| !c.is_ascii_alphanumeric()).collect();
        for error in Error::ALL {
            assert!(words.contains(&format!("{error:?}").as_str()), "{error}");
        }
    }

    #[test]
    fn each_error_that_the_xml_names_exists() {
        for xml in [MANAGER_XML, DEVICE_XML, SESSION_XML, PAIRING_XML, AGENT_XML] {
            for block in xml.split("Errors:").skip(1).filter_map(|rest| rest.split("-->").next()) {
                let words = block.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
                let names = words.filter(|word| word.chars().filter(char::is_ascii_uppercase).count() > 1);
                for word in names {
                    assert!(Error::from_name(&format!("{ERROR_PREFIX}{word}")).is_some(), "{word}");
                }
            }
        }
    }
}

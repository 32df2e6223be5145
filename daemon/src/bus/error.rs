//! Refusals, by their D-Bus names.

use std::path::PathBuf;

use kinlink_proto::dbus::Error as Name;
use kinlink_proto::engine::error::CommandError;
use zbus::Message;
use zbus::message::Header;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The private socket cannot be used.
    #[error("cannot serve on {path}: {error}", path = path.display())]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Another daemon answers on the private socket.
    #[error("another kinlinkd serves on {path}; stop it first", path = .0.display())]
    SocketTaken(PathBuf),
    /// Another process has the name.
    #[error("the name {name} on the session bus is held by {holder}; stop that first")]
    NameTaken {
        /// The name.
        name: &'static str,
        /// The process, as well as it can be told.
        holder: String,
    },
}

/// A refused call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The full D-Bus error name.
    pub(super) name: &'static str,
    /// What failed and what to do, for people.
    pub(super) message: String,
}

impl Failure {
    /// One of ours.
    pub(super) fn new(name: Name, message: impl Into<String>) -> Self {
        Self { name: name.name(), message: message.into() }
    }

    /// Something malformed.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self::new(Name::InvalidArgument, message)
    }

    /// There is no such object for this caller.
    pub(super) fn missing(what: &str) -> Self {
        Self::new(Name::NotFound, format!("there is no such {what}"))
    }

    /// A reply of the core that does not belong to its command, or a message that cannot be built.
    pub(super) fn internal(message: impl std::fmt::Display) -> Self {
        tracing::error!("a D-Bus call failed: {message}");
        Self::new(Name::Internal, "kinlinkd failed; its log says more")
    }

    /// One of the D-Bus specification's, by the last part of its name.
    pub(super) fn standard(error: Standard, message: impl Into<String>) -> Self {
        Self { name: error.name(), message: message.into() }
    }

    /// The error message that answers `call`.
    pub(super) fn reply(&self, call: &Header<'_>) -> Result<Message, zbus::Error> {
        Message::error(call, self.name).build(&(self.message.as_str(),))
    }
}

/// The errors of the D-Bus specification that are used here.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standard {
    UnknownObject,
    UnknownInterface,
    UnknownMethod,
    UnknownProperty,
    PropertyReadOnly,
    InvalidArgs,
    LimitsExceeded,
    NotSupported,
}

impl Standard {
    fn name(self) -> &'static str {
        match self {
            Self::UnknownObject => "org.freedesktop.DBus.Error.UnknownObject",
            Self::UnknownInterface => "org.freedesktop.DBus.Error.UnknownInterface",
            Self::UnknownMethod => "org.freedesktop.DBus.Error.UnknownMethod",
            Self::UnknownProperty => "org.freedesktop.DBus.Error.UnknownProperty",
            Self::PropertyReadOnly => "org.freedesktop.DBus.Error.PropertyReadOnly",
            Self::InvalidArgs => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::LimitsExceeded => "org.freedesktop.DBus.Error.LimitsExceeded",
            Self::NotSupported => "org.freedesktop.DBus.Error.NotSupported",
        }
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self::new(error.kind, error.message)
    }
}

impl From<zbus::Error> for Failure {
    fn from(error: zbus::Error) -> Self {
        Self::internal(error)
    }
}

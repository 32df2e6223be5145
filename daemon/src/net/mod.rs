//! The network: QUIC connections to linked devices and to devices that are being linked.
//!
//! It moves frames and knows nothing of what they say. Facts go out as [`NetEvent`] over one bounded channel, which is
//! what slows a fast peer down; orders are methods of [`Net`] that never wait.
//!
//! On a connection the dialler opens one bidirectional stream, the control or linking stream, and says something on it at
//! once; the other side learns of the connection by that. Long ranges of journals have unidirectional streams.

mod accept;
pub mod admission;
mod conn;
mod dial;
mod discover;
pub mod endpoint;
pub mod event;
mod framing;
mod gate;
mod interfaces;
pub mod links;
mod multicast;
mod outgoing;
mod quic;
mod route;
mod silence;
mod socket;
mod stranger;
pub mod tls;
mod transfer;
mod udp;

pub use admission::Admission;
pub use endpoint::{Net, NetError};
pub use event::NetEvent;
pub use links::Links;

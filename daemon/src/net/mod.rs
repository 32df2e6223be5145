//! The network: QUIC connections to linked devices and to devices that are being linked.
//!
//! It moves frames and knows nothing of what they say. Facts go out as [`NetEvent`] over one bounded channel, which is
//! what slows a fast peer down; orders are methods of [`Net`] that never wait.

pub mod admission;
pub mod event;
pub mod tls;

pub use admission::Admission;
pub use event::NetEvent;

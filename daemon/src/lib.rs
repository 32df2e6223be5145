//! `kinlinkd`: the I/O around [`kinlink_proto`]: QUIC, storage, D-Bus, and the one task that owns the state.
//!
//! [`run`] is the whole program but for its arguments. It is a library so that the tests can take it apart; nothing
//! else depends on it.

pub mod bus;
pub mod callers;
pub mod clock;
pub mod core;
pub mod handed;
pub mod handle;
pub mod harden;
pub mod keys;
pub mod log;
pub mod net;
pub mod paths;
pub mod pin;
pub mod platform;
pub mod store;

mod door;
mod noted;
mod sent;
mod serve;
mod sleep;

pub use serve::{Options, run};

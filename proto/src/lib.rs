//! Kinlink's protocol, without I/O.
//!
//! This crate decides; it never acts. It holds identities, the roster, journals, sessions, linking
//! and sync as state machines that take a fact and the time and return what is to be done
//! ([`engine::Engine`]). It reads no clock, draws no randomness of its own, opens no file or socket and
//! starts no thread: time ([`time::Now`]), entropy ([`key::Entropy`]) and stored state ([`store::Store`]) are arguments.
//! So one simulator runs thousands of schedules over the very code that ships.
//!
//! The order of things: load an [`engine::Engine`] over a store; for each fact call
//! [`engine::Engine::handle`] inside a write transaction; commit; only then carry out what
//! [`engine::Engine::poll`] returns. Nothing leaves a device before it is durable there.
//!
//! `PROTOCOL.md` gives the bytes; the names here are the same.

pub mod dbus;
pub mod discovery;
pub mod engine;
pub mod id;
pub mod journal;
pub mod key;
pub mod limits;
pub mod link;
pub mod names;
pub mod reach;
pub mod roster;
pub mod session;
pub mod store;
pub mod sync;
pub mod time;
pub mod wire;

//! The seeded simulator: the engine that ships, on several devices, over a network and disks that fail.
//!
//! One seed fixes a whole run: who is linked, what is written where and when, which connections break, who is
//! cut off, which device crashes before, at or behind a commit. After every step the invariants of [`invariants`] are
//! checked; at the end everything is healed and the devices must agree. A failure names its seed and step;
//! running that seed again replays it.

pub mod apps;
mod clones;
pub mod device;
pub mod invariants;
pub mod many;
pub mod network;
pub mod tally;
pub mod trace;
pub mod user;
pub mod world;

pub use many::many;
pub use tally::Tally;
pub use world::{Failure, Plan, World, run};

//! The engine: everything that a device decides.

pub mod command;
pub mod error;
pub mod io;
pub mod view;

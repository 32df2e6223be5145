//! Linked devices that cheat.

//! Linked devices that flood.

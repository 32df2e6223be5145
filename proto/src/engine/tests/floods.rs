//! Linked devices that flood.
use super::*;

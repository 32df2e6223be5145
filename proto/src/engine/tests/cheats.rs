//! Linked devices that cheat.
use super::*;

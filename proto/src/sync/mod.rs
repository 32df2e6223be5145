//! Sync: what is missing, reports, and how ranges of journals travel. PROTOCOL.md sections 7, 9 and 10.

pub mod report;
pub mod transfer;
pub mod vector;

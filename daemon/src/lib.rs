//! kinlinkd.

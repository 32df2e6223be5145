//! kinlinkd.
fn main() {}

//! What ships.

pub(crate) use kinlink_proto::link;

pub(crate) mod model;

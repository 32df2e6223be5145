//! How many operations leave for a peer, said at debug level: whether sync sends what was missing, and nothing
//! else, can then be seen from outside.

use bytes::Bytes;
use kinlink_proto::sync::transfer::{Item, Segment};
use kinlink_proto::wire::Decode;
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::{Message, kind};
use tracing::{Level, debug, enabled};

/// Notes the operations with content that `frame` carries, if it carries any.
pub(crate) fn note(conn: u64, frame: &Frame) {
    if !enabled!(Level::DEBUG) {
        return;
    }
    let operations = match frame.kind {
        kind::SEGMENT => content(&frame.body),
        kind::JOURNAL => match Message::from_frame(frame) {
            Ok(Some(Message::Journal { segments, .. })) => segments.iter().map(content).sum(),
            _ => 0,
        },
        _ => 0,
    };
    if operations > 0 {
        debug!(conn, operations, "operations leave");
    }
}

fn content(segment: &Bytes) -> usize {
    let Ok(segment) = Segment::from_buffer(segment) else { return 0 };
    segment.items.iter().filter(|item| matches!(item, Item::Content(_))).count()
}

//! What `--trace` prints: a line for each fact, and one for each thing that an engine asks for.

use kinlink_proto::engine::io::{Input, Output};
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::Message;

/// A fact in one line.
pub fn told(input: &Input) -> String {
    match input {
        Input::Received { conn, frame } => format!("{} takes {}", conn.0, name(frame)),
        Input::Transfer { conn, stream, frame, .. } => format!("{} takes {} on stream {stream}", conn.0, name(frame)),
        other => short(format!("{other:?}")),
    }
}

/// What an engine asks for in one line.
pub fn asked(output: &Output) -> String {
    match output {
        Output::Send { conn, frame } => format!("{} sends {}", conn.0, name(frame)),
        Output::Event(event) => short(format!("{event:?}")),
        other => short(format!("{other:?}")),
    }
}

fn name(frame: &Frame) -> String {
    match Message::from_frame(frame) {
        Ok(Some(message)) => short(format!("{message:?}")),
        _ => format!("frame {:#06x}", frame.kind),
    }
}

fn short(text: String) -> String {
    text.chars().take(400).collect()
}

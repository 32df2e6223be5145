//! What is fuzzed: one function for each kind of bytes that come from others. `tests/tests/fuzz_corpus.rs` runs them over
//! the corpus without a fuzzer.

mod engine;
mod pair;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kinlink_proto::discovery::{self, Key, Kind, Mdns, Recogniser};
use kinlink_proto::id::{AccountId, DeviceId};
use kinlink_proto::journal::{Head, Item};
use kinlink_proto::key::Secret;
use kinlink_proto::link;
use kinlink_proto::roster::Roster;
use kinlink_proto::roster::epoch::{History, SealedEpoch};
use kinlink_proto::roster::statement::Statement;
use kinlink_proto::session::{Content, End, Record};
use kinlink_proto::sync::report::Report;
use kinlink_proto::sync::transfer::{Segment, TransferHeader};
use kinlink_proto::time::Mono;
use kinlink_proto::wire::challenge::Challenge;
use kinlink_proto::wire::frame::{Frame, HEADER};
use kinlink_proto::wire::message::Message;
use kinlink_proto::wire::{Address, Decode, Encode, Reader};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub use engine::engine;
pub use pair::seeds;

/// A kind of bytes that come from others, and what is done with them.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the names of the fuzz targets.
pub const TARGETS: [Target; 8] = [
    ("frames", frames),
    ("link", link),
    ("challenge", challenge),
    ("objects", objects),
    ("roster", roster),
    ("discovery", packet),
    ("announcements", announcements),
    ("engine", engine),
];

/// A frame of sync as it is read from a stream. What decodes has one encoding.
pub fn frames(data: &[u8]) {
    let Some(frame) = frame(data) else { return };
    if let Ok(Some(message)) = Message::from_frame(&frame) {
        assert_eq!(message.to_frame(), frame);
    }
}

/// A frame of linking.
pub fn link(data: &[u8]) {
    let Some(frame) = frame(data) else { return };
    if let Ok(Some(message)) = link::Message::from_frame(&frame) {
        let again = message.to_frame();
        // Reasons that are not known are one.
        assert!(again == frame || matches!(message, link::Message::Refused(_)));
    }
}

/// The text of a QR code, or one that was pasted.
pub fn challenge(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(challenge) = Challenge::parse(text) {
        assert_eq!(Challenge::parse(&challenge.to_text()), Ok(challenge));
    }
}

/// One object; the first byte says of which kind.
pub fn objects(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 11 {
        0 => drop(Statement::decode(data)),
        1 => drop(SealedEpoch::decode(data)),
        2 => drop(History::decode(data)),
        3 => drop(Head::open(data)),
        4 => drop(Report::open(data)),
        5 => one_encoding::<TransferHeader>(data),
        6 => one_encoding::<Segment>(data),
        7 => one_encoding::<Item>(data),
        8 => one_encoding::<Content>(data),
        9 => one_encoding::<Record>(data),
        _ => {
            one_encoding::<End>(data);
            one_encoding::<Address>(data);
        }
    }
}

fn one_encoding<T: Decode + Encode>(data: &[u8]) {
    let mut r = Reader::new(data);
    if let Ok(value) = T::decode(&mut r)
        && r.finish().is_ok()
    {
        assert_eq!(value.to_bytes(), data);
    }
}

/// A batch of statements: taken in whole or not at all, and then the same again changes nothing.
pub fn roster(data: &[u8]) {
    let batch = blobs(data);
    let mut roster = Roster::new();
    if roster.insert(&batch).is_ok() {
        let before = roster.statements().count();
        assert!(roster.insert(&batch).is_ok());
        assert_eq!(roster.statements().count(), before);
    }
}

/// A packet on the multicast group.
pub fn packet(data: &[u8]) {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let mut mdns = Mdns::default();
    mdns.interfaces(Mono(0), BTreeMap::from([(1, vec![[10, 0, 0, 1].into()])]));
    for kind in Kind::ALL {
        mdns.serve(Mono(0), kind, Some(&[7; 40]), rng);
        mdns.search(Mono(0), kind, true, rng);
    }
    mdns.received(Mono(1), 1, data, rng);
    mdns.tick(Mono(1000));
    while mdns.poll().is_some() {}
}

/// What an announcement has sealed, whatever was sealed into it.
pub fn announcements(data: &[u8]) {
    let mut recogniser = Recogniser::default();
    recogniser.learn(vec![key()]);
    drop(recogniser.recognise(Mono(0), data));
}

/// What a device sends to the multicast group, and what it seals into that.
#[must_use]
pub fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let sealed = key().seal(DeviceId([5; 32]), &[SocketAddr::from(([10, 0, 0, 5], 4000)).into()], rng);
    let mut mdns = Mdns::default();
    mdns.interfaces(Mono(0), BTreeMap::from([(1, vec![[10, 0, 0, 5].into()])]));
    for kind in Kind::ALL {
        mdns.serve(Mono(0), kind, Some(&sealed), rng);
        mdns.search(Mono(0), kind, true, rng);
    }
    mdns.tick(Mono(1000));
    let packets = std::iter::from_fn(|| mdns.poll()).filter_map(|output| match output {
        discovery::Output::Send { packet, .. } => Some(("discovery", packet)),
        discovery::Output::Heard { .. } => None,
    });
    packets.chain([("announcements", sealed)]).collect()
}

fn key() -> Key {
    Key::of_epoch(&Secret([1; 32]), AccountId([2; 32]))
}

fn frame(data: &[u8]) -> Option<Frame> {
    let (header, body) = data.split_first_chunk::<HEADER>()?;
    let (kind, _) = Frame::header(*header, usize::MAX).ok()?;
    Some(Frame::new(kind, body.to_vec()))
}

/// Byte strings behind two bytes of length each.
fn blobs(mut data: &[u8]) -> Vec<Vec<u8>> {
    let mut blobs = Vec::new();
    while let Some((len, rest)) = data.split_first_chunk::<2>() {
        let (blob, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        blobs.push(blob.to_vec());
        data = rest;
    }
    blobs
}

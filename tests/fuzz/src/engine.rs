//! Sequences of what an engine can be told: frames of a linked device and of strangers, connections, time, restarts.

use std::sync::OnceLock;
use std::time::Duration;

use kinlink_proto::engine::command::{Command, SessionFilter};
use kinlink_proto::engine::io::{ConnId, Input};
use kinlink_proto::id::{AccountId, DeviceId};
use kinlink_proto::link::message::kind as link;
use kinlink_proto::roster::keyring::Keyring;
use kinlink_proto::sync::transfer::Preparer;
use kinlink_proto::wire::frame::Frame;
use kinlink_proto::wire::message::kind as sync;
use kinlink_proto::wire::{Address, Reader};

use super::pair::{self, Device};

const KINDS: [u16; 25] = [
    sync::HELLO,
    sync::STATEMENTS,
    sync::EPOCHS,
    sync::REPORTS,
    sync::WANT,
    sync::JOURNAL,
    sync::HAVE,
    sync::REVOKED,
    sync::REFUSED,
    sync::INTRODUCTION,
    sync::PING,
    sync::PONG,
    sync::TRANSFER_HEADER,
    sync::SEGMENT,
    link::CLAIM,
    link::OFFER,
    link::ACCEPT,
    link::WRONG_CODE,
    link::RECOMMIT,
    link::NONCE,
    link::OPEN,
    link::LINKED,
    link::DONE,
    link::REFUSED,
    link::CANCEL,
];

/// Connections, by the low bits of a byte: of the linked device, of a stranger, of a stranger that links.
const CONNS: u64 = 3;

/// Two devices in an account, one of which is told what `data` says. It has to bear that, and to start again after it.
pub fn engine(data: &[u8]) {
    static LINKED: OnceLock<(Device, DeviceId)> = OnceLock::new();
    let (device, peer) = LINKED.get_or_init(pair::linked);
    let mut running = device.clone().start(10_000);
    let peers = [*peer, DeviceId([3; 32]), DeviceId([4; 32])];
    for n in 0..CONNS {
        running.take(connected(n, peers));
    }
    let mut r = Reader::new(data);
    // Each restart and each second costs; the fuzzer is to try what is said, not how long.
    let mut left = 64;
    let (mut preparer, keys) = (Preparer::default(), Keyring::new(AccountId([0; 32])));
    while let Ok(what) = r.u8()
        && left > 0
    {
        left -= 1;
        let n = u64::from(what >> 4) % CONNS;
        let conn = ConnId(n + 10);
        match what & 15 {
            0..=7 => {
                let Some(frame) = frame(&mut r) else { break };
                running.take(Input::Received { conn, frame });
            }
            8 | 9 => {
                let (Ok(stream), Some(frame)) = (r.u8(), frame(&mut r)) else { break };
                let prepared = match frame.kind {
                    sync::SEGMENT => preparer.segment(&frame.body, &keys),
                    kind => {
                        if kind == sync::TRANSFER_HEADER {
                            preparer.header(&frame.body);
                        }
                        None
                    }
                };
                running.take(Input::Transfer { conn, stream: stream.into(), frame, prepared });
            }
            10 => drop(running.take(Input::Disconnected { conn, code: None })),
            11 => drop(running.take(connected(n, peers))),
            12 => {
                running.now += u64::from(r.u16().unwrap_or_default()) << 6;
                running.take(Input::Tick);
            }
            13 => {
                let now = running.now;
                running = running.device.start(now);
            }
            14 => {
                running.command(Command::OpenPairing {
                    timeout: Duration::from_secs(60),
                    anywhere: false,
                    label: None,
                    name: None,
                    addresses: Vec::new(),
                });
            }
            _ => drop(running.command(Command::Sessions(SessionFilter::default()))),
        }
    }
    let now = running.now;
    drop(running.device.start(now));
}

fn connected(n: u64, peers: [DeviceId; 3]) -> Input {
    let (conn, address, exporter) = (ConnId(n + 10), Address::none(), [9; 32]);
    match n {
        2 => Input::LinkConnected { conn, peer: peers[2], dialled: None, address, exporter },
        _ => Input::Connected { conn, peer: peers[usize::try_from(n).unwrap_or(0)], dialled: false, address, exporter },
    }
}

fn frame(r: &mut Reader<'_>) -> Option<Frame> {
    let kind = KINDS[usize::from(r.u8().ok()?) % KINDS.len()];
    let len = usize::from(r.u16().ok()?).min(r.remaining());
    Some(Frame::new(kind, r.take(len).ok()?.to_vec()))
}

/// As [`engine`] reads it: `frame` comes from the linked device.
pub(crate) fn received(bytes: &mut Vec<u8>, frame: &Frame) {
    let Some(kind) = (0_u8..).zip(KINDS).find(|(_, kind)| *kind == frame.kind) else { return };
    let len = u16::try_from(frame.body.len()).unwrap_or(u16::MAX);
    let conn = if frame.kind & 0x0f00 == 0x0100 { 0x20 } else { 0 };
    bytes.extend([conn, kind.0]);
    bytes.extend(len.to_be_bytes());
    bytes.extend(&frame.body[..usize::from(len)]);
}

//! Pings that somebody asked for: is a device there, and how far away.

use super::command::{CommandId, Reply};
use super::error::{CommandError, ErrorKind};
use super::io::{ConnId, Output};
use super::view::PingView;
use super::{Cx, Engine, Fail, refuse};
use crate::id::DeviceId;
use crate::limits;
use crate::time::{Mono, Now};
use crate::wire::message::Message;

/// Pings under way, and the number of the last.
#[derive(Debug, Default)]
pub(super) struct Pings {
    last: u64,
    waiting: Vec<Waiting>,
}

/// Somebody waits for an answer.
#[derive(Debug)]
struct Waiting {
    command: CommandId,
    device: DeviceId,
    /// The ping that was sent: over which connection, its number, and when.
    sent: Option<(ConnId, u64, Mono)>,
    dialled: bool,
    by: Mono,
}

impl Engine {
    /// A number for the next ping.
    pub(super) fn next_ping(&mut self) -> u64 {
        self.pings.last += 1;
        self.pings.last
    }

    /// Pings a device over its connection; where there is none, dials it first.
    pub(super) fn ping(&mut self, cx: &mut Cx<'_>, command: CommandId, device: DeviceId) -> Result<Reply, Fail> {
        self.may_be_reached(device)?;
        if self.pings.waiting.len() >= limits::PINGS {
            return refuse(ErrorKind::Refused, "too many pings wait for an answer already");
        }
        let now = cx.now.mono;
        let conn = self.ready().find(|(_, conn)| conn.peer == device).map(|(id, _)| id);
        let by = now.after(limits::PING_ANSWER);
        self.pings.waiting.push(Waiting { command, device, sent: None, dialled: conn.is_none(), by });
        match conn {
            Some(conn) => self.ping_on(now, conn, device),
            None => self.dial_for_ping(now, device),
        }
        Ok(Reply::Later)
    }

    fn dial_for_ping(&mut self, now: Mono, device: DeviceId) {
        self.dial_afresh(now, device);
        if self.is_nowhere(device) {
            self.ping_failed(device, "no address of it is known; `kinctl address add` says where it is");
        }
    }

    /// A connection to a device is ready: whoever waits for an answer of it gets one over this.
    pub(super) fn ping_on(&mut self, now: Mono, conn: ConnId, device: DeviceId) {
        let (conns, pings) = (&self.conns, &mut self.pings);
        for waiting in pings.waiting.iter_mut().filter(|waiting| waiting.device == device) {
            if waiting.sent.is_some_and(|(on, _, _)| on == conn || conns.get(&on).is_some_and(|conn| !conn.closing)) {
                continue;
            }
            pings.last += 1;
            waiting.sent = Some((conn, pings.last, now));
            self.outputs.push_back(Output::Send { conn, frame: Message::Ping(pings.last).to_frame() });
        }
    }

    /// The answer to a ping, of whoever waits for it; answers that nobody waits for were signs of life.
    pub(super) fn pong(&mut self, now: Now, conn: ConnId, number: u64) {
        let ours = |waiting: &Waiting| waiting.sent.is_some_and(|(on, sent, _)| (on, sent) == (conn, number));
        let Some(at) = self.pings.waiting.iter().position(ours) else { return };
        let waiting = self.pings.waiting.swap_remove(at);
        let (Some((_, _, sent)), Some(peer), Some(on)) =
            (waiting.sent, self.peers.get(&waiting.device), self.conns.get(&conn))
        else {
            return;
        };
        let view = PingView {
            conn,
            address: on.address.clone(),
            from: peer.source(&on.address),
            dialled: waiting.dialled,
            answered: std::time::Duration::from_millis(now.mono.0.saturating_sub(sent.0)),
            synced: if self.agrees_with(on) { now.wall } else { peer.synced },
            path: None,
        };
        self.outputs.push_back(Output::Reply { id: waiting.command, result: Ok(Reply::Pinged(view)) });
    }

    /// Dialling a device led nowhere: whoever waits for it hears why.
    pub(super) fn ping_failed(&mut self, device: DeviceId, reason: &str) {
        let text = format!("{} cannot be reached: {reason}", self.name_of(device));
        self.fail_pings(&text, |waiting| waiting.device == device && waiting.sent.is_none());
    }

    fn fail_pings(&mut self, text: &str, which: impl Fn(&Waiting) -> bool) {
        let failed: Vec<Waiting> = self.pings.waiting.extract_if(.., |waiting| which(waiting)).collect();
        for waiting in failed {
            let result = Err(CommandError::new(ErrorKind::Unreachable, text));
            self.outputs.push_back(Output::Reply { id: waiting.command, result });
        }
    }

    pub(super) fn ping_due(&self) -> Option<Mono> {
        self.pings.waiting.iter().map(|waiting| waiting.by).min()
    }

    pub(super) fn expire_pings(&mut self, now: Mono) {
        if self.ping_due().is_some_and(|due| due <= now) {
            let seconds = limits::PING_ANSWER.as_secs();
            self.fail_pings(&format!("it did not answer within {seconds} seconds"), |waiting| waiting.by <= now);
        }
    }
}

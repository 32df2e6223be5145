//! What is done after the commit, in order.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use kinlink_proto::engine::Engine;
use kinlink_proto::engine::command::{CommandId, Reply};
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::io::{ConnId, Event, Output};
use kinlink_proto::engine::view::PingView;
use kinlink_proto::id::JournalId;
use tokio::time::sleep;

use super::journal::JournalFrames;
use super::setup::{bind_on, load, remember_port, search, wipe};
use super::{After, Core, reply};
use crate::clock::entropy;
use crate::net::Net;
use crate::{handed, log, noted, sent};

/// How often, and how soon, the port is tried again after an endpoint was closed: its tasks end within milliseconds, or,
/// where a peer does not answer any more, within three of QUIC's probe time-outs.
const REBINDS: u32 = 400;
const REBIND: Duration = Duration::from_millis(10);

impl Core {
    pub(super) fn act(&mut self) -> After {
        let mut after = After::Nothing;
        let mut outputs: Vec<Output> = std::iter::from_fn(|| self.engine.poll()).collect();
        outputs.sort_by_key(rank);
        for output in outputs {
            match self.carry_out(output) {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(next) => after = if after == After::Reset { after } else { next },
            }
        }
        after
    }

    fn carry_out(&mut self, output: Output) -> ControlFlow<After> {
        match output {
            Output::Reply { id, result } => self.answer(id, result),
            Output::Event(Event::View(view)) => {
                noted::note(&self.ends.view.borrow(), &view);
                self.ends.view.send_replace(view);
            }
            Output::Event(event) => {
                // Nobody listening is not an error.
                if self.ends.events.send(Arc::new(event)).is_err() {
                    tracing::trace!("an event without listeners");
                }
            }
            Output::Send { conn, frame } => {
                sent::note(conn.0, &frame);
                self.net.send(conn.0, frame);
            }
            Output::SendJournal { conn, journal, from, upto } => self.send_journal(conn, journal, from, upto),
            Output::Widen { conn, bytes } => self.net.widen(conn.0, bytes),
            Output::Close { conn, code, linger } => self.net.close(conn.0, code, linger),
            Output::Dial { device, addresses, names, anew } => self.net.dial(device, &addresses, names, anew),
            Output::DialLink { pairing, shower, addresses, anywhere, key } => {
                self.net.dial_link(pairing.0, shower, &addresses, anywhere, key);
            }
            Output::AnnounceLinking(key) => self.net.announce_linking(key),
            Output::Discover(keys) => self.net.discover(keys),
            Output::CloseLinking => self.net.close_linking(),
            Output::Admit(devices) => self.admission.admit(devices),
            Output::Keys(keyring) => self.admission.give(keyring),
            Output::Restored => tracing::warn!(
                event = log::RESTORED,
                "restored: this device was set back to an older state of its disk; it takes in what it lost, and writes to a new generation"
            ),
            Output::EraseKeys => return ControlFlow::Break(After::Erase),
            Output::Reset => return ControlFlow::Break(After::Reset),
        }
        ControlFlow::Continue(())
    }

    fn answer(&mut self, id: CommandId, result: Result<Reply, CommandError>) {
        if self.opening == Some(id) {
            self.opening = None;
            if result.is_err() {
                self.net.close_linking();
            }
        }
        let Some(answer) = self.waiting.remove(&id) else { return };
        reply(answer, result.map(|reply| self.with_path(reply)));
    }

    /// What only the network knows of a path.
    fn with_path(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Pinged(view) => Reply::Pinged(PingView { path: self.net.path(view.conn.0), ..view }),
            other => other,
        }
    }

    fn send_journal(&self, conn: ConnId, journal: JournalId, from: u64, upto: Option<u64>) {
        let frames = self.setup.db.snapshot().and_then(|snapshot| JournalFrames::new(snapshot, journal, from, upto));
        match frames {
            Ok(Some(frames)) => self.net.send_journal(conn.0, frames.inspect(move |frame| sent::note(conn.0, frame))),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "a journal cannot be read"),
        }
    }

    /// Replaces the store key: what was sealed under the old one is gone for good. If that fails it is done at the next start.
    pub(super) fn erase_keys(&mut self) -> After {
        let replaced = self.setup.keys.replace_store_key(&self.setup.state_dir, &mut entropy());
        let noted = replaced.map_err(anyhow::Error::from).and_then(|()| {
            let mut txn = self.setup.db.begin()?;
            Engine::keys_erased(&mut txn)?;
            Ok(txn.commit()?)
        });
        if let Err(error) = noted {
            tracing::error!(%error, "the store key could not be replaced; this is tried again at the next start");
            return After::Stop;
        }
        tracing::warn!(event = log::ERASED, "the keys of this device were erased");
        After::Reload
    }

    /// Wipes the store and starts over as a new device.
    pub(super) async fn reset(&mut self) -> anyhow::Result<()> {
        self.net.shutdown().await;
        handed::let_go();
        wipe(&mut self.setup)?;
        self.engine = load(&self.setup, self.run)?;
        self.net = self.rebind().await?;
        search(&self.setup, &self.net);
        self.setup.port = self.net.port();
        remember_port(&mut self.setup)
    }

    /// Listens on the same port with the new identity, once the old endpoint has let go of it; on a fresh one if it never does.
    async fn rebind(&self) -> anyhow::Result<Net> {
        for _ in 0..REBINDS {
            match bind_on(&self.setup, self.setup.port, &self.admission, &self.net_tx, &self.ends.links) {
                Ok(net) => return Ok(net),
                Err(error) => tracing::debug!(%error, "the port is not free yet"),
            }
            sleep(REBIND).await;
        }
        tracing::warn!(port = self.setup.port, "the port stays taken; taking another one");
        Ok(bind_on(&self.setup, 0, &self.admission, &self.net_tx, &self.ends.links)?)
    }
}

/// Which outputs of a batch come first; those of one rank stay in order. The snapshot goes first of all: who is answered reads
/// what the order changed. What concerns other devices goes before what programs on this one are told: it has the longer way,
/// and a connection is cut before that is announced.
fn rank(output: &Output) -> u8 {
    match output {
        Output::Event(Event::View(_)) => 0,
        Output::Event(_) | Output::Reply { .. } => 2,
        _ => 1,
    }
}

//! What was decided and is durable, carried out on the thread of the network and the bus.
//!
//! A batch is handed over whole: however much it decided, that thread is woken once.

use std::sync::Arc;

use kinlink_proto::engine::command::Reply;
use kinlink_proto::engine::error::CommandError;
use kinlink_proto::engine::io::{ConnId, Event, Output};
use kinlink_proto::engine::view::{PingView, View};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::journal::JournalFrames;
use crate::net::{Admission, Net};
use crate::{log, noted, sent};

/// Where the reply of an order goes.
pub(super) type Answer = oneshot::Sender<Result<Reply, CommandError>>;

/// One thing to do.
pub(super) enum Effect {
    /// What the engine said.
    Output(Output),
    /// Answer an order.
    Answer(Answer, Result<Reply, CommandError>),
    /// Send a journal on a stream of its own.
    Journal(ConnId, JournalFrames),
    /// Close every connection: the state behind them is lost.
    CloseAll,
    /// This is the network from now on.
    Net(Net),
    /// Say that everything before this was carried out.
    Barrier(oneshot::Sender<()>),
}

impl Effect {
    /// When it is carried out among the effects of its batch; those of one rank stay in order. The snapshot goes first: who is
    /// answered reads what the order changed. What leaves for other devices goes before what programs on this one are told:
    /// it has the longer way, and a connection is cut before that is announced.
    fn rank(&self) -> u8 {
        match self {
            Self::Output(Output::Event(Event::View(_))) => 0,
            Self::Output(Output::Event(_)) | Self::Answer(..) | Self::Barrier(_) => 2,
            _ => 1,
        }
    }
}

/// What effects are carried out through.
pub(super) struct Effects {
    pub(super) net: Net,
    pub(super) admission: Admission,
    pub(super) view: watch::Sender<Arc<View>>,
    pub(super) events: broadcast::Sender<Event>,
}

impl Effects {
    /// Carries out what is decided until nobody decides any more.
    pub(super) async fn run(mut self, mut decided: mpsc::Receiver<Vec<Effect>>) {
        while let Some(mut batch) = decided.recv().await {
            batch.sort_by_key(Effect::rank);
            batch.into_iter().for_each(|effect| self.carry_out(effect));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Output(output) => self.act(output),
            Effect::Answer(answer, result) => reply(answer, result.map(|reply| self.with_path(reply))),
            Effect::Journal(conn, frames) => {
                self.net.send_journal(conn.0, frames.inspect(move |frame| sent::note(conn.0, frame)));
            }
            Effect::CloseAll => self.net.close_all(),
            Effect::Net(net) => self.net = net,
            // Whoever waits for it may be stopping.
            Effect::Barrier(done) => drop(done.send(())),
        }
    }

    fn act(&self, output: Output) {
        match output {
            Output::Event(Event::View(view)) => {
                noted::note(&self.view.borrow(), &view);
                self.view.send_replace(view);
            }
            Output::Event(event) => {
                // Nobody listening is not an error.
                if self.events.send(event).is_err() {
                    tracing::trace!("an event without listeners");
                }
            }
            Output::Send { conn, frame } => {
                sent::note(conn.0, &frame);
                self.net.send(conn.0, frame);
            }
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
            Output::Restored => tracing::warn!(
                event = log::RESTORED,
                "restored: this device was set back to an older state of its disk; it takes in what it lost, and writes to a new generation"
            ),
            // These need the state, and its owner has seen to them.
            Output::Reply { .. } | Output::SendJournal { .. } | Output::EraseKeys | Output::Reset => {}
        }
    }

    /// What only the network knows of a path.
    fn with_path(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Pinged(view) => Reply::Pinged(PingView { path: self.net.path(view.conn.0), ..view }),
            other => other,
        }
    }
}

/// A client that did not wait for its answer is not an error.
pub(super) fn reply(answer: Answer, result: Result<Reply, CommandError>) {
    if answer.send(result).is_err() {
        tracing::debug!("a client left before its answer");
    }
}

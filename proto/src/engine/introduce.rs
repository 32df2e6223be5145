//! Introductions: a device that was linked meanwhile meets one that has not heard of it. PROTOCOL.md section 10.
//!
//! The newcomer, who knows the other, dials. It shows that it was given keys of the account before anything that it brings
//! is looked at, and what it brings is kept only if it links the newcomer, or puts this very device out.

use std::collections::BTreeSet;
use std::time::Duration;

use super::account::is_out;
use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail};
use crate::id::{DeviceId, EpochId, StatementId};
use crate::key::{Secret, same};
use crate::limits;
use crate::roster::Status;
use crate::roster::statement::Statement;
use crate::time::Mono;
use crate::wire::frame::CloseCode;
use crate::wire::message::{Introduction, Message};
use crate::wire::object::Extensions;

/// An unknown key, on its connection.
#[derive(Debug)]
pub(super) enum Stranger {
    /// It has shown nothing yet. The exporter is what its mac is over.
    Unproven(Secret),
    /// It was given a key of the account.
    Proven,
}

impl Engine {
    /// A peer whose key is unknown came in: it may introduce itself, if there is anything to be introduced to.
    pub(super) fn meet_stranger(&mut self, now: Mono, id: ConnId, exporter: Secret) {
        let heard = self.conns.values().filter(|conn| conn.stranger.is_some() && !conn.closing).count();
        let open = self.own_status() == Some(Status::Linked) && !self.local.out && heard < limits::INTRODUCTIONS;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.stranger = Some(Stranger::Unproven(exporter));
            conn.hello_by = now.after(limits::INTRODUCTION);
        }
        if !open {
            self.close(id, CloseCode::UnknownDevice, Duration::ZERO);
        }
    }

    /// A frame of a peer whose key is unknown: first an introduction, then what it proves.
    pub(super) fn stranger_said(&mut self, cx: &mut Cx<'_>, id: ConnId, message: &Message) -> Result<(), Fail> {
        let Some(conn) = self.conns.get(&id) else { return Ok(()) };
        match (&conn.stranger, message) {
            (Some(Stranger::Unproven(exporter)), Message::Introduction(introduction))
                if self.is_given_keys(conn.peer, exporter, introduction) =>
            {
                self.outputs.push_back(Output::Widen { conn: id, bytes: limits::FRAME_INTRODUCED });
                self.conns.entry(id).and_modify(|conn| conn.stranger = Some(Stranger::Proven));
                Ok(())
            }
            (Some(Stranger::Proven), Message::Statements(statements) | Message::Revoked(statements)) => {
                self.introduced(cx, id, conn.peer, statements)
            }
            _ => Err(Fail::Peer(CloseCode::UnknownDevice)),
        }
    }

    /// Whether a mac is under an epoch that this device holds. It opens the door to one look at what the newcomer brings, no
    /// more; so one that was sealed to a device that is out by now will do: the newcomer cannot know what this device
    /// has heard, and may be the only one left to bring a fit one.
    fn is_given_keys(&self, newcomer: DeviceId, exporter: &Secret, introduction: &Introduction) -> bool {
        let fit = |epoch: EpochId| self.roster.evaluation().epoch(epoch).is_some_and(|epoch| epoch.fit);
        let held = || introduction.macs.iter().filter(|(epoch, _)| self.keyring.secret(*epoch).is_some());
        // One is checked, whatever number of them was sent.
        let known = held().find(|(epoch, _)| fit(*epoch)).or_else(|| held().next());
        known.is_some_and(|(epoch, mac)| {
            let expected = self.keyring.introduction(*epoch, exporter, newcomer, self.device());
            expected.is_some_and(|expected| same(&expected, mac))
        })
    }

    /// Looks at what a newcomer brings, and keeps it if that was worth it.
    fn introduced(
        &mut self,
        cx: &mut Cx<'_>,
        id: ConnId,
        newcomer: DeviceId,
        statements: &[Vec<u8>],
    ) -> Result<(), Fail> {
        let mut roster = self.roster.clone();
        roster.insert(statements).map_err(|_| Fail::Peer(CloseCode::Protocol))?;
        let put_out = roster.evaluation().device(self.device()).is_some_and(|own| is_out(own.status));
        if !put_out && !roster.evaluation().is_linked(newcomer) {
            let found = roster.evaluation().device(newcomer).filter(|found| found.status == Status::Unconfirmed);
            let linker = found.map(|found| found.linked_by);
            return match linker.filter(|linker| self.is_put_out(*linker)) {
                // Linked by one that was being removed: it is to learn that, or it takes itself for linked. What it brought is
                // not kept: whoever is out could bring any number of such.
                Some(linker) => {
                    self.say_who_is_out(id, linker);
                    Ok(())
                }
                None => Err(Fail::Peer(CloseCode::UnknownDevice)),
            };
        }
        self.absorb(cx, statements, Some(id))?;
        let linked = self.roster.evaluation().is_linked(newcomer);
        let Some(conn) = self.conns.get_mut(&id).filter(|conn| linked && !conn.closing) else { return Ok(()) };
        conn.stranger = None;
        conn.hello_by = cx.now.mono.after(limits::HELLO);
        self.outputs.push_back(Output::Widen { conn: id, bytes: limits::FRAME_CONTROL });
        Ok(self.welcome(cx, id)?)
    }

    /// Whether to begin with an introduction to a device that was dialled: it said so when it was last dialled; or it is
    /// out, and may not stay to say whether it knows this one.
    pub(super) fn introduces_to(&self, peer: DeviceId) -> bool {
        let unknown = self.peers.get(&peer).is_some_and(|peer| peer.unknown_there > 0);
        let out = self.roster.evaluation().device(peer).is_some_and(|peer| is_out(peer.status));
        !self.local.out && self.local.pending.is_none() && (unknown || out)
    }

    /// Introduces this device to one that does not know it: with what links this one, or, if the other is out and does not
    /// know that either, with what proves it. Returns whether it could.
    pub(super) fn introduce(&mut self, cx: &mut Cx<'_>, id: ConnId, peer: DeviceId, exporter: &Secret) -> bool {
        let out = self.roster.evaluation().device(peer).is_some_and(|peer| is_out(peer.status));
        let proof = if out { self.roster.proof_of_removal(peer) } else { self.roster.proof_of_link(self.device()) };
        let named: BTreeSet<StatementId> = proof.iter().map(|statement| statement.id).collect();
        let statements = self.lacking_of(peer, &proof);
        let macs = self.macs_for(peer, exporter, |epoch| !out || named.contains(&StatementId(epoch.0)));
        if macs.is_empty() || statements.is_empty() {
            return false;
        }
        let ext = Extensions::grease(crate::key::random(cx.entropy));
        let then = if out { Message::Revoked(statements) } else { Message::Statements(statements) };
        for message in [Message::Introduction(Introduction { macs, ext }), then] {
            self.outputs.push_back(Output::Send { conn: id, frame: message.to_frame() });
        }
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.introducing = true;
            // The peer closes once it has taken it in: it may read the second frame only after having looked at the
            // first, and what it has not read by then a close would cost.
            conn.handed = out;
        }
        true
    }

    /// A proof whole, or if that is too large what the peer did not have of it when it last reported; empty if that is
    /// too large, too: then the peer hears of it from somebody whom it knows.
    fn lacking_of(&self, peer: DeviceId, proof: &[&Statement]) -> Vec<Vec<u8>> {
        let whole = bytes_of(proof.iter());
        if fits(&whole) {
            return whole;
        }
        let heads = self.reports.get(&peer).map_or(Vec::new(), |report| report.content.heads.clone());
        let lacking = self.roster.lacking(&heads);
        let rest = bytes_of(proof.iter().filter(|said| lacking.contains(&said.id)));
        if fits(&rest) { rest } else { Vec::new() }
    }

    /// Macs under the newest epochs held here that `may_name` allows, ascending by epoch.
    fn macs_for(
        &self,
        peer: DeviceId,
        exporter: &Secret,
        may_name: impl Fn(EpochId) -> bool,
    ) -> Vec<(EpochId, [u8; 32])> {
        let held = |epoch: EpochId| self.keyring.secret(epoch).is_some() && may_name(epoch);
        let mut epochs: Vec<_> = self.roster.evaluation().epochs.iter().filter(|epoch| held(epoch.id)).collect();
        epochs.sort_by_key(|epoch| std::cmp::Reverse(epoch.depth));
        epochs.truncate(limits::INTRODUCTION_EPOCHS);
        epochs.sort_by_key(|epoch| epoch.id);
        let mac = |epoch| self.keyring.introduction(epoch, exporter, self.device(), peer);
        epochs.into_iter().filter_map(|epoch| Some((epoch.id, mac(epoch.id)?))).collect()
    }
}

fn bytes_of<'a>(statements: impl Iterator<Item = &'a &'a Statement>) -> Vec<Vec<u8>> {
    statements.map(|statement| statement.bytes.clone()).collect()
}

/// Whether statements fit into the frame that a newcomer may send: a count, and a length before each.
fn fits(statements: &[Vec<u8>]) -> bool {
    2 + statements.iter().map(|bytes| 4 + bytes.len()).sum::<usize>() <= limits::FRAME_INTRODUCED
}

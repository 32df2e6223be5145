//! Epochs: making them, sealing them to peers, and taking in what was sealed to this device.

use std::collections::BTreeSet;

use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail, refuse};
use crate::engine::error::ErrorKind;
use crate::id::{DeviceId, EpochId, StatementId};
use crate::key::Secret;
use crate::roster::epoch::{History, SealedEpoch, seal_epoch, seal_history};
use crate::roster::keyring::commitment;
use crate::roster::statement::{Action, EpochAction};
use crate::store::StoreError;
use crate::wire::message::Message;

impl Engine {
    /// The epoch to write under, made now if none is fit.
    pub(super) fn write_epoch(&mut self, cx: &mut Cx<'_>) -> Result<EpochId, Fail> {
        if let Some(epoch) = self.held_write_epoch() {
            return Ok(epoch);
        }
        if !self.roster.evaluation().entitled().any(|device| device.id == self.device()) {
            return refuse(ErrorKind::Locked, "this device holds no key to write with");
        }
        self.make_epoch(cx)
    }

    /// The fit epoch whose secret is here: another device's newer one may still be on its way.
    pub(super) fn held_write_epoch(&self) -> Option<EpochId> {
        let evaluation = self.roster.evaluation();
        let best = evaluation.write_epoch().filter(|epoch| self.keyring.secret(*epoch).is_some());
        best.or_else(|| {
            let held = evaluation.epochs.iter().filter(|epoch| epoch.fit && self.keyring.secret(epoch.id).is_some());
            held.max_by_key(|epoch| (epoch.depth, std::cmp::Reverse(epoch.id))).map(|epoch| epoch.id)
        })
    }

    /// Starts a new epoch, sealed to everyone who is entitled now.
    pub(super) fn make_epoch(&mut self, cx: &mut Cx<'_>) -> Result<EpochId, Fail> {
        let secret = Secret::random(cx.entropy);
        let recipients: BTreeSet<DeviceId> = self.roster.evaluation().entitled().map(|device| device.id).collect();
        let action = Action::Epoch(EpochAction {
            commitment: commitment(&secret),
            cipher: crate::wire::object::SUITE,
            recipients: recipients.into_iter().collect(),
        });
        let epoch = EpochId::from(self.state(cx, action)?);
        self.keep_secret(cx, epoch, secret)?;
        let peers: Vec<(ConnId, DeviceId)> = self.ready().map(|(id, conn)| (id, conn.peer)).collect();
        for (conn, peer) in peers {
            self.send_epochs(cx, conn, peer);
        }
        Ok(epoch)
    }

    /// Seals the newest epoch held, and what came before it, to a peer that is entitled to it.
    pub(super) fn send_epochs(&mut self, cx: &mut Cx<'_>, conn: ConnId, peer: DeviceId) {
        let Some((sealed, history)) = self.seal_for(cx, peer) else { return };
        let message = Message::Epochs { sealed: vec![sealed], histories: vec![history] };
        self.outputs.push_back(Output::Send { conn, frame: message.to_frame() });
    }

    /// Hands a peer what it lacks of the epochs held here: with the newest fit one, which opens the others; or, while
    /// nobody has made one since somebody went out, each by itself, as somebody may have written under it.
    pub(super) fn send_lacking(&mut self, cx: &mut Cx<'_>, conn: ConnId, peer: DeviceId, theirs: &[EpochId]) {
        let lacking: Vec<EpochId> = self.epochs().filter(|epoch| theirs.binary_search(epoch).is_err()).collect();
        match self.held_write_epoch() {
            _ if lacking.is_empty() => {}
            Some(_) => self.send_epochs(cx, conn, peer),
            None => self.send_each(cx, conn, peer, &lacking),
        }
    }

    /// Seals epochs one by one to a peer that may read them.
    fn send_each(&mut self, cx: &mut Cx<'_>, conn: ConnId, peer: DeviceId, epochs: &[EpochId]) {
        let Some(account) = self.account() else { return };
        let Some(device) = self.roster.evaluation().entitled().find(|device| device.id == peer) else { return };
        let seal = |epoch: &EpochId| {
            seal_epoch(account, *epoch, peer, &device.hpke, self.keyring.secret(*epoch)?, &mut *cx.entropy)
        };
        let sealed = epochs.iter().filter_map(seal).collect();
        let message = Message::Epochs { sealed, histories: Vec::new() };
        self.outputs.push_back(Output::Send { conn, frame: message.to_frame() });
    }

    /// The newest epoch held that `peer` may read, sealed to it, with the history that it opens.
    pub(super) fn seal_for(&self, cx: &mut Cx<'_>, peer: DeviceId) -> Option<(Vec<u8>, Vec<u8>)> {
        let account = self.account()?;
        let device = self.roster.evaluation().entitled().find(|device| device.id == peer)?;
        let epoch = self.held_write_epoch()?;
        let sealed = seal_epoch(account, epoch, peer, &device.hpke, self.keyring.secret(epoch)?, cx.entropy)?;
        Some((sealed, seal_history(&self.keyring, epoch, cx.entropy)?))
    }

    /// Takes in what was sealed to this device; what was not, or what no statement commits to, is passed over.
    pub(super) fn receive_epochs(
        &mut self,
        cx: &mut Cx<'_>,
        sealed: &[Vec<u8>],
        histories: &[Vec<u8>],
    ) -> Result<(), Fail> {
        let Some(account) = self.account() else { return Ok(()) };
        let mut new = Vec::new();
        for bytes in sealed {
            let Ok(object) = SealedEpoch::decode(bytes) else { continue };
            if object.recipient != self.device() || self.keyring.secret(object.epoch).is_some() {
                continue;
            }
            if let Some(secret) = object.open(&self.config.identity, account) {
                new.extend(self.believe(cx, object.epoch, secret)?);
            }
        }
        for bytes in histories {
            let Ok(history) = History::decode(bytes) else { continue };
            for (epoch, secret) in history.open(&self.keyring).unwrap_or_default() {
                new.extend(self.believe(cx, epoch, secret)?);
            }
        }
        self.epochs_opened(cx, &new)
    }

    /// Keeps a secret if an epoch statement commits to it: also if that statement is void by now, as somebody may have
    /// written under it before.
    fn believe(&mut self, cx: &mut Cx<'_>, epoch: EpochId, secret: Secret) -> Result<Option<EpochId>, StoreError> {
        let statement = self.roster.statement(StatementId(epoch.0));
        let committed = statement.is_some_and(|statement| match &statement.action {
            Action::Epoch(said) => said.commitment == commitment(&secret),
            _ => false,
        });
        if !committed || self.keyring.secret(epoch).is_some() {
            return Ok(None);
        }
        self.keep_secret(cx, epoch, secret)?;
        Ok(Some(epoch))
    }

    fn epochs_opened(&mut self, cx: &mut Cx<'_>, new: &[EpochId]) -> Result<(), Fail> {
        if new.is_empty() {
            return Ok(());
        }
        let changes = self.sessions.retry_waiting(cx.store, &self.keyring, &self.journals, new)?;
        self.changes(changes);
        self.changed.view = true;
        // Whoever is connected already may not reach their maker.
        let peers: Vec<(ConnId, DeviceId)> = self.ready().map(|(id, conn)| (id, conn.peer)).collect();
        for (conn, peer) in peers {
            self.send_each(cx, conn, peer, new);
        }
        Ok(())
    }
}

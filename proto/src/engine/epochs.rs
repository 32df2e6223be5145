//! Epochs: making them, sealing them to peers, and taking in what was sealed to this device.

use std::collections::BTreeSet;

use super::io::{ConnId, Output};
use super::{Cx, Engine, Fail, refuse};
use crate::engine::error::ErrorKind;
use crate::id::{DeviceId, EpochId, StatementId};
use crate::key::Secret;
use crate::limits;
use crate::roster::EpochInfo;
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
        self.changed.opened.push(epoch);
        Ok(epoch)
    }

    /// Seals epochs that were made or opened here to the peers: as their maker to everybody, else to those who do not hear
    /// from their maker, or asked for them.
    pub(super) fn hand_out_epochs(&mut self, cx: &mut Cx<'_>) {
        let opened = std::mem::take(&mut self.changed.opened);
        if opened.is_empty() {
            return;
        }
        let maker = |epoch: &EpochId| self.roster.statement(StatementId(epoch.0)).map(|said| said.author);
        let opened: Vec<(EpochId, DeviceId)> = opened.iter().filter_map(|id| Some((*id, maker(id)?))).collect();
        let me = self.device();
        for id in self.ready().map(|(id, _)| id).collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(&id) else { continue };
            let lacks = |(epoch, maker): &&(EpochId, DeviceId)| {
                !conn.epochs.contains(epoch) && (*maker == me || !conn.hears(*maker) || conn.lacks.contains(epoch))
            };
            let lacking: Vec<(EpochId, DeviceId)> = opened.iter().filter(lacks).copied().collect();
            let made = lacking.iter().any(|(_, maker)| *maker == me);
            let lacking: Vec<EpochId> = lacking.into_iter().map(|(epoch, _)| epoch).collect();
            match made {
                true => self.send_epochs(cx, id),
                false => self.send_each(cx, id, &lacking),
            }
        }
    }

    /// Epochs that were sealed to this device and did not arrive.
    pub(super) fn lacking_epochs(&self) -> Vec<EpochId> {
        let (me, evaluation) = (self.device(), self.roster.evaluation());
        if !evaluation.entitled().any(|device| device.id == me) {
            return Vec::new();
        }
        let lacks = |epoch: &&EpochInfo| epoch.recipients.contains(&me) && self.keyring.secret(epoch.id).is_none();
        let lacking: BTreeSet<EpochId> = evaluation.epochs.iter().filter(lacks).map(|epoch| epoch.id).collect();
        lacking.into_iter().take(limits::EPOCHS).collect()
    }

    /// A peer asks for epochs that were sealed to it and did not arrive. What is not held here it gets when it is.
    pub(super) fn receive_lacks(&mut self, cx: &mut Cx<'_>, id: ConnId, lacks: &[EpochId]) -> Result<(), Fail> {
        let Some(conn) = self.conns.get_mut(&id) else { return Ok(()) };
        conn.lacks = lacks.iter().copied().collect();
        let again = lacks.iter().filter(|epoch| conn.epochs.remove(epoch)).count() > 0;
        if again {
            self.count_again(id)?;
        }
        if lacks.iter().any(|epoch| self.keyring.secret(*epoch).is_some()) {
            self.send_lacking(cx, id);
        }
        Ok(())
    }

    /// Seals the newest epoch held, and what came before it, to a peer that is entitled to it.
    fn send_epochs(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(peer) = self.conns.get(&id).map(|conn| conn.peer) else { return };
        let Some((sealed, history)) = self.seal_for(cx, peer) else { return };
        let held: Vec<EpochId> = self.epochs().collect();
        self.conns.entry(id).and_modify(|conn| conn.epochs.extend(held));
        let message = Message::Epochs { sealed: vec![sealed], histories: vec![history] };
        self.outputs.push_back(Output::Send { conn: id, frame: message.to_frame() });
    }

    /// Hands a peer what it lacks of the epochs held here: with the newest fit one, which opens the others; or, while
    /// nobody has made one since somebody went out, each by itself, as somebody may have written under it.
    pub(super) fn send_lacking(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let lacking: Vec<EpochId> = self.epochs().filter(|epoch| !conn.epochs.contains(epoch)).collect();
        match self.held_write_epoch() {
            _ if lacking.is_empty() => {}
            Some(_) => self.send_epochs(cx, id),
            None => self.send_each(cx, id, &lacking),
        }
    }

    /// Seals epochs one by one to a peer that may read them.
    fn send_each(&mut self, cx: &mut Cx<'_>, id: ConnId, epochs: &[EpochId]) {
        let (Some(account), Some(conn)) = (self.account(), self.conns.get_mut(&id)) else { return };
        let peer = conn.peer;
        let Some(device) = self.roster.evaluation().entitled().find(|device| device.id == peer) else { return };
        let seal = |epoch: &EpochId| {
            seal_epoch(account, *epoch, peer, &device.hpke, self.keyring.secret(*epoch)?, &mut *cx.entropy)
        };
        let sealed: Vec<Vec<u8>> = epochs.iter().filter_map(seal).collect();
        if !sealed.is_empty() {
            conn.epochs.extend(epochs);
            let message = Message::Epochs { sealed, histories: Vec::new() };
            self.outputs.push_back(Output::Send { conn: id, frame: message.to_frame() });
        }
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
        self.changed.opened.extend(new);
        Ok(())
    }
}

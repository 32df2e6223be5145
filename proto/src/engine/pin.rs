//! The PIN: proven for one command at a time, and wrong tries counted before they are answered.
//!
//! What Argon2id makes of a PIN comes from the shell: it takes half a second and 64 MiB, which this task has not. The tries are in the
//! store in the transaction that answers them, and the wait after them is running time: neither a restart nor a clock helps a guesser.

use std::time::Duration;

use super::command::{Caller, Command, CommandId, Reply};
use super::error::ErrorKind;
use super::view::TwoStep;
use super::{Cx, Engine, Fail, refuse};
use crate::key::{PinSigner, Secret};
use crate::limits;
use crate::roster::Role;
use crate::roster::statement::{Action, PinSetting};
use crate::session::content::Space;
use crate::session::{account_session, device_wrong_pins_key};
use crate::store::{Read, Store, StoreError, Table};
use crate::time::Mono;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

const TRIES: &[u8] = b"pin tries";

/// Wrong tries since the last right one, and the PIN of the command in hand.
#[derive(Debug, Default)]
pub(super) struct Pin {
    wrong: u32,
    /// This device's running time at the last one, in milliseconds.
    at: u64,
    proven: Option<PinSigner>,
}

impl Pin {
    pub(super) fn load(store: &dyn Read) -> Result<Self, StoreError> {
        let Some(bytes) = store.get(Table::Meta, TRIES)? else { return Ok(Self::default()) };
        Self::from_bytes(&bytes).map_err(|error| StoreError(format!("damaged record of PIN tries: {error}")))
    }

    fn save(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        store.put(Table::Meta, TRIES, &self.to_bytes())
    }

    /// How long a guesser waits after so many wrong tries.
    fn wait(&self) -> Duration {
        match self.wrong.checked_sub(limits::PIN_FREE) {
            None => Duration::ZERO,
            Some(further) => limits::PIN_WAIT.saturating_mul(1 << further.min(16)).min(limits::PIN_WAIT_MAX),
        }
    }
}

impl Encode for Pin {
    fn encode(&self, w: &mut Writer) {
        w.u32(self.wrong);
        w.u64(self.at);
    }
}

impl Decode for Pin {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { wrong: r.u32()?, at: r.u64()?, proven: None })
    }
}

impl Engine {
    /// Carries out a command of somebody who typed the PIN; `seeds` is what that gives with the salt of each PIN that is set.
    pub(super) fn with_pin(
        &mut self,
        cx: &mut Cx<'_>,
        id: CommandId,
        caller: &Caller,
        seeds: &[Secret],
        command: Command,
    ) -> Result<Reply, Fail> {
        self.pin.proven = Some(self.prove(cx, seeds)?);
        let result = self.carry_out(cx, id, caller, command);
        self.pin.proven = None;
        result
    }

    fn prove(&mut self, cx: &mut Cx<'_>, seeds: &[Secret]) -> Result<PinSigner, Fail> {
        if self.roster.evaluation().pins.is_empty() {
            return refuse(ErrorKind::Refused, "no PIN is set in this account");
        }
        let left = self.pin_left(cx.now.mono);
        if !left.is_zero() {
            return refuse(ErrorKind::PinWrong, format!("too many wrong PINs; the next try counts in {}", spell(left)));
        }
        let mut signers = seeds.iter().map(PinSigner::from_seed);
        let set =
            |signer: &PinSigner| self.roster.evaluation().pins.iter().any(|pin| pin.setting.key == signer.public());
        match signers.find(set) {
            Some(signer) => {
                self.count_pin(cx, 0)?;
                Ok(signer)
            }
            None => {
                self.count_pin(cx, self.pin.wrong.saturating_add(1))?;
                match self.pin_left(cx.now.mono) {
                    left if left.is_zero() => refuse(ErrorKind::PinWrong, "that is not the PIN"),
                    left => refuse(
                        ErrorKind::PinWrong,
                        format!("that is not the PIN; the next try counts in {}", spell(left)),
                    ),
                }
            }
        }
    }

    /// How long no PIN is looked at.
    fn pin_left(&self, now: Mono) -> Duration {
        self.pin.wait().saturating_sub(Duration::from_millis(self.running(now).saturating_sub(self.pin.at)))
    }

    /// Notes the wrong tries, here and for the other devices.
    fn count_pin(&mut self, cx: &mut Cx<'_>, wrong: u32) -> Result<(), Fail> {
        if wrong == 0 && self.pin.wrong == 0 {
            return Ok(());
        }
        self.count_running(cx)?;
        self.pin.wrong = wrong;
        self.pin.at = self.local.running;
        self.pin.save(cx.store)?;
        self.changed.view = true;
        let Some(account) = self.account() else { return Ok(()) };
        let text = (wrong > 0).then(|| wrong.to_string());
        let key = device_wrong_pins_key(self.device());
        match self.write(cx, account_session(account), Space::Entry, &key, text.as_deref().map(str::as_bytes)) {
            // A device that may not write counts all the same.
            Err(Fail::Refused(_)) => Ok(()),
            other => other,
        }
    }

    /// Refuses what is done with the PIN only, before anything is done.
    pub(super) fn require_pin(&self, needed: bool) -> Result<(), Fail> {
        if needed && self.pin.proven.is_none() && self.is_two_step() {
            return refuse(ErrorKind::PinRequired, "this account has a PIN, and this needs it");
        }
        Ok(())
    }

    /// What countersigns `action`, said now by this device: nothing if it need not be.
    pub(super) fn countersigner(&self, action: &Action) -> Result<Option<PinSigner>, Fail> {
        let needed = self.roster.needs_pin(self.device(), action);
        self.require_pin(needed)?;
        Ok(self.pin.proven.clone().filter(|_| needed))
    }

    pub(super) fn is_two_step(&self) -> bool {
        !self.roster.evaluation().pins.is_empty()
    }

    /// Sets, changes or removes the PIN.
    pub(super) fn set_pin(&mut self, cx: &mut Cx<'_>, setting: Option<PinSetting>) -> Result<Reply, Fail> {
        self.may_write()?;
        if self.local.pending.is_some() {
            return refuse(ErrorKind::Refused, "this device is joining an account; wait for that, or cancel it");
        }
        if setting.is_none() && !self.is_two_step() {
            return Ok(Reply::Done);
        }
        self.ensure_account(cx)?;
        if self.roster.evaluation().role(self.device()) != Some(Role::Owner) {
            return refuse(ErrorKind::NotOwner, "only an owner sets the PIN; this device is not an owner");
        }
        self.state(cx, Action::Pin(setting))?;
        // Never answered "done" before the roster itself says so.
        let set: Vec<PinSetting> = self.roster.evaluation().pins.iter().map(|pin| pin.setting).collect();
        if set != setting.into_iter().collect::<Vec<_>>() {
            return refuse(ErrorKind::Internal, "that does not count in this account; look at the state of the PIN");
        }
        Ok(Reply::Done)
    }

    /// The PIN, for people.
    pub(super) fn two_step(&self) -> Option<TwoStep> {
        let evaluation = self.roster.evaluation();
        let newest = evaluation.pins.iter().max_by_key(|pin| (pin.known_by.len(), pin.id))?;
        let knows =
            |device: &&crate::roster::Device| evaluation.pins.iter().all(|pin| pin.known_by.contains(&device.id));
        Some(TwoStep {
            settings: evaluation.pins.iter().map(|pin| pin.setting).collect(),
            by: newest.by,
            by_name: self.name_of(newest.by),
            at: self.roster.statement(newest.id).map_or(crate::time::Wall(0), |set| set.time),
            known_on: super::snapshot::count(evaluation.linked().filter(knows).count()),
            known_of: super::snapshot::count(evaluation.linked().count()),
        })
    }

    /// Wrong PINs that were tried on a device since the last right one.
    pub(super) fn wrong_pins(&self, device: crate::id::DeviceId) -> u32 {
        if device == self.device() { self.pin.wrong } else { self.sessions.wrong_pins(device) }
    }
}

/// A wait, for people: rounded up.
fn spell(left: Duration) -> String {
    match left.as_millis().div_ceil(1000) {
        1 => "1 second".to_owned(),
        seconds @ ..=90 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}

//! What depends on how long this device has been running: clocks can be set, running time cannot.

use std::time::Duration;

use super::local::Linked;
use super::out::reason;
use super::{Cx, Engine, Fail};
use crate::id::DeviceId;
use crate::limits;
use crate::roster::statement::Action;
use crate::roster::{Role, Status};
use crate::session::content::Space;
use crate::session::record::{END_KEY, End};
use crate::store::{StoreError, Table};
use crate::time::Mono;
use crate::wire::Encode;

impl Engine {
    /// When running time is counted next.
    pub(super) fn age_due(&self) -> Option<Mono> {
        Some(self.counted.after(limits::AGE_STEP))
    }

    /// Counts the running time since the last count, and does what its time has come for.
    pub(super) fn grow_older(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        let step = cx.now.mono.0.saturating_sub(self.counted.0);
        if step < millis(limits::AGE_STEP) {
            return Ok(());
        }
        self.count_running(cx)?;
        for chore in [Self::expire_sessions, Self::look_after_linked, Self::forget_ciphertext] {
            // What this device may not do now is tried again at the next step, and keeps nothing else from being done.
            if let Err(Fail::Store(error)) = chore(self, cx) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// This device's running time now.
    pub(super) fn running(&self, now: Mono) -> u64 {
        let step = now.0.saturating_sub(self.counted.0);
        // A gap longer than a few steps was spent asleep, not running.
        self.local.running.saturating_add(step.min(3 * millis(limits::AGE_STEP)))
    }

    /// Notes it.
    pub(super) fn count_running(&mut self, cx: &mut Cx<'_>) -> Result<(), StoreError> {
        self.local.running = self.running(cx.now.mono);
        self.counted = cx.now.mono;
        self.local.save(cx.store)
    }

    /// Notes a device that this one has just linked.
    pub(super) fn note_linked(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<(), StoreError> {
        self.local.linked.push(Linked { device, at: self.local.running });
        self.local.save(cx.store)
    }

    /// A device that never showed up is revoked after a day; a member is made an owner after a day, by the owner who linked it: not
    /// where there is a PIN, which makes one an owner at once.
    fn look_after_linked(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let running = self.local.running;
        let day = |since: u64, wait: Duration| running.saturating_sub(since) >= millis(wait);
        if self.roster.evaluation().role(self.device()) != Some(Role::Owner) || !self.knows_its_own_words() {
            return Ok(());
        }
        for Linked { device, at } in self.local.linked.clone() {
            let shown_up = self.reports.contains_key(&device);
            let known = self.roster.evaluation().device(device).filter(|known| known.status == Status::Linked);
            let role = known.map(|known| known.role);
            let done = match role {
                None | Some(Role::Guest) => true,
                Some(Role::Owner) => shown_up,
                Some(Role::Member) => false,
            };
            if done {
                self.forget_linked(cx, device)?;
            } else if !shown_up && day(at, limits::NEVER_COMPLETED) {
                self.revoke_as(cx, &[device], reason::NEVER_COMPLETED, "")?;
                self.forget_linked(cx, device)?;
            } else if shown_up && role == Some(Role::Member) && day(at, limits::PROMOTE_AFTER) && !self.is_two_step() {
                self.state(cx, Action::Role { device, role: Role::Owner })?;
                self.forget_linked(cx, device)?;
            }
        }
        Ok(())
    }

    /// Whether this device need not fear that it was set back and others know later statements of its own: what it says by
    /// itself waits until it has met somebody in this run, if there is anybody who ever showed up.
    fn knows_its_own_words(&self) -> bool {
        let me = self.device();
        let mut others = self.roster.evaluation().linked().filter(|device| device.id != me);
        self.met || !others.any(|device| self.reports.contains_key(&device.id))
    }

    pub(super) fn forget_linked(&mut self, cx: &mut Cx<'_>, device: DeviceId) -> Result<(), StoreError> {
        self.local.linked.retain(|linked| linked.device != device);
        self.local.save(cx.store)
    }

    /// Sessions made here end by themselves when their time is over.
    fn expire_sessions(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let (me, now) = (self.device(), cx.now.wall);
        let over = self.sessions.iter().filter(|(_, info)| info.creator == me && info.ended.is_none());
        let over: Vec<_> =
            over.filter(|(_, info)| info.expires.0 != 0 && info.expires <= now).map(|(id, _)| id).collect();
        for session in over {
            let end = End { by: me, time: now, reason: "its time was over".to_owned() };
            self.write(cx, session, Space::Record, END_KEY, Some(&end.to_bytes()))?;
        }
        Ok(())
    }

    /// What a device that is out still holds, sealed and without its keys, goes after a week.
    fn forget_ciphertext(&mut self, cx: &mut Cx<'_>) -> Result<(), Fail> {
        let week = millis(limits::REVOKED_KEEPS);
        if !self.local.out || self.local.running.saturating_sub(self.local.out_at) < week {
            return Ok(());
        }
        self.journals.clear(cx.store)?;
        cx.store.clear(Table::Waiting)?;
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

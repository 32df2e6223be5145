//! What runs have exercised: a simulation in which nothing happens proves nothing.

use std::collections::BTreeMap;
use std::fmt;

use super::world::World;

/// Counts over many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Devices whose code was typed.
    pub linked: usize,
    /// Writes that were committed.
    pub writes: usize,
    /// Writes by others than the first device.
    pub others: usize,
    /// Devices that were revoked.
    pub revoked: usize,
    /// Sessions that were ended.
    pub ended: usize,
    /// Devices that left.
    pub left: usize,
    /// Devices that started over.
    pub reset: usize,
    /// Times the power went between the new store key and the note of it.
    pub erasing: usize,
    /// Disks that were set back to what they held before.
    pub restored: usize,
    /// Disks that were copied and ran twice.
    pub cloned: usize,
    /// Frames of earlier connections that were sent once more.
    pub replayed: usize,
    /// Crashes, at every point of a batch.
    pub crashes: usize,
    /// Connections that broke.
    pub broken: usize,
    /// Frames that arrived.
    pub frames: usize,
    /// Those by type.
    pub kinds: BTreeMap<u16, usize>,
    /// The most that arrived in one run, and its seed.
    pub most: (usize, u64),
}

impl Tally {
    /// What never happened.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        let counts = [
            ("linked", self.linked),
            ("writes", self.writes),
            ("writes by joined devices", self.others),
            ("revoked", self.revoked),
            ("left", self.left),
            ("sessions ended", self.ended),
            ("started over", self.reset),
            ("disks that run twice", self.cloned),
            ("crashes", self.crashes),
            ("crashes while keys are erased", self.erasing),
            ("connections broken", self.broken),
            ("old frames replayed", self.replayed),
            ("frames", self.frames),
        ];
        counts.into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }

    /// Adds one run.
    pub fn add(&mut self, world: &World) {
        let first = world.model.writes.first().map(|write| write.author);
        self.linked += world.model.confirmed.len();
        self.writes += world.model.writes.len();
        self.others += world.model.writes.iter().filter(|write| Some(write.author) != first).count();
        self.revoked += world.model.revoked.len();
        self.ended += world.model.ended.len();
        self.left += world.model.left;
        self.reset += world.model.gone.len();
        self.erasing += world.erasing;
        self.restored += world.model.restored.len();
        self.cloned += world.cloned;
        self.replayed += world.replayed;
        self.crashes += world.crashes;
        self.broken += world.breaks;
        self.frames += world.frames;
        self.most = self.most.max((world.frames, world.plan.seed));
        for (kind, count) in &world.kinds {
            *self.kinds.entry(*kind).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            linked,
            writes,
            others,
            revoked,
            left,
            reset,
            erasing,
            restored,
            cloned,
            replayed,
            ended,
            crashes,
            broken,
            frames,
            kinds,
            most,
        } = self;
        write!(
            f,
            "{linked} linked, {writes} writes ({others} by joined devices), {revoked} revoked, {left} left, {ended} sessions ended, \
             {reset} started over, {restored} disks rolled back, {cloned} run twice, {crashes} crashes, {erasing} while erasing, {replayed} frames replayed, {broken} connections broken, {frames} frames (most in seed {}: {})",
            most.1, most.0
        )?;
        kinds.iter().try_for_each(|(kind, count)| write!(f, "\n  frame {kind:#06x}: {count}"))
    }
}

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
    /// Adds one run.
    pub fn add(&mut self, world: &World) {
        let first = world.model.writes.first().map(|write| write.author);
        self.linked += world.model.confirmed.len();
        self.writes += world.model.writes.len();
        self.others += world.model.writes.iter().filter(|write| Some(write.author) != first).count();
        self.revoked += world.model.revoked.len();
        self.ended += world.model.ended.len();
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
        let Self { linked, writes, others, revoked, ended, crashes, broken, frames, kinds, most } = self;
        write!(
            f,
            "{linked} linked, {writes} writes ({others} by joined devices), {revoked} revoked, {ended} sessions ended, \
             {crashes} crashes, {broken} connections broken, {frames} frames (most in seed {}: {})",
            most.1, most.0
        )?;
        kinds.iter().try_for_each(|(kind, count)| write!(f, "\n  frame {kind:#06x}: {count}"))
    }
}

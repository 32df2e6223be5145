//! What runs have exercised: a simulation in which nothing happens proves nothing.

use std::fmt;

use super::world::World;

/// Counts over many runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { linked, writes, others, revoked, ended, crashes, broken, frames } = self;
        write!(
            f,
            "{linked} linked, {writes} writes ({others} by joined devices), {revoked} revoked, {ended} sessions ended, \
             {crashes} crashes, {broken} connections broken, {frames} frames"
        )
    }
}

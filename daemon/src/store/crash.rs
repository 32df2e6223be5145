//! A disk that loses what was not synced, and breaks when it is told to. For tests.
//!
//! ```text
//! let disk = CrashBackend::new();
//! disk.break_at(Break::Sync(7));          // the seventh barrier fails, and all that comes after
//! workload(Db::open_with(disk.clone())?); // until it sees an error
//! let after = disk.after_crash(Loss::Torn(seed));
//! look(Db::open_with(after)?);
//! ```

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What a disk writes as one: a torn write ends at a multiple of this many bytes.
const SECTOR: usize = 512;

/// When the disk breaks. Counted from 1, from when the backend was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// At the n-th `sync_data`.
    Sync(u64),
    /// At the n-th write or change of length.
    Write(u64),
}

/// What a crash loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Everything that was not synced.
    Unsynced,
    /// Of what was not synced, each sector that this seed picks.
    Torn(u64),
    /// Nothing: only the process died.
    Nothing,
}

#[derive(Clone, Debug)]
enum Op {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Default)]
struct Disk {
    /// What reads see.
    live: Vec<u8>,
    /// What the last sync left.
    durable: Vec<u8>,
    /// What was done since.
    pending: Vec<Op>,
    syncs: u64,
    writes: u64,
    plan: Option<(Break, io::ErrorKind)>,
    broken: bool,
}

/// Storage in memory that knows what was synced. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct CrashBackend(Arc<Mutex<Disk>>);

impl CrashBackend {
    /// An empty disk that does not break.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From when on every write and sync fails, as after a power failure.
    pub fn break_at(&self, when: Break) {
        self.break_with(when, io::ErrorKind::Other);
    }

    /// The same with an error of this kind, such as [`io::ErrorKind::StorageFull`].
    pub fn break_with(&self, when: Break, kind: io::ErrorKind) {
        self.disk().plan = Some((when, kind));
    }

    /// Ends the failure: what was written so far is still there, as after space was made on a full disk.
    pub fn heal(&self) {
        let mut disk = self.disk();
        disk.plan = None;
        disk.broken = false;
    }

    /// How many syncs were asked for.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// How many writes and changes of length were asked for.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.disk().writes
    }

    /// Whether the planned failure happened.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.disk().broken
    }

    /// A whole disk with what this one holds after a crash right now.
    #[must_use]
    pub fn after_crash(&self, loss: Loss) -> Self {
        let disk = self.disk();
        let mut left = disk.durable.clone();
        match loss {
            Loss::Unsynced => {}
            Loss::Nothing => left.clone_from(&disk.live),
            Loss::Torn(seed) => tear(&mut left, &disk.pending, &mut Random(seed)),
        }
        Self(Arc::new(Mutex::new(Disk { live: left.clone(), durable: left, ..Disk::default() })))
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Every change is complete before anything that can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for CrashBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = position(offset)?;
        let disk = self.disk();
        let bytes = disk.live.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk().change(Op::Length(position(len)?))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.syncs += 1;
        let now = Break::Sync(disk.syncs);
        disk.go_on(now)?;
        let Disk { durable, pending, .. } = &mut *disk;
        pending.drain(..).for_each(|op| perform(durable, &op));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk().change(Op::Write(position(offset)?, data.to_vec()))
    }
}

impl Disk {
    fn change(&mut self, op: Op) -> io::Result<()> {
        self.writes += 1;
        let done = self.go_on(Break::Write(self.writes));
        let first = matches!(self.plan, Some((Break::Write(n), _)) if n == self.writes);
        // The write under way when the power went may have reached the disk.
        if done.is_err() && first {
            self.pending.push(op);
            return done;
        }
        done?;
        perform(&mut self.live, &op);
        self.pending.push(op);
        Ok(())
    }

    /// An error if the disk is broken, or breaks now.
    fn go_on(&mut self, now: Break) -> io::Result<()> {
        let Some((when, kind)) = self.plan else { return Ok(()) };
        self.broken |= when == now;
        if self.broken { Err(io::Error::new(kind, "the disk was told to break")) } else { Ok(()) }
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

fn perform(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Length(len) => bytes.resize(*len, 0),
        Op::Write(start, data) => {
            let end = start + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*start..end].copy_from_slice(data);
        }
    }
}

/// Does some of `pending`: each sector and each change of length by the toss of a coin.
fn tear(bytes: &mut Vec<u8>, pending: &[Op], random: &mut Random) {
    for op in pending {
        match op {
            Op::Length(_) if random.coin() => perform(bytes, op),
            Op::Length(_) => {}
            Op::Write(start, data) => {
                for (n, sector) in data.chunks(SECTOR).enumerate() {
                    if random.coin() {
                        perform(bytes, &Op::Write(start + n * SECTOR, sector.to_vec()));
                    }
                }
            }
        }
    }
}

/// SplitMix64: the same numbers for a seed on every machine and in every release.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

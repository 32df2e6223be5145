//! What follows from the statements: PROTOCOL.md section 5.4, rules E1 to E10.
//!
//! Statements are decided as far as the rules decide them (`rules`); what is left then holds one another in cycles, and their
//! sources are settled (`contest`); then again, until all are decided. What that means for each device is read off last (`outcome`).

mod contest;
mod countersign;
mod outcome;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use super::graph::Graph;
use super::statement::{Honoured, PinSetting};
use super::{Custody, Role};
use crate::id::{AccountId, DeviceId, EpochId, Hash, PinKey, StatementId};
use crate::time::Wall;
use crate::wire::address::Address;
use rules::{Rules, Verdict};

/// What follows from a set of statements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluation {
    /// The account, if its genesis is there.
    pub account: Option<AccountId>,
    /// Every device that was ever linked, as it stands now.
    pub devices: BTreeMap<DeviceId, Device>,
    /// The statements that count.
    pub effective: BTreeSet<StatementId>,
    /// Removals that hold one another in a cycle: their targets are suspended.
    pub contested: BTreeSet<StatementId>,
    /// The statements that do not count, and why.
    pub void: BTreeMap<StatementId, VoidReason>,
    /// The epochs, ascending by id.
    pub epochs: Vec<EpochInfo>,
    /// The PINs that countersign: none, one, or, of several that did not know of one another, any.
    pub pins: Vec<Pin>,
    /// Something must be understood and is not: no more writing and approving before an update.
    pub update_needed: bool,
}

/// A device, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Whether it is in.
    pub status: Status,
    /// What it may do; if it is not linked any more, what it might.
    pub role: Role,
    /// Whose machine it is.
    pub custody: Custody,
    /// Who hosts it; empty unless hosted.
    pub holder: String,
    /// Its X-Wing public key, 1216 bytes.
    pub hpke: Vec<u8>,
    /// Its first name.
    pub name: String,
    /// Its platform.
    pub platform: String,
    /// When it was linked, by the linker's clock.
    pub linked_at: Wall,
    /// Who linked it; itself for the first.
    pub linked_by: DeviceId,
    /// The statement that links it.
    pub link: StatementId,
    /// Where it was linked from, if that is known.
    pub origin: Option<Address>,
    /// Seconds without an owner before it locks itself; 0 is the default.
    pub lease: u32,
    /// The device that it replaces.
    pub replaces: Option<DeviceId>,
    /// The first of what put it out: a revocation by others if there is one, else its leaving, else what suspends it.
    pub removal: Option<Removal>,
    /// All effective revocations of it.
    pub revocations: BTreeSet<StatementId>,
    /// How far its journals count if it is revoked or left, by generation; those not named do not.
    pub honoured: BTreeMap<u32, Honoured>,
    /// The devices that have said that they acted upon a revocation of this one, its author included.
    pub applied_by: BTreeSet<DeviceId>,
}

/// Where a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// In.
    Linked,
    /// Out, by another.
    Revoked,
    /// Out, by itself.
    Left,
    /// Without rights, until an owner readmits or revokes it, or settles which of two revocations counts.
    Suspended,
    /// Linked by a device that was being revoked: no access until an owner links it again.
    Unconfirmed,
}

/// A revocation or suspension, to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The statement.
    pub id: StatementId,
    /// Who said it.
    pub by: DeviceId,
    /// Why: see [`super::statement::Suspend::reason_code`].
    pub reason_code: u8,
    /// Why, in its author's words; not cleaned for display.
    pub text: String,
    /// Where the device was seen, of a suspension.
    pub seen_at: Vec<Address>,
    /// When, by its author's clock.
    pub at: Wall,
}

/// The rule that a statement fell under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VoidReason {
    /// E1: it was not the author's to say.
    NotEntitled,
    /// E2: its author was being revoked or suspended.
    RemovedMeanwhile,
    /// E3: its author had seen its own revocation or suspension.
    AfterRemoval,
    /// E5: it lost to what it held in a cycle.
    Outranked,
    /// E6: its author said two things under one number.
    Equivocation,
    /// E7: the key was linked or revoked before, or another link of it counts.
    Relink,
    /// E10: it lacks the countersignature of the PIN.
    NotCountersigned,
}

impl VoidReason {
    /// The rule's name in PROTOCOL.md section 5.4.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::NotEntitled => "E1",
            Self::RemovedMeanwhile => "E2",
            Self::AfterRemoval => "E3",
            Self::Outranked => "E5",
            Self::Equivocation => "E6",
            Self::Relink => "E7",
            Self::NotCountersigned => "E10",
        }
    }
}

/// A PIN that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The statement that set it.
    pub id: StatementId,
    /// Who did.
    pub by: DeviceId,
    /// Its key, and how that is made.
    pub setting: PinSetting,
    /// The devices that have said something since they knew of it: they are held to it even if they forget it.
    pub known_by: BTreeSet<DeviceId>,
}

/// An epoch of the account's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its id.
    pub id: EpochId,
    /// What its secret must hash to.
    pub commitment: Hash,
    /// To whom the secret was sealed at first.
    pub recipients: Vec<DeviceId>,
    /// How many statements are in its past.
    pub depth: u32,
    /// Whether writing under it keeps out everyone who is out.
    pub fit: bool,
}

impl Evaluation {
    /// A device that was ever linked.
    #[must_use]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(&id)
    }

    /// Whether a device is in.
    #[must_use]
    pub fn is_linked(&self, id: DeviceId) -> bool {
        self.role(id).is_some()
    }

    /// What a device may do; `None` if it is not in.
    #[must_use]
    pub fn role(&self, id: DeviceId) -> Option<Role> {
        self.device(id).filter(|device| device.status == Status::Linked).map(|device| device.role)
    }

    /// The devices that are in.
    pub fn linked(&self) -> impl Iterator<Item = &Device> {
        self.devices.values().filter(|device| device.status == Status::Linked)
    }

    /// The owners that are in.
    pub fn owners(&self) -> impl Iterator<Item = &Device> {
        self.linked().filter(|device| device.role == Role::Owner)
    }

    /// Those who may have the epochs' secrets: owners and members that are in.
    pub fn entitled(&self) -> impl Iterator<Item = &Device> {
        self.linked().filter(|device| entitled(device))
    }

    /// The epoch to write under: of the fit ones that with the longest past, then with the lowest id.
    #[must_use]
    pub fn write_epoch(&self) -> Option<EpochId> {
        let fit = self.epochs.iter().filter(|epoch| epoch.fit);
        fit.max_by_key(|epoch| (epoch.depth, std::cmp::Reverse(epoch.id))).map(|epoch| epoch.id)
    }

    /// An epoch.
    #[must_use]
    pub fn epoch(&self, id: EpochId) -> Option<&EpochInfo> {
        self.epochs.binary_search_by_key(&id, |epoch| epoch.id).ok().map(|index| &self.epochs[index])
    }
}

fn entitled(device: &Device) -> bool {
    // Hosted devices get the keys of single sessions, as guests do.
    device.role >= Role::Member && device.custody != Custody::Hosted
}

/// Whether a statement is countersigned by a key: verified once, however often all is evaluated.
pub(super) type Countersigned = BTreeMap<(StatementId, PinKey), bool>;

/// Evaluates all statements of `graph`.
pub(super) fn evaluate(graph: &Graph, countersigned: &mut Countersigned) -> Evaluation {
    let mut rules = Rules::new(graph, std::mem::take(countersigned));
    let mut open: Vec<usize> = (0..graph.len()).collect();
    loop {
        open = rules.decide_all(open);
        if open.is_empty() {
            let evaluation = outcome::read(&rules);
            *countersigned = rules.take_countersigned();
            return evaluation;
        }
        contest::settle(&mut rules, &open);
        open.retain(|index| rules.verdict(*index) == Verdict::Open);
    }
}

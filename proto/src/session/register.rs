//! A multi-value register: the live values of one key, PROTOCOL.md section 8.
//!
//! The state is a function of the *set* of operations applied: order and repetition do not matter. To that end
//! it keeps, for each journal, below which number everything is covered, and by whom: an operation that
//! arrives after one that covers it does not come back.
//!
//! A later operation of a journal covers the earlier ones of the same key, so each journal has one live value
//! at most.

use std::collections::BTreeMap;

use super::content::Seen;
use crate::id::JournalId;
use crate::limits::CONTEXT_ENTRIES;
use crate::time::Wall;
use crate::wire::{Decode, DecodeError, Encode, Reader, Writer};

/// The name of an operation: its journal, then its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId {
    /// Which journal.
    pub journal: JournalId,
    /// Its number.
    pub number: u64,
}

/// A live value: the operation that wrote it, and what is needed to order and list it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef {
    /// Which operation wrote it.
    pub op: OpId,
    /// When, by the writer's clock.
    pub time: Wall,
    /// Whether it reads as absent.
    pub deleted: bool,
    /// Bytes of the value.
    pub size: u32,
}

impl ValueRef {
    /// Orders concurrent values: the greatest is shown first.
    fn rank(&self) -> (Wall, OpId) {
        (self.time, self.op)
    }
}

/// What applying an operation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether the live values are others than before.
    pub changed: bool,
    /// Operations that are covered now and were not known to be before: those that were live, or the one applied.
    pub covered: Vec<(OpId, OpId)>,
}

/// What is known of one journal's operations on this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seat {
    /// Every operation with a lower number is covered.
    below: u64,
    /// By this one: of those that cover as much, the lowest. Itself while nothing is covered.
    by: OpId,
    /// The live value, at or above `below`.
    live: Option<ValueRef>,
}

/// The live values of one key, and what they replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    seats: BTreeMap<JournalId, Seat>,
}

impl Register {
    /// Applies the operation that wrote `value`, whose writer had seen `context`.
    ///
    /// A context entry that claims to have seen the operation itself, or a later one of its own journal, says no more
    /// than the rule that a journal's later operations cover its earlier ones.
    pub fn apply(&mut self, value: ValueRef, context: &[Seen]) -> Applied {
        let mut done = Applied::default();
        for seen in context.iter().filter(|seen| seen.journal != value.op.journal) {
            self.cover(seen.journal, seen.number.saturating_add(1), value.op, &mut done);
        }
        self.cover(value.op.journal, value.op.number, value.op, &mut done);
        self.take_in(value, &mut done);
        done
    }

    /// The live values, the one that is shown first.
    #[must_use]
    pub fn live(&self) -> Vec<ValueRef> {
        let mut live: Vec<ValueRef> = self.seats.values().filter_map(|seat| seat.live).collect();
        live.sort_by_key(|value| std::cmp::Reverse(value.rank()));
        live
    }

    /// Whether `op` wrote one of the live values.
    #[must_use]
    pub fn is_live(&self, op: OpId) -> bool {
        self.seats.get(&op.journal).and_then(|seat| seat.live).is_some_and(|live| live.op == op)
    }

    /// An operation that covers `op`, if one is known.
    #[must_use]
    pub fn covering(&self, op: OpId) -> Option<OpId> {
        self.seats.get(&op.journal).filter(|seat| op.number < seat.below).map(|seat| seat.by)
    }

    /// What a new write of this key has seen: every journal's highest operation, live or covered.
    ///
    /// Covered ones are named so that a device to which the write comes before the operations that it builds on does not
    /// show what those had replaced. Should there be more than [`CONTEXT_ENTRIES`], the live ones come first (best
    /// first), then the covered ones of the highest generations. Nothing is lost by what is left out: a live value that
    /// is not named stays as a conflict, and a covered one is still covered by the operation that did it, which compaction
    /// keeps as long as no other names all that it named.
    #[must_use]
    pub fn context(&self) -> Vec<Seen> {
        let live = self.live().into_iter().map(|value| Seen { journal: value.op.journal, number: value.op.number });
        let mut covered: Vec<Seen> = self.seats.iter().filter_map(|(journal, seat)| seat.covered(*journal)).collect();
        covered.sort_by_key(|seen| (std::cmp::Reverse(seen.journal.generation), seen.journal.device));
        let mut context: Vec<Seen> = live.chain(covered).take(CONTEXT_ENTRIES).collect();
        context.sort_by_key(|seen| seen.journal);
        context
    }

    fn cover(&mut self, journal: JournalId, below: u64, by: OpId, done: &mut Applied) {
        if below == 0 {
            return;
        }
        let seat = self.seats.entry(journal).or_insert(Seat { below: 0, by, live: None });
        if below > seat.below || (below == seat.below && by < seat.by) {
            (seat.below, seat.by) = (below, by);
        }
        if let Some(gone) = seat.live.take_if(|live| live.op.number < below) {
            done.covered.push((gone.op, by));
            done.changed = true;
        }
    }

    fn take_in(&mut self, value: ValueRef, done: &mut Applied) {
        let OpId { journal, number } = value.op;
        let seat = self.seats.entry(journal).or_insert(Seat { below: 0, by: value.op, live: None });
        if number < seat.below {
            done.covered.push((value.op, seat.by));
        } else if seat.live.is_none() {
            seat.live = Some(value);
            done.changed = true;
        }
    }
}

impl Seat {
    /// The highest covered operation of a journal that has no live one.
    fn covered(&self, journal: JournalId) -> Option<Seen> {
        let number = self.below.checked_sub(1)?;
        self.live.is_none().then_some(Seen { journal, number })
    }
}

impl Encode for OpId {
    fn encode(&self, w: &mut Writer) {
        self.journal.encode(w);
        w.u64(self.number);
    }
}

impl Decode for OpId {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { journal: JournalId::decode(r)?, number: r.u64()? })
    }
}

/// As it is stored: a count of 32 bits, then journal, `below`, `by`, and the live value behind a flag (0 none, 1 put, 2
/// delete).
impl Encode for Register {
    fn encode(&self, w: &mut Writer) {
        w.u32(u32::try_from(self.seats.len()).unwrap_or(u32::MAX));
        for (journal, seat) in &self.seats {
            journal.encode(w);
            w.u64(seat.below);
            seat.by.encode(w);
            match seat.live {
                None => w.u8(0),
                Some(live) => {
                    w.u8(if live.deleted { 2 } else { 1 });
                    w.u64(live.op.number);
                    w.u64(live.time.0);
                    w.u32(live.size);
                }
            }
        }
    }
}

impl Decode for Register {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut seats = BTreeMap::new();
        for _ in 0..r.u32()? {
            let journal = JournalId::decode(r)?;
            let (below, by) = (r.u64()?, OpId::decode(r)?);
            let live = decode_live(journal, r)?;
            seats.insert(journal, Seat { below, by, live });
        }
        Ok(Self { seats })
    }
}

fn decode_live(journal: JournalId, r: &mut Reader<'_>) -> Result<Option<ValueRef>, DecodeError> {
    let deleted = match r.u8()? {
        0 => return Ok(None),
        1 => false,
        2 => true,
        _ => return Err(DecodeError::Invalid("live value")),
    };
    let op = OpId { journal, number: r.u64()? };
    Ok(Some(ValueRef { op, time: Wall(r.u64()?), deleted, size: r.u32()? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::DeviceId;

    fn op(device: u8, generation: u32, number: u64) -> OpId {
        OpId { journal: JournalId { device: DeviceId([device; 32]), generation }, number }
    }

    fn value(op: OpId, time: u64) -> ValueRef {
        ValueRef { op, time: Wall(time), deleted: false, size: 1 }
    }

    fn seen(op: OpId) -> Seen {
        Seen { journal: op.journal, number: op.number }
    }

    fn ops(register: &Register) -> Vec<OpId> {
        register.live().iter().map(|live| live.op).collect()
    }

    #[test]
    fn a_write_replaces_what_its_writer_had_seen_and_nothing_else() {
        let (a, b, c) = (op(1, 0, 5), op(2, 0, 1), op(3, 0, 0));
        let mut register = Register::default();
        register.apply(value(a, 10), &[]);
        register.apply(value(b, 20), &[]);
        assert_eq!(ops(&register), [b, a], "concurrent values both live, the later first");
        let done = register.apply(value(c, 1), &[seen(a)]);
        assert_eq!(done, Applied { changed: true, covered: vec![(a, c)] });
        assert_eq!(ops(&register), [b, c], "whatever the clocks say");
    }

    #[test]
    fn what_arrives_after_its_replacement_does_not_come_back() {
        let (a, b) = (op(1, 0, 5), op(2, 0, 1));
        let mut register = Register::default();
        register.apply(value(b, 20), &[seen(a)]);
        let done = register.apply(value(a, 30), &[]);
        assert_eq!(done, Applied { changed: false, covered: vec![(a, b)] });
        assert_eq!((ops(&register), register.covering(a)), (vec![b], Some(b)));
        register.apply(value(op(1, 0, 4), 30), &[]);
        assert_eq!(ops(&register), [b], "nor do the earlier ones of its journal");
        register.apply(value(op(1, 1, 0), 5), &[]);
        assert_eq!(ops(&register), [b, op(1, 1, 0)], "another generation is another journal");
    }

    #[test]
    fn an_operation_cannot_cover_itself_or_its_future() {
        let (a, later) = (op(1, 0, 5), op(1, 0, 9));
        let mut register = Register::default();
        register.apply(value(a, 1), &[seen(later)]);
        assert_eq!(ops(&register), [a]);
        register.apply(value(later, 2), &[]);
        assert_eq!(ops(&register), [later]);
    }

    #[test]
    fn a_context_over_the_limit_names_the_live_values_first() {
        let mut register = Register::default();
        for device in 0..70 {
            register.apply(value(op(device, 0, 1), 1), &[]);
        }
        let context = register.context();
        assert_eq!(context.len(), CONTEXT_ENTRIES);
        register.apply(value(op(100, 0, 0), 9), &context);
        assert_eq!(register.live().len(), 7, "six are still there, as conflicts");
        let context = register.context();
        let named = |op: OpId| context.contains(&seen(op));
        assert!(register.live().iter().all(|live| named(live.op)), "and the next write settles them");
        register.apply(value(op(100, 0, 1), 9), &context);
        assert_eq!(ops(&register), [op(100, 0, 1)]);
    }

    prop_compose! {
        fn operation()(
            device in 0u8..4, generation in 0u32..2, number in 0u64..6, time in 0u64..4, deleted in any::<bool>(),
            context in prop::collection::btree_map((0u8..4, 0u32..2), 0u64..6, 0..4),
        ) -> (ValueRef, Vec<Seen>) {
            let value = ValueRef { op: op(device, generation, number), time: Wall(time), deleted, size: 1 };
            (value, context.into_iter().map(|((d, g), n)| seen(op(d, g, n))).collect())
        }
    }

    /// The rule as PROTOCOL.md states it, by comparing all with all.
    fn by_definition(all: &[(ValueRef, Vec<Seen>)]) -> Vec<OpId> {
        let covers = |(o, context): &(ValueRef, Vec<Seen>), p: OpId| match o.op.journal == p.journal {
            true => o.op.number > p.number,
            false => context.iter().any(|seen| seen.journal == p.journal && seen.number >= p.number),
        };
        let mut live: Vec<ValueRef> = all.iter().map(|(value, _)| *value).collect();
        live.retain(|p| !all.iter().any(|o| covers(o, p.op)));
        live.sort_by_key(|value| std::cmp::Reverse(value.rank()));
        live.iter().map(|value| value.op).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_gives_the_live_set_of_the_definition(
            all in prop::collection::btree_map(any::<u8>(), operation(), 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            // One operation for each name.
            let all: BTreeMap<OpId, _> = all.into_values().map(|item| (item.0.op, item)).collect();
            let all: Vec<_> = all.into_values().collect();
            let mut straight = Register::default();
            all.iter().for_each(|(value, context)| { straight.apply(*value, context); });
            prop_assert_eq!(ops(&straight), by_definition(&all));

            let mut mixed = Register::default();
            let shuffled = order.iter().map(|index| index.get(&all)).chain(all.iter().rev());
            shuffled.for_each(|(value, context)| { mixed.apply(*value, context); });
            prop_assert_eq!(mixed.to_bytes(), straight.to_bytes());
            prop_assert_eq!(Register::from_bytes(&mixed.to_bytes()), Ok(mixed));
        }

        #[test]
        fn every_covered_operation_is_announced_with_one_that_covers_it(
            all in prop::collection::vec(operation(), 1..12),
        ) {
            let mut register = Register::default();
            let mut announced = Vec::new();
            for (value, context) in &all {
                announced.extend(register.apply(*value, context).covered);
            }
            for (value, _) in &all {
                let covered = announced.iter().any(|(op, _)| *op == value.op);
                prop_assert!(register.is_live(value.op) || covered, "{:?} is neither live nor covered", value.op);
            }
            for (op, by) in announced {
                prop_assert!(!register.is_live(op) && register.covering(op).is_some() && op != by);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(register) = Register::from_bytes(&bytes) {
                prop_assert!(register.to_bytes().len() <= bytes.len());
            }
        }
    }
}

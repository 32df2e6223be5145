//! A multi-value register: the live values of one key, PROTOCOL.md section 8.
//!
//! The state is a function of the *set* of operations applied: order and repetition do not matter. To that end
//! it keeps, for each journal, below which number everything is covered, and by whom: an operation that
//! arrives after one that covers it does not come back.
//!
//! A later operation of a journal covers the earlier ones of the same key, so each journal has one live value
//! at most.

use std::collections::BTreeMap;

use super::authors::Authors;
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

/// Bits in front of a live value.
const PUT: u8 = 1;
const DELETED: u8 = 2;
/// In front of a register that one operation alone has made, as nearly all are: what is there follows from it.
const ALONE: u8 = 4;

impl Register {
    /// The live value, if it came alone: its journal wrote nothing else of this key that is known, and nobody else did.
    fn alone(&self) -> Option<ValueRef> {
        let (_, seat) = self.seats.first_key_value().filter(|_| self.seats.len() == 1)?;
        seat.live.filter(|live| live.op.number == seat.below && live.op == seat.by)
    }

    /// Every journal that is named.
    pub(super) fn journals(&self) -> impl Iterator<Item = JournalId> {
        self.seats.iter().flat_map(|(journal, seat)| [*journal, seat.by.journal])
    }

    /// Writes it as it is stored.
    pub(super) fn write(&self, w: &mut Writer, authors: &Authors) {
        if let Some(live) = self.alone() {
            w.u8(ALONE | bits(&live));
            authors.write(w, live.op.journal);
            write_live(w, &live);
            return;
        }
        w.u8(0);
        w.varint(u64::try_from(self.seats.len()).unwrap_or(u64::MAX));
        for (journal, seat) in &self.seats {
            authors.write(w, *journal);
            w.varint(seat.below);
            authors.write_op(w, seat.by);
            w.u8(seat.live.as_ref().map_or(0, bits));
            if let Some(live) = &seat.live {
                write_live(w, live);
            }
        }
    }

    /// Reads what [`Self::write`] wrote.
    pub(super) fn read(r: &mut Reader<'_>, authors: &Authors) -> Result<Self, DecodeError> {
        let first = r.u8()?;
        if first & ALONE != 0 {
            let journal = authors.read(r)?;
            let live = read_live(r, first & !ALONE, journal)?.ok_or(DecodeError::Invalid("live value"))?;
            let seat = Seat { below: live.op.number, by: live.op, live: Some(live) };
            return Ok(Self { seats: BTreeMap::from([(journal, seat)]) });
        }
        let mut seats = BTreeMap::new();
        for _ in 0..r.varint()? {
            let journal = authors.read(r)?;
            let (below, by, bits) = (r.varint()?, authors.read_op(r)?, r.u8()?);
            seats.insert(journal, Seat { below, by, live: read_live(r, bits, journal)? });
        }
        Ok(Self { seats })
    }
}

fn bits(live: &ValueRef) -> u8 {
    if live.deleted { DELETED } else { PUT }
}

fn write_live(w: &mut Writer, live: &ValueRef) {
    w.varint(live.op.number);
    w.varint(live.time.0);
    w.varint(live.size.into());
}

fn read_live(r: &mut Reader<'_>, bits: u8, journal: JournalId) -> Result<Option<ValueRef>, DecodeError> {
    let deleted = match bits {
        0 => return Ok(None),
        PUT => false,
        DELETED => true,
        _ => return Err(DecodeError::Invalid("live value")),
    };
    let op = OpId { journal, number: r.varint()? };
    let (time, size) = (Wall(r.varint()?), r.varint()?);
    Ok(Some(ValueRef { op, time, deleted, size: u32::try_from(size).map_err(|_| DecodeError::Invalid("size"))? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::DeviceId;
    use crate::store::MemoryStore;

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
            prop_assert_eq!(&mixed, &straight);
            let (mut authors, mut store, mut w) = (Authors::default(), MemoryStore::new(), Writer::new());
            mixed.journals().for_each(|journal| authors.note(&mut store, journal).unwrap());
            mixed.write(&mut w, &authors);
            let (bytes, authors) = (w.finish(), Authors::load(&store).unwrap());
            let mut r = Reader::new(&bytes);
            prop_assert_eq!(Register::read(&mut r, &authors), Ok(mixed));
            prop_assert_eq!(r.finish(), Ok(()));
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
            let (mut authors, mut store) = (Authors::default(), MemoryStore::new());
            (0..3).for_each(|device| authors.note(&mut store, op(device, 0, 0).journal).unwrap());
            if let Ok(register) = Register::read(&mut Reader::new(&bytes), &authors) {
                let mut w = Writer::new();
                register.write(&mut w, &authors);
                prop_assert!(w.finish().len() <= bytes.len());
            }
        }
    }
}

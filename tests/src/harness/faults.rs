//! What goes wrong on the wires of a LAN: a ruleset for the namespace of its bridges, made anew on each change.

use std::collections::BTreeSet;
use std::fmt::Write;

/// The faults there are at the moment.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Pairs of ports between which no frame passes, the lower one first.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// How many of a hundred frames are lost, in each direction.
    pub(super) loss: u8,
}

impl Faults {
    /// The ruleset, replacing the one before at once.
    pub(super) fn rules(&self) -> String {
        let mut rules = String::from("add table bridge faults\ndelete table bridge faults\ntable bridge faults {\n");
        rules.push_str("chain forward {\ntype filter hook forward priority 0\n");
        for (a, b) in &self.cut {
            for (from, to) in [(a, b), (b, a)] {
                writeln!(rules, "iifname \"{}\" oifname \"{}\" drop", port(*from), port(*to)).unwrap();
            }
        }
        if self.loss > 0 {
            writeln!(rules, "numgen random mod 100 < {} drop", self.loss).unwrap();
        }
        rules.push_str("}\n}\n");
        rules
    }
}

/// The bridge's end of the cable of host `index`.
pub(super) fn port(index: usize) -> String {
    format!("port{index}")
}

//! Figures, and how they are told.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

/// One thing measured, beside the least that it can take.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// The work.
    pub(crate) what: String,
    /// Of both figures.
    pub(crate) unit: &'static str,
    /// What Kinlink takes.
    pub(crate) ours: f64,
    /// The least possible, measured in this run; `None` where the goal is a figure.
    pub(crate) limit: Option<f64>,
    /// What it is to be at most: a multiple of the limit, or a figure.
    pub(crate) goal: f64,
}

impl Figure {
    /// Ours as a multiple of the limit, or ours.
    fn score(&self) -> f64 {
        self.limit.map_or(self.ours, |limit| self.ours / limit)
    }

    fn is_met(&self) -> bool {
        self.score() <= self.goal
    }

    fn row(&self) -> [String; 6] {
        let limit = self.limit.map_or_else(String::new, number);
        let ratio = self.limit.map_or_else(String::new, |_| number(self.score()));
        let goal = match self.limit {
            Some(_) => format!("at most {} times", number(self.goal)),
            None => format!("at most {} {}", number(self.goal), self.unit),
        };
        let met = if self.is_met() { "met" } else { "" };
        [self.what.clone(), format!("{} {}", number(self.ours), self.unit), limit, ratio, goal, met.to_owned()]
    }
}

/// Three significant digits.
fn number(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else if value >= 1.0 {
        2
    } else {
        3
    };
    format!("{value:.digits$}")
}

/// The value below which `percent` of the samples lie.
pub(crate) fn percentile(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[(samples.len() * percent / 100).min(samples.len() - 1)]
}

/// Prints the table, and writes the figures as JSON.
pub(crate) fn write(figures: &[Figure], path: &Path) -> anyhow::Result<()> {
    println!("| work | Kinlink | limit | ratio | goal | |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for figure in figures {
        println!("| {} |", figure.row().join(" | "));
    }
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            json!({
                "work": figure.what, "unit": figure.unit, "ours": figure.ours, "limit": figure.limit,
                "goal": figure.goal, "met": figure.is_met(),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows)?;
    std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
}

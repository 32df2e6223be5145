//! Figures, and how they are told.

use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

/// One thing measured, beside the least that it can take.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    /// The work.
    pub(crate) what: String,
    /// Of both figures.
    pub(crate) unit: &'static str,
    /// What Kinlink takes.
    pub(crate) ours: f64,
    /// The least possible, measured in this run; `None` where the goal is a figure.
    pub(crate) limit: Option<f64>,
    /// What the limit takes on a quiet machine with two processors, where that is known.
    pub(crate) quiet: Option<f64>,
    /// What it is to be at most: a multiple of the limit, or a figure. None where it is one of a series.
    pub(crate) goal: Option<f64>,
    /// Of a series: what grows from one to the next, and how much of it there is.
    pub(crate) at: Option<(&'static str, u64)>,
}

/// How much slower than on a quiet machine a limit may be before that is said.
const SLOWER: f64 = 1.25;

impl Figure {
    /// Ours as a multiple of the limit, or ours.
    fn score(&self) -> f64 {
        self.limit.map_or(self.ours, |limit| self.ours / limit)
    }

    fn is_met(&self) -> Option<bool> {
        Some(self.score() <= self.goal?)
    }

    fn row(&self) -> [String; 6] {
        let limit = self.limit.map_or_else(String::new, number);
        let ratio = self.limit.map_or_else(String::new, |_| number(self.score()));
        let goal = match (self.goal, self.limit) {
            (None, _) => String::new(),
            (Some(goal), Some(_)) => format!("at most {} times", number(goal)),
            (Some(goal), None) => format!("at most {} {}", number(goal), self.unit),
        };
        let met = if self.is_met() == Some(true) { "met" } else { "" };
        let at = self.at.map_or_else(String::new, |(by, at)| format!(", {by}: {at}"));
        [
            format!("{}{at}", self.what),
            format!("{} {}", number(self.ours), self.unit),
            limit,
            ratio,
            goal,
            met.to_owned(),
        ]
    }

    /// Says so where a slow limit makes the ratio look better than it is.
    fn flatters(&self) -> Option<String> {
        let (limit, quiet) = (self.limit?, self.quiet?);
        let more = number(100.0 * (limit / quiet - 1.0));
        let (limit, quiet, unit) = (number(limit), number(quiet), self.unit);
        let said = format!("the limit took {limit} {unit}, {more} % more than the {quiet} {unit} of a quiet machine");
        (self.limit? > SLOWER * self.quiet?).then(|| format!("This ratio flatters, as {said}: {}", self.what))
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
    for flattering in figures.iter().filter_map(Figure::flatters) {
        println!("\n{flattering}");
    }
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            json!({
                "work": figure.what, "unit": figure.unit, "ours": figure.ours, "limit": figure.limit,
                "quiet": figure.quiet, "goal": figure.goal, "met": figure.is_met(),
                "by": figure.at.map(|(by, _)| by), "at": figure.at.map(|(_, at)| at),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows)?;
    std::fs::write(path, text + "\n").with_context(|| format!("{} cannot be written", path.display()))
}

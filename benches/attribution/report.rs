//! The tables for people, and the JSON with the same for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::judge::Row;
use crate::machine::Machine;
use crate::stage::Layer;

/// How many notes of a scenario are printed; the JSON has them all.
const NOTES: usize = 6;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    version: u32,
    quick: bool,
    machine: Machine,
    pub(crate) layers: Vec<LayerReport>,
    passed: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct LayerReport {
    layer: &'static str,
    /// Why nothing was measured, if so.
    pub(crate) absent: Option<&'static str>,
    /// What was measured without the part that should have seen it.
    pub(crate) degraded: Option<&'static str>,
    pub(crate) scenarios: Vec<Row>,
    pub(crate) skipped: Vec<Skipped>,
}

/// A scenario that this machine or layer cannot have, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) scenario: &'static str,
    pub(crate) why: &'static str,
}

impl LayerReport {
    pub(crate) fn new(layer: Layer) -> Self {
        Self { layer: layer.name(), absent: None, degraded: None, scenarios: Vec::new(), skipped: Vec::new() }
    }

    pub(crate) fn passed(&self) -> bool {
        self.absent.is_none() && self.degraded.is_none() && self.scenarios.iter().all(|row| row.broken.is_empty())
    }

    pub(crate) fn table(&self) -> String {
        let mut text = format!("\n{}\n", title(self.layer));
        if let Some(why) = &self.absent {
            let _ = writeln!(text, "  NOT MEASURED: {why}");
            return text;
        }
        text += &head();
        self.scenarios.iter().for_each(|row| text += &line(row));
        text += &line(&self.total());
        for row in self.scenarios.iter().filter(|row| !row.broken.is_empty()) {
            let _ = writeln!(text, "{}: BROKEN: {}", row.scenario, row.broken.join("; "));
            row.notes.iter().take(NOTES).for_each(|note| {
                let _ = writeln!(text, "    {note}");
            });
            if row.notes.len() > NOTES {
                let _ = writeln!(text, "    and {} more (--json has them)", row.notes.len() - NOTES);
            }
        }
        for skipped in &self.skipped {
            let _ = writeln!(text, "{}: not measured: {}", skipped.scenario, skipped.why);
        }
        if let Some(why) = &self.degraded {
            let _ = writeln!(text, "DEGRADED: {why}");
        }
        let _ = writeln!(text, "{}", if self.passed() { "every promise kept" } else { "NOT PASSED" });
        text
    }

    fn total(&self) -> Row {
        self.scenarios.iter().fold(Row { scenario: "all".to_owned(), ..Row::default() }, |sum, row| Row {
            changed: sum.changed + row.changed,
            refused: sum.refused + row.refused,
            seen: sum.seen + row.seen,
            missed: sum.missed + row.missed,
            right: sum.right + row.right,
            certain: sum.certain + row.certain,
            wrong: sum.wrong + row.wrong,
            wrong_certain: sum.wrong_certain + row.wrong_certain,
            landed: sum.landed + row.landed,
            wrongly_refused: sum.wrongly_refused + row.wrongly_refused,
            wrongly_ended: sum.wrongly_ended + row.wrongly_ended,
            seconds: sum.seconds + row.seconds,
            ..sum
        })
    }
}

impl Report {
    pub(crate) fn new(quick: bool, machine: Machine, layers: Vec<LayerReport>) -> Self {
        let passed = layers.iter().all(LayerReport::passed);
        Self { version: 1, quick, machine, layers, passed }
    }

    pub(crate) fn passed(&self) -> bool {
        self.passed
    }
}

fn title(layer: &str) -> &'static str {
    if layer == Layer::Gate.name() { "The gate and the watch" } else { "The watch alone" }
}

/// What stands over the columns, in three lines.
fn head() -> String {
    const COLUMNS: [[&str; 3]; 11] = [
        ["", "changed", "paths"],
        ["", "refused", "rightly"],
        ["", "", "missed"],
        ["right", "name,", "certain"],
        ["right", "name", "%"],
        ["", "wrong", "name"],
        ["wrong", "name,", "certain"],
        ["", "", "landed"],
        ["", "refused", "wrongly"],
        ["", "ended", "wrongly"],
        ["", "", "seconds"],
    ];
    let mut text = String::new();
    for at in 0..3 {
        let _ = write!(text, "{:<20}", if at == 2 { "scenario" } else { "" });
        for column in COLUMNS {
            let _ = write!(text, " {:>8}", column[at]);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn line(row: &Row) -> String {
    format!(
        "{:<20} {:>8} {:>8} {:>8} {:>8} {:>8.1} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8.1}\n",
        row.scenario,
        row.changed,
        row.refused,
        row.missed,
        row.certain,
        row.percent(),
        row.wrong,
        row.wrong_certain,
        row.landed,
        row.wrongly_refused,
        row.wrongly_ended,
        row.seconds
    )
}

//! How far the phases of a run have come, a line each.
//!
//! Invariant: of a session without phases there is no line.

use super::json::phase_state;
use super::style::{Palette, Tone};
use super::table::{Cell, Column, table};
use super::text::printable;
use crate::core::view::{PhaseState, PhaseView};

/// The fewest columns that a name is cut to.
const LEAST: usize = 12;

/// A blank line, then those of the table.
#[must_use]
pub fn phases(phases: &[PhaseView], width: usize, palette: Palette) -> Vec<String> {
    if phases.is_empty() {
        return Vec::new();
    }
    let columns = [("PHASE", Column::Cut(LEAST)), ("STATE", Column::Whole), ("AGENTS", Column::Cut(LEAST))];
    let row = |phase: &PhaseView| {
        let state = Cell::toned(tone(phase.state), phase_state(phase.state));
        vec![printable(&phase.name).into(), state, counts(phase).into()]
    };
    let table = table(&columns, &phases.iter().map(row).collect::<Vec<_>>(), width, palette);
    [String::new()].into_iter().chain(table).collect()
}

/// `3 of 7 completed, 1 did not, 2 running, 1 waiting`
fn counts(phase: &PhaseView) -> String {
    let others = [(phase.failed, "did not"), (phase.running, "running"), (phase.waiting, "waiting")];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    let mut text = format!("{} of {} completed", phase.completed, phase.agents());
    for (count, what) in others {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

fn tone(state: PhaseState) -> Tone {
    match state {
        PhaseState::Waiting => Tone::Quiet,
        PhaseState::Open | PhaseState::Closing => Tone::Active,
        PhaseState::Completed => Tone::Good,
        PhaseState::Failed | PhaseState::Skipped => Tone::Bad,
    }
}

//! The conflicts of a run, each told from its finding to its verification.
//!
//! Invariant: of every conflict there is who, where and what became of it; an open one of a run that
//! goes on ends with the commands that decide it.

use super::Setting;
use super::conflict::{analysis_text, found_text, recommendation_text, resolution_text, verification_text};
use super::status::{Commands, Going};
use super::style::Tone;
use super::text::{pad, plural, wrap};
use crate::core::change::Attribution;
use crate::core::conflict::{Found, Recommendation};
use crate::core::view::{ConflictView, RunView};

/// Conflicts told of; `--format json` has all.
const TOLD: usize = 100;
/// The narrowest text that is made.
const MIN_WIDTH: usize = 60;
/// Columns before a text: the indent, what it is about, the gap.
const INDENT: usize = 4 + 8 + 2;

/// All conflicts of a run, several lines, each with its line feed.
#[must_use]
pub fn conflicts(view: &RunView, going: Going, setting: &Setting, commands: &Commands) -> String {
    let mut lines = Vec::new();
    let open = view.conflicts.iter().filter(|conflict| conflict.resolution.is_none()).count();
    lines.push(match view.conflicts.len() {
        0 => format!("no conflicts in run {}", view.run),
        all => format!("{} in run {}, {open} open", plural(all, "conflict", "conflicts"), view.run),
    });
    // Open ones first: they wait for somebody.
    let (open, decided): (Vec<_>, Vec<_>) = view.conflicts.iter().partition(|known| known.resolution.is_none());
    for known in open.iter().chain(&decided).take(TOLD) {
        lines.push(String::new());
        tell(known, going, setting, commands, &mut lines);
    }
    if view.conflicts.len() > TOLD {
        lines.push(String::new());
        lines.push(format!("… and {} more; `--format json` has all of them", view.conflicts.len() - TOLD));
    }
    lines.into_iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn tell(known: &ConflictView, going: Going, setting: &Setting, commands: &Commands, lines: &mut Vec<String>) {
    let ConflictView { found_at, found, analysis, recommendation, resolution, verification } = known;
    let width = setting.width.max(MIN_WIDTH);
    let state = match resolution {
        None if going == Going::Over => (Tone::Warning, "never decided"),
        None => (Tone::Bad, "open"),
        Some(_) => (Tone::Good, "resolved"),
    };
    lines.push(format!("conflict {} {}", found.conflict, setting.palette.paint(state.0, state.1)));
    let mut detail = |label: &str, text: &str| {
        let mut label = label;
        for line in wrap(text, width - INDENT, 0) {
            lines.push(format!("    {}  {line}", setting.palette.paint(Tone::Quiet, pad(label, 8))));
            label = "";
        }
    };
    detail("found", &format!("{} at {}", found_text(found), setting.clock(*found_at)));
    if found.attribution != Attribution::Certain {
        detail("", "who wrote is not certain, so nobody was ended for it");
    }
    if let Some(analysis) = analysis {
        detail("analysis", &analysis_text(found, analysis));
    }
    if let Some(recommendation) = recommendation {
        detail("advice", &recommendation_text(found, *recommendation));
    }
    if let Some((resolution, by)) = resolution {
        detail("resolved", &resolution_text(found, *resolution, *by));
    }
    if let Some(outcome) = verification {
        let (tone, text) = verification_text(found.conflict, outcome);
        let text = text.strip_prefix(&format!("conflict {}: ", found.conflict)).unwrap_or(&text).to_owned();
        detail("verified", &setting.palette.paint(tone, text));
    }
    if resolution.is_none() && going != Going::Over {
        for (label, command) in ["decide", "or", "or"].into_iter().zip(decisions(found, *recommendation)) {
            detail(label, &format!("{} {command}", commands.supervise));
        }
    }
}

/// The ways to decide, the advised one first.
fn decisions(found: &Found, recommendation: Option<Recommendation>) -> [String; 3] {
    let (id, holder, writer) = (found.conflict, &found.holder.agent, &found.writer.agent);
    let keep_holder = format!("resolve {id} --keep {holder} --terminate {writer}");
    let keep_writer = format!("resolve {id} --keep {writer} --terminate {holder}");
    let wait = format!("resolve {id} --wait");
    match recommendation {
        Some(Recommendation::KeepWriter) => [keep_writer, keep_holder, wait],
        _ => [keep_holder, keep_writer, wait],
    }
}

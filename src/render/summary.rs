//! A run as a table in Markdown, for the summary page of a CI job.
//!
//! Invariant: no text of an agent or a session becomes markup.

use std::fmt::Write as _;

use super::Setting;
use super::json::run_state;
use super::reason::why_text;
use super::text::{duration, plural, printable, truncate};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::view::{AgentView, RunView};

/// Rows beyond these are counted. GitHub takes 1 MiB for each step.
const MOST_ROWS: usize = 1000;
/// Columns of a reason.
const REASON: usize = 200;
/// Digits of a commit.
const SHORT: usize = 10;

/// The table, and what changed that nobody accounts for.
#[must_use]
pub fn markdown(view: &RunView, setting: &Setting, now: Moment) -> String {
    let completed = view.agents.iter().filter(|agent| agent.state == State::Completed).count();
    let mut out = String::new();
    let _ = writeln!(out, "### supervise: {} {}\n", plain(&view.session), run_state(view.state));
    let total = plural(view.agents.len(), "agent", "agents");
    let took = duration(view.ended_at.unwrap_or(now).since(Moment::ZERO));
    let _ = writeln!(out, "{completed} of {total} completed in {took}, run {}.\n", view.run);
    out.push_str("| agent | state | time | files | commit | reason |\n|---|---|--:|--:|---|---|\n");
    for agent in view.agents.iter().take(MOST_ROWS) {
        row(&mut out, agent, setting, now);
    }
    if view.agents.len() > MOST_ROWS {
        let _ = writeln!(out, "\n… and {} more.", view.agents.len() - MOST_ROWS);
    }
    if !view.unattributed.is_empty() {
        let paths = plural(view.unattributed.len(), "path", "paths");
        let _ = writeln!(out, "\n{paths} changed that no agent accounts for.");
    }
    out.push('\n');
    out
}

fn row(out: &mut String, agent: &AgentView, setting: &Setting, now: Moment) {
    let took = agent.started_at.map(|started| duration(agent.ended_at.unwrap_or(now).since(started)));
    let files = if agent.files() == 0 { String::new() } else { agent.files().to_string() };
    let commit = agent.commit.map(|commit| format!("`{}`", truncated(&commit.to_string()))).unwrap_or_default();
    let reason = why_text(&agent.why, setting).map(|text| plain(&truncate(&text, REASON))).unwrap_or_default();
    let cells =
        [plain(agent.id.as_str()), agent.state.as_str().to_owned(), took.unwrap_or_default(), files, commit, reason];
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn truncated(commit: &str) -> &str {
    commit.get(..SHORT).unwrap_or(commit)
}

/// Text that means nothing to Markdown, HTML or GitHub.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Names of people and numbers of issues would be links.
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '$' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_no_markup() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text), expected, "{text:?}");
        check("a | b\n**c**", "a \\| b \\*\\*c\\*\\*");
        check("<img src=x> @all #4 [x](y) `z`", "&lt;img src=x&gt; &#64;all &#35;4 \\[x\\](y) \\`z\\`");
    }
}

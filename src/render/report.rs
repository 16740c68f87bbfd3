//! The report at the end of a run: what became of every agent, and what to do next.
//!
//! Invariant: the table fits the width it is given; every agent that did not complete is explained
//! below it, with the commands that show its logs and its work; advice is never cut. All commands named are `git`'s or
//! exist in this version of `supervise`.

use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::conflict;
use super::json::run_state;
use super::phases::phases;
use super::reason::{denial_text, refused_path, why_text};
use super::style::{Tone, of_state};
use super::text::{count, duration, last_lines, pad, pad_left, plural, printable, some_of, truncate, wrap};
use super::{Setting, work_name};
use crate::core::call::RefusedPath;
use crate::core::change::Attribution;
use crate::core::claim::Lacking;
use crate::core::conflict::Verification;
use crate::core::ids::AttemptId;
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::reason::EndReason;
use crate::core::view::{AgentView, RunState, RunView, Why};

/// The narrowest table that is made; narrower terminals wrap.
const MIN_WIDTH: usize = 60;
/// Paths shown of a list.
const PATHS: usize = 10;
/// Lines shown of the output of a verify command.
const TAIL_LINES: usize = 5;
/// Agents explained one by one; the table has all of them.
const EXPLAINED: usize = 50;

const HEADINGS: [&str; 6] = ["AGENT", "STATE", "TIME", "FILES", "COMMIT", "TOKENS"];

/// The report of a run as of `now`, several lines, each with its line feed.
#[must_use]
pub fn report(view: &RunView, setting: &Setting, now: Moment) -> String {
    let mut out = Report { lines: Vec::new(), setting, width: setting.width.max(MIN_WIDTH) };
    out.header(view, now);
    out.lines.extend(phases(&view.phases, out.width, setting.palette));
    out.table(view, now);
    let unfinished: Vec<&AgentView> = view.agents.iter().filter(|a| needs_a_word(a)).collect();
    for agent in unfinished.iter().take(EXPLAINED) {
        out.explain(view, agent);
    }
    if unfinished.len() > EXPLAINED {
        out.blank();
        out.line(&format!("… and {} more; `--format json` has all of them", unfinished.len() - EXPLAINED));
    }
    out.conflicts(view);
    out.unattributed(view);
    out.next_steps(view);
    out.finish()
}

fn needs_a_word(agent: &AgentView) -> bool {
    !matches!(agent.state, State::Completed)
        || !agent.index_left.is_empty()
        || !agent.needs.is_empty()
        || !agent.not_restored.is_empty()
        || !agent.in_tree.is_empty()
        || !agent.denied.is_empty()
        || !agent.warned.is_empty()
}

struct Report<'a> {
    lines: Vec<String>,
    setting: &'a Setting,
    width: usize,
}

impl Report<'_> {
    fn line(&mut self, text: &str) {
        self.lines.push(text.trim_end().to_owned());
    }

    fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// A line under an agent: what it is about, then the text.
    fn detail(&mut self, label: &str, text: &str) {
        let label = self.setting.palette.paint(Tone::Quiet, pad(label, 8));
        self.line(&format!("    {label}  {text}"));
    }

    /// The same for a text that may be broken into lines.
    fn prose(&mut self, label: &str, text: &str) {
        let mut lines = wrap(text, self.width.saturating_sub(14), 0).into_iter();
        self.detail(label, &lines.next().unwrap_or_default());
        for line in lines {
            self.detail("", &line);
        }
    }

    fn finish(self) -> String {
        self.lines.into_iter().map(|l| l + "\n").collect()
    }

    fn header(&mut self, view: &RunView, now: Moment) {
        let took = duration(view.ended_at.unwrap_or(now).since(Moment::ZERO));
        let tone = match view.state {
            RunState::Running => Tone::Active,
            RunState::Completed => Tone::Good,
            RunState::Failed | RunState::Interrupted => Tone::Bad,
        };
        let state = self.setting.palette.paint(tone, run_state(view.state));
        let session = self.setting.palette.paint(Tone::Heading, printable(&view.session));
        self.line(&format!("{session}  {state}  {took}  run {}", view.run));
        let done = view.agents.iter().filter(|a| a.state == State::Completed).count();
        let branch = match &view.branch {
            Some(branch) => format!("branch {}", printable(branch.strip_prefix("refs/heads/").unwrap_or(branch))),
            None => "a detached HEAD".to_owned(),
        };
        let total = plural(view.agents.len(), "agent", "agents");
        self.line(&format!("{done} of {total} completed, on {branch}"));
        if view.agents.iter().any(|a| a.commit.is_some() && a.attribution == Some(Attribution::Inferred)) {
            self.line("Whose change is whose was inferred from the locks: there was no gate to see who writes.");
        }
    }

    fn table(&mut self, view: &RunView, now: Moment) {
        let rows: Vec<[String; 6]> = view.agents.iter().map(|agent| row(agent, now)).collect();
        let column = |i: usize| rows.iter().map(|r| r[i].width()).max().unwrap_or(0).max(HEADINGS[i].width());
        let mut widths: Vec<usize> = (0..HEADINGS.len()).map(column).collect();
        let others: usize = widths[1..].iter().map(|w| w + 2).sum();
        widths[0] = widths[0].min(self.width.saturating_sub(others));
        let palette = self.setting.palette;
        self.blank();
        let heading = cells(&HEADINGS.map(str::to_owned), &widths).join("  ");
        self.line(&palette.paint(Tone::Heading, heading.trim_end()));
        for (agent, row) in view.agents.iter().zip(&rows) {
            let mut cells = cells(row, &widths);
            cells[1] = palette.paint(of_state(agent.state), &cells[1]);
            self.line(&cells.join("  "));
        }
    }

    fn explain(&mut self, view: &RunView, agent: &AgentView) {
        self.blank();
        let state = self.setting.palette.paint(of_state(agent.state), agent.state);
        let why = why_text(&agent.why, self.setting).map(|why| format!(": {why}")).unwrap_or_default();
        // Colours take no columns, so the text is broken before it is painted.
        let mut lines = wrap(&format!("{} {}{why}", agent.id, agent.state), self.width, 4);
        let from = agent.id.as_str().len() + 1;
        let range = from..from + agent.state.to_string().len();
        if let Some(first) = lines.first_mut().filter(|first| first.len() >= range.end) {
            first.replace_range(range, &state);
        }
        for line in &lines {
            self.line(line);
        }
        if agent.state != State::Completed {
            if let Some(verify) = agent.verify.as_ref().filter(|v| !v.ok) {
                for line in last_lines(&verify.tail, TAIL_LINES) {
                    self.detail("verify", &truncate(&line, self.width.saturating_sub(14)));
                }
            }
            if let Some(message) = agent.message.as_deref().map(printable).filter(|m| !m.is_empty()) {
                self.detail("said", &truncate(&message, self.width.saturating_sub(14)));
            }
            if let Some(attempt) = agent.attempt {
                let id = AttemptId { agent: agent.id.clone(), attempt };
                self.detail("logs", &format!("{}/", self.setting.logs(&view.run, &id)));
            }
        }
        let supervise = self.setting.supervise();
        let name = |reference| work_name(reference, Some(&view.run));
        for reference in &agent.salvage {
            self.detail("work", &format!("{supervise} salvage show {}", name(reference)));
        }
        if let Some(latest) = agent.salvage.last() {
            self.detail("apply", &format!("{supervise} salvage apply {}", name(latest)));
        }
        if matches!(&agent.why, Why::Ends(EndReason::DirtyClaim { .. })) {
            self.detail("next", &format!("{} status", self.setting.git));
            self.prose("", "commit or stash those changes, then run the session again");
        }
        for need in &agent.needs {
            let text = format!("{}: {}", printable(&need.path), printable(&need.why));
            self.detail("asks for", &truncate(&text, self.width.saturating_sub(14)));
        }
        self.denied(agent);
        if !agent.warned.is_empty() {
            let paths = some_of(&agent.warned, PATHS);
            self.prose("warned", &format!("written undeclared, allowed, not committed: {paths}; add them to `files`"));
        }
        if !agent.in_tree.is_empty() {
            self.prose("left", &format!("in the tree, not committed: {}", some_of(&agent.in_tree, PATHS)));
        }
        if !agent.not_restored.is_empty() {
            self.prose("left", &format!("changed since, not put back: {}", some_of(&agent.not_restored, PATHS)));
        }
        if !agent.index_left.is_empty() {
            self.prose("staged", &format!("your own version was kept: {}", some_of(&agent.index_left, PATHS)));
            self.detail("next", &format!("{} diff --cached", self.setting.git));
        }
    }

    /// What was refused, and the pattern that would allow it.
    fn denied(&mut self, agent: &AgentView) {
        for denied in agent.denied.iter().take(PATHS) {
            let text = format!("{}: {}", refused_path(&denied.path), denial_text(&denied.why));
            self.prose("denied", &text);
        }
        if agent.denied.len() > PATHS {
            self.detail("", &format!("… and {} more; `--format json` has all of them", agent.denied.len() - PATHS));
        }
        let mut lacking = Lacking::default();
        for denied in &agent.denied {
            if let RefusedPath::Inside(path) = &denied.path {
                lacking.refused(path, denied.touch, &denied.why);
            }
        }
        let patterns: Vec<String> = lacking.patterns().iter().map(|pattern| quoted(pattern)).collect();
        if !patterns.is_empty() {
            self.prose("add", &format!("to `files` of {}: {}", agent.id, some_of(&patterns, PATHS)));
        }
    }

    fn conflicts(&mut self, view: &RunView) {
        if view.conflicts.is_empty() {
            return;
        }
        self.blank();
        self.line(&self.setting.palette.paint(Tone::Heading, "CONFLICTS"));
        for known in view.conflicts.iter().take(PATHS) {
            let found = &known.found;
            let resolution = match (known.resolution, known.recommendation) {
                (Some((resolution, by)), _) => conflict::resolution_text(found, resolution, by),
                (None, Some(recommendation)) => format!("open: {}", conflict::next_command(found, recommendation)),
                (None, None) => "open".to_owned(),
            };
            let text = format!("{}. {}: {resolution}", found.conflict, conflict::found_text(found));
            for line in wrap(&text, self.width.saturating_sub(4), 3) {
                self.line(&format!("    {line}"));
            }
            if let Some(outcome) = known.verification.as_ref().filter(|outcome| **outcome != Verification::Clean) {
                let (tone, text) = conflict::verification_text(found.conflict, outcome);
                self.line(&format!("       {}", self.setting.palette.paint(tone, text)));
            }
        }
        if view.conflicts.len() > PATHS {
            self.line(&format!("    … and {} more: supervise conflicts", view.conflicts.len() - PATHS));
        }
    }

    fn unattributed(&mut self, view: &RunView) {
        if view.unattributed.is_empty() {
            return;
        }
        self.blank();
        let paths = plural(view.unattributed.len(), "path was", "paths were");
        let text = format!("{paths} changed by nobody that is known, and left alone (git status):");
        self.line(&self.setting.palette.paint(Tone::Warning, text));
        for path in view.unattributed.iter().take(PATHS) {
            self.line(&format!("    {}", truncate(&printable(&path.to_string()), self.width.saturating_sub(4))));
        }
        if view.unattributed.len() > PATHS {
            self.line(&format!("    … and {} more", view.unattributed.len() - PATHS));
        }
    }

    fn next_steps(&mut self, view: &RunView) {
        if view.state == RunState::Interrupted {
            self.blank();
            self.line(&format!("Go on with it:  {} resume", self.setting.supervise()));
        }
        let Some(head) = view.head.filter(|head| Some(*head) != view.base) else { return };
        self.blank();
        let range = view.base.map_or_else(|| head.short(), |base| format!("{}..{}", base.short(), head.short()));
        self.line(&format!("See the commits:  {} log --stat {range}", self.setting.git));
    }
}

fn row(agent: &AgentView, now: Moment) -> [String; 6] {
    let took: Option<Duration> = agent.started_at.map(|started| agent.ended_at.unwrap_or(now).since(started));
    let tokens = agent.usage.map(|u| count(u.input_tokens.saturating_add(u.output_tokens)));
    [
        agent.id.to_string(),
        agent.state.to_string(),
        took.map_or_else(|| "-".to_owned(), duration),
        agent.files().to_string(),
        agent.commit.map_or_else(|| "-".to_owned(), |id| id.short()),
        tokens.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// A pattern as a session file has it.
fn quoted(pattern: &str) -> String {
    printable(&toml::Value::String(pattern.to_owned()).to_string())
}

/// The cells of a row in their widths: numbers at the right, the rest at the left.
fn cells(row: &[String; 6], widths: &[usize]) -> Vec<String> {
    let cell = |(i, text): (usize, &String)| match i {
        2 | 3 | 5 => pad_left(text, widths[i]),
        _ => pad(&truncate(text, widths[i]), widths[i]),
    };
    row.iter().enumerate().map(cell).collect()
}

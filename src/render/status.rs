//! A run as it stands: a table of all agents, and what there is to say of those that matter now.
//!
//! Invariant: as in the report, the table fits the width that it is given, and every agent that
//! somebody may want to look at or help on is followed by the next useful command.

use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

use super::json::run_state;
use super::phases::phases;
use super::reason::{anew_text, denial_text, exit_text, refused_path, why_text};
use super::style::{Tone, of_state};
use super::text::{count, duration, last_lines, pad, pad_left, plural, printable, some_of, truncate, wrap};
use super::{Setting, work_name};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::reason::WaitReason;
use crate::core::view::{AgentView, Began, RunState, RunView, Why};

/// The narrowest table that is made; narrower terminals wrap.
const MIN_WIDTH: usize = 60;
/// Agents told of one by one; the table has all of them.
const TOLD: usize = 20;
/// Items shown of a list.
const ITEMS: usize = 8;
/// Lines shown of the output of a verify command.
const TAIL_LINES: usize = 5;
/// Columns of what a line under an agent is about.
const LABEL: usize = 8;

/// How `supervise` is called for this run from where the person is.
#[derive(Clone, Debug)]
pub struct Commands {
    /// `supervise`, or `supervise -C DIR`.
    pub supervise: String,
    /// ` --run RUN` for a run that is not the newest, else nothing.
    pub run: String,
}

impl Commands {
    /// The command with this verb and what belongs to it.
    #[must_use]
    pub fn call(&self, verb: &str) -> String {
        format!("{} {verb}{}", self.supervise, self.run)
    }
}

/// Whether a run goes on, as whoever looks found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    On,
    /// Its supervisor is there and does not answer.
    Silent,
    Over,
}

/// The whole run as of `now`, several lines, each with its line feed.
#[must_use]
pub fn status(view: &RunView, going: Going, setting: &Setting, commands: &Commands, now: Moment) -> String {
    let mut out = Out::new(setting, commands);
    out.header(view, going, now);
    out.lines.extend(phases(&view.phases, out.width, setting.palette));
    out.table(view, now);
    let matter: Vec<&AgentView> = view.agents.iter().filter(|agent| matters(agent)).collect();
    for agent in matter.iter().take(TOLD) {
        out.heading(agent);
        out.short(agent, going);
        out.next(agent, going);
    }
    if matter.len() > TOLD {
        out.blank();
        let more = matter.len() - TOLD;
        out.line(&format!("… and {more} more; `{}` tells of one", commands.call("status ID")));
    }
    out.conflicts(view);
    out.unattributed(view);
    out.finish()
}

/// One agent as of `now`, with all that is known of it.
#[must_use]
pub fn agent(agent: &AgentView, going: Going, setting: &Setting, commands: &Commands, now: Moment) -> String {
    let mut out = Out::new(setting, commands);
    out.heading(agent);
    out.plan(agent, going);
    out.short(agent, going);
    out.course(agent, now);
    out.next(agent, going);
    out.lines.remove(0);
    out.finish()
}

/// Runs, ended badly, or waits for something that a person may change.
fn matters(agent: &AgentView) -> bool {
    match agent.state {
        State::Registered | State::Waiting | State::Skipped => false,
        State::Completed => {
            !agent.denied.is_empty()
                || !agent.needs.is_empty()
                || !agent.index_left.is_empty()
                || !agent.in_tree.is_empty()
        }
        _ => true,
    }
}

struct Out<'a> {
    lines: Vec<String>,
    setting: &'a Setting,
    commands: &'a Commands,
    width: usize,
}

impl<'a> Out<'a> {
    fn new(setting: &'a Setting, commands: &'a Commands) -> Self {
        Self { lines: Vec::new(), setting, commands, width: setting.width.max(MIN_WIDTH) }
    }

    fn line(&mut self, text: &str) {
        self.lines.push(text.trim_end().to_owned());
    }

    fn blank(&mut self) {
        self.lines.push(String::new());
    }

    fn finish(self) -> String {
        self.lines.into_iter().map(|line| line + "\n").collect()
    }

    /// A line under an agent: what it is about, then the text.
    fn detail(&mut self, label: &str, text: &str) {
        let label = self.setting.palette.paint(Tone::Quiet, pad(label, LABEL));
        self.line(&format!("    {label}  {text}"));
    }

    /// The same for a text that may be broken into lines.
    fn prose(&mut self, label: &str, text: &str) {
        let mut label = label;
        for line in wrap(text, self.room(), 0) {
            self.detail(label, &line);
            label = "";
        }
    }

    /// Columns of the text of a detail.
    fn room(&self) -> usize {
        self.width.saturating_sub(4 + LABEL + 2)
    }

    fn header(&mut self, view: &RunView, going: Going, now: Moment) {
        let took = duration(view.ended_at.unwrap_or(now).since(Moment::ZERO));
        let tone = match view.state {
            RunState::Running => Tone::Active,
            RunState::Completed => Tone::Good,
            RunState::Failed | RunState::Interrupted => Tone::Bad,
        };
        let state = self.setting.palette.paint(tone, run_state(view.state));
        let session = self.setting.palette.paint(Tone::Heading, printable(&view.session));
        self.line(&format!("{session}  {state}  {took}  run {}", view.run));
        let done = view.agents.iter().filter(|agent| agent.state == State::Completed).count();
        let total = plural(view.agents.len(), "agent", "agents");
        let branch = match &view.branch {
            Some(branch) => format!("branch {}", printable(branch.strip_prefix("refs/heads/").unwrap_or(branch))),
            None => "a detached HEAD".to_owned(),
        };
        self.line(&format!("{done} of {total} completed, on {branch}"));
        let note = match going {
            Going::Silent => Some("The supervisor does not answer; this is what it last wrote down.".to_owned()),
            Going::Over if view.state == RunState::Interrupted && unfinished(view) => Some(self.cut_off(view)),
            Going::On | Going::Over => None,
        };
        for line in note.map_or_else(Vec::new, |note| wrap(&note, self.width, 0)) {
            let line = self.setting.palette.paint(Tone::Warning, line);
            self.line(&line);
        }
    }

    /// Of a run whose supervisor died: what there is to know, and to do.
    fn cut_off(&self, view: &RunView) -> String {
        let gone = "The supervisor is gone and did not finish the run; the states are those that it last wrote down.";
        if !self.commands.run.is_empty() {
            let retry = self.commands.call("retry");
            return format!("{gone} A later run has begun. To run again what did not complete: {retry}");
        }
        let mut changed = String::new();
        if view.agents.iter().any(|agent| holds_locks(agent.state)) {
            changed = format!(" What agents had changed is in the tree: {} status.", self.setting.git);
        }
        format!("{gone}{changed} To go on with it: {}", self.commands.call("resume"))
    }

    fn table(&mut self, view: &RunView, now: Moment) {
        let headings = ["AGENT", "STATE", "TIME", "TRY", "WHY"].map(str::to_owned);
        let rows: Vec<[String; 5]> = view.agents.iter().map(|agent| self.row(agent, now)).collect();
        let column = |i: usize| rows.iter().chain([&headings]).map(|row| row[i].width()).max().unwrap_or(0);
        let mut widths = [column(0), column(1), column(2), column(3), column(4)];
        let middle: usize = widths[1..4].iter().map(|width| width + 2).sum();
        widths[0] = widths[0].min(self.width.saturating_sub(middle) * 2 / 3);
        widths[4] = widths[4].min(self.width.saturating_sub(middle + widths[0] + 2));
        self.blank();
        let heading = cells(&headings, &widths).join("  ");
        self.line(&self.setting.palette.paint(Tone::Heading, heading.trim_end()));
        for (agent, row) in view.agents.iter().zip(&rows) {
            let mut cells = cells(row, &widths);
            cells[1] = self.setting.palette.paint(of_state(agent.state), &cells[1]);
            self.line(&cells.join("  "));
        }
    }

    fn row(&self, agent: &AgentView, now: Moment) -> [String; 5] {
        [
            agent.id.to_string(),
            agent.state.to_string(),
            took(agent, now).map_or_else(|| "-".to_owned(), duration),
            agent.attempt.map_or_else(|| "-".to_owned(), |attempt| attempt.to_string()),
            why_text(&agent.why, self.setting).unwrap_or_default(),
        ]
    }

    /// A blank line, then the agent, its state and why.
    fn heading(&mut self, agent: &AgentView) {
        self.blank();
        let why = why_text(&agent.why, self.setting).map(|why| format!(": {why}")).unwrap_or_default();
        // Colours take no columns, so the text is broken before it is painted.
        let mut lines = wrap(&format!("{} {}{why}", agent.id, agent.state), self.width, 4);
        let from = agent.id.as_str().len() + 1;
        let range = from..from + agent.state.to_string().len();
        if let Some(first) = lines.first_mut().filter(|first| first.len() >= range.end) {
            let state = self.setting.palette.paint(of_state(agent.state), agent.state);
            first.replace_range(range, &state);
        }
        for line in &lines {
            self.line(line);
        }
    }

    /// What somebody who looks at all agents wants of this one.
    fn short(&mut self, agent: &AgentView, going: Going) {
        if holds_locks(agent.state) && going != Going::Over {
            let locks = locks(agent);
            self.prose("locks", if locks.is_empty() { "none" } else { &locks });
        }
        match &agent.began {
            Some(Began::Continued { from }) => {
                self.prose("goes on", &format!("with the thread and work of attempt {from}"));
            }
            Some(Began::Anew { instead_of, why }) => {
                self.prose("anew", &format!("it does not continue attempt {instead_of}: {}", anew_text(why)));
            }
            None => {}
        }
        if let Some(message) = agent.message.as_deref().map(printable).filter(|message| !message.is_empty()) {
            let room = self.room();
            self.detail("said", &truncate(&message, room));
        }
        if let Some(verify) = agent.verify.as_ref().filter(|verify| !verify.ok) {
            let room = self.room();
            for line in last_lines(&verify.tail, TAIL_LINES) {
                self.detail("verify", &truncate(&line, room));
            }
        }
        for need in agent.needs.iter().take(ITEMS) {
            self.prose("asks for", &format!("{}: {}", printable(&need.path), printable(&need.why)));
        }
        self.denied(agent);
        if !agent.warned.is_empty() {
            self.prose("wrote", &format!("undeclared, not committed: {}", some_of(&agent.warned, ITEMS)));
        }
        if !agent.in_tree.is_empty() {
            self.prose("left", &format!("in the tree, not committed: {}", some_of(&agent.in_tree, ITEMS)));
        }
        if !agent.not_restored.is_empty() {
            self.prose("left", &format!("changed since, not put back: {}", some_of(&agent.not_restored, ITEMS)));
        }
        if !agent.index_left.is_empty() {
            self.prose("staged", &format!("your own version was kept: {}", some_of(&agent.index_left, ITEMS)));
        }
    }

    /// What was refused to it, and why.
    fn denied(&mut self, agent: &AgentView) {
        for denied in agent.denied.iter().take(ITEMS) {
            self.prose("denied", &format!("{}: {}", refused_path(&denied.path), denial_text(&denied.why)));
        }
        if agent.denied.len() > ITEMS {
            self.detail("", &format!("… and {} more; `--format json` has all of them", agent.denied.len() - ITEMS));
        }
    }

    /// What its session file says of it.
    fn plan(&mut self, agent: &AgentView, going: Going) {
        if agent.name != agent.id.as_str() {
            self.detail("name", &printable(&agent.name));
        }
        if let Some(phase) = &agent.phase {
            self.detail("phase", &printable(phase));
        }
        self.detail("priority", &agent.priority.to_string());
        self.detail("runner", &printable(agent.runner.as_str()));
        if !agent.depends_on.is_empty() {
            self.prose("after", &some_of(&agent.depends_on, ITEMS));
        }
        if !holds_locks(agent.state) || going == Going::Over {
            let claim = locks(agent);
            self.prose("claims", if claim.is_empty() { "nothing" } else { &claim });
        }
    }

    /// What has become of it so far.
    fn course(&mut self, agent: &AgentView, now: Moment) {
        if let (Some(attempt), Some(started)) = (agent.attempt, agent.started_at) {
            let pid = agent.pid.map(|pid| format!(", pid {pid}")).unwrap_or_default();
            let took = took(agent, now).map(duration).unwrap_or_default();
            let ended = agent.ended_at.map(|at| format!(", ended at {}", self.setting.clock(at))).unwrap_or_default();
            self.detail("attempt", &format!("{attempt}{pid}, at {}, {took}{ended}", self.setting.clock(started)));
        }
        if let Some(exit) = agent.exit {
            self.detail("exit", &exit_text(exit));
        }
        if !agent.writes.is_empty() {
            let files = plural(agent.writes.len(), "file", "files");
            self.prose("changed", &format!("{files}: {}", some_of(&agent.writes, ITEMS)));
        }
        if let Some(verify) = agent.verify.as_ref().filter(|verify| verify.ok) {
            self.detail("verified", &format!("in {}", duration(verify.took)));
        }
        if let Some(usage) = agent.usage {
            let (input, output) = (count(usage.input_tokens), count(usage.output_tokens));
            self.detail("tokens", &format!("{input} in, {output} out"));
        }
    }

    /// The next useful command, or two of them.
    fn next(&mut self, agent: &AgentView, going: Going) {
        let git = &self.setting.git;
        let logs = self.commands.call(&format!("logs {}", agent.id));
        let next = match (&agent.why, agent.state) {
            (Why::Waits(WaitReason::Locks { holders }), _) if going != Going::Over => {
                holders.first().map(|holder| self.commands.call(&format!("status {holder}"))).into_iter().collect()
            }
            (Why::Waits(WaitReason::DirtyClaim { .. }), _) => vec![format!("{git} status")],
            (_, State::Conflict) => vec![self.commands.call("conflicts")],
            (_, State::Running | State::Completing) if going != Going::Over => vec![format!("{logs} --follow")],
            (_, State::Completed) => {
                let commit = agent.commit.map(|commit| format!("{git} show {}", commit.short()));
                commit.into_iter().collect()
            }
            (_, State::Registered | State::Waiting | State::Blocked | State::Skipped) => Vec::new(),
            _ => {
                let work = agent.salvage.last().map(|reference| self.work(reference));
                agent.attempt.map(|_| logs).into_iter().chain(work).collect::<Vec<_>>()
            }
        };
        let mut label = "next";
        for command in next {
            self.detail(label, &command);
            label = "";
        }
    }

    /// Shows kept work.
    fn work(&self, reference: &str) -> String {
        let name = work_name(reference, None);
        // Of the newest run, its name is not needed.
        let short = name.split_once('/').filter(|_| self.commands.run.is_empty());
        format!("{} salvage show {}", self.commands.supervise, short.map_or(name, |(_, short)| short))
    }

    fn conflicts(&mut self, view: &RunView) {
        let open = view.conflicts.iter().filter(|conflict| conflict.resolution.is_none()).count();
        if view.conflicts.is_empty() {
            return;
        }
        self.blank();
        let (all, command) = (plural(view.conflicts.len(), "conflict", "conflicts"), self.commands.call("conflicts"));
        let tone = if open > 0 { Tone::Bad } else { Tone::Warning };
        let text = self.setting.palette.paint(tone, format!("{all}, {open} open:"));
        self.line(&format!("{text} {command}"));
    }

    fn unattributed(&mut self, view: &RunView) {
        if view.unattributed.is_empty() {
            return;
        }
        self.blank();
        let paths = plural(view.unattributed.len(), "path was", "paths were");
        let some = some_of(&view.unattributed, ITEMS);
        let text = format!("{paths} changed by nobody that is known: {some} ({} status)", self.setting.git);
        for line in wrap(&text, self.width, 4) {
            let line = self.setting.palette.paint(Tone::Warning, line);
            self.line(&line);
        }
    }
}

fn unfinished(view: &RunView) -> bool {
    view.agents.iter().any(|agent| !agent.state.is_end())
}

fn holds_locks(state: State) -> bool {
    matches!(state, State::Running | State::Completing | State::Conflict)
}

/// `src/*.rs, docs/ (shared)`
fn locks(agent: &AgentView) -> String {
    let kinds = [(&agent.locks.exclusive, ""), (&agent.locks.late, " (late)"), (&agent.locks.shared, " (shared)")];
    let patterns = kinds.into_iter().flat_map(|(list, kind)| list.iter().map(move |text| format!("{text}{kind}")));
    some_of(&patterns.collect::<Vec<_>>(), ITEMS)
}

fn took(agent: &AgentView, now: Moment) -> Option<Duration> {
    agent.started_at.map(|started| agent.ended_at.unwrap_or(now).since(started))
}

/// The cells of a row in their widths: numbers at the right, the rest at the left.
fn cells(row: &[String; 5], widths: &[usize; 5]) -> Vec<String> {
    let cell = |(i, text): (usize, &String)| match i {
        2 | 3 => pad_left(text, widths[i]),
        _ => pad(&truncate(text, widths[i]), widths[i]),
    };
    row.iter().enumerate().map(cell).collect()
}

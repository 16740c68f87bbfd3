//! Records as progress lines, one a record (the opening of a run has one more for each layer of
//! protection and each note), for people and for `grep`.
//!
//! Invariant: `TIME  AGENT  WHAT  details`, with the columns in line for one run. A line about an
//! agent that needs a person ends with the next useful command.
//!
//! Deliberately absent: what everybody can expect (an agent of 1,000 waits for a slot).

use std::collections::BTreeMap;

use super::conflict;
use super::reason::{
    ONLY_IGNORED, anew_text, busy_text, denial_text, end_text, interrupt_text, limit_text, refused_path, requeue_text,
    trouble_text, wait_text,
};
use super::style::{Tone, of_state};
use super::text::{duration, pad, path_text, plural, printable, some_of, truncate};
use super::{Setting, attempt_reference};
use crate::core::change::{Attribution, ObjectId};
use crate::core::conflict::{ConflictId, Found, Recommendation};
use crate::core::effect::Part;
use crate::core::ids::{AgentId, Attempt, AttemptId, RunId};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::reason::{EndReason, Interrupt, WaitReason};
use crate::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Record, RunOpened, RunOutcome, StopCause, Trouble, Write,
};
use crate::core::steer::Stop;

/// Columns of the agent's id; longer ids are cut.
const MAX_ID: usize = 32;
const MIN_ID: usize = 8;
/// Columns of the verb.
const VERB: usize = 10;

/// Makes the lines of one run. It remembers of each agent what its last line will tell.
#[derive(Debug)]
pub struct EventLines {
    setting: Setting,
    run: Option<RunId>,
    opened: Moment,
    column: usize,
    agents: BTreeMap<AgentId, Memory>,
    completed: usize,
    conflicts: BTreeMap<ConflictId, (Found, Option<Recommendation>)>,
}

#[derive(Debug, Default)]
struct Memory {
    attempt: Option<Attempt>,
    started: Option<Moment>,
    files: usize,
    /// Changed, and not to be committed.
    left: usize,
    /// Where the branch was before its commit.
    before: Option<ObjectId>,
    commit: Option<ObjectId>,
    index_left: usize,
    salvaged: bool,
}

/// A line before it is put together.
struct Line {
    who: String,
    tone: Tone,
    verb: &'static str,
    details: String,
}

impl EventLines {
    #[must_use]
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            run: None,
            opened: Moment::ZERO,
            column: MIN_ID,
            agents: BTreeMap::new(),
            completed: 0,
            conflicts: BTreeMap::new(),
        }
    }

    #[must_use]
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The line for this record, if it is worth one. Every record of the run has to come by, in order.
    pub fn line(&mut self, record: &Record) -> Option<String> {
        self.remember(record);
        let first = self.describe(record)?;
        let mut lines = vec![first];
        if let Fact::RunOpened(RunOpened { layers, .. }) | Fact::RunResumed { layers, .. } = &record.fact {
            lines.extend(layer_lines(*layers));
            lines.extend(self.setting.notes.iter().map(|note| run_line(Tone::Warning, "note", note.clone())));
        }
        let lines: Vec<String> = lines.iter().map(|line| self.put_together(record.at, line)).collect();
        Some(lines.join("\n"))
    }

    fn put_together(&self, at: Moment, line: &Line) -> String {
        let palette = self.setting.palette;
        let time = palette.paint(Tone::Quiet, self.setting.clock(at));
        let who = pad(&truncate(&line.who, self.column), self.column);
        if line.verb.ends_with(':') {
            // What one knows how to look for stands in one piece: `CONFLICT: a and b …`.
            return format!("{time}  {who}  {} {}", palette.paint(line.tone, line.verb), line.details);
        }
        let verb = palette.paint(line.tone, pad(line.verb, VERB));
        format!("{time}  {who}  {verb}  {}", line.details).trim_end().to_owned()
    }

    fn remember(&mut self, record: &Record) {
        match &record.fact {
            Fact::RunOpened(opened) => {
                self.run = Some(opened.run.clone());
                self.opened = record.at;
                let longest = opened.agents.iter().map(|a| a.as_str().len()).max().unwrap_or(0);
                self.column = longest.clamp(MIN_ID, MAX_ID);
            }
            Fact::AgentRegistered(plan) => self.column = self.column.max(plan.id.as_str().len().min(MAX_ID)),
            Fact::AttemptStarted { id, .. } => {
                let memory = Memory { attempt: Some(id.attempt), started: Some(record.at), ..Memory::default() };
                self.agents.insert(id.agent.clone(), memory);
            }
            Fact::WriteSet { id, writes } => {
                let is_left = |w: &&Write| match w.fate {
                    Fate::Leave => w.attribution != Attribution::Unknown,
                    fate => !fate.commits() && !w.is_undone(),
                };
                let memory = self.memory(id);
                memory.files = writes.iter().filter(|w| w.fate.commits()).count();
                memory.left = writes.iter().filter(is_left).count();
            }
            Fact::PlaceIntended { id, intent } => self.memory(id).before = intent.old,
            // What was frozen to be committed is kept as well when the attempt does not complete.
            Fact::Frozen { id, .. } => self.memory(id).salvaged = true,
            Fact::Placed { id, commit, index_left } => {
                let memory = self.memory(id);
                // Where git ignores all that it changed, the branch stays where it was.
                memory.commit = Some(*commit).filter(|commit| memory.before != Some(*commit));
                memory.index_left = index_left.len();
            }
            Fact::AgentEnded { state: State::Completed, .. } => self.completed += 1,
            Fact::ConflictFound(found) => {
                self.conflicts.insert(found.conflict, (found.clone(), None));
            }
            Fact::ConflictRecommended { conflict, recommendation } => {
                if let Some(known) = self.conflicts.get_mut(conflict) {
                    known.1 = Some(*recommendation);
                }
            }
            _ => {}
        }
    }

    fn memory(&mut self, id: &AttemptId) -> &mut Memory {
        self.agents.entry(id.agent.clone()).or_default()
    }

    fn describe(&self, record: &Record) -> Option<Line> {
        let at = record.at;
        match &record.fact {
            Fact::RunOpened(opened) => Some(Self::run_opened(opened)),
            Fact::RunEnded { outcome } => Some(self.run_ended(at, *outcome)),
            Fact::RunResumed { reopened, .. } => Some(run_line(Tone::Heading, "resumed", Self::run_resumed(reopened))),
            Fact::PhaseOpened { phase } => {
                self.named_phase(*phase).map(|name| run_line(Tone::Heading, "phase", format!("{name} is open")))
            }
            Fact::PhaseEnded { phase, completed } => {
                let (tone, end) = if *completed { (Tone::Good, "completed") } else { (Tone::Bad, "did not complete") };
                self.named_phase(*phase).map(|name| run_line(tone, "phase", format!("{name} {end}")))
            }
            Fact::StopRequested { by: StopCause::Interrupt(by @ Interrupt::Reset) } => {
                let text = format!("{}: nothing more is started, what was left is kept aside", interrupt_text(*by));
                Some(run_line(Tone::Warning, "stopping", text))
            }
            Fact::StopRequested { by: StopCause::Interrupt(by) } => {
                let harder = if *by == Interrupt::Asked { "--force" } else { "once more" };
                let text = format!("{}: ending what runs; {harder} kills it", interrupt_text(*by));
                Some(run_line(Tone::Warning, "stopping", text))
            }
            Fact::StopRequested { by: StopCause::Limit(limit) } => {
                let text = format!("{} is reached: nothing more is started", limit_text(*limit));
                Some(run_line(Tone::Warning, "stopping", text))
            }
            Fact::StopRequested { by: StopCause::Complete } => {
                let text = "supervise complete: nothing more is started, what runs may finish";
                Some(run_line(Tone::Warning, "stopping", text.to_owned()))
            }
            Fact::PhaseStopRequested { phase } => {
                let text = format!("supervise complete: nothing more of {} is started", self.setting.phase(*phase));
                Some(run_line(Tone::Warning, "stopping", text))
            }
            Fact::AgentStopRequested { agent, how: Stop::Graceful } => {
                let details = "by hand: this attempt may finish, and is the last one".to_owned();
                Some(Line { who: agent.to_string(), tone: Tone::Warning, verb: "stopping", details })
            }
            Fact::AgentRegistered(plan) => {
                let details = if plan.name == plan.id.as_str() { String::new() } else { printable(&plan.name) };
                Some(Line { who: plan.id.to_string(), tone: Tone::Active, verb: "registered", details })
            }
            Fact::Granted { agent, pattern } => {
                let details = format!("{} joins its claim, by hand", printable(pattern.as_str()));
                Some(Line { who: agent.to_string(), tone: Tone::Active, verb: "granted", details })
            }
            Fact::KillRequested { by } => {
                let again = if *by == Interrupt::Asked { "--force" } else { "again" };
                Some(run_line(Tone::Bad, "killing", format!("{} {again}: killing what runs", interrupt_text(*by))))
            }
            Fact::RunnerPaused { runner, until } => {
                let text = format!("{}: rate limit until {}", printable(runner.as_str()), self.setting.clock(*until));
                Some(run_line(Tone::Warning, "paused", text))
            }
            Fact::RunnerResumed { runner } => Some(run_line(Tone::Active, "resumed", printable(runner.as_str()))),
            Fact::Surveyed { unattributed } if !unattributed.is_empty() => {
                let text = format!("changed by nobody in this run: {} (git status)", some_of(unattributed, 5));
                Some(run_line(Tone::Warning, "left alone", text))
            }
            Fact::ConflictFound(_)
            | Fact::ConflictAnalysed { .. }
            | Fact::ConflictRecommended { .. }
            | Fact::ConflictResolved { .. }
            | Fact::ConflictVerified { .. } => self.conflict(&record.fact),
            Fact::OutsideWrite { paths } => {
                Some(run_line(Tone::Quiet, "outside", format!("somebody outside the run wrote {}", some_of(paths, 5))))
            }
            Fact::AgentWaits { agent, reason } => self.waits(agent, reason),
            Fact::AgentEnded { agent, state, reason } => Some(self.agent_ended(at, agent, *state, reason.as_ref())),
            other => self.attempt(at, other),
        }
    }

    fn run_resumed(reopened: &[AgentId]) -> String {
        let ids: Vec<&str> = reopened.iter().map(AgentId::as_str).collect();
        let again = if ids.is_empty() { String::new() } else { format!("; interrupted before: {}", some_of(&ids, 5)) };
        format!("by another supervisor{again}")
    }

    fn attempt(&self, at: Moment, fact: &Fact) -> Option<Line> {
        let line = |id: &AttemptId, tone, verb, details| Some(Line { who: id.agent.to_string(), tone, verb, details });
        match fact {
            Fact::AttemptSpawned { id, process } => {
                line(id, Tone::Active, "started", format!("(attempt {}, pid {})", id.attempt, process.pid))
            }
            Fact::Continued { id, from, .. } => {
                let text = format!("with the thread and the work of attempt {from}");
                line(id, Tone::Active, "continues", text)
            }
            Fact::BegunAnew { id, from, why } => {
                let text = format!("and does not continue attempt {from}: {}", anew_text(why));
                line(id, Tone::Warning, "anew", text)
            }
            // Nobody is ended: it is gone, and what follows says so.
            Fact::EndIntended { reason: EndReason::SupervisorDied, .. } => None,
            Fact::EndIntended { id, part, reason, .. } => {
                let what = if *part == Part::Verify { "verify: " } else { "" };
                line(id, Tone::Warning, "ending", format!("{what}{}", end_text(reason, &self.setting)))
            }
            Fact::TreeEnded { id, summary, .. } if !summary.needs.is_empty() => {
                let needs: Vec<String> =
                    summary.needs.iter().map(|n| format!("{} ({})", printable(&n.path), printable(&n.why))).collect();
                let text = format!("{}: add it to `files` of this agent if it should have it", some_of(&needs, 3));
                line(id, Tone::Warning, "asks for", text)
            }
            Fact::Denied { id, path, why, .. } => {
                line(id, Tone::Warning, "denied", format!("{}: {}", refused_path(path), denial_text(why)))
            }
            Fact::Busied { id, path, why } => {
                line(id, Tone::Quiet, "busy", format!("{}: {}", path_text(path), busy_text(why)))
            }
            Fact::Locked { id, path, how: Lockings::Claimed } => line(
                id,
                Tone::Quiet,
                "locked",
                format!("{}, which it had not declared (on_undeclared = \"claim\")", path_text(path)),
            ),
            Fact::Admitted { id, path, how: Admission::Warned } => {
                let text = format!("{}: allowed, and not committed; add it to `files`", path_text(path));
                line(id, Tone::Warning, "undeclared", text)
            }
            Fact::VerifyStarted { id } => line(id, Tone::Active, "verifying", String::new()),
            Fact::Verified { id, exit, took, .. } if exit.success() => {
                line(id, Tone::Good, "verified", format!("in {}", duration(*took)))
            }
            Fact::Checkpointed { id, commit: Some(commit) } => {
                line(id, Tone::Quiet, "checkpoint", format!("{} show {}", self.setting.git, commit.short()))
            }
            Fact::Restored { id, left, .. } if !left.is_empty() => {
                let text = format!("changed since, and not put back: {} (git status)", some_of(left, 5));
                line(id, Tone::Warning, "left alone", text)
            }
            Fact::Trouble { id, what: what @ Trouble::PlaceMoved } => {
                line(id, Tone::Quiet, "again", trouble_text(what))
            }
            Fact::Trouble { id, what } => {
                line(id, Tone::Bad, "trouble", format!("{} (git status)", trouble_text(what)))
            }
            Fact::AgentRequeued { id, why, not_before } => {
                let mut parts = vec![requeue_text(why, &self.setting)];
                if *not_before > at {
                    parts.push(format!("next attempt at {}", self.setting.clock(*not_before)));
                }
                parts.extend(self.evidence(&id.agent));
                line(id, Tone::Warning, "retry", parts.join("; "))
            }
            _ => None,
        }
    }

    /// The seed's workflow, a line a step.
    fn conflict(&self, fact: &Fact) -> Option<Line> {
        let known = |id: &ConflictId| self.conflicts.get(id);
        let line = |tone, verb, details| Some(Line { who: String::new(), tone, verb, details });
        match fact {
            Fact::ConflictFound(found) => line(Tone::Bad, "CONFLICT:", conflict::found_text(found)),
            Fact::ConflictAnalysed { conflict, analysis } => {
                line(Tone::Quiet, "analysed", conflict::analysis_text(&known(conflict)?.0, analysis))
            }
            Fact::ConflictRecommended { conflict, recommendation } => {
                line(Tone::Quiet, "advice", conflict::recommendation_text(&known(conflict)?.0, *recommendation))
            }
            Fact::ConflictResolved { conflict, resolution, by } => {
                line(Tone::Warning, "resolved", conflict::resolution_text(&known(conflict)?.0, *resolution, *by))
            }
            Fact::ConflictVerified { conflict, outcome } => {
                let (tone, text) = conflict::verification_text(*conflict, outcome);
                line(tone, "verified", text)
            }
            _ => None,
        }
    }

    fn named_phase(&self, phase: usize) -> Option<String> {
        self.setting.phases.get(phase).is_some_and(Option::is_some).then(|| self.setting.phase(phase))
    }

    fn run_opened(opened: &RunOpened) -> Line {
        let place = match &opened.branch {
            Some(branch) => format!("on {}", printable(branch.strip_prefix("refs/heads/").unwrap_or(branch))),
            None => "on a detached HEAD".to_owned(),
        };
        let base = opened.base.map_or_else(|| "without a commit yet".to_owned(), |base| format!("at {}", base.short()));
        let agents = plural(opened.agents.len(), "agent", "agents");
        let opening = format!("{}, {agents}, {place} {base}; run {}", printable(&opened.session), opened.run);
        run_line(Tone::Heading, "run", opening)
    }

    fn run_ended(&self, at: Moment, outcome: RunOutcome) -> Line {
        let took = duration(at.since(self.opened));
        let agents = self.completed;
        let (tone, verb, details) = match outcome {
            RunOutcome::Completed => (Tone::Good, "completed", format!("all agents, in {took}")),
            RunOutcome::Failed => {
                let agents = plural(agents, "agent", "agents");
                (Tone::Bad, "failed", format!("after {took}; {agents} completed"))
            }
            RunOutcome::Interrupted(by) => {
                (Tone::Bad, "ended", format!("by {} after {took}; {agents} completed", interrupt_text(by)))
            }
        };
        run_line(tone, verb, details)
    }

    fn waits(&self, agent: &AgentId, reason: &WaitReason) -> Option<Line> {
        let (tone, verb, next) = match reason {
            WaitReason::Dependencies { .. } | WaitReason::Backoff { .. } | WaitReason::RateLimit { .. } => {
                (Tone::Quiet, "waiting", "")
            }
            WaitReason::Locks { .. } | WaitReason::Reserved { .. } => (Tone::Warning, "blocked", ""),
            WaitReason::DirtyClaim { .. } => (Tone::Warning, "blocked", " (git status; commit or stash them)"),
            WaitReason::Phase { .. }
            | WaitReason::Slot
            | WaitReason::OpenFiles { .. }
            | WaitReason::RunnerSlot { .. }
            | WaitReason::Preparing
            | WaitReason::Stopping => return None,
        };
        let details = format!("{}{next}", wait_text(reason, &self.setting));
        Some(Line { who: agent.to_string(), tone, verb, details })
    }

    fn agent_ended(&self, at: Moment, agent: &AgentId, state: State, reason: Option<&EndReason>) -> Line {
        let nothing = Memory::default();
        let memory = self.agents.get(agent).unwrap_or(&nothing);
        let took = memory.started.map(|started| duration(at.since(started)));
        let mut parts = Vec::new();
        if state == State::Completed {
            parts.extend(took.map(|took| format!("in {took}")));
            match memory.commit {
                Some(commit) => {
                    let files = plural(memory.files, "file", "files");
                    parts.push(format!("{files}: {} show {}", self.setting.git, commit.short()));
                }
                None if memory.files > 0 => parts.push(ONLY_IGNORED.to_owned()),
                None if memory.left > 0 => {
                    parts.push(format!("nothing committed, {} left in the tree", plural(memory.left, "file", "files")));
                }
                None => parts.push("without changes".to_owned()),
            }
            if memory.index_left > 0 {
                let paths = plural(memory.index_left, "path", "paths");
                let git = &self.setting.git;
                parts.push(format!("your staged version of {paths} was kept: {git} diff --cached"));
            }
        } else {
            let reason = reason.map(|reason| end_text(reason, &self.setting));
            parts.push(match (took, reason) {
                (Some(took), Some(reason)) => format!("after {took}: {reason}"),
                (Some(took), None) => format!("after {took}"),
                (None, reason) => reason.unwrap_or_default(),
            });
            parts.extend(self.evidence(agent));
        }
        let verb = match state {
            State::Completed => "completed",
            State::Timeout => "timeout",
            State::Terminated => "terminated",
            State::Skipped => "skipped",
            _ => "failed",
        };
        Line { who: agent.to_string(), tone: of_state(state), verb, details: parts.join("; ") }
    }

    /// Where to look at an attempt that did not complete: its logs, and its work where it was kept.
    fn evidence(&self, agent: &AgentId) -> Vec<String> {
        let (Some(run), Some(memory)) = (&self.run, self.agents.get(agent)) else { return Vec::new() };
        let Some(attempt) = memory.attempt else { return Vec::new() };
        let id = AttemptId { agent: agent.clone(), attempt };
        let logs = format!("logs: {}/", self.setting.logs(run, &id));
        let work =
            memory.salvaged.then(|| format!("its work: {} show {}", self.setting.git, attempt_reference(run, &id)));
        std::iter::once(logs).chain(work).collect()
    }
}

/// Which protections are active, and what each promises.
fn layer_lines(layers: Layers) -> Vec<Line> {
    let mut lines = vec![
        if layers.gate {
            run_line(
                Tone::Good,
                "gate on",
                "every write is decided before it lands, and who made it is certain".to_owned(),
            )
        } else {
            let text = "no write is decided beforehand; who changed what is inferred from the claims".to_owned();
            run_line(Tone::Warning, "gate off", text)
        },
        if layers.watch {
            run_line(
                Tone::Good,
                "watch on",
                "edits from outside the run are seen, and never committed as an agent's".to_owned(),
            )
        } else {
            let text = "edits from outside the run are seen only where trees are compared".to_owned();
            run_line(Tone::Warning, "watch off", text)
        },
    ];
    if layers.cgroup {
        lines.push(run_line(
            Tone::Good,
            "cgroup on",
            "an agent's processes are ended together, whatever they do".to_owned(),
        ));
    }
    lines
}

/// A line about the run as a whole.
fn run_line(tone: Tone, verb: &'static str, details: String) -> Line {
    Line { who: String::new(), tone, verb, details }
}

//! What a wish about a run came to, for people and for programs.
//!
//! Invariant: one line an agent, columns in line; the last line says how to see what comes of it.

use std::path::Path;

use serde::Serialize;

use super::Setting;
use super::attempt_reference;
use super::json::{pretty, run_state};
use super::reason::why_text;
use super::status::Commands;
use super::text::{pad, plural, printable, some_of};
use crate::core::claim::Pattern;
use crate::core::conflict::ConflictId;
use crate::core::ids::{AgentId, AttemptId, RunId};
use crate::core::lifecycle::State;
use crate::core::record::RunOpened;
use crate::core::steer::{Checkpoint, Completing, Frozen, Granting, Stopping};
use crate::core::view::RunView;

/// Agents named in one line.
const NAMED: usize = 8;

/// `stop`, for people. `all`: it was asked for the whole run.
#[must_use]
pub fn stopped(agents: &[(AgentId, Stopping)], all: bool, commands: &Commands) -> String {
    let mut out = if all && agents.is_empty() {
        "every agent has ended; the run is about to\n".to_owned()
    } else {
        table(agents.iter().map(|(id, stopping)| (id, stopping_text(*stopping).to_owned())))
    };
    out.push_str(&format!("{} shows how they end\n", commands.call("status")));
    out
}

fn stopping_text(stopping: Stopping) -> &'static str {
    match stopping {
        Stopping::NotStarted => "is not started any more",
        Stopping::Ending => "is being ended; its work is kept aside",
        Stopping::Finishing => "may finish this attempt, which is its last",
        Stopping::Over => "had ended before",
    }
}

/// `release-locks`, for people. For programs it is what `stop` is.
#[must_use]
pub fn releasing(agent: &AgentId, commands: &Commands) -> String {
    let status = commands.call("status");
    format!("{agent} is being ended; its locks are free when it is: {status} {agent}\n")
}

/// `resolve`, for people.
#[must_use]
pub fn resolved(conflict: ConflictId, commands: &Commands) -> String {
    format!("conflict {conflict} is decided: {} --follow\n", commands.call("timeline"))
}

#[derive(Debug, Serialize)]
pub struct ResolvedDocument<'a> {
    version: u32,
    run: &'a str,
    conflict: u32,
}

/// `resolve`, for programs.
#[must_use]
pub fn resolved_document(conflict: ConflictId, run: &RunId) -> ResolvedDocument<'_> {
    ResolvedDocument { version: 1, run: run.as_str(), conflict: conflict.0 }
}

/// `complete`, for people.
#[must_use]
pub fn completing(completing: &Completing, phase: Option<&str>, commands: &Commands) -> String {
    let of = phase.map(|phase| format!(" of {}", printable(phase))).unwrap_or_default();
    let line = |agents: &[AgentId], what: &str| match agents {
        [] => String::new(),
        _ => format!("{} {what}: {}\n", plural(agents.len(), "agent", "agents"), some_of(agents, NAMED)),
    };
    format!(
        "nothing more{of} is started\n{}{}{} ends when the run does\n",
        line(&completing.running, "may finish"),
        line(&completing.skipped, "skipped"),
        commands.call("wait"),
    )
}

/// `checkpoint`, for people.
#[must_use]
pub fn checkpoints(checkpoints: &[Checkpoint], run: &RunId, git: &str) -> String {
    table(checkpoints.iter().map(|made| {
        let text = match &made.outcome {
            Frozen::Commit(commit) => {
                format!("{}  {git} show {}", commit.short(), checkpoint_reference(run, &made.id))
            }
            Frozen::Unchanged(Some(commit)) => format!("nothing has changed since {}", commit.short()),
            Frozen::Unchanged(None) => "nothing has changed since it began".to_owned(),
            Frozen::Failed(error) => format!("no checkpoint could be made: {}", printable(error)),
        };
        (&made.id.agent, text)
    }))
}

/// Where git keeps an attempt's checkpoint while it lives.
fn checkpoint_reference(run: &RunId, id: &AttemptId) -> String {
    format!("{}.checkpoint", attempt_reference(run, id))
}

/// What `run --detach` says when the run is open. `pid`: for programs, which want it.
#[must_use]
pub fn detached(opened: &RunOpened, setting: &Setting, output: &Path, pid: Option<u32>) -> String {
    if let Some(pid) = pid {
        let document = DetachedDocument { version: 1, run: opened.run.as_str(), pid, output: output.to_string_lossy() };
        return pretty(&document);
    }
    let supervise = setting.git.replacen("git", "supervise", 1);
    let next = [
        ("status", "shows how it stands"),
        ("attach", "shows its progress here"),
        ("wait", "returns when it has ended"),
        ("stop --all", "ends it"),
    ];
    let width = next.iter().map(|(verb, _)| verb.len()).max().unwrap_or(0) + supervise.len() + 1;
    let lines = next.iter().fold(String::new(), |out, (verb, what)| {
        out + "  " + &pad(&format!("{supervise} {verb}"), width) + "  " + what + "\n"
    });
    let agents = plural(opened.agents.len(), "agent", "agents");
    let (run, session) = (&opened.run, printable(&opened.session));
    let dir = &setting.git_dir;
    let name = output.file_name().unwrap_or_default().display();
    format!("run {run} is open: {session}, {agents}\n{lines}its output: {dir}/supervise/runs/{run}/{name}\n")
}

#[derive(Debug, Serialize)]
struct DetachedDocument<'a> {
    version: u32,
    run: &'a str,
    pid: u32,
    output: std::borrow::Cow<'a, str>,
}

/// `wait` for a run, for people.
#[must_use]
pub fn ended(view: &RunView, commands: &Commands) -> String {
    let completed = view.agents.iter().filter(|agent| agent.state == State::Completed).count();
    let agents = plural(view.agents.len(), "agent", "agents");
    let (run, state) = (&view.run, run_state(view.state));
    format!("run {run} {state}: {completed} of {agents} completed\n{} shows the whole\n", commands.call("status"))
}

/// `wait` for agents, for people.
#[must_use]
pub fn agents_ended(view: &RunView, setting: &Setting) -> String {
    table(view.agents.iter().map(|agent| {
        let why = why_text(&agent.why, setting).map(|why| format!(": {why}")).unwrap_or_default();
        (&agent.id, format!("{}{why}", agent.state))
    }))
}

/// `grant`, for people.
#[must_use]
pub fn granted(agent: &AgentId, pattern: &Pattern, from: Granting) -> String {
    let from = match from {
        Granting::Now => "from now on",
        Granting::NextAttempt => "when it is started",
    };
    format!("{agent} may write {} too, {from}\n", printable(pattern.as_str()))
}

#[derive(Debug, Serialize)]
pub struct GrantedDocument<'a> {
    version: u32,
    run: &'a str,
    agent: &'a str,
    pattern: &'a str,
    from: &'static str,
}

/// `grant`, for programs.
#[must_use]
pub fn granted_document<'a>(
    agent: &'a AgentId,
    pattern: &'a Pattern,
    from: Granting,
    run: &'a RunId,
) -> GrantedDocument<'a> {
    let (run, agent, pattern) = (run.as_str(), agent.as_str(), pattern.as_str());
    GrantedDocument { version: 1, run, agent, pattern, from: from.as_str() }
}

fn table<'a>(lines: impl Iterator<Item = (&'a AgentId, String)> + Clone) -> String {
    let width = lines.clone().map(|(id, _)| id.as_str().len()).max().unwrap_or(0);
    lines.fold(String::new(), |out, (id, text)| out + &pad(id.as_str(), width) + "  " + &text + "\n")
}

#[derive(Debug, Serialize)]
pub struct StoppedDocument<'a> {
    version: u32,
    run: &'a str,
    agents: Vec<StoppedAgent<'a>>,
}

#[derive(Debug, Serialize)]
struct StoppedAgent<'a> {
    id: &'a str,
    stopping: &'static str,
}

/// `stop`, for programs.
#[must_use]
pub fn stopped_document<'a>(agents: &'a [(AgentId, Stopping)], run: &'a RunId) -> StoppedDocument<'a> {
    let agents = agents.iter().map(|(id, stopping)| StoppedAgent { id: id.as_str(), stopping: stopping.as_str() });
    StoppedDocument { version: 1, run: run.as_str(), agents: agents.collect() }
}

#[derive(Debug, Serialize)]
pub struct CompletingDocument<'a> {
    version: u32,
    run: &'a str,
    phase: Option<&'a str>,
    skipped: Vec<&'a str>,
    running: Vec<&'a str>,
}

/// `complete`, for programs.
#[must_use]
pub fn completing_document<'a>(
    completing: &'a Completing,
    phase: Option<&'a str>,
    run: &'a RunId,
) -> CompletingDocument<'a> {
    let texts = |agents: &'a [AgentId]| agents.iter().map(AgentId::as_str).collect();
    let (skipped, running) = (texts(&completing.skipped), texts(&completing.running));
    CompletingDocument { version: 1, run: run.as_str(), phase, skipped, running }
}

#[derive(Debug, Serialize)]
pub struct CheckpointsDocument<'a> {
    version: u32,
    run: &'a str,
    checkpoints: Vec<CheckpointDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct CheckpointDocument<'a> {
    agent: &'a str,
    attempt: u32,
    changed: bool,
    commit: Option<String>,
    reference: Option<String>,
    error: Option<&'a str>,
}

/// `checkpoint`, for programs.
#[must_use]
pub fn checkpoints_document<'a>(checkpoints: &'a [Checkpoint], run: &'a RunId) -> CheckpointsDocument<'a> {
    let document = |made: &'a Checkpoint| {
        let (commit, error) = match &made.outcome {
            Frozen::Commit(commit) => (Some(commit), None),
            Frozen::Unchanged(commit) => (commit.as_ref(), None),
            Frozen::Failed(error) => (None, Some(error.as_str())),
        };
        CheckpointDocument {
            agent: made.id.agent.as_str(),
            attempt: made.id.attempt.0,
            changed: matches!(made.outcome, Frozen::Commit(_)),
            commit: commit.map(ToString::to_string),
            reference: commit.map(|_| checkpoint_reference(run, &made.id)),
            error,
        }
    };
    let checkpoints = checkpoints.iter().map(document).collect();
    CheckpointsDocument { version: 1, run: run.as_str(), checkpoints }
}

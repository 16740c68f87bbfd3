//! The JSON that programs read: the document of a run, and the snapshot `orchestrator.json`.
//!
//! Invariant: fields are added and never renamed; what does not apply is null; kinds are the words
//! of [`super::reason`]. Paths that are not UTF-8 are shown as everywhere, with `\xff` escapes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::conflict::{self, ConflictDocument};
use super::reason::{anew_kind, anew_text, denial_kind, denial_text, refused_path, why_kind, why_text};
use super::text::harmless_json;
use super::{Setting, wall};
use crate::core::agent::Plan;
use crate::core::ids::AgentId;
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::reason::Exit;
use crate::core::view::{AgentView, Began, DeniedView, PhaseState, PhaseView, RunState, RunView};

/// The version of both documents.
pub const VERSION: u32 = 1;

/// What `run --format json` prints at the end.
#[derive(Clone, Debug, Serialize)]
pub struct RunDocument {
    version: u32,
    run: String,
    session: String,
    state: &'static str,
    base: Option<String>,
    head: Option<String>,
    layers: Layers,
    phases: Vec<PhaseDocument>,
    agents: Vec<AgentDocument>,
    conflicts: Vec<ConflictDocument>,
    unattributed: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Layers {
    gate: bool,
    watch: bool,
    cgroup: bool,
}

/// How far a phase has come; the counts add up to its agents.
#[derive(Clone, Debug, Serialize)]
struct PhaseDocument {
    name: String,
    state: &'static str,
    agents: usize,
    completed: usize,
    failed: usize,
    running: usize,
    waiting: usize,
}

#[derive(Clone, Debug, Serialize)]
struct AgentDocument {
    id: String,
    name: String,
    phase: Option<String>,
    priority: u8,
    state: &'static str,
    reason: Option<Reason>,
    attempt: Option<u32>,
    pid: Option<u32>,
    depends_on: Vec<String>,
    locks: Locks,
    started_at: Option<String>,
    ended_at: Option<String>,
    duration_ms: Option<u64>,
    exit: Option<ExitDocument>,
    writes: Vec<String>,
    denied: Vec<String>,
    /// The same with the reason for each.
    denials: Vec<Denial>,
    /// Written undeclared, as `on_undeclared = "warn"` lets it.
    warned: Vec<String>,
    /// Changed paths that are in the tree and not in a commit.
    in_tree: Vec<String>,
    needs: Vec<Need>,
    commit: Option<String>,
    salvage: Option<String>,
    continues: Option<Continues>,
    verify: Option<Verify>,
    usage: Option<Usage>,
}

#[derive(Clone, Debug, Serialize)]
struct Reason {
    kind: &'static str,
    text: String,
}

/// The attempt that the latest one goes on with, or was to.
#[derive(Clone, Debug, Serialize)]
struct Continues {
    attempt: u32,
    /// Why it begins anew instead.
    anew: Option<Reason>,
}

#[derive(Clone, Debug, Serialize)]
struct Locks {
    exclusive: Vec<String>,
    late: Vec<String>,
    shared: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ExitDocument {
    code: Option<i32>,
    signal: Option<i32>,
}

#[derive(Clone, Debug, Serialize)]
struct Need {
    path: String,
    why: String,
}

#[derive(Clone, Debug, Serialize)]
struct Verify {
    ok: bool,
    duration_ms: u64,
    tail: String,
}

#[derive(Clone, Debug, Serialize)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Denial {
    path: String,
    kind: &'static str,
    text: String,
}

/// The document of a run, as of `now` (which ends the durations of what still runs).
#[must_use]
pub fn run(view: &RunView, setting: &Setting, now: Moment) -> RunDocument {
    RunDocument {
        version: VERSION,
        run: view.run.to_string(),
        session: view.session.clone(),
        state: run_state(view.state),
        base: view.base.map(|id| id.to_string()),
        head: view.head.map(|id| id.to_string()),
        layers: Layers { gate: view.layers.gate, watch: view.layers.watch, cgroup: view.layers.cgroup },
        phases: view.phases.iter().map(phase_document).collect(),
        agents: view.agents.iter().map(|agent| agent_document(agent, setting, now)).collect(),
        conflicts: view.conflicts.iter().map(conflict::document).collect(),
        unattributed: texts(&view.unattributed),
    }
}

/// A document as it is printed.
pub fn pretty(document: &impl Serialize) -> String {
    // Texts and numbers are always representable.
    serde_json::to_string_pretty(document).map(|text| harmless_json(text) + "\n").unwrap_or_default()
}

/// One of many documents, in a line.
pub fn line(document: &impl Serialize) -> String {
    serde_json::to_string(document).map(|text| harmless_json(text) + "\n").unwrap_or_default()
}

/// The word for a run's state.
#[must_use]
pub fn run_state(state: RunState) -> &'static str {
    match state {
        RunState::Running => "RUNNING",
        RunState::Completed => "COMPLETED",
        RunState::Failed => "FAILED",
        RunState::Interrupted => "INTERRUPTED",
    }
}

/// The word for a phase's state.
#[must_use]
pub fn phase_state(state: PhaseState) -> &'static str {
    match state {
        PhaseState::Waiting => "WAITING",
        PhaseState::Open => "OPEN",
        PhaseState::Closing => "CLOSING",
        PhaseState::Completed => "COMPLETED",
        PhaseState::Failed => "FAILED",
        PhaseState::Skipped => "SKIPPED",
    }
}

fn phase_document(phase: &PhaseView) -> PhaseDocument {
    PhaseDocument {
        name: phase.name.clone(),
        state: phase_state(phase.state),
        agents: phase.agents(),
        completed: phase.completed,
        failed: phase.failed,
        running: phase.running,
        waiting: phase.waiting,
    }
}

fn agent_document(agent: &AgentView, setting: &Setting, now: Moment) -> AgentDocument {
    let started = agent.started_at;
    let duration = started.map(|started| agent.ended_at.unwrap_or(now).since(started));
    AgentDocument {
        id: agent.id.to_string(),
        name: agent.name.clone(),
        phase: agent.phase.clone(),
        priority: agent.priority,
        state: agent.state.as_str(),
        reason: why_kind(&agent.why).zip(why_text(&agent.why, setting)).map(|(kind, text)| Reason { kind, text }),
        attempt: agent.attempt.map(|a| a.0),
        pid: agent.pid,
        depends_on: ids(&agent.depends_on),
        locks: Locks {
            exclusive: agent.locks.exclusive.clone(),
            late: agent.locks.late.clone(),
            shared: agent.locks.shared.clone(),
        },
        started_at: started.map(|at| time(setting.start, at)),
        ended_at: agent.ended_at.map(|at| time(setting.start, at)),
        duration_ms: duration.map(millis),
        exit: agent.exit.map(exit_document),
        writes: texts(&agent.writes),
        denied: denied_paths(agent),
        denials: agent.denied.iter().map(denial).collect(),
        warned: texts(&agent.warned),
        in_tree: texts(&agent.in_tree),
        needs: agent.needs.iter().map(|n| Need { path: n.path.clone(), why: n.why.clone() }).collect(),
        commit: agent.commit.map(|id| id.to_string()),
        salvage: agent.salvage.last().cloned(),
        continues: agent.began.as_ref().map(continues),
        verify: agent.verify.as_ref().map(|v| Verify { ok: v.ok, duration_ms: millis(v.took), tail: v.tail.clone() }),
        usage: agent.usage.map(|u| Usage { input_tokens: u.input_tokens, output_tokens: u.output_tokens }),
    }
}

fn continues(began: &Began) -> Continues {
    match began {
        Began::Continued { from } => Continues { attempt: from.0, anew: None },
        Began::Anew { instead_of, why } => {
            let anew = Reason { kind: anew_kind(why), text: anew_text(why) };
            Continues { attempt: instead_of.0, anew: Some(anew) }
        }
    }
}

/// `orchestrator.json`: who is there, who holds which files, who needs whom. For people
/// and scripts that know that file; nothing reads it back.
#[derive(Clone, Debug, Serialize)]
pub struct Orchestrator {
    version: u32,
    run: String,
    session: String,
    state: &'static str,
    updated_at: String,
    active_agents: Vec<String>,
    agents: BTreeMap<String, Registered>,
    /// Pattern → who holds it now.
    file_locks: BTreeMap<String, Vec<Holder>>,
    dependencies: BTreeMap<String, Vec<String>>,
    conflicts: Vec<ConflictDocument>,
    coordination_rules: Rules,
}

#[derive(Clone, Debug, Serialize)]
struct Registered {
    name: String,
    status: &'static str,
    priority: u8,
    phase: Option<String>,
    pid: Option<u32>,
    attempt: Option<u32>,
    file_locks: Vec<String>,
    shared_locks: Vec<String>,
    dependencies: Vec<String>,
    wait_for_completion: bool,
    /// Seconds.
    timeout: u64,
    started_at: Option<String>,
    ended_at: Option<String>,
    reason: Option<Reason>,
    commit: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Holder {
    agent: String,
    mode: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Rules {
    max_concurrent_agents: u32,
    max_agents_per_file: u32,
    lock_release: &'static str,
    conflict_resolution: &'static str,
}

/// The snapshot of a run at `now`.
#[must_use]
pub fn orchestrator(view: &RunView, plan: &Plan, setting: &Setting, now: Moment) -> Orchestrator {
    let plans: BTreeMap<_, _> = plan.agents.iter().map(|a| (&a.id, a)).collect();
    let active: Vec<&AgentView> = view.agents.iter().filter(|a| holds_locks(a.state)).collect();
    let mut file_locks: BTreeMap<String, Vec<Holder>> = BTreeMap::new();
    for agent in &active {
        for (mode, patterns) in [("exclusive", &agent.locks.exclusive), ("shared", &agent.locks.shared)] {
            for pattern in patterns {
                file_locks.entry(pattern.clone()).or_default().push(Holder { agent: agent.id.to_string(), mode });
            }
        }
    }
    let registered = |agent: &AgentView| {
        let planned = plans.get(&agent.id);
        Registered {
            name: agent.name.clone(),
            status: agent.state.as_str(),
            priority: agent.priority,
            phase: agent.phase.clone(),
            pid: agent.pid,
            attempt: agent.attempt.map(|a| a.0),
            file_locks: agent.locks.exclusive.clone(),
            shared_locks: agent.locks.shared.clone(),
            dependencies: ids(&agent.depends_on),
            wait_for_completion: planned.is_none_or(|p| p.depends_on.iter().all(|d| d.wait_for_completion)),
            timeout: planned.map_or(0, |p| p.timeout.as_secs()),
            started_at: agent.started_at.map(|at| time(setting.start, at)),
            ended_at: agent.ended_at.map(|at| time(setting.start, at)),
            reason: why_kind(&agent.why).zip(why_text(&agent.why, setting)).map(|(kind, text)| Reason { kind, text }),
            commit: agent.commit.map(|id| id.to_string()),
        }
    };
    Orchestrator {
        version: VERSION,
        run: view.run.to_string(),
        session: view.session.clone(),
        state: run_state(view.state),
        updated_at: time(setting.start, now),
        active_agents: active.iter().map(|a| a.id.to_string()).collect(),
        agents: view.agents.iter().map(|a| (a.id.to_string(), registered(a))).collect(),
        file_locks,
        dependencies: view
            .agents
            .iter()
            .filter(|a| !a.depends_on.is_empty())
            .map(|a| (a.id.to_string(), ids(&a.depends_on)))
            .collect(),
        conflicts: view.conflicts.iter().map(conflict::document).collect(),
        coordination_rules: Rules {
            max_concurrent_agents: view.max_concurrent,
            max_agents_per_file: 1,
            lock_release: "when the agent's processes are gone and its work is committed or put aside",
            conflict_resolution: "a write into another's lock is refused; the writer's `on_conflict` decides who goes on",
        },
    }
}

/// Each refused path once.
fn denied_paths(agent: &AgentView) -> Vec<String> {
    let mut paths: Vec<String> = agent.denied.iter().map(|denied| refused_path(&denied.path)).collect();
    paths.dedup();
    paths
}

fn denial(denied: &DeniedView) -> Denial {
    Denial { path: refused_path(&denied.path), kind: denial_kind(&denied.why), text: denial_text(&denied.why) }
}

/// States in which an agent's locks are held.
fn holds_locks(state: State) -> bool {
    matches!(state, State::Running | State::Completing | State::Conflict)
}

fn exit_document(exit: Exit) -> ExitDocument {
    match exit {
        Exit::Code(code) => ExitDocument { code: Some(code), signal: None },
        Exit::Signal(signal) => ExitDocument { code: None, signal: Some(signal) },
        Exit::Lost => ExitDocument { code: None, signal: None },
    }
}

fn time(start: Timestamp, at: Moment) -> String {
    format!("{:.3}", wall(start, at))
}

fn millis(d: std::time::Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}

fn ids(agents: &[AgentId]) -> Vec<String> {
    agents.iter().map(ToString::to_string).collect()
}

fn texts(paths: &[RepoPath]) -> Vec<String> {
    paths.iter().map(ToString::to_string).collect()
}

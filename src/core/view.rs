//! A run as people and programs see it: one plain value, computed from the supervisor's state.
//!
//! Invariant: everything shown anywhere (report, JSON, snapshot file) comes from a [`RunView`];
//! nothing is remembered twice. Text and JSON are made of it in `render`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::call::{RefusedPath, Touch};
use super::change::{Attribution, ObjectId};
use super::conflict::{Analysis, Decider, Found, Recommendation, Resolution, Verification};
use super::ids::{AgentId, Attempt, RunId, RunnerName};
use super::lifecycle::State;
use super::moment::Moment;
use super::path::RepoPath;
use super::reason::{AnewReason, DenialReason, EndReason, Exit, WaitReason};
use super::record::{Layers, Need, RequeueReason, Usage};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunView {
    pub run: RunId,
    pub session: String,
    pub state: RunState,
    pub base: Option<ObjectId>,
    /// The last commit placed by this run, else `base`.
    pub head: Option<ObjectId>,
    pub branch: Option<String>,
    pub layers: Layers,
    pub max_concurrent: u32,
    /// In order, those that have agents; none in a session without phases.
    pub phases: Vec<PhaseView>,
    /// In rank order.
    pub agents: Vec<AgentView>,
    pub conflicts: Vec<ConflictView>,
    pub unattributed: Vec<RepoPath>,
    pub ended_at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    Running,
    Completed,
    Failed,
    Interrupted,
}

/// How far a phase has come: of its agents, each is counted once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseView {
    pub name: String,
    pub state: PhaseState,
    pub completed: usize,
    /// Ended without completing, or about to.
    pub failed: usize,
    /// Neither ended nor waiting.
    pub running: usize,
    pub waiting: usize,
}

impl PhaseView {
    #[must_use]
    pub fn agents(&self) -> usize {
        self.completed + self.failed + self.running + self.waiting
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseState {
    /// An earlier one is not over.
    Waiting,
    Open,
    /// Open, and nothing more of it is started.
    Closing,
    Completed,
    Failed,
    /// An earlier one did not complete, so nothing of it was started.
    Skipped,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentView {
    pub id: AgentId,
    pub name: String,
    pub phase: Option<String>,
    pub priority: u8,
    pub runner: RunnerName,
    pub state: State,
    pub why: Why,
    /// The latest attempt; `None`: none was begun.
    pub attempt: Option<Attempt>,
    /// The agent's process while it runs.
    pub pid: Option<u32>,
    pub depends_on: Vec<AgentId>,
    pub locks: LocksView,
    /// Of the latest attempt.
    pub started_at: Option<Moment>,
    pub ended_at: Option<Moment>,
    pub exit: Option<Exit>,
    /// Paths that went (or would have gone) into its commit.
    pub writes: Vec<RepoPath>,
    /// The weakest attribution among `writes`; `None` where there are none.
    pub attribution: Option<Attribution>,
    /// Paths whose index entry was the user's and was left.
    pub index_left: Vec<RepoPath>,
    /// Paths that could not be put back after an attempt that did not complete.
    pub not_restored: Vec<RepoPath>,
    /// Paths that it changed and that are neither committed nor put back: nested repositories, and all
    /// of them where nothing was to be put back or could be kept.
    pub in_tree: Vec<RepoPath>,
    /// What was refused to its latest attempt, each path and reason once.
    pub denied: Vec<DeniedView>,
    /// Paths that it wrote undeclared, as `on_undeclared = "warn"` lets it.
    pub warned: Vec<RepoPath>,
    pub needs: Vec<Need>,
    pub message: Option<String>,
    pub commit: Option<ObjectId>,
    /// The reference that keeps the work of attempts that did not complete, latest last.
    pub salvage: Vec<String>,
    pub verify: Option<VerifyView>,
    /// Whether the latest attempt goes on with an earlier one; `None`: it was not to.
    pub began: Option<Began>,
    /// Over all attempts.
    pub usage: Option<Usage>,
}

impl AgentView {
    /// How many paths it changed, committed or left in the tree.
    #[must_use]
    pub fn files(&self) -> usize {
        self.writes.iter().chain(&self.in_tree).collect::<BTreeSet<_>>().len()
    }
}

/// The reason for the state that an agent is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The state says it all.
    Nothing,
    Waits(WaitReason),
    /// It ended, or is being ended, for this.
    Ends(EndReason),
    /// It completed and changed nothing.
    WithoutChanges,
    /// It completed, and git ignores all that it changed.
    OnlyIgnored,
    /// It completed, and what it changed is in the tree only.
    NothingCommitted,
}

/// How an attempt began that was to go on with an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Began {
    Continued { from: Attempt },
    Anew { instead_of: Attempt, why: AnewReason },
}

/// How an attempt ended of which work is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttemptEnd {
    /// The agent ended with it.
    For(EndReason),
    /// The agent was tried again.
    Requeued(RequeueReason),
    /// It completed; of paths that had uncommitted changes before it, its version is not in its commit.
    Beside,
    /// The supervisor was gone before it could end.
    CutOff,
    /// Its run's journal is gone or cannot be read.
    Unknown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocksView {
    pub exclusive: Vec<String>,
    pub late: Vec<String>,
    pub shared: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedView {
    pub path: RefusedPath,
    pub touch: Touch,
    pub why: DenialReason,
}

/// A conflict, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictView {
    pub found_at: Moment,
    pub found: Found,
    pub analysis: Option<Analysis>,
    pub recommendation: Option<Recommendation>,
    /// `None`: it is open.
    pub resolution: Option<(Resolution, Decider)>,
    pub verification: Option<Verification>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyView {
    pub ok: bool,
    pub took: Duration,
    pub tail: String,
}

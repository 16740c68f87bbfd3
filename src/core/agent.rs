//! What the supervisor has to know of an agent to schedule and judge it.
//!
//! Invariant: an [`AgentPlan`] comes out of a validated session: its dependencies exist, form no
//! cycle and lie in no later phase. How the agent is launched (argv, prompt, environment) is not
//! here; that is the session's `Launch`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::claim::Claim;
use super::ids::{AgentId, RunnerName};
use super::moment::Moment;

/// The most agents of a session, and of a run.
pub const MAX_AGENTS: usize = 100_000;

/// All of a session that the supervisor decides by.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In order; never empty (a session without phases has one, unnamed).
    pub phases: Vec<PhasePlan>,
    /// In order of position in the file; after them those that joined the run, as they came.
    pub agents: Vec<AgentPlan>,
    pub max_concurrent: NonZeroU32,
    /// So many at once fit the supervisor's limit on open files; `None`: as many as there may be.
    pub fits: Option<NonZeroU32>,
    /// Runners that have a limit of their own, those that no agent uses yet included.
    pub runner_limits: BTreeMap<RunnerName, NonZeroU32>,
    /// Start nothing more after this moment; let what runs finish.
    pub stop_at: Option<Moment>,
    /// Start nothing more once this many agents have ended FAILED or TIMEOUT.
    pub max_failures: Option<NonZeroU32>,
    /// Start nothing more once all agents together have used this many tokens (input and output).
    pub max_tokens: Option<u64>,
    /// Time between checkpoints of a running attempt; `None`: no checkpoints.
    pub checkpoint_interval: Option<Duration>,
    /// Go on although claimed paths are dirty when the run starts (`--allow-dirty`).
    pub allow_dirty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhasePlan {
    /// `None` only for the one phase of a session that declares none.
    pub name: Option<String>,
    pub on_failure: OnPhaseFailure,
}

/// What an agent that did not complete means for the phases after its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnPhaseFailure {
    /// Their agents are SKIPPED.
    #[default]
    Stop,
    /// They run all the same.
    Continue,
}

/// 1 is first, 5 is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Plan {
    /// At most so many agents hold a slot at once.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.fits.map_or(self.max_concurrent, |fits| fits.min(self.max_concurrent)).get()
    }
}

impl Priority {
    pub const DEFAULT: Self = Self(3);

    /// `None` outside 1–5.
    #[must_use]
    pub fn new(value: i64) -> Option<Self> {
        u8::try_from(value).ok().filter(|v| (1..=5).contains(v)).map(Self)
    }

    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// The place of an agent in the total order: earlier starts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Index into [`Plan::phases`].
    pub phase: usize,
    pub priority: Priority,
    /// Position in the session file, from 0; unique. Whoever joined later comes after all before them.
    pub position: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPlan {
    pub id: AgentId,
    /// For people; the id where the file gives none.
    pub name: String,
    pub rank: Rank,
    pub runner: RunnerName,
    pub claim: Claim,
    pub depends_on: Vec<Dependency>,
    pub on_dependency_failure: OnDependencyFailure,
    /// The longest run of one attempt.
    pub timeout: Duration,
    pub idle_timeout: Option<Duration>,
    pub lock_timeout: Duration,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Further attempts after one that failed; conflicts, requeues and rate limits cost none.
    pub retries: u32,
    pub retry: RetryMode,
    /// Is there a verify command, and how long may it take?
    pub verify: Option<Duration>,
    pub on_undeclared: OnUndeclared,
    pub on_conflict: OnConflict,
    pub on_abort: OnAbort,
    pub on_outside_edit: OnOutsideEdit,
    pub on_denied: OnDenied,
    pub ignored: IgnoredPaths,
    /// An attempt that succeeds without changing anything has failed.
    pub expect_changes: bool,
}

impl AgentPlan {
    /// Does it run although a dependency did not complete?
    #[must_use]
    pub fn runs_anyway(&self) -> bool {
        self.on_dependency_failure == OnDependencyFailure::Run
    }
}

/// An edge to an agent that must have completed, or (where `wait_for_completion` is false) started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub on: AgentId,
    pub wait_for_completion: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDependencyFailure {
    #[default]
    Skip,
    Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RetryMode {
    #[default]
    Restart,
    /// With the thread of the attempt before, and its work put back.
    Continue,
    /// `Continue` is wanted, and the runner has no threads: every attempt begins anew, and that is said.
    CannotContinue,
}

/// What a write outside every claim leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUndeclared {
    #[default]
    Deny,
    Kill,
    Warn,
    Claim,
}

/// What a write into another running agent's lock leads to; the writer's setting decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnConflict {
    #[default]
    Terminate,
    Deny,
    Priority,
    Wait,
    Manual,
}

/// What happens to the files of an attempt that did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnAbort {
    /// They are salvaged, then put back to what they were.
    #[default]
    Restore,
    /// They are salvaged and left in the tree.
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnOutsideEdit {
    #[default]
    Fail,
    Commit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDenied {
    #[default]
    Warn,
    Fail,
}

/// How writes to paths that git ignores are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IgnoredPaths {
    #[default]
    Allow,
    Enforce,
}

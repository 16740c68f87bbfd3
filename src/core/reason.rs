//! Every "why" of a run, as a type. Text for people is made of these in `render`, and only there.

use std::time::Duration;

use super::ids::{AgentId, RunnerName};
use super::lifecycle::State;
use super::moment::Moment;
use super::path::RepoPath;

/// Why an agent that has not started is not running yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// Its phase is not open; the phase (index) that is.
    Phase { open: usize },
    /// Dependencies that have neither completed nor (where that is enough) started.
    Dependencies { on: Vec<AgentId> },
    /// Locks of running agents that overlap its claim. State BLOCKED.
    Locks { holders: Vec<AgentId> },
    /// An agent of higher rank has reserved overlapping locks. State BLOCKED.
    Reserved { by: AgentId },
    /// Claimed paths have uncommitted changes. State BLOCKED. At most
    /// [`MAX_PATHS_IN_REASON`] paths.
    DirtyClaim { paths: Vec<RepoPath> },
    /// All slots are taken.
    Slot,
    /// All slots of its runner are taken.
    RunnerSlot { runner: RunnerName },
    /// Its runner is paused by a rate limit.
    RateLimit { runner: RunnerName, until: Moment },
    /// The pause before its next attempt.
    Backoff { until: Moment },
    /// Its claim is being compared with git; it starts next.
    Preparing,
    /// Nothing more is started: the run is stopping.
    Stopping,
}

/// The most paths that a reason carries; a reason is for reading.
pub const MAX_PATHS_IN_REASON: usize = 20;

/// Why an attempt (and, where it is not tried again, its agent) ended other than by completing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    // FAILED
    /// Its leader ended by itself, with this.
    Exit(Exit),
    /// The runner reported a fatal error (bounded text of the provider).
    RunnerFailed {
        message: String,
    },
    /// The provider's rate limit ended it, and the limit on waiting was reached.
    RateLimited,
    /// It could not be started.
    SpawnFailed {
        error: String,
    },
    /// The verify command failed.
    VerifyFailed {
        exit: Exit,
    },
    VerifyTimeout {
        after: Duration,
    },
    /// It ended well without a change, and `expect_changes` is set.
    NoChanges,
    /// Claimed paths were dirty, and nothing else could run any more.
    DirtyClaim {
        paths: Vec<RepoPath>,
    },
    /// The branch was switched, reset or rewritten meanwhile.
    BranchMoved,
    /// Its paths changed between freezing and committing, or in the commits that came in meanwhile.
    ChangedUnderneath {
        paths: Vec<RepoPath>,
    },
    /// Paths that somebody outside the run may have written too.
    OutsideEdit {
        paths: Vec<RepoPath>,
    },
    /// Git could not do it (bounded text).
    Git {
        error: String,
    },
    /// A commit hook refused or changed files (bounded text).
    Hook {
        error: String,
    },
    /// So many processes of it could not be ended: they may write on, so nothing of it is committed
    /// and nobody gets its locks after it.
    Survivors {
        count: u32,
    },

    // TIMEOUT
    Timeout {
        after: Duration,
    },
    IdleTimeout {
        after: Duration,
    },

    // TERMINATED
    /// The run was interrupted.
    Interrupted(Interrupt),
    /// Somebody asked for it.
    Stopped,
    /// Its shim died, so it could not be watched any more; what was left of its tree was ended.
    ShimLost,

    // SKIPPED
    /// A dependency did not complete.
    DependencyFailed {
        on: AgentId,
    },
    /// An earlier phase (index) did not complete.
    PhaseFailed {
        phase: usize,
    },
    /// `max_failures`, `max_tokens` or `stop_at` was reached before it started.
    LimitReached(Limit),
}

impl WaitReason {
    /// WAITING, or BLOCKED where a lock or a dirty claim is in the way.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Locks { .. } | Self::Reserved { .. } | Self::DirtyClaim { .. } => State::Blocked,
            _ => State::Waiting,
        }
    }
}

impl EndReason {
    /// The end that this reason leads to.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Exit(_)
            | Self::RunnerFailed { .. }
            | Self::RateLimited
            | Self::SpawnFailed { .. }
            | Self::VerifyFailed { .. }
            | Self::VerifyTimeout { .. }
            | Self::NoChanges
            | Self::DirtyClaim { .. }
            | Self::BranchMoved
            | Self::ChangedUnderneath { .. }
            | Self::OutsideEdit { .. }
            | Self::Git { .. }
            | Self::Hook { .. }
            | Self::Survivors { .. } => State::Failed,
            Self::Timeout { .. } | Self::IdleTimeout { .. } => State::Timeout,
            Self::Interrupted(_) | Self::Stopped | Self::ShimLost => State::Terminated,
            Self::DependencyFailed { .. } | Self::PhaseFailed { .. } | Self::LimitReached(_) => State::Skipped,
        }
    }

    /// May a further attempt end otherwise? Not where the branch is no longer the run's, nor where
    /// the last one is still alive, nor where somebody ended it.
    #[must_use]
    pub fn may_be_retried(&self) -> bool {
        matches!(self.state(), State::Failed | State::Timeout)
            && !matches!(self, Self::BranchMoved | Self::DirtyClaim { .. } | Self::Survivors { .. })
    }
}

/// A limit of the whole session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Failures,
    Tokens,
    StopAt,
}

/// How a process ended (wait(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Nobody saw it end.
    Lost,
}

impl Exit {
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// What interrupted the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGHUP; the run exits with 129.
    Hangup,
    /// SIGINT; 130.
    Interrupt,
    /// SIGTERM; 143.
    Terminate,
}

//! Every "why" of a run, as a type. Text for people is made of these in `render`, and only there.

use std::time::Duration;

use super::call::RefusedPath;
use super::conflict::ConflictId;
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
    /// Claimed paths have uncommitted changes. State BLOCKED. At most [`MAX_PATHS_IN_REASON`] paths, and how
    /// many more there are; so wherever there is a `more`.
    DirtyClaim { paths: Vec<RepoPath>, more: usize },
    /// All slots are taken.
    Slot,
    /// No more than these run at once: the limit on open files allows no more.
    OpenFiles { fit: u32 },
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

/// As many of these as a reason carries, and how many more there are.
#[must_use]
pub fn for_reading<T>(all: impl IntoIterator<Item = T>) -> (Vec<T>, usize) {
    let mut all = all.into_iter();
    let first = all.by_ref().take(MAX_PATHS_IN_REASON).collect();
    (first, all.count())
}

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
        more: usize,
    },
    /// The branch was switched, reset or rewritten meanwhile.
    BranchMoved,
    /// Its paths changed between freezing and committing, or in the commits that came in meanwhile.
    ChangedUnderneath {
        paths: Vec<RepoPath>,
        more: usize,
    },
    /// Paths that somebody outside the run may have written too.
    OutsideEdit {
        paths: Vec<RepoPath>,
        more: usize,
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

    /// It was told to look at these paths again, and did not write them afterwards.
    Busy {
        paths: Vec<RepoPath>,
    },
    /// It left files beside its claim that it did not declare.
    Leftovers {
        paths: Vec<RepoPath>,
        more: usize,
    },
    /// Every write was refused.
    AllDenied {
        paths: Vec<RefusedPath>,
        more: usize,
    },
    /// Some writes were refused, and `on_denied` is `fail`.
    Denied {
        paths: Vec<RefusedPath>,
        more: usize,
    },

    // TIMEOUT
    Timeout {
        after: Duration,
    },
    IdleTimeout {
        after: Duration,
        /// For how long which sign of life was missing; `None`: that was not written down.
        quiet: Option<Quiet>,
    },
    /// It showed no sign of life for so long while another agent waited for its lock.
    LockTimeout {
        after: Duration,
    },

    // TERMINATED
    /// The run was interrupted.
    Interrupted(Interrupt),
    /// Somebody asked for it.
    Stopped,
    /// Its locks were taken away by hand.
    LocksReleased,
    /// It wrote what it did not declare, and `on_undeclared` is `kill`.
    Undeclared {
        path: RepoPath,
    },
    /// It lost a conflict.
    Conflict {
        conflict: ConflictId,
        path: RepoPath,
        with: AgentId,
    },
    /// It met a lock; it waits behind it where it can be tried again.
    WaitsBehind {
        conflict: ConflictId,
        path: RepoPath,
        with: AgentId,
    },
    /// An agent that comes before it needed its file; it is tried again where it can.
    Outranked {
        conflict: ConflictId,
        path: RepoPath,
        with: AgentId,
    },
    /// The supervisor died while it ran; it begins anew.
    SupervisorDied,
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
    /// Somebody wanted nothing more started, of its phase or at all.
    Closed,
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
            | Self::Survivors { .. }
            | Self::Busy { .. }
            | Self::Leftovers { .. }
            | Self::AllDenied { .. }
            | Self::Denied { .. } => State::Failed,
            Self::Timeout { .. } | Self::IdleTimeout { .. } | Self::LockTimeout { .. } => State::Timeout,
            Self::Interrupted(_)
            | Self::Stopped
            | Self::LocksReleased
            | Self::Undeclared { .. }
            | Self::Conflict { .. }
            | Self::WaitsBehind { .. }
            | Self::Outranked { .. }
            | Self::SupervisorDied
            | Self::ShimLost => State::Terminated,
            Self::DependencyFailed { .. } | Self::PhaseFailed { .. } | Self::LimitReached(_) | Self::Closed => {
                State::Skipped
            }
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

/// Why an attempt of an agent whose `retry` is `continue` begins anew all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnewReason {
    /// Its runner has no threads that could be continued.
    Runner,
    /// The thread of the attempt before is not known, or could not be continued when that was tried.
    NoThread,
    /// These of its paths were committed since by somebody else.
    HeadChanged { paths: Vec<RepoPath>, more: usize },
    /// At these of its paths is something that HEAD does not have.
    Occupied { paths: Vec<RepoPath>, more: usize },
    /// Somebody else wrote these of its paths too, or they had uncommitted changes before it.
    Mixed { paths: Vec<RepoPath>, more: usize },
    /// It had written these, which its claim does not match.
    BeyondClaim { paths: Vec<RepoPath>, more: usize },
    /// Another running agent has locked this one of its paths.
    Held { path: RepoPath, by: AgentId },
    /// Its work was not kept.
    NotKept,
    /// Its work could not be put back (bounded text); what was put back is taken away again.
    Failed { error: String },
}

/// Why a call was refused (EACCES).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialReason {
    /// It belongs to git, or to the supervisor.
    Git,
    /// It lies in another repository that is in the tree (a submodule, say), or is one.
    Nested,
    /// The agent's own `deny` matches.
    Deny,
    /// No claim of the agent matches.
    Undeclared,
    /// No claim of the agent matches this directory, which it would make, remove, or change the mode or
    /// times of.
    Directory,
    /// Git ignores the file, and it was there before the run.
    ProtectedIgnored,
    /// Git ignores it, and `ignored` is `enforce`.
    IgnoredEnforced,
    /// Another running agent has a lock on it.
    Conflict { conflict: ConflictId, holder: AgentId },
    /// `on_undeclared` is `claim`, but an agent that waits has reserved it.
    Reserved { by: AgentId },
    /// A verify command writes nothing but what git ignores.
    Verify,
    /// Where the call would write could not be found out.
    Unresolved,
    /// There was no answer in time.
    NoAnswer,
    /// More paths beneath a directory than can be judged at once.
    TooLarge,
    /// What was there could not be kept (bounded text).
    NotKept { error: String },
}

/// Why a call was told to look again (EBUSY).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusyReason {
    /// Another running agent holds the path at this moment.
    Held { by: AgentId },
    /// Another running agent has it in its `reads`, and does not write it.
    Read { by: AgentId },
    /// Somebody else changed it since the attempt last looked.
    Stale,
}

/// For how long an attempt has shown none of each sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    pub output: Duration,
    /// Calls that the gate heard of; `None`: there is no gate.
    pub writes: Option<Duration>,
    /// Use of the processor beyond 1 % of a core.
    pub cpu: Duration,
}

impl Quiet {
    /// An attempt of which nothing at all was heard for so long.
    #[must_use]
    pub fn total(quiet: Duration) -> Self {
        Self { output: quiet, writes: Some(quiet), cpu: quiet }
    }

    /// For how long there was none of them.
    #[must_use]
    pub fn of_all(&self) -> Duration {
        self.output.min(self.cpu).min(self.writes.unwrap_or(Duration::MAX))
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

/// What interrupted the run, and the code it exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGHUP; the run exits with 129.
    Hangup,
    /// SIGINT; 130.
    Interrupt,
    /// SIGTERM; 143.
    Terminate,
    /// `supervise stop --all`; 143 as well.
    Asked,
    /// `supervise reset`, of a run whose supervisor had died; nothing is left to be ended.
    Reset,
}

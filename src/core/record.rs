//! What is written down: the facts of a run, from which every view is computed.
//!
//! Invariant: applying the same records to the same plan gives the same state. A record of an
//! intent comes before the act, a record of the outcome after it.

use std::time::Duration;

use super::agent::AgentPlan;
use super::call::{RefusedPath, Touch};
use super::change::{Attribution, Change, ObjectId};
use super::claim::Pattern;
use super::conflict::{Analysis, ConflictId, Decider, Found, Recommendation, Resolution, Verification};
use super::effect::{Ending, Part, PlaceIntent, Purpose};
use super::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use super::lifecycle::State;
use super::moment::Moment;
use super::path::RepoPath;
use super::reason::{AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, WaitReason};
use super::steer::Stop;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub at: Moment,
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The first record of every run.
    RunOpened(RunOpened),
    /// Another supervisor takes the run up again; these agents, which were interrupted, have not ended after
    /// all.
    RunResumed {
        layers: Layers,
        reopened: Vec<AgentId>,
    },
    PhaseOpened {
        phase: usize,
    },
    PhaseEnded {
        phase: usize,
        completed: bool,
    },
    /// Nothing more is started; `by` says whether what runs is ended too.
    StopRequested {
        by: StopCause,
    },
    /// A second interrupt: what still runs is killed.
    KillRequested {
        by: Interrupt,
    },
    /// Nothing more of this phase is started; what runs may finish.
    PhaseStopRequested {
        phase: usize,
    },
    /// Somebody stopped an agent that was running: there is no further attempt.
    AgentStopRequested {
        agent: AgentId,
        how: Stop,
    },
    /// What this pattern matches belongs to the agent's exclusive claim from here on.
    Granted {
        agent: AgentId,
        pattern: Pattern,
    },
    /// Somebody added an agent; its place is the one that its rank gives it.
    AgentRegistered(Box<AgentPlan>),
    RunnerPaused {
        runner: RunnerName,
        until: Moment,
    },
    RunnerResumed {
        runner: RunnerName,
    },

    /// The agent cannot start, for this reason: WAITING, or BLOCKED where the reason says so.
    /// Written when the kind of reason changes, not at every look.
    AgentWaits {
        agent: AgentId,
        reason: WaitReason,
    },
    /// Slot and locks are granted; the claim is being prepared.
    AttemptOpened {
        id: AttemptId,
        slot: Slot,
    },
    /// Locks and slot are given back before anything was started.
    AttemptReturned {
        id: AttemptId,
        dirty: Vec<RepoPath>,
        /// How many more of them there are.
        more: usize,
    },
    /// The intent to launch. `dirty`: claimed paths that differed from git (allowed).
    AttemptStarted {
        id: AttemptId,
        dirty: Vec<RepoPath>,
    },
    /// The intent to put the kept work of an earlier attempt of the agent back at these paths. From here on it is
    /// this attempt's own.
    ReturnIntended {
        id: AttemptId,
        from: Attempt,
        paths: Vec<RepoPath>,
    },
    /// It goes on with the thread of an earlier attempt, whose work is in the tree.
    Continued {
        id: AttemptId,
        from: Attempt,
        thread: String,
    },
    /// It was to go on with an earlier attempt, and begins anew, for this reason.
    BegunAnew {
        id: AttemptId,
        from: Attempt,
        why: AnewReason,
    },
    AttemptSpawned {
        id: AttemptId,
        process: ProcessId,
    },
    /// Its runner said by what name it could be continued.
    ThreadKnown {
        id: AttemptId,
        thread: String,
    },
    /// The intent to end a tree, and why.
    EndIntended {
        id: AttemptId,
        part: Part,
        how: Ending,
        reason: EndReason,
    },
    /// Somebody waits for the attempt's locks; the next look at how long it has been quiet is due then.
    LockWatched {
        id: AttemptId,
        next: Moment,
    },
    /// A quiet attempt is looked at, or was and is let live; the next look is due then.
    Sampled {
        id: AttemptId,
        next: Moment,
    },
    /// The agent's tree is gone.
    TreeEnded {
        id: AttemptId,
        exit: Exit,
        summary: Summary,
    },
    /// What the attempt changed, and whose it is.
    WriteSet {
        id: AttemptId,
        writes: Vec<Write>,
    },
    /// The intent to freeze a living attempt's work.
    CheckpointIntended {
        id: AttemptId,
    },
    /// `None`: nothing had changed since the last, or it failed (then a `Trouble` says so).
    Checkpointed {
        id: AttemptId,
        commit: Option<ObjectId>,
    },
    Frozen {
        id: AttemptId,
        purpose: Purpose,
        commit: ObjectId,
    },
    VerifyStarted {
        id: AttemptId,
    },
    Verified {
        id: AttemptId,
        exit: Exit,
        took: Duration,
        tail: String,
    },
    PlaceIntended {
        id: AttemptId,
        intent: PlaceIntent,
    },
    Placed {
        id: AttemptId,
        commit: ObjectId,
        index_left: Vec<RepoPath>,
    },
    Restored {
        id: AttemptId,
        restored: Vec<RepoPath>,
        left: Vec<RepoPath>,
    },
    /// Its tree ended well, but the attempt will not complete, for this reason: what it wrote is
    /// salvaged and put back before it ends.
    AttemptFailed {
        id: AttemptId,
        reason: EndReason,
    },
    /// Something of the attempt's closing failed that does not change its end (say, no salvage could
    /// be made); bounded text for the report.
    Trouble {
        id: AttemptId,
        what: Trouble,
    },
    /// The attempt is over, its locks and slot are free, and the agent is to be tried again.
    AgentRequeued {
        id: AttemptId,
        why: RequeueReason,
        not_before: Moment,
    },
    /// The agent has ended. `reason` is `None` for COMPLETED. Locks and slot, if held, are free.
    AgentEnded {
        agent: AgentId,
        state: State,
        reason: Option<EndReason>,
    },

    /// Its tree was let write these paths, for the first time (or again after it had been told to look
    /// again): certain.
    Wrote {
        id: AttemptId,
        paths: Vec<RepoPath>,
    },
    /// A call of its tree was refused; written once for each path and reason.
    Denied {
        id: AttemptId,
        part: Part,
        path: RefusedPath,
        touch: Touch,
        why: DenialReason,
    },
    /// A call of its tree was told to look again.
    Busied {
        id: AttemptId,
        path: RepoPath,
        why: BusyReason,
    },
    /// It holds an exclusive lock on this very path from here on.
    Locked {
        id: AttemptId,
        path: RepoPath,
        how: Lockings,
    },
    /// It may write this path although it did not claim it.
    Admitted {
        id: AttemptId,
        path: RepoPath,
        how: Admission,
    },
    ConflictFound(Found),
    ConflictAnalysed {
        conflict: ConflictId,
        analysis: Analysis,
    },
    ConflictRecommended {
        conflict: ConflictId,
        recommendation: Recommendation,
    },
    ConflictResolved {
        conflict: ConflictId,
        resolution: Resolution,
        by: Decider,
    },
    /// The intent to look at the contested file.
    ConflictChecked {
        conflict: ConflictId,
    },
    ConflictVerified {
        conflict: ConflictId,
        outcome: Verification,
    },
    /// Somebody outside every tree wrote these.
    OutsideWrite {
        paths: Vec<RepoPath>,
    },

    Surveyed {
        unattributed: Vec<RepoPath>,
    },
    /// The last record of every run that came to its end.
    RunEnded {
        outcome: RunOutcome,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOpened {
    pub run: RunId,
    pub session: String,
    /// HEAD at the start; `None`: unborn.
    pub base: Option<ObjectId>,
    /// `refs/heads/NAME`, or `None` where HEAD is detached.
    pub branch: Option<String>,
    pub layers: Layers,
    pub agents: Vec<AgentId>,
}

/// Which protections are active in this run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub gate: bool,
    pub watch: bool,
    pub cgroup: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// What runs is ended in order.
    Interrupt(Interrupt),
    /// What runs may finish.
    Limit(Limit),
    /// Somebody wanted it so; what runs may finish.
    Complete,
}

/// A process, safe against the reuse of its number: signals go only to what still is all three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessId {
    pub pid: u32,
    /// Start time in clock ticks since boot (proc_pid_stat(5), field 22).
    pub start: u64,
    /// `/proc/sys/kernel/random/boot_id`
    pub boot: String,
}

/// What a runner's output told about the attempt as a whole. All of it is the agent's word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The agent's final message, bounded.
    pub message: Option<String>,
    pub usage: Option<Usage>,
    /// The thread or session that could be continued.
    pub thread: Option<String>,
    /// A fatal error that the runner reported, bounded.
    pub fatal: Option<String>,
    /// It ended on a rate limit.
    pub rate_limit: Option<RateLimit>,
    /// `NEEDS: path: why` lines of the final message.
    pub needs: Vec<Need>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How long the provider asked to wait, if it said.
    pub lifts_after: Option<Duration>,
}

/// A path that an agent says it needs beyond its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub path: String,
    pub why: String,
}

/// A change, whose it is, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub change: Change,
    pub attribution: Attribution,
    pub fate: Fate,
}

impl Write {
    /// Somebody else put the path back, so there is nothing of the write in the tree.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.change.before == self.change.after
    }
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes into the attempt's commit.
    Commit,
    /// It goes into salvage only: the path was dirty when the attempt began.
    SalvageOnly,
    /// It is left in the tree and reported.
    Leave,
    /// Somebody outside every tree wrote it too: it is salvaged, and not put back.
    Mixed,
    /// The same, but it goes into the commit, which says so.
    CommitMixed,
}

impl Fate {
    /// Does it go into the attempt's commit?
    #[must_use]
    pub fn commits(self) -> bool {
        matches!(self, Self::Commit | Self::CommitMixed)
    }
}

/// Why a lock on a single path was granted while the attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockings {
    /// Its `late` claim matches.
    Late,
    /// `on_undeclared = "claim"`.
    Claimed,
    /// It was granted to the agent while the attempt ran.
    Granted,
    /// It won a conflict, and the loser is gone.
    Won,
}

/// Why an attempt may write a path that it has no lock on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// A new file beside a claimed path; by the end it has to be gone.
    Provisional,
    /// `on_undeclared = "warn"`.
    Warned,
    /// Git ignores it, and it was made in this run.
    Ignored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    MeasureFailed {
        error: String,
    },
    SalvageFailed {
        error: String,
    },
    CheckpointFailed {
        error: String,
    },
    /// Somebody committed while its work was being placed; it is prepared again.
    PlaceMoved,
    /// So many processes of the agent or its verify command could not be ended.
    Survivors {
        count: u32,
    },
}

/// Why an agent goes back to the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequeueReason {
    /// A further attempt after one that ended for this reason; costs a retry.
    Retry(EndReason),
    /// The provider's rate limit; costs none.
    RateLimit,
    /// Paths that it was told to look at again and did not write since: they join its exclusive claim.
    /// Costs none.
    Busy { paths: Vec<RepoPath> },
    /// It waits behind the lock that it met, which joins its exclusive claim. Costs none.
    Conflict { conflict: ConflictId, path: RepoPath },
    /// An agent that comes before it needed its file. Costs none.
    Outranked { conflict: ConflictId },
    /// Its supervisor died while it ran. Costs none.
    Resumed,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every agent COMPLETED.
    Completed,
    /// Some did not.
    Failed,
    /// A signal ended it.
    Interrupted(Interrupt),
}

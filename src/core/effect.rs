//! What the supervisor asks of the world. Data only; `host` performs it.
//!
//! Invariant: an effect is performed only after the records of its step are in the journal, and on the
//! disk save where [`Effect::is_of_processes`], and (where its doc does not say otherwise) exactly one
//! event answers it.

use std::time::Duration;

use super::call::{Answer, CallId, Grant, RefusedPath};
use super::change::{Attribution, Change, ObjectId};
use super::conflict::ConflictId;
use super::facts::Expected;
use super::ids::{Attempt, AttemptId, RunnerName, Slot};
use super::path::RepoPath;
use super::reason::{BusyReason, DenialReason, EndReason};
use super::record::{RunOutcome, Usage};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Compare the agent's claim with git and take the attempt's baseline. → `Prepared`
    Prepare { id: AttemptId },
    /// Put the kept work of an earlier attempt, that `commit` holds, back at these paths, if HEAD and the tree
    /// there are still as they were before it: all of it or nothing. → `Returned`
    Return { id: AttemptId, commit: ObjectId, changes: Vec<Change> },
    /// Launch the agent. → `Spawned`, later `TreeEnded` or `ShimLost`; or `SpawnFailed`
    Spawn { id: AttemptId, slot: Slot, continues: Option<Continuation> },
    /// End a tree. No answer of its own: the tree's end is reported as always.
    End { id: AttemptId, part: Part, how: Ending },
    /// Tell how long the attempt has been quiet. → `Sampled`
    Sample { id: AttemptId },
    /// Answer a call that waits. What is at the paths of `keep` becomes part of the attempt's baseline
    /// before (where it is not yet), and at those of `look_again` in any case. No answer, save `NotKept`.
    Answer {
        id: AttemptId,
        part: Part,
        call: CallId,
        answer: Answer,
        grants: Vec<Grant>,
        keep: Vec<RepoPath>,
        look_again: Vec<RepoPath>,
    },
    /// The next write of each of these is to be answered EBUSY, once. No answer.
    Stale { id: AttemptId, paths: Vec<RepoPath> },
    /// Its trees ask again before they write what they were granted: somebody may be given a lock on it. Answers that
    /// are still on their way grant nothing. No answer.
    Withdraw { id: AttemptId },
    /// Put this line in the agent's log. No answer.
    Tell { id: AttemptId, text: Telling },
    /// Look at a contested file; `expect`: what it should be. → `ConflictChecked`
    CheckConflict { conflict: ConflictId, path: RepoPath, expect: Expected },
    /// Compare the workspace with the attempt's baseline, within its claim. → `Measured`
    Measure { id: AttemptId },
    /// Make a commit of these paths' present content, under the attempt's private reference; the
    /// other paths are the baseline's. → `Frozen`
    Freeze { id: AttemptId, purpose: Purpose, paths: Vec<RepoPath>, attribution: Attribution, mixed: Vec<RepoPath> },
    /// Measure and freeze a living attempt's work. → `Checkpointed`
    Checkpoint { id: AttemptId },
    /// Run the verify command; `commit` is the frozen work, `None` where nothing was changed.
    /// → `Verified`
    Verify { id: AttemptId, slot: Slot, commit: Option<ObjectId> },
    /// Take `index.lock`, check branch and files, rebuild on HEAD if it moved. → `PlacePrepared`
    PreparePlace { id: AttemptId, commit: ObjectId },
    /// Move the branch, refresh the index, let go of `index.lock`. → `Placed`
    Place { id: AttemptId, intent: PlaceIntent },
    /// The same after a crash: if the branch was moved, only the index is brought along. → `Placed`
    FinishPlace { id: AttemptId, intent: PlaceIntent },
    /// Drop the attempt's private references: its work is on the branch, or there was none. No
    /// answer; what fails here is left to expiry.
    Unpin { id: AttemptId },
    /// Put back each of these paths that still is what `commit` holds. → `Restored`
    Restore { id: AttemptId, commit: ObjectId, paths: Vec<RepoPath> },
    /// Remove the runner's empty scratch directories: no agent of it is running. No answer.
    Sweep { runner: RunnerName },
    /// Compare the whole tree with the start of the run and what was committed. → `Surveyed`
    Survey,
    /// The run is over; nothing follows.
    Close { outcome: RunOutcome },
}

impl Effect {
    /// Does it concern nothing but processes that are alive? If the machine goes down they are gone, so that
    /// nobody will miss its record, which the supervisor's own death does not undo.
    #[must_use]
    pub fn is_of_processes(&self) -> bool {
        matches!(self, Self::End { .. } | Self::Tell { .. })
    }
}

/// What an attempt goes on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    pub thread: String,
    /// The attempt that is gone on with, and why it ended.
    pub from: Attempt,
    pub why: EndReason,
    /// What was counted of the thread so far.
    pub used: Option<Usage>,
}

/// Which of an attempt's two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Agent,
    Verify,
}

/// How to end a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// SIGTERM and SIGCONT to all of it, SIGKILL to what is left after the grace.
    Orderly { grace: Duration },
    /// SIGKILL.
    AtOnce,
}

/// What an agent's log is told, so that whoever reads it knows why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    Denied { path: RefusedPath, why: DenialReason },
    Busied { path: RepoPath, why: BusyReason },
}

/// What a frozen commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be placed on the branch.
    Completion,
    /// To be kept beside it.
    Salvage,
}

/// Everything that recovery needs to tell whether a branch was moved, and to finish the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceIntent {
    /// `refs/heads/NAME`, or `HEAD` where it is detached.
    pub reference: String,
    /// What the reference holds now; `None`: the branch is yet to be born.
    pub old: Option<ObjectId>,
    /// The commit that it shall hold: the frozen one, or one rebuilt on `old`.
    pub new: ObjectId,
}

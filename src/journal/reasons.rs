//! How every "why" is written as JSON: an object with its `kind`.
//!
//! Invariant: as in `forms`; the kinds are those of the documents that `render` makes.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::{Wire, is_zero, mirrored, via};
use crate::core::call::RefusedPath;
use crate::core::conflict::ConflictId;
use crate::core::ids::{AgentId, RunnerName};
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::reason::{AnewReason, EndReason, Exit, Interrupt, Limit, Quiet, WaitReason};
use crate::core::record::{RequeueReason, RunOutcome, StopCause, Trouble};

mirrored! {
    StopCause => StopCauseForm, Trouble => TroubleForm, RequeueReason => RequeueReasonForm, RunOutcome => RunOutcomeForm, EndReason => EndReasonForm, AnewReason => AnewReasonForm, WaitReason => WaitReasonForm, Exit => ExitForm, Quiet => QuietForm, Interrupt => InterruptForm, Limit => LimitForm,
}

/// Puts the value of a tuple variant under a key, so that it can stand beside the tag.
macro_rules! keyed {
    ($module:ident, $key:ident, $core:ty) => {
        mod $module {
            #[derive(serde::Serialize)]
            struct KeyedRef<'a> {
                $key: crate::journal::wire::Out<'a, $core>,
            }

            #[derive(serde::Deserialize)]
            struct Keyed {
                $key: crate::journal::wire::In<$core>,
            }

            pub(super) fn serialize<S: serde::Serializer>(value: &$core, out: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&KeyedRef { $key: crate::journal::wire::Out(value) }, out)
            }

            pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(input: D) -> Result<$core, D::Error> {
                <Keyed as serde::Deserialize>::deserialize(input).map(|keyed| keyed.$key.0)
            }
        }
    };
}

keyed!(under_exit, exit, crate::core::reason::Exit);
keyed!(under_by, by, crate::core::reason::Interrupt);
keyed!(under_limit, limit, crate::core::reason::Limit);
keyed!(under_after, after, crate::core::reason::EndReason);

#[derive(Serialize, Deserialize)]
#[serde(remote = "StopCause", rename_all = "snake_case")]
enum StopCauseForm {
    Interrupt(#[serde(with = "via")] Interrupt),
    Limit(#[serde(with = "via")] Limit),
    Complete,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Trouble", tag = "kind", rename_all = "snake_case")]
enum TroubleForm {
    MeasureFailed { error: String },
    SalvageFailed { error: String },
    CheckpointFailed { error: String },
    PlaceMoved,
    Survivors { count: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RequeueReason", tag = "kind", rename_all = "snake_case")]
enum RequeueReasonForm {
    Retry(#[serde(with = "under_after")] EndReason),
    RateLimit,
    Busy {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    Conflict {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        path: RepoPath,
    },
    Outranked {
        #[serde(with = "via")]
        conflict: ConflictId,
    },
    Resumed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunOutcome", rename_all = "snake_case")]
enum RunOutcomeForm {
    Completed,
    Failed,
    Interrupted(#[serde(with = "via")] Interrupt),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Quiet")]
struct QuietForm {
    #[serde(rename = "output_ms", with = "via")]
    output: Duration,
    #[serde(rename = "writes_ms", with = "via")]
    writes: Option<Duration>,
    #[serde(rename = "cpu_ms", with = "via")]
    cpu: Duration,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AnewReason", tag = "kind", rename_all = "snake_case")]
enum AnewReasonForm {
    Runner,
    NoThread,
    HeadChanged {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Occupied {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Mixed {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    BeyondClaim {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Held {
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        by: AgentId,
    },
    NotKept,
    Failed {
        error: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "EndReason", tag = "kind", rename_all = "snake_case")]
enum EndReasonForm {
    Exit(#[serde(with = "under_exit")] Exit),
    RunnerFailed {
        message: String,
    },
    RateLimited,
    SpawnFailed {
        error: String,
    },
    VerifyFailed {
        #[serde(with = "via")]
        exit: Exit,
    },
    VerifyTimeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
    },
    NoChanges,
    DirtyClaim {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    BranchMoved,
    ChangedUnderneath {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    OutsideEdit {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Git {
        error: String,
    },
    Hook {
        error: String,
    },
    Survivors {
        count: u32,
    },
    Busy {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    Leftovers {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    AllDenied {
        #[serde(with = "via")]
        paths: Vec<RefusedPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Denied {
        #[serde(with = "via")]
        paths: Vec<RefusedPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    LockTimeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
    },
    LocksReleased,
    SupervisorDied,
    Undeclared {
        #[serde(with = "via")]
        path: RepoPath,
    },
    Conflict {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        with: AgentId,
    },
    WaitsBehind {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        with: AgentId,
    },
    Outranked {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        with: AgentId,
    },
    Timeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
    },
    IdleTimeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
        #[serde(default, with = "via", skip_serializing_if = "Option::is_none")]
        quiet: Option<Quiet>,
    },
    Interrupted(#[serde(with = "under_by")] Interrupt),
    Stopped,
    ShimLost,
    DependencyFailed {
        #[serde(with = "via")]
        on: AgentId,
    },
    PhaseFailed {
        phase: usize,
    },
    LimitReached(#[serde(with = "under_limit")] Limit),
    Closed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WaitReason", tag = "kind", rename_all = "snake_case")]
enum WaitReasonForm {
    Phase {
        open: usize,
    },
    Dependencies {
        #[serde(with = "via")]
        on: Vec<AgentId>,
    },
    Locks {
        #[serde(with = "via")]
        holders: Vec<AgentId>,
    },
    Reserved {
        #[serde(with = "via")]
        by: AgentId,
    },
    DirtyClaim {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    Slot,
    OpenFiles {
        fit: u32,
    },
    RunnerSlot {
        #[serde(with = "via")]
        runner: RunnerName,
    },
    RateLimit {
        #[serde(with = "via")]
        runner: RunnerName,
        #[serde(with = "via")]
        until: Moment,
    },
    Backoff {
        #[serde(with = "via")]
        until: Moment,
    },
    Preparing,
    Stopping,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Exit", rename_all = "snake_case")]
enum ExitForm {
    Code(i32),
    Signal(i32),
    Lost,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Interrupt", rename_all = "snake_case")]
enum InterruptForm {
    Hangup,
    Interrupt,
    Terminate,
    Asked,
    Reset,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limit", rename_all = "snake_case")]
enum LimitForm {
    Failures,
    Tokens,
    StopAt,
}

//! How every fact is written as JSON.
//!
//! Invariant: the forms here have the fields of the core's types, which the compiler checks (serde's
//! `remote` derive builds the core's type straight from the input, through no value between).
//! Names that were released never change; a field added later has a `#[serde(default)]`.
//!
//! Deliberately absent: sequence numbers, times and checksums, which are the line's.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::{In, Out, Wire, via};
use crate::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use crate::core::effect::{Ending, Part, PlaceIntent, Purpose};
use crate::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::reason::{EndReason, Exit, Interrupt, Limit, WaitReason};
use crate::core::record::{
    Fact, Fate, Layers, Need, ProcessId, RateLimit, RequeueReason, RunOpened, RunOutcome, StopCause, Summary, Trouble,
    Usage, Write,
};

/// Gives a core type the form of its mirror.
macro_rules! mirrored {
    ($($core:ty => $mirror:ident),+ $(,)?) => {$(
        impl Wire for $core {
            fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                $mirror::serialize(self, out)
            }
            fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                $mirror::deserialize(input)
            }
        }
    )+};
}

mirrored! {
    Fact => FactForm, RunOpened => RunOpenedForm, Layers => LayersForm, StopCause => StopCauseForm,
    ProcessId => ProcessIdForm, Summary => SummaryForm, Usage => UsageForm, RateLimit => RateLimitForm,
    Need => NeedForm, Write => WriteForm, Change => ChangeForm, Entry => EntryForm, Fate => FateForm,
    Attribution => AttributionForm, Trouble => TroubleForm, RequeueReason => RequeueReasonForm,
    RunOutcome => RunOutcomeForm, PlaceIntent => PlaceIntentForm, Purpose => PurposeForm, Part => PartForm,
    Ending => EndingForm, EndReason => EndReasonForm, WaitReason => WaitReasonForm, Exit => ExitForm,
    Interrupt => InterruptForm, Limit => LimitForm, AttemptId => AttemptIdForm,
}

/// Puts the value of a tuple variant under a key, so that it can stand beside the tag.
macro_rules! keyed {
    ($module:ident, $key:ident, $core:ty) => {
        mod $module {
            #[derive(serde::Serialize)]
            struct KeyedRef<'a> {
                $key: super::Out<'a, $core>,
            }

            #[derive(serde::Deserialize)]
            struct Keyed {
                $key: super::In<$core>,
            }

            pub(super) fn serialize<S: serde::Serializer>(value: &$core, out: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&KeyedRef { $key: super::Out(value) }, out)
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
#[serde(remote = "Fact", tag = "kind", rename_all = "snake_case")]
enum FactForm {
    RunOpened(#[serde(with = "via")] RunOpened),
    PhaseOpened {
        phase: usize,
    },
    PhaseEnded {
        phase: usize,
        completed: bool,
    },
    StopRequested {
        #[serde(with = "via")]
        by: StopCause,
    },
    KillRequested {
        #[serde(with = "via")]
        by: Interrupt,
    },
    RunnerPaused {
        #[serde(with = "via")]
        runner: RunnerName,
        #[serde(with = "via")]
        until: Moment,
    },
    RunnerResumed {
        #[serde(with = "via")]
        runner: RunnerName,
    },
    AgentWaits {
        #[serde(with = "via")]
        agent: AgentId,
        #[serde(with = "via")]
        reason: WaitReason,
    },
    AttemptOpened {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        slot: Slot,
    },
    AttemptReturned {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        dirty: Vec<RepoPath>,
    },
    AttemptStarted {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        dirty: Vec<RepoPath>,
    },
    AttemptSpawned {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        process: ProcessId,
    },
    EndIntended {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        part: Part,
        #[serde(with = "via")]
        how: Ending,
        #[serde(with = "via")]
        reason: EndReason,
    },
    Sampled {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        next: Moment,
    },
    TreeEnded {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        exit: Exit,
        #[serde(with = "via")]
        summary: Summary,
    },
    WriteSet {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        writes: Vec<Write>,
    },
    Checkpointed {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        commit: Option<ObjectId>,
    },
    Frozen {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        purpose: Purpose,
        #[serde(with = "via")]
        commit: ObjectId,
    },
    VerifyStarted {
        #[serde(flatten, with = "via")]
        id: AttemptId,
    },
    Verified {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        exit: Exit,
        #[serde(rename = "took_ms", with = "via")]
        took: Duration,
        tail: String,
    },
    PlaceIntended {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        intent: PlaceIntent,
    },
    Placed {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        commit: ObjectId,
        #[serde(with = "via")]
        index_left: Vec<RepoPath>,
    },
    Restored {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        restored: Vec<RepoPath>,
        #[serde(with = "via")]
        left: Vec<RepoPath>,
    },
    Trouble {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        what: Trouble,
    },
    AgentRequeued {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        why: RequeueReason,
        #[serde(with = "via")]
        not_before: Moment,
    },
    AgentEnded {
        #[serde(with = "via")]
        agent: AgentId,
        #[serde(with = "via")]
        state: State,
        #[serde(with = "via")]
        reason: Option<EndReason>,
    },
    Surveyed {
        #[serde(with = "via")]
        unattributed: Vec<RepoPath>,
    },
    RunEnded {
        #[serde(with = "via")]
        outcome: RunOutcome,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunOpened")]
struct RunOpenedForm {
    #[serde(with = "via")]
    run: RunId,
    session: String,
    #[serde(with = "via")]
    base: Option<ObjectId>,
    branch: Option<String>,
    #[serde(with = "via")]
    layers: Layers,
    #[serde(with = "via")]
    agents: Vec<AgentId>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Layers")]
struct LayersForm {
    gate: bool,
    watch: bool,
    cgroup: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "StopCause", rename_all = "snake_case")]
enum StopCauseForm {
    Interrupt(#[serde(with = "via")] Interrupt),
    Limit(#[serde(with = "via")] Limit),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ProcessId")]
struct ProcessIdForm {
    pid: u32,
    start: u64,
    boot: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Summary")]
struct SummaryForm {
    message: Option<String>,
    #[serde(with = "via")]
    usage: Option<Usage>,
    thread: Option<String>,
    fatal: Option<String>,
    #[serde(with = "via")]
    rate_limit: Option<RateLimit>,
    #[serde(with = "via")]
    needs: Vec<Need>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Usage")]
struct UsageForm {
    input_tokens: u64,
    output_tokens: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RateLimit")]
struct RateLimitForm {
    #[serde(rename = "lifts_after_ms", with = "via")]
    lifts_after: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Need")]
struct NeedForm {
    path: String,
    why: String,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Write")]
struct WriteForm {
    #[serde(flatten, with = "via")]
    change: Change,
    #[serde(with = "via")]
    attribution: Attribution,
    #[serde(with = "via")]
    fate: Fate,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Change")]
struct ChangeForm {
    #[serde(with = "via")]
    path: RepoPath,
    #[serde(with = "via")]
    before: Option<Entry>,
    #[serde(with = "via")]
    after: Option<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Entry")]
struct EntryForm {
    #[serde(with = "via")]
    mode: Mode,
    #[serde(with = "via")]
    id: ObjectId,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Attribution", rename_all = "snake_case")]
enum AttributionForm {
    Certain,
    Inferred,
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Fate", rename_all = "snake_case")]
enum FateForm {
    Commit,
    SalvageOnly,
    Leave,
}

#[derive(Serialize, Deserialize)]
#[expect(clippy::enum_variant_names, reason = "the core's names")]
#[serde(remote = "Trouble", tag = "kind", rename_all = "snake_case")]
enum TroubleForm {
    MeasureFailed { error: String },
    SalvageFailed { error: String },
    CheckpointFailed { error: String },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RequeueReason", tag = "kind", rename_all = "snake_case")]
enum RequeueReasonForm {
    Retry(#[serde(with = "under_after")] EndReason),
    RateLimit,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RunOutcome", rename_all = "snake_case")]
enum RunOutcomeForm {
    Completed,
    Failed,
    Interrupted(#[serde(with = "via")] Interrupt),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AttemptId")]
struct AttemptIdForm {
    #[serde(with = "via")]
    agent: AgentId,
    #[serde(with = "via")]
    attempt: Attempt,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PlaceIntent")]
struct PlaceIntentForm {
    reference: String,
    #[serde(with = "via")]
    old: Option<ObjectId>,
    #[serde(with = "via")]
    new: ObjectId,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Purpose", rename_all = "snake_case")]
enum PurposeForm {
    Completion,
    Salvage,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Part", rename_all = "snake_case")]
enum PartForm {
    Agent,
    Verify,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ending", rename_all = "snake_case")]
enum EndingForm {
    Orderly {
        #[serde(rename = "grace_ms", with = "via")]
        grace: Duration,
    },
    AtOnce,
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
    },
    BranchMoved,
    ChangedUnderneath {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    OutsideEdit {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    Git {
        error: String,
    },
    Hook {
        error: String,
    },
    Timeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
    },
    IdleTimeout {
        #[serde(rename = "after_ms", with = "via")]
        after: Duration,
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
    },
    Slot,
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
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Limit", rename_all = "snake_case")]
enum LimitForm {
    Failures,
    Tokens,
    StopAt,
}

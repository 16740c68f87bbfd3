//! How every fact is written as JSON.
//!
//! Invariant: the forms here have the fields of the core's types, which the compiler checks (serde's
//! `remote` derive builds the core's type straight from the input, through no value between).
//! Names that were released never change; a field added later has a `#[serde(default)]`.
//!
//! Deliberately absent: reasons (`reasons`); sequence numbers, times and checksums, which are the
//! line's.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::{Out, Wire, is_zero, mirrored, via};
use crate::core::agent::AgentPlan;
use crate::core::call::{RefusedPath, Touch};
use crate::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use crate::core::claim::Pattern;
use crate::core::conflict::{Analysis, ConflictId, Decider, Found, Recommendation, Resolution, Verification};
use crate::core::effect::{Ending, Part, PlaceIntent, Purpose};
use crate::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::reason::{AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, WaitReason};
use crate::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Need, ProcessId, RateLimit, RequeueReason, RunOpened, RunOutcome,
    StopCause, Summary, Trouble, Usage, Write,
};
use crate::core::steer::Stop;

mirrored! {
    Fact => FactForm, RunOpened => RunOpenedForm, Layers => LayersForm, ProcessId => ProcessIdForm, Summary => SummaryForm, Usage => UsageForm, RateLimit => RateLimitForm, Need => NeedForm, Write => WriteForm, Change => ChangeForm, Entry => EntryForm, Attribution => AttributionForm, Fate => FateForm, AttemptId => AttemptIdForm, PlaceIntent => PlaceIntentForm, Purpose => PurposeForm, Part => PartForm, Ending => EndingForm,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Fact", rename_all = "snake_case")]
enum FactForm {
    RunOpened(#[serde(with = "via")] RunOpened),
    RunResumed {
        #[serde(with = "via")]
        layers: Layers,
        #[serde(with = "via")]
        reopened: Vec<AgentId>,
    },
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
    PhaseStopRequested {
        phase: usize,
    },
    AgentStopRequested {
        #[serde(with = "via")]
        agent: AgentId,
        #[serde(with = "via")]
        how: Stop,
    },
    Granted {
        #[serde(with = "via")]
        agent: AgentId,
        #[serde(with = "via")]
        pattern: Pattern,
    },
    AgentRegistered(#[serde(with = "registered")] Box<AgentPlan>),
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
        #[serde(default, skip_serializing_if = "is_zero")]
        more: usize,
    },
    AttemptStarted {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        dirty: Vec<RepoPath>,
    },
    ReturnIntended {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        from: Attempt,
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    Continued {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        from: Attempt,
        thread: String,
    },
    BegunAnew {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        from: Attempt,
        #[serde(with = "via")]
        why: AnewReason,
    },
    AttemptSpawned {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        process: ProcessId,
    },
    ThreadKnown {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        thread: String,
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
    CheckpointIntended {
        #[serde(flatten, with = "via")]
        id: AttemptId,
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
    AttemptFailed {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        reason: EndReason,
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
    LockWatched {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        next: Moment,
    },
    Wrote {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
    },
    Denied {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        part: Part,
        #[serde(with = "via")]
        path: RefusedPath,
        #[serde(with = "via")]
        touch: Touch,
        #[serde(with = "via")]
        why: DenialReason,
    },
    Busied {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        why: BusyReason,
    },
    Locked {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        how: Lockings,
    },
    Admitted {
        #[serde(flatten, with = "via")]
        id: AttemptId,
        #[serde(with = "via")]
        path: RepoPath,
        #[serde(with = "via")]
        how: Admission,
    },
    ConflictFound(#[serde(with = "via")] Found),
    ConflictAnalysed {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(flatten, with = "via")]
        analysis: Analysis,
    },
    ConflictRecommended {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        recommendation: Recommendation,
    },
    ConflictResolved {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        resolution: Resolution,
        #[serde(with = "via")]
        by: Decider,
    },
    ConflictChecked {
        #[serde(with = "via")]
        conflict: ConflictId,
    },
    ConflictVerified {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        outcome: Verification,
    },
    OutsideWrite {
        #[serde(with = "via")]
        paths: Vec<RepoPath>,
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

/// `"agent":ID,"plan":{…}`: like every record about an agent it says whose it is.
mod registered {
    use super::{AgentId, AgentPlan, Deserialize, Deserializer, Out, Serialize, Serializer, via};

    #[derive(Serialize)]
    struct OutForm<'a> {
        agent: Out<'a, AgentId>,
        plan: Out<'a, AgentPlan>,
    }

    #[derive(Deserialize)]
    struct InForm {
        #[serde(with = "via")]
        plan: AgentPlan,
    }

    pub(super) fn serialize<S: Serializer>(plan: &AgentPlan, out: S) -> Result<S::Ok, S::Error> {
        OutForm { agent: Out(&plan.id), plan: Out(plan) }.serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Box<AgentPlan>, D::Error> {
        InForm::deserialize(input).map(|form| Box::new(form.plan))
    }
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
    Mixed,
    CommitMixed,
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

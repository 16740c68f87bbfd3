//! How what the gate saw, and what came of it, is written as JSON.
//!
//! Invariant: as in `forms`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::{Wire, mirrored, via};
use crate::core::agent::OnConflict;
use crate::core::call::{RefusedPath, Touch};
use crate::core::change::Attribution;
use crate::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use crate::core::ids::{AgentId, AttemptId};
use crate::core::path::RepoPath;
use crate::core::reason::{BusyReason, DenialReason};
use crate::core::record::{Admission, Lockings};

mirrored! {
    RefusedPath => RefusedPathForm, Touch => TouchForm, DenialReason => DenialReasonForm, BusyReason => BusyReasonForm, Lockings => LockingsForm, Admission => AdmissionForm, Found => FoundForm, Analysis => AnalysisForm, Lock => LockForm, Recommendation => RecommendationForm, Resolution => ResolutionForm, Decider => DeciderForm, Verification => VerificationForm,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "RefusedPath", rename_all = "snake_case")]
enum RefusedPathForm {
    Inside(#[serde(with = "via")] RepoPath),
    Other(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Touch", rename_all = "snake_case")]
enum TouchForm {
    Open,
    Make,
    MakeDirectory,
    MoveIn,
    MoveOut,
    Remove,
    RemoveDirectory,
    Alias,
    Change,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "DenialReason", tag = "kind", rename_all = "snake_case")]
enum DenialReasonForm {
    Git,
    Nested,
    Deny,
    Undeclared,
    Directory,
    ProtectedIgnored,
    IgnoredEnforced,
    Conflict {
        #[serde(with = "via")]
        conflict: ConflictId,
        #[serde(with = "via")]
        holder: AgentId,
    },
    Reserved {
        #[serde(with = "via")]
        by: AgentId,
    },
    Verify,
    Unresolved,
    NoAnswer,
    TooLarge,
    NotKept {
        error: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "BusyReason", tag = "kind", rename_all = "snake_case")]
enum BusyReasonForm {
    Held {
        #[serde(with = "via")]
        by: AgentId,
    },
    Read {
        #[serde(with = "via")]
        by: AgentId,
    },
    Stale,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Lockings", rename_all = "snake_case")]
enum LockingsForm {
    Late,
    Claimed,
    Granted,
    Won,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Admission", rename_all = "snake_case")]
enum AdmissionForm {
    Provisional,
    Warned,
    Ignored,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Found")]
struct FoundForm {
    #[serde(with = "via")]
    conflict: ConflictId,
    #[serde(with = "via")]
    path: RepoPath,
    #[serde(with = "via")]
    writer: AttemptId,
    #[serde(with = "via")]
    holder: AttemptId,
    #[serde(with = "via")]
    attribution: Attribution,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Analysis")]
struct AnalysisForm {
    #[serde(with = "via")]
    lock: Lock,
    pattern: Option<String>,
    writer_priority: u8,
    holder_priority: u8,
    holder_first: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Lock", rename_all = "snake_case")]
enum LockForm {
    Exclusive,
    Late,
    Shared,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Recommendation", rename_all = "snake_case")]
enum RecommendationForm {
    KeepHolder,
    KeepWriter,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Resolution", rename_all = "snake_case")]
enum ResolutionForm {
    EndWriter,
    EndHolder,
    RequeueHolder,
    WriterWaits,
    Refused,
    Moot,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Decider", rename_all = "snake_case")]
enum DeciderForm {
    Policy(#[serde(with = "via")] OnConflict),
    Person,
    Nobody,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Verification", tag = "kind", rename_all = "snake_case")]
enum VerificationForm {
    Clean,
    Changed,
    Markers,
    Unknown { error: String },
}

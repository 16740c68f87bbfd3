//! Conflicts as words for programs and sentences for people.
//!
//! Invariant: words never change once released. The line that reports a conflict names both agents and
//! the path, and every line about an open one ends with the command that decides it.

use serde::Serialize;

use super::reason::attribution_kind;
use super::style::Tone;
use super::text::path_text;
use crate::core::agent::OnConflict;
use crate::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use crate::core::view::ConflictView;

/// A conflict in the documents.
#[derive(Clone, Debug, Serialize)]
pub struct ConflictDocument {
    id: u32,
    path: String,
    holders: Vec<String>,
    writer: String,
    attribution: &'static str,
    lock: Option<&'static str>,
    recommendation: Option<&'static str>,
    resolution: Option<&'static str>,
    decided_by: Option<&'static str>,
    /// Null: not looked at yet, or it could not be.
    verified: Option<bool>,
}

#[must_use]
pub fn document(view: &ConflictView) -> ConflictDocument {
    let Found { conflict, path, writer, holder, attribution } = &view.found;
    ConflictDocument {
        id: conflict.0,
        path: path.to_string(),
        holders: vec![holder.agent.to_string()],
        writer: writer.agent.to_string(),
        attribution: attribution_kind(*attribution),
        lock: view.analysis.as_ref().map(|analysis| lock_kind(analysis.lock)),
        recommendation: view.recommendation.map(recommendation_kind),
        resolution: view.resolution.map(|(resolution, _)| resolution_kind(resolution)),
        decided_by: view.resolution.map(|(_, by)| decider_kind(by)),
        verified: view.verification.as_ref().and_then(verified),
    }
}

/// `agent-1 and agent-5 both modifying hops.py`
#[must_use]
pub fn found_text(found: &Found) -> String {
    format!("{} and {} both modifying {}", found.holder.agent, found.writer.agent, path_text(&found.path))
}

/// What the two are to each other.
#[must_use]
pub fn analysis_text(found: &Found, analysis: &Analysis) -> String {
    let (holder, writer) = (&found.holder.agent, &found.writer.agent);
    let lock = match (&analysis.pattern, analysis.lock) {
        (Some(pattern), Lock::Shared) => format!("{holder} needs `{pattern}` unchanged"),
        (Some(pattern), _) => format!("{holder} declared `{pattern}`"),
        (None, _) => format!("{holder} locked it at its first write"),
    };
    let first = if analysis.holder_first { holder } else { writer };
    format!(
        "{lock}; {writer} did not; priorities {} and {}; {first} started first",
        analysis.holder_priority, analysis.writer_priority
    )
}

#[must_use]
pub fn recommendation_text(found: &Found, recommendation: Recommendation) -> String {
    let (holder, writer) = (&found.holder.agent, &found.writer.agent);
    match recommendation {
        Recommendation::KeepHolder => format!("keep {holder}, end {writer}"),
        Recommendation::KeepWriter => format!("keep {writer}, end {holder}"),
    }
}

/// The command that decides an open conflict as it is recommended.
#[must_use]
pub fn next_command(found: &Found, recommendation: Recommendation) -> String {
    let (holder, writer) = (&found.holder.agent, &found.writer.agent);
    let (keep, end) = match recommendation {
        Recommendation::KeepHolder => (holder, writer),
        Recommendation::KeepWriter => (writer, holder),
    };
    format!("supervise resolve {} --keep {keep} --terminate {end}", found.conflict)
}

#[must_use]
pub fn resolution_text(found: &Found, resolution: Resolution, by: Decider) -> String {
    let (holder, writer) = (&found.holder.agent, &found.writer.agent);
    let what = match resolution {
        Resolution::EndWriter => format!("{holder} is kept, {writer} is ended"),
        Resolution::EndHolder => format!("{writer} is kept, {holder} is ended"),
        Resolution::RequeueHolder => format!("{writer} is kept, {holder} is ended and waits in line"),
        Resolution::WriterWaits => format!("{writer} is ended and waits for {holder}"),
        Resolution::Refused => "the write was refused, both go on".to_owned(),
        Resolution::Moot => "one of the two is gone".to_owned(),
    };
    match by {
        Decider::Policy(policy) => format!("{what} (on_conflict = \"{}\")", policy_word(policy)),
        Decider::Person => format!("{what} (decided by hand)"),
        Decider::Nobody => what,
    }
}

/// The tone of a verification, and its text.
#[must_use]
pub fn verification_text(conflict: ConflictId, outcome: &Verification) -> (Tone, String) {
    match outcome {
        Verification::Clean => (Tone::Good, format!("conflict {conflict}: the file is what the kept agent left")),
        Verification::Changed => {
            (Tone::Bad, format!("conflict {conflict}: the file is not what the kept agent left (git diff)"))
        }
        Verification::Markers => {
            (Tone::Bad, format!("conflict {conflict}: the file holds conflict markers (git diff)"))
        }
        Verification::Unknown { error } => (
            Tone::Warning,
            format!("conflict {conflict}: the file could not be looked at: {}", super::text::printable(error)),
        ),
    }
}

fn verified(outcome: &Verification) -> Option<bool> {
    match outcome {
        Verification::Clean => Some(true),
        Verification::Changed | Verification::Markers => Some(false),
        Verification::Unknown { .. } => None,
    }
}

fn lock_kind(lock: Lock) -> &'static str {
    match lock {
        Lock::Exclusive => "exclusive",
        Lock::Late => "late",
        Lock::Shared => "shared",
    }
}

fn recommendation_kind(recommendation: Recommendation) -> &'static str {
    match recommendation {
        Recommendation::KeepHolder => "keep_holder",
        Recommendation::KeepWriter => "keep_writer",
    }
}

#[must_use]
pub fn resolution_kind(resolution: Resolution) -> &'static str {
    match resolution {
        Resolution::EndWriter => "end_writer",
        Resolution::EndHolder => "end_holder",
        Resolution::RequeueHolder => "requeue_holder",
        Resolution::WriterWaits => "writer_waits",
        Resolution::Refused => "refused",
        Resolution::Moot => "moot",
    }
}

fn decider_kind(by: Decider) -> &'static str {
    match by {
        Decider::Policy(_) => "policy",
        Decider::Person => "person",
        Decider::Nobody => "nobody",
    }
}

fn policy_word(policy: OnConflict) -> &'static str {
    match policy {
        OnConflict::Terminate => "terminate",
        OnConflict::Deny => "deny",
        OnConflict::Priority => "priority",
        OnConflict::Wait => "wait",
        OnConflict::Manual => "manual",
    }
}

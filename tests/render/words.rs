//! The words for reasons: the documents have those of the journal, and the README has all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::conflict::ConflictId;
use supervise::core::effect::Part;
use supervise::core::ids::RunnerName;
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::{DenialReason, EndReason, Exit, Interrupt, Limit, WaitReason};
use supervise::core::record::{Fact, Record};
use supervise::journal::{Entry, event_line};
use supervise::render::reason;

use super::{agent, first, path, setting};

/// The words of this row of the README's table.
fn in_readme(row: &str) -> BTreeSet<String> {
    let rows = include_str!("../../README.md").lines();
    let line = rows.map(|line| line.trim_start_matches("| ")).find(|line| line.starts_with(row)).unwrap();
    let words = line.trim_start_matches(row).split(", ").map(|word| word.trim_matches(|c| " |".contains(c)));
    // What stands in brackets after a word is about it.
    words.map(|word| word.split('`').nth(1).unwrap().to_owned()).collect()
}

/// `told`: each reason's word in the documents, its text, and a fact that has it as `field`.
fn agree(row: &str, field: &str, told: impl Iterator<Item = (&'static str, String, Fact)>) {
    let mut words = BTreeSet::new();
    for (word, text, fact) in told {
        let entry = Entry { seq: 1, at: setting(80).start, record: Record { at: Moment(0), fact } };
        let line: Value = serde_json::from_str(&event_line(&entry).unwrap()).unwrap();
        assert_eq!(line[field]["kind"], word);
        assert!(!text.is_empty(), "{word}");
        words.insert(word.to_owned());
    }
    assert_eq!(words, in_readme(row));
}

#[test]
fn of_ends() {
    let ends = [
        EndReason::Exit(Exit::Lost),
        EndReason::RunnerFailed { message: String::new() },
        EndReason::RateLimited,
        EndReason::SpawnFailed { error: String::new() },
        EndReason::VerifyFailed { exit: Exit::Lost },
        EndReason::VerifyTimeout { after: Duration::ZERO },
        EndReason::NoChanges,
        EndReason::DirtyClaim { paths: vec![], more: 0 },
        EndReason::BranchMoved,
        EndReason::ChangedUnderneath { paths: vec![], more: 0 },
        EndReason::OutsideEdit { paths: vec![], more: 0 },
        EndReason::Git { error: String::new() },
        EndReason::Hook { error: String::new() },
        EndReason::Timeout { after: Duration::ZERO },
        EndReason::IdleTimeout { after: Duration::ZERO, quiet: None },
        EndReason::Interrupted(Interrupt::Hangup),
        EndReason::Stopped,
        EndReason::Closed,
        EndReason::ShimLost,
        EndReason::Survivors { count: 1 },
        EndReason::DependencyFailed { on: agent("a") },
        EndReason::PhaseFailed { phase: 0 },
        EndReason::LimitReached(Limit::StopAt),
        EndReason::Busy { paths: vec![] },
        EndReason::Leftovers { paths: vec![path("a.tmp")], more: 0 },
        EndReason::AllDenied { paths: vec![], more: 0 },
        EndReason::Denied { paths: vec![RefusedPath::Other("/etc/passwd".to_owned())], more: 0 },
        EndReason::LockTimeout { after: Duration::ZERO },
        EndReason::LocksReleased,
        EndReason::Undeclared { path: path("a") },
        EndReason::Conflict { conflict: ConflictId(1), path: path("a"), with: agent("b") },
        EndReason::WaitsBehind { conflict: ConflictId(1), path: path("a"), with: agent("b") },
        EndReason::Outranked { conflict: ConflictId(1), path: path("a"), with: agent("b") },
        EndReason::SupervisorDied,
    ];
    let told = ends.into_iter().map(|end| {
        let (word, text) = (reason::end_kind(&end), reason::end_text(&end, &setting(80)));
        (word, text, Fact::AgentEnded { agent: agent("a"), state: State::Failed, reason: Some(end) })
    });
    agree("`reason.kind`, ended", "reason", told);
}

#[test]
fn of_waiting() {
    let waits = [
        WaitReason::Phase { open: 0 },
        WaitReason::Dependencies { on: vec![] },
        WaitReason::Locks { holders: vec![] },
        WaitReason::Reserved { by: agent("a") },
        WaitReason::DirtyClaim { paths: vec![], more: 0 },
        WaitReason::Slot,
        WaitReason::OpenFiles { fit: 24 },
        WaitReason::RunnerSlot { runner: RunnerName::new("codex") },
        WaitReason::RateLimit { runner: RunnerName::new("codex"), until: Moment(0) },
        WaitReason::Backoff { until: Moment(0) },
        WaitReason::Preparing,
        WaitReason::Stopping,
    ];
    let told = waits.into_iter().map(|wait| {
        let (word, text) = (reason::wait_kind(&wait), reason::wait_text(&wait, &setting(80)));
        (word, text, Fact::AgentWaits { agent: agent("a"), reason: wait })
    });
    agree("`reason.kind`, waiting", "reason", told);
}

#[test]
fn of_denials() {
    let denials = [
        DenialReason::Git,
        DenialReason::Nested,
        DenialReason::Deny,
        DenialReason::Undeclared,
        DenialReason::Directory,
        DenialReason::ProtectedIgnored,
        DenialReason::IgnoredEnforced,
        DenialReason::Conflict { conflict: ConflictId(1), holder: agent("b") },
        DenialReason::Reserved { by: agent("b") },
        DenialReason::Verify,
        DenialReason::Unresolved,
        DenialReason::NoAnswer,
        DenialReason::TooLarge,
        DenialReason::NotKept { error: String::new() },
    ];
    let told = denials.into_iter().map(|why| {
        let (word, text) = (reason::denial_kind(&why), reason::denial_text(&why));
        let (id, path) = (first("a"), RefusedPath::Inside(path("p")));
        (word, text, Fact::Denied { id, part: Part::Agent, path, touch: Touch::Open, why })
    });
    agree("`denials[].kind`", "why", told);
}

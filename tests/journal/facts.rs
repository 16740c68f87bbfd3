//! Every fact there is, by hand: one record of each kind, with every branch of what is nested in it.
//!
//! All of them go to the file and come back.
//!
//! Invariant: a new kind of fact does not compile until it is here.
//!
//! Deliberately absent: how they are written, see `form`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use supervise::core::agent::{
    AgentPlan, Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit,
    OnUndeclared, Priority, Rank, RetryMode,
};
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use supervise::core::claim::{Claim, Pattern};
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::effect::{Ending, Part, PlaceIntent, Purpose};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{
    AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, Quiet, WaitReason,
};
use supervise::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Need, ProcessId, RateLimit, Record, RequeueReason, RunOpened, RunOutcome,
    StopCause, Summary, Trouble, Usage, Write,
};
use supervise::core::steer::Stop;

use crate::{Kept, header, records_of, wall};

pub(crate) fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

pub(crate) fn path(bytes: &[u8]) -> RepoPath {
    RepoPath::new(bytes).unwrap()
}

fn oid(digit: &str) -> ObjectId {
    ObjectId::from_hex(&digit.repeat(40)).unwrap()
}

/// One record of each kind of fact that the fixture has, with every branch of what is nested in them.
pub(crate) fn one_of_each() -> Vec<Record> {
    let id = || AttemptId { agent: agent("agent-1"), attempt: Attempt(2) };
    let change = Change {
        path: path(b"src/\xffodd\n.rs"),
        before: None,
        after: Some(Entry { mode: Mode::Executable, id: oid("a") }),
    };
    let ended =
        |reason: EndReason| Fact::AgentEnded { agent: agent("agent-1"), state: State::Failed, reason: Some(reason) };
    let waits = |reason: WaitReason| Fact::AgentWaits { agent: agent("docs.api"), reason };
    let facts = vec![
        Fact::RunOpened(RunOpened {
            run: RunId::new("20261124T120431-4f2a").unwrap(),
            session: "backend".to_owned(),
            base: Some(ObjectId::from_hex(&"5c".repeat(32)).unwrap()),
            branch: Some("refs/heads/main".to_owned()),
            layers: Layers { gate: false, watch: true, cgroup: false },
            agents: vec![agent("agent-1"), agent("docs.api")],
        }),
        Fact::PhaseOpened { phase: 0 },
        waits(WaitReason::Phase { open: 0 }),
        waits(WaitReason::Dependencies { on: vec![agent("agent-1")] }),
        waits(WaitReason::Locks { holders: vec![agent("agent-1")] }),
        waits(WaitReason::Reserved { by: agent("agent-1") }),
        waits(WaitReason::DirtyClaim { paths: vec![path(b"a b")], more: 0 }),
        waits(WaitReason::Slot),
        waits(WaitReason::RunnerSlot { runner: RunnerName::new("codex") }),
        waits(WaitReason::RateLimit { runner: RunnerName::new("codex"), until: Moment(90) }),
        waits(WaitReason::Backoff { until: Moment(91) }),
        waits(WaitReason::Preparing),
        waits(WaitReason::Stopping),
        Fact::AttemptOpened { id: id(), slot: Slot(3) },
        Fact::AttemptReturned { id: id(), dirty: vec![path(b"a")], more: 0 },
        Fact::AttemptStarted { id: id(), dirty: vec![] },
        Fact::AttemptSpawned {
            id: id(),
            process: ProcessId { pid: 4711, start: 123_456, boot: "5f0c8c3e-0000-4000-8000-000000000000".to_owned() },
        },
        Fact::EndIntended {
            id: id(),
            part: Part::Agent,
            how: Ending::Orderly { grace: Duration::from_secs(10) },
            reason: EndReason::Timeout { after: Duration::from_mins(10) },
        },
        Fact::EndIntended { id: id(), part: Part::Verify, how: Ending::AtOnce, reason: EndReason::Stopped },
        Fact::Sampled { id: id(), next: Moment(99) },
        Fact::TreeEnded {
            id: id(),
            exit: Exit::Signal(15),
            summary: Summary {
                message: Some("done \u{1b}[31m\n\"quoted\" ünïcode".to_owned()),
                usage: Some(Usage { input_tokens: 12, output_tokens: 34 }),
                thread: Some("t-1".to_owned()),
                fatal: Some("no".to_owned()),
                rate_limit: Some(RateLimit { lifts_after: Some(Duration::from_mins(1)) }),
                needs: vec![Need { path: "Cargo.lock".to_owned(), why: "a new crate".to_owned() }],
            },
        },
        Fact::TreeEnded { id: id(), exit: Exit::Lost, summary: Summary::default() },
        Fact::WriteSet {
            id: id(),
            writes: vec![
                Write { change, attribution: Attribution::Inferred, fate: Fate::Commit },
                Write {
                    change: Change {
                        path: path(b"link"),
                        before: Some(Entry { mode: Mode::Symlink, id: oid("b") }),
                        after: None,
                    },
                    attribution: Attribution::Certain,
                    fate: Fate::SalvageOnly,
                },
                Write {
                    change: Change {
                        path: path(b"sub"),
                        before: Some(Entry { mode: Mode::Submodule, id: oid("c") }),
                        after: Some(Entry { mode: Mode::File, id: oid("d") }),
                    },
                    attribution: Attribution::Unknown,
                    fate: Fate::Leave,
                },
            ],
        },
        Fact::CheckpointIntended { id: id() },
        Fact::Checkpointed { id: id(), commit: None },
        Fact::Frozen { id: id(), purpose: Purpose::Salvage, commit: oid("e") },
        Fact::Frozen { id: id(), purpose: Purpose::Completion, commit: oid("e") },
        Fact::VerifyStarted { id: id() },
        Fact::Verified { id: id(), exit: Exit::Code(0), took: Duration::from_millis(1500), tail: "ok\n".to_owned() },
        Fact::PlaceIntended {
            id: id(),
            intent: PlaceIntent { reference: "refs/heads/main".to_owned(), old: Some(oid("1")), new: oid("2") },
        },
        Fact::Placed { id: id(), commit: oid("2"), index_left: vec![path(b"staged")] },
        Fact::Restored { id: id(), restored: vec![path(b"x")], left: vec![path(b"y")] },
        Fact::AttemptFailed { id: id(), reason: EndReason::NoChanges },
        Fact::Trouble { id: id(), what: Trouble::PlaceMoved },
        Fact::Trouble { id: id(), what: Trouble::MeasureFailed { error: "m".to_owned() } },
        Fact::Trouble { id: id(), what: Trouble::SalvageFailed { error: "s".to_owned() } },
        Fact::Trouble { id: id(), what: Trouble::CheckpointFailed { error: "c".to_owned() } },
        Fact::AgentRequeued { id: id(), why: RequeueReason::RateLimit, not_before: Moment(5) },
        Fact::AgentRequeued {
            id: id(),
            why: RequeueReason::Retry(EndReason::Exit(Exit::Code(1))),
            not_before: Moment(6),
        },
        Fact::RunnerPaused { runner: RunnerName::new("codex"), until: Moment(7) },
        Fact::RunnerResumed { runner: RunnerName::new("codex") },
        ended(EndReason::RunnerFailed { message: "quota".to_owned() }),
        ended(EndReason::RateLimited),
        ended(EndReason::SpawnFailed { error: "no such file".to_owned() }),
        ended(EndReason::VerifyFailed { exit: Exit::Code(2) }),
        ended(EndReason::VerifyTimeout { after: Duration::from_secs(1) }),
        ended(EndReason::NoChanges),
        ended(EndReason::DirtyClaim { paths: vec![path(b"a")], more: 0 }),
        ended(EndReason::BranchMoved),
        ended(EndReason::ChangedUnderneath { paths: vec![path(b"a")], more: 0 }),
        ended(EndReason::OutsideEdit { paths: vec![path(b"a")], more: 0 }),
        ended(EndReason::Git { error: "g".to_owned() }),
        ended(EndReason::Hook { error: "h".to_owned() }),
        ended(EndReason::IdleTimeout { after: Duration::from_secs(2), quiet: None }),
        ended(EndReason::Interrupted(Interrupt::Interrupt)),
        ended(EndReason::ShimLost),
        ended(EndReason::DependencyFailed { on: agent("agent-1") }),
        ended(EndReason::PhaseFailed { phase: 1 }),
        ended(EndReason::LimitReached(Limit::Tokens)),
        Fact::AgentEnded { agent: agent("docs.api"), state: State::Completed, reason: None },
        Fact::PhaseEnded { phase: 0, completed: false },
        Fact::StopRequested { by: StopCause::Limit(Limit::StopAt) },
        Fact::StopRequested { by: StopCause::Interrupt(Interrupt::Hangup) },
        Fact::KillRequested { by: Interrupt::Terminate },
        Fact::Surveyed { unattributed: vec![path(b"stray")] },
        Fact::RunEnded { outcome: RunOutcome::Interrupted(Interrupt::Terminate) },
    ];
    facts.into_iter().zip(0..).map(|(fact, t)| Record { at: Moment(t * 10), fact }).collect()
}

/// The same for what came after the fixture: kinds of facts and words that it does not have.
pub(crate) fn one_of_each_added() -> Vec<Record> {
    let id = || AttemptId { agent: agent("agent-1"), attempt: Attempt(2) };
    let at = || path(b"src/\xffodd\n.rs");
    let conflict = ConflictId(3);
    let ended =
        |reason: EndReason| Fact::AgentEnded { agent: agent("agent-1"), state: reason.state(), reason: Some(reason) };
    let requeued = |why: RequeueReason| Fact::AgentRequeued { id: id(), why, not_before: Moment(5) };
    let denied = |why: DenialReason| Fact::Denied {
        id: id(),
        part: Part::Agent,
        path: RefusedPath::Inside(at()),
        touch: Touch::Open,
        why,
    };
    let touched = |touch: Touch| Fact::Denied {
        id: id(),
        part: Part::Verify,
        path: RefusedPath::Other("/etc/\u{fffd}".to_owned()),
        touch,
        why: DenialReason::Unresolved,
    };
    let written = |fate: Fate| Fact::WriteSet {
        id: id(),
        writes: vec![Write {
            change: Change { path: at(), before: None, after: Some(Entry { mode: Mode::File, id: oid("a") }) },
            attribution: Attribution::Certain,
            fate,
        }],
    };
    let analysed = |lock: Lock, pattern: Option<&str>| Fact::ConflictAnalysed {
        conflict,
        analysis: Analysis {
            lock,
            pattern: pattern.map(str::to_owned),
            writer_priority: 1,
            holder_priority: 5,
            holder_first: pattern.is_some(),
        },
    };
    let resolved = |resolution: Resolution, by: Decider| Fact::ConflictResolved { conflict, resolution, by };
    let policy = |resolution: Resolution, policy: OnConflict| resolved(resolution, Decider::Policy(policy));
    let verified = |outcome: Verification| Fact::ConflictVerified { conflict, outcome };
    let with = || agent("docs.api");
    let anew = |why: AnewReason| Fact::BegunAnew { id: id(), from: Attempt(1), why };
    let facts = vec![
        Fact::Trouble { id: id(), what: Trouble::Survivors { count: 2 } },
        ended(EndReason::Survivors { count: 2 }),
        ended(EndReason::Stopped),
        ended(EndReason::Closed),
        ended(EndReason::Interrupted(Interrupt::Asked)),
        ended(EndReason::Interrupted(Interrupt::Reset)),
        Fact::StopRequested { by: StopCause::Complete },
        Fact::StopRequested { by: StopCause::Interrupt(Interrupt::Asked) },
        Fact::PhaseStopRequested { phase: 1 },
        Fact::Granted { agent: agent("agent-1"), pattern: Pattern::new("src/{a,b}/*.rs").unwrap() },
        Fact::AgentRegistered(Box::new(newcomer())),
        Fact::Locked { id: id(), path: at(), how: Lockings::Granted },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::Graceful },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::Orderly },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::AtOnce },
        ended(EndReason::Busy { paths: vec![at()] }),
        ended(EndReason::Leftovers { paths: vec![at()], more: 0 }),
        ended(EndReason::AllDenied {
            paths: vec![RefusedPath::Inside(at()), RefusedPath::Other("/x".to_owned())],
            more: 0,
        }),
        ended(EndReason::Denied { paths: vec![], more: 22 }),
        Fact::AttemptReturned { id: id(), dirty: vec![at()], more: 7 },
        ended(EndReason::LockTimeout { after: Duration::from_mins(10) }),
        ended(EndReason::IdleTimeout {
            after: Duration::from_secs(2),
            quiet: Some(Quiet { output: Duration::from_secs(3), writes: None, cpu: Duration::from_secs(4) }),
        }),
        ended(EndReason::LocksReleased),
        ended(EndReason::SupervisorDied),
        Fact::RunResumed { layers: Layers { gate: true, watch: true, cgroup: false }, reopened: vec![agent("a")] },
        ended(EndReason::Undeclared { path: at() }),
        ended(EndReason::Conflict { conflict, path: at(), with: with() }),
        ended(EndReason::WaitsBehind { conflict, path: at(), with: with() }),
        ended(EndReason::Outranked { conflict, path: at(), with: with() }),
        requeued(RequeueReason::Busy { paths: vec![at()] }),
        requeued(RequeueReason::Conflict { conflict, path: at() }),
        requeued(RequeueReason::Outranked { conflict }),
        requeued(RequeueReason::Resumed),
        Fact::LockWatched { id: id(), next: Moment(99) },
        Fact::Wrote { id: id(), paths: vec![at(), path(b"b")] },
        denied(DenialReason::Git),
        denied(DenialReason::Nested),
        denied(DenialReason::Deny),
        denied(DenialReason::Undeclared),
        denied(DenialReason::Directory),
        denied(DenialReason::ProtectedIgnored),
        denied(DenialReason::IgnoredEnforced),
        denied(DenialReason::Conflict { conflict, holder: with() }),
        denied(DenialReason::Reserved { by: with() }),
        denied(DenialReason::Verify),
        denied(DenialReason::NoAnswer),
        denied(DenialReason::TooLarge),
        denied(DenialReason::NotKept { error: "disk full".to_owned() }),
        touched(Touch::Open),
        touched(Touch::Make),
        touched(Touch::MakeDirectory),
        touched(Touch::MoveIn),
        touched(Touch::MoveOut),
        touched(Touch::Remove),
        touched(Touch::RemoveDirectory),
        touched(Touch::Alias),
        touched(Touch::Change),
        Fact::Busied { id: id(), path: at(), why: BusyReason::Held { by: with() } },
        Fact::Busied { id: id(), path: at(), why: BusyReason::Read { by: with() } },
        Fact::Busied { id: id(), path: at(), why: BusyReason::Stale },
        Fact::Locked { id: id(), path: at(), how: Lockings::Late },
        Fact::Locked { id: id(), path: at(), how: Lockings::Claimed },
        Fact::Locked { id: id(), path: at(), how: Lockings::Won },
        Fact::Admitted { id: id(), path: at(), how: Admission::Provisional },
        Fact::Admitted { id: id(), path: at(), how: Admission::Warned },
        Fact::Admitted { id: id(), path: at(), how: Admission::Ignored },
        written(Fate::Mixed),
        written(Fate::CommitMixed),
        Fact::ConflictFound(Found {
            conflict,
            path: at(),
            writer: id(),
            holder: AttemptId { agent: with(), attempt: Attempt(1) },
            attribution: Attribution::Certain,
        }),
        analysed(Lock::Exclusive, Some("src/**")),
        analysed(Lock::Late, None),
        analysed(Lock::Shared, Some("src/")),
        Fact::ConflictRecommended { conflict, recommendation: Recommendation::KeepHolder },
        Fact::ConflictRecommended { conflict, recommendation: Recommendation::KeepWriter },
        policy(Resolution::EndWriter, OnConflict::Terminate),
        policy(Resolution::Refused, OnConflict::Deny),
        policy(Resolution::RequeueHolder, OnConflict::Priority),
        policy(Resolution::WriterWaits, OnConflict::Wait),
        policy(Resolution::EndWriter, OnConflict::Manual),
        resolved(Resolution::EndHolder, Decider::Person),
        resolved(Resolution::Moot, Decider::Nobody),
        Fact::ConflictChecked { conflict },
        verified(Verification::Clean),
        verified(Verification::Changed),
        verified(Verification::Markers),
        verified(Verification::Unknown { error: "gone".to_owned() }),
        Fact::OutsideWrite { paths: vec![at()] },
        Fact::ThreadKnown { id: id(), thread: "01a2".to_owned() },
        Fact::ReturnIntended { id: id(), from: Attempt(1), paths: vec![at()] },
        Fact::Continued { id: id(), from: Attempt(1), thread: "01a2".to_owned() },
        anew(AnewReason::Runner),
        anew(AnewReason::NoThread),
        anew(AnewReason::HeadChanged { paths: vec![at()], more: 0 }),
        anew(AnewReason::Occupied { paths: vec![at()], more: 0 }),
        anew(AnewReason::Mixed { paths: vec![at()], more: 0 }),
        anew(AnewReason::BeyondClaim { paths: vec![at()], more: 0 }),
        anew(AnewReason::Held { path: at(), by: with() }),
        anew(AnewReason::NotKept),
        anew(AnewReason::Failed { error: "disk full".to_owned() }),
        Fact::AgentWaits { agent: agent("docs.api"), reason: WaitReason::OpenFiles { fit: 24 } },
    ];
    facts.into_iter().zip(0..).map(|(fact, t)| Record { at: Moment(t * 10), fact }).collect()
}

pub(crate) fn newcomer() -> AgentPlan {
    let patterns = |text: &str| vec![Pattern::new(text).unwrap(), Pattern::new("Makefile").unwrap().narrowed_to_file()];
    AgentPlan {
        id: agent("agent-9"),
        name: "nine \u{1b}\n\"quoted\"".to_owned(),
        rank: Rank { phase: 1, priority: Priority::new(2).unwrap(), position: 12 },
        runner: RunnerName::new("fast"),
        claim: Claim { exclusive: patterns("a/*"), late: patterns("b"), shared: patterns("c/"), deny: patterns("d") },
        depends_on: vec![Dependency { on: agent("docs.api"), wait_for_completion: false }],
        on_dependency_failure: OnDependencyFailure::Run,
        timeout: Duration::from_mins(10),
        idle_timeout: Some(Duration::from_mins(2)),
        lock_timeout: Duration::from_mins(3),
        grace: Duration::from_secs(10),
        retries: 3,
        retry: RetryMode::Continue,
        verify: Some(Duration::from_mins(1)),
        on_undeclared: OnUndeclared::Warn,
        on_conflict: OnConflict::Manual,
        on_abort: OnAbort::Keep,
        on_outside_edit: OnOutsideEdit::Commit,
        on_denied: OnDenied::Fail,
        ignored: IgnoredPaths::Enforce,
        expect_changes: true,
    }
}

/// A new kind of fact does not compile here until it is known, and then has to be in one of the lists.
fn ordinal(fact: &Fact) -> usize {
    match fact {
        Fact::RunOpened(_) => 0,
        Fact::PhaseOpened { .. } => 1,
        Fact::PhaseEnded { .. } => 2,
        Fact::StopRequested { .. } => 3,
        Fact::KillRequested { .. } => 4,
        Fact::RunnerPaused { .. } => 5,
        Fact::RunnerResumed { .. } => 6,
        Fact::AgentWaits { .. } => 7,
        Fact::AttemptOpened { .. } => 8,
        Fact::AttemptReturned { .. } => 9,
        Fact::AttemptStarted { .. } => 10,
        Fact::AttemptSpawned { .. } => 11,
        Fact::EndIntended { .. } => 12,
        Fact::Sampled { .. } => 13,
        Fact::TreeEnded { .. } => 14,
        Fact::WriteSet { .. } => 15,
        Fact::Checkpointed { .. } => 16,
        Fact::Frozen { .. } => 17,
        Fact::VerifyStarted { .. } => 18,
        Fact::Verified { .. } => 19,
        Fact::PlaceIntended { .. } => 20,
        Fact::Placed { .. } => 21,
        Fact::Restored { .. } => 22,
        Fact::Trouble { .. } => 23,
        Fact::AgentRequeued { .. } => 24,
        Fact::AgentEnded { .. } => 25,
        Fact::Surveyed { .. } => 26,
        Fact::RunEnded { .. } => 27,
        Fact::CheckpointIntended { .. } => 28,
        Fact::AttemptFailed { .. } => 29,
        Fact::LockWatched { .. } => 30,
        Fact::Wrote { .. } => 31,
        Fact::Denied { .. } => 32,
        Fact::Busied { .. } => 33,
        Fact::Locked { .. } => 34,
        Fact::Admitted { .. } => 35,
        Fact::ConflictFound(_) => 36,
        Fact::ConflictAnalysed { .. } => 37,
        Fact::ConflictRecommended { .. } => 38,
        Fact::ConflictResolved { .. } => 39,
        Fact::ConflictChecked { .. } => 40,
        Fact::ConflictVerified { .. } => 41,
        Fact::OutsideWrite { .. } => 42,
        Fact::RunResumed { .. } => 43,
        Fact::PhaseStopRequested { .. } => 44,
        Fact::AgentStopRequested { .. } => 45,
        Fact::Granted { .. } => 46,
        Fact::ThreadKnown { .. } => 47,
        Fact::ReturnIntended { .. } => 48,
        Fact::Continued { .. } => 49,
        Fact::BegunAnew { .. } => 50,
        Fact::AgentRegistered(_) => 51,
    }
}

#[test]
fn every_kind_of_fact_survives_the_file() {
    let records = [one_of_each(), one_of_each_added()].concat();
    let kinds: BTreeSet<usize> = records.iter().map(|r| ordinal(&r.fact)).collect();
    assert_eq!(kinds, (0..52).collect(), "a kind of fact is missing from the lists");

    let kept = Kept::of(&records);
    let replay = kept.read().unwrap();
    assert_eq!(replay.header, header());
    assert_eq!(records_of(&replay), records);
    assert_eq!(replay.torn, None);
    assert!(replay.entries.iter().all(|e| e.at == wall()));
    let file = fs::metadata(&kept.file).unwrap();
    assert_eq!(replay.len, file.len());
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

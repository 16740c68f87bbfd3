//! The journal against everything that can happen to a file: cuts, flipped bytes, gaps, other
//! programs' files, newer versions; and every fact there is, to text and back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;
use supervise::core::agent::OnConflict;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use supervise::core::claim::Pattern;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::effect::{Effect, Ending, Part, PlaceIntent, Purpose};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, Quiet, WaitReason};
use supervise::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Need, ProcessId, RateLimit, Record, RequeueReason, RunOpened, RunOutcome,
    StopCause, Summary, Trouble, Usage, Write,
};
use supervise::core::steer::Stop;
use supervise::journal::{Header, Journal, JournalError, Replay, event_line, read};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal/v1.jsonl");

fn wall() -> Timestamp {
    "2026-11-24T12:04:31.250Z".parse().unwrap()
}

fn header() -> Header {
    let mut header = Header::new(RunId::new("20261124T120431-4f2a").unwrap(), wall());
    "0.1.0".clone_into(&mut header.program);
    header
}

/// A journal file with `records`, one batch each.
fn journal_of(records: &[Record]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut journal = Journal::create(&path, &header()).unwrap();
    for record in records {
        let synced = {
            let appended = journal.append(std::slice::from_ref(record), (), wall()).unwrap();
            let synced = journal.sync_point().sync().unwrap();
            appended.commit(synced).unwrap().take();
            synced
        };
        assert_eq!(journal.append(&[], 7, wall()).unwrap().commit(synced).unwrap().take(), 7);
    }
    (dir, path)
}

fn records_of(replay: &Replay) -> Vec<Record> {
    replay.entries.iter().map(|e| e.record.clone()).collect()
}

// ---- every fact, by hand ----

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn path(bytes: &[u8]) -> RepoPath {
    RepoPath::new(bytes).unwrap()
}

fn oid(digit: &str) -> ObjectId {
    ObjectId::from_hex(&digit.repeat(40)).unwrap()
}

/// One record of each kind of fact that the fixture has, with every branch of what is nested in them.
fn one_of_each() -> Vec<Record> {
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
        waits(WaitReason::DirtyClaim { paths: vec![path(b"a b")] }),
        waits(WaitReason::Slot),
        waits(WaitReason::RunnerSlot { runner: RunnerName::new("codex") }),
        waits(WaitReason::RateLimit { runner: RunnerName::new("codex"), until: Moment(90) }),
        waits(WaitReason::Backoff { until: Moment(91) }),
        waits(WaitReason::Preparing),
        waits(WaitReason::Stopping),
        Fact::AttemptOpened { id: id(), slot: Slot(3) },
        Fact::AttemptReturned { id: id(), dirty: vec![path(b"a")] },
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
        ended(EndReason::DirtyClaim { paths: vec![path(b"a")] }),
        ended(EndReason::BranchMoved),
        ended(EndReason::ChangedUnderneath { paths: vec![path(b"a")] }),
        ended(EndReason::OutsideEdit { paths: vec![path(b"a")] }),
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
fn one_of_each_added() -> Vec<Record> {
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
    let facts = vec![
        Fact::Trouble { id: id(), what: Trouble::Survivors { count: 2 } },
        ended(EndReason::Survivors { count: 2 }),
        ended(EndReason::Stopped),
        ended(EndReason::Closed),
        ended(EndReason::Interrupted(Interrupt::Asked)),
        Fact::StopRequested { by: StopCause::Complete },
        Fact::StopRequested { by: StopCause::Interrupt(Interrupt::Asked) },
        Fact::PhaseStopRequested { phase: 1 },
        Fact::Granted { agent: agent("agent-1"), pattern: Pattern::new("src/{a,b}/*.rs").unwrap() },
        Fact::Locked { id: id(), path: at(), how: Lockings::Granted },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::Graceful },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::Orderly },
        Fact::AgentStopRequested { agent: agent("agent-1"), how: Stop::AtOnce },
        ended(EndReason::Busy { paths: vec![at()] }),
        ended(EndReason::Leftovers { paths: vec![at()] }),
        ended(EndReason::AllDenied { paths: vec![RefusedPath::Inside(at()), RefusedPath::Other("/x".to_owned())] }),
        ended(EndReason::Denied { paths: vec![] }),
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
        denied(DenialReason::Deny),
        denied(DenialReason::Undeclared),
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
    ];
    facts.into_iter().zip(0..).map(|(fact, t)| Record { at: Moment(t * 10), fact }).collect()
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
    }
}

#[test]
fn every_kind_of_fact_survives_the_file() {
    let records = [one_of_each(), one_of_each_added()].concat();
    let kinds: BTreeSet<usize> = records.iter().map(|r| ordinal(&r.fact)).collect();
    assert_eq!(kinds, (0..47).collect(), "a kind of fact is missing from the lists");

    let (_dir, file) = journal_of(&records);
    let replay = read(&file).unwrap();
    assert_eq!(replay.header, header());
    assert_eq!(records_of(&replay), records);
    assert_eq!(replay.torn, None);
    assert!(replay.entries.iter().all(|e| e.at == wall()));
    assert_eq!(replay.len, fs::metadata(&file).unwrap().len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Words that came after the fixture, in the forms that it has: this is how they are written.
#[test]
fn words_that_were_added_are_written_like_this() {
    let (_dir, file) = journal_of(&one_of_each_added());
    let written = fs::read_to_string(&file).unwrap();
    let check = |times: usize, text: &str| assert_eq!(written.matches(text).count(), times, "{text}\n{written}");
    check(2, r#"{"kind":"survivors","count":2}"#);
    check(9, r#""why":{"kind":"unresolved"}"#);
    check(9, r#""path":{"other":"/etc/�"}"#);
    check(1, r#""why":{"kind":"conflict","conflict":3,"holder":"docs.api"}"#);
    check(1, r#""why":{"kind":"held","by":"docs.api"}"#);
    check(1, r#""why":{"kind":"stale"}"#);
    check(1, r#""how":"claimed""#);
    check(1, r#""how":"provisional""#);
    check(1, r#""attribution":"certain","fate":"commit_mixed""#);
    check(1, r#""holder":{"agent":"docs.api","attempt":1}"#);
    check(1, r#""lock":"shared","pattern":"src/","writer_priority":1,"holder_priority":5,"holder_first":true"#);
    check(1, r#""resolution":"requeue_holder","by":{"policy":"priority"}"#);
    check(1, r#""resolution":"moot","by":"nobody""#);
    check(1, r#""outcome":{"kind":"unknown","error":"gone"}"#);
}

#[test]
fn the_first_released_format_is_read_for_ever() {
    let replay = read(Path::new(FIXTURE)).unwrap();
    assert_eq!(replay.header, header());
    assert_eq!(records_of(&replay), one_of_each());
}

/// Writing has not changed either; a change that is meant needs a new version and a new fixture.
#[test]
fn the_first_released_format_is_what_is_written() {
    let (_dir, file) = journal_of(&one_of_each());
    let written = fs::read_to_string(&file).unwrap();
    assert_eq!(written, fs::read_to_string(FIXTURE).unwrap());
}

// ---- any fact ----

fn agents() -> impl Strategy<Value = AgentId> {
    "[a-z0-9][a-zA-Z0-9_-]{0,20}".prop_map(|t| agent(&t))
}

fn attempts() -> impl Strategy<Value = AttemptId> {
    (agents(), any::<u32>()).prop_map(|(agent, n)| AttemptId { agent, attempt: Attempt(n) })
}

fn paths() -> impl Strategy<Value = RepoPath> {
    vec(any::<u8>(), 1..40).prop_filter_map("not a path", |bytes| RepoPath::new(&bytes).ok())
}

fn refused_paths() -> impl Strategy<Value = RefusedPath> {
    prop_oneof![paths().prop_map(RefusedPath::Inside), any::<String>().prop_map(RefusedPath::Other)]
}

fn oids() -> impl Strategy<Value = ObjectId> {
    prop_oneof![vec(any::<u8>(), 20), vec(any::<u8>(), 32)].prop_map(|b| ObjectId::from_bytes(&b).unwrap())
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn moments() -> impl Strategy<Value = Moment> {
    any::<u64>().prop_map(Moment)
}

fn exits() -> impl Strategy<Value = Exit> {
    prop_oneof![any::<i32>().prop_map(Exit::Code), any::<i32>().prop_map(Exit::Signal), Just(Exit::Lost)]
}

fn reasons() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        exits().prop_map(EndReason::Exit),
        any::<String>().prop_map(|message| EndReason::RunnerFailed { message }),
        millis().prop_map(|after| EndReason::Timeout { after }),
        vec(paths(), 0..4).prop_map(|paths| EndReason::ChangedUnderneath { paths }),
        agents().prop_map(|on| EndReason::DependencyFailed { on }),
        Just(EndReason::LimitReached(Limit::Failures)),
        vec(paths(), 0..4).prop_map(|paths| EndReason::Busy { paths }),
        (any::<u32>(), paths(), agents()).prop_map(|(n, path, with)| EndReason::Outranked {
            conflict: ConflictId(n),
            path,
            with
        }),
        vec(refused_paths(), 0..4).prop_map(|paths| EndReason::AllDenied { paths }),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    let modes = || prop_oneof![Just(Mode::File), Just(Mode::Executable), Just(Mode::Symlink), Just(Mode::Submodule)];
    let entries = move || option::of((modes(), oids()).prop_map(|(mode, id)| Entry { mode, id }));
    let fates = prop_oneof![Just(Fate::Commit), Just(Fate::SalvageOnly), Just(Fate::Leave)];
    (paths(), entries(), entries(), fates).prop_map(|(path, before, after, fate)| Write {
        change: Change { path, before, after },
        attribution: Attribution::Inferred,
        fate,
    })
}

fn summaries() -> impl Strategy<Value = Summary> {
    let usage =
        (any::<u64>(), any::<u64>()).prop_map(|(input_tokens, output_tokens)| Usage { input_tokens, output_tokens });
    let limits = option::of(millis()).prop_map(|lifts_after| RateLimit { lifts_after });
    let needs = (any::<String>(), any::<String>()).prop_map(|(path, why)| Need { path, why });
    let text = || option::of(any::<String>());
    (text(), option::of(usage), text(), text(), option::of(limits), vec(needs, 0..3)).prop_map(
        |(message, usage, thread, fatal, rate_limit, needs)| Summary {
            message,
            usage,
            thread,
            fatal,
            rate_limit,
            needs,
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let facts: Vec<BoxedStrategy<Fact>> = vec![
        (0..one_of_each().len()).prop_map(|i| one_of_each().swap_remove(i).fact).boxed(),
        (0..one_of_each_added().len()).prop_map(|i| one_of_each_added().swap_remove(i).fact).boxed(),
        (attempts(), vec(paths(), 0..5)).prop_map(|(id, paths)| Fact::Wrote { id, paths }).boxed(),
        (attempts(), refused_paths(), any::<String>())
            .prop_map(|(id, path, error)| Fact::Denied {
                id,
                part: Part::Agent,
                path,
                touch: Touch::Change,
                why: DenialReason::NotKept { error },
            })
            .boxed(),
        (attempts(), paths(), agents())
            .prop_map(|(id, path, by)| Fact::Busied { id, path, why: BusyReason::Held { by } })
            .boxed(),
        (any::<u32>(), paths(), attempts(), attempts())
            .prop_map(|(n, path, writer, holder)| {
                let attribution = Attribution::Certain;
                Fact::ConflictFound(Found { conflict: ConflictId(n), path, writer, holder, attribution })
            })
            .boxed(),
        (attempts(), summaries(), exits())
            .prop_map(|(id, summary, exit)| Fact::TreeEnded { id, exit, summary })
            .boxed(),
        (attempts(), vec(writes(), 0..5)).prop_map(|(id, writes)| Fact::WriteSet { id, writes }).boxed(),
        (agents(), option::of(reasons()))
            .prop_map(|(agent, reason)| Fact::AgentEnded { agent, state: State::Timeout, reason })
            .boxed(),
        (attempts(), reasons(), moments())
            .prop_map(|(id, why, not_before)| Fact::AgentRequeued { id, why: RequeueReason::Retry(why), not_before })
            .boxed(),
        (attempts(), any::<String>(), option::of(oids()), oids())
            .prop_map(|(id, reference, old, new)| Fact::PlaceIntended {
                id,
                intent: PlaceIntent { reference, old, new },
            })
            .boxed(),
        (attempts(), exits(), millis(), any::<String>())
            .prop_map(|(id, exit, took, tail)| Fact::Verified { id, exit, took, tail })
            .boxed(),
        vec(paths(), 0..5).prop_map(|unattributed| Fact::Surveyed { unattributed }).boxed(),
    ];
    (moments(), Union::new(facts)).prop_map(|(at, fact)| Record { at, fact })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_record_comes_back_the_same(batch in vec(records(), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("j");
        let mut journal = Journal::create(&file, &header()).unwrap();
        let _ = journal.append(&batch, (), wall()).unwrap();
        let replay = read(&file).unwrap();
        prop_assert_eq!(records_of(&replay), batch.clone());
        prop_assert_eq!(replay.entries, journal.entries(&batch, wall()));
    }
}

// ---- harm ----

#[test]
fn a_cut_at_every_byte_leaves_a_valid_prefix() {
    let records: Vec<Record> = one_of_each().into_iter().step_by(5).collect();
    let (_dir, file) = journal_of(&records);
    let whole = fs::read(&file).unwrap();
    let ends: Vec<usize> = whole.iter().zip(1..).filter(|(b, _)| **b == b'\n').map(|(_, end)| end).collect();
    for cut in 0..whole.len() {
        fs::write(&file, &whole[..cut]).unwrap();
        let complete = ends.iter().filter(|end| **end <= cut).count();
        match read(&file) {
            Err(JournalError::NoHeader { .. }) => assert_eq!(complete, 0, "cut at {cut}"),
            Ok(replay) => {
                assert_eq!(records_of(&replay), records[..complete - 1], "cut at {cut}");
                let sound = ends[complete - 1];
                assert_eq!(replay.len, sound as u64);
                assert_eq!(replay.torn.map(|t| t.offset), (sound < cut).then_some(sound as u64), "cut at {cut}");
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_the_run_goes_on() {
    let records = one_of_each();
    let (_dir, file) = journal_of(&records[..5]);
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 9]).unwrap();

    let (mut journal, replay) = Journal::reopen(&file).unwrap();
    assert_eq!(records_of(&replay), records[..4]);
    assert_eq!(journal.next_seq(), 5);
    let _ = journal.append(&records[4..], (), wall()).unwrap();
    let replay = read(&file).unwrap();
    assert_eq!(records_of(&replay), records);
    assert_eq!(replay.torn, None);
}

#[test]
fn a_changed_byte_is_an_error_wherever_sound_records_follow() {
    let records = one_of_each()[..6].to_vec();
    let (_dir, file) = journal_of(&records);
    let whole = fs::read(&file).unwrap();
    let last_line = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for at in 0..whole.len() {
        let mut harmed = whole.clone();
        harmed[at] ^= 0x04;
        fs::write(&file, &harmed).unwrap();
        match read(&file) {
            Ok(replay) => {
                assert!(at >= last_line, "byte {at} was changed and nobody noticed");
                assert_eq!(records_of(&replay), records[..5]);
                assert!(replay.torn.is_some());
            }
            Err(_) => assert!(at < last_line, "byte {at}"),
        }
    }
}

fn check_error(content: &[u8], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("journal.jsonl");
    fs::write(&file, content).unwrap();
    let error = read(&file).unwrap_err();
    let text = error.to_string().replace(&dir.path().display().to_string(), "DIR");
    assert_eq!(text, expected);
    assert!(!error.help().is_empty());
}

/// A line with its checksum.
fn sealed(body: &str) -> Vec<u8> {
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}

#[test]
fn foreign_newer_and_unreadable_files_are_named() {
    let head = sealed(
        r#"{"journal":"supervise","version":1,"run":"r","created":"2026-11-24T00:00:00.000Z","program":"0.1.0","later":{}"#,
    );
    let record = |seq: u32, rest: &str| sealed(&format!(r#"{{"seq":{seq},"at":"2026-11-24T00:00:00Z","t":1,{rest}"#));
    let with = |lines: &[Vec<u8>]| [&head[..], &lines.concat()].concat();

    check_error(b"", "DIR/journal.jsonl has no complete first line: the run ended before it began");
    check_error(b"hello\n", "DIR/journal.jsonl is not a journal of supervise");
    check_error(
        br#"{"journal":"supervise","version":2,"shape":"unknown"}
"#,
        "DIR/journal.jsonl has format version 2; this program reads up to 1",
    );
    check_error(
        &with(&[record(1, r#""kind":"phase_opened","phase":0"#), record(3, r#""kind":"phase_opened","phase":0"#)]),
        "DIR/journal.jsonl, line 3: record 3 where 2 was due",
    );
    check_error(
        &with(&[record(1, r#""kind":"from_the_future","x":0"#)]),
        "DIR/journal.jsonl, line 2: a record that this program cannot read",
    );
    check_error(
        &with(&[b"garbage\n".to_vec(), record(1, r#""kind":"phase_opened","phase":0"#)]),
        "DIR/journal.jsonl, line 2: the checksum is wrong, and valid records follow",
    );
}

#[test]
fn unknown_fields_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("j");
    drop(Journal::create(&file, &header()).unwrap());
    let line = r#"{"seq":1,"x":[{"y":1}],"at":"2026-11-24T00:00:00Z","t":5,"kind":"attempt_opened","agent":"a","new":{"deep":[]},"attempt":1,"slot":0"#;
    fs::OpenOptions::new().append(true).open(&file).unwrap().write_all(&sealed(line)).unwrap();
    let id = AttemptId { agent: agent("a"), attempt: Attempt(1) };
    let expected = Record { at: Moment(5), fact: Fact::AttemptOpened { id, slot: Slot(0) } };
    assert_eq!(records_of(&read(&file).unwrap()), [expected]);
}

// ---- writing ----

#[test]
fn effects_come_out_only_after_a_sync_that_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&dir.path().join("j"), &header()).unwrap();
    let records = one_of_each();

    let first = journal.append(&records[..1], vec![Effect::Survey], wall()).unwrap();
    let point = journal.sync_point();
    let second = journal.append(&records[1..3], Vec::<Effect>::new(), wall()).unwrap();
    let synced = std::thread::spawn(move || point.sync()).join().unwrap().unwrap();
    assert_eq!(first.commit(synced).unwrap().take(), [Effect::Survey]);
    let second = second.commit(synced).unwrap_err();
    let later = journal.sync_point().sync().unwrap();
    assert_eq!(second.commit(later).unwrap().take(), []);
}

#[test]
fn a_journal_is_never_begun_twice() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("j");
    drop(Journal::create(&file, &header()).unwrap());
    assert!(matches!(Journal::create(&file, &header()), Err(JournalError::Create { .. })));
    assert!(matches!(Journal::create(&dir.path().join("no/j"), &header()), Err(JournalError::Create { .. })));
}

#[test]
fn followers_get_the_line_without_its_checksum() {
    let entries = read(Path::new(FIXTURE)).unwrap().entries;
    let opened = entries.iter().find(|e| matches!(e.record.fact, Fact::AttemptOpened { .. })).unwrap();
    assert_eq!(
        event_line(opened).unwrap(),
        r#"{"seq":14,"at":"2026-11-24T12:04:31.250Z","t":130,"kind":"attempt_opened","agent":"agent-1","attempt":2,"slot":3}"#
    );
}

//! A run told line by line.

use std::time::Duration;

use supervise::core::agent::OnConflict;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::Attribution;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::effect::{Ending, Part, Purpose};
use supervise::core::ids::{Attempt, RunnerName, Slot};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::{AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, WaitReason};
use supervise::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Need, ProcessId, RequeueReason, RunOpened, RunOutcome, StopCause, Summary,
};
use supervise::render::style::Palette;

use super::{Story, agent, first, oid, path, run_id, write};

/// A run in which something of everything happens.
fn story() -> Story {
    let process = |pid| ProcessId { pid, start: 1, boot: String::new() };
    let facts = [
        (
            0,
            Fact::RunOpened(RunOpened {
                run: run_id(),
                session: "backend\u{1b}[2J".to_owned(),
                base: Some(oid("5")),
                branch: Some("refs/heads/main".to_owned()),
                layers: Layers::default(),
                agents: ["agent-1", "agent-2-database", "docs", "late"].map(agent).to_vec(),
            }),
        ),
        (0, Fact::PhaseOpened { phase: 0 }),
        (1, Fact::AgentWaits { agent: agent("docs"), reason: WaitReason::Dependencies { on: vec![agent("agent-1")] } }),
        (1, Fact::AgentWaits { agent: agent("late"), reason: WaitReason::Slot }),
        (
            2,
            Fact::AgentWaits {
                agent: agent("agent-2-database"),
                reason: WaitReason::Locks { holders: vec![agent("agent-1")] },
            },
        ),
        (
            2,
            Fact::AgentWaits {
                agent: agent("late"),
                reason: WaitReason::DirtyClaim { paths: vec![path("a\nb")], more: 0 },
            },
        ),
        (3, Fact::AttemptOpened { id: first("agent-1"), slot: Slot(0) }),
        (4, Fact::AttemptStarted { id: first("agent-1"), dirty: vec![] }),
        (40, Fact::AttemptSpawned { id: first("agent-1"), process: process(4711) }),
        (
            12_004,
            Fact::TreeEnded {
                id: first("agent-1"),
                exit: Exit::Code(0),
                summary: Summary {
                    needs: vec![Need { path: "Cargo.lock".to_owned(), why: "a new\u{7} crate".to_owned() }],
                    ..Summary::default()
                },
            },
        ),
        (
            12_010,
            Fact::WriteSet { id: first("agent-1"), writes: vec![write("a.rs", Fate::Commit), write("x", Fate::Leave)] },
        ),
        (12_020, Fact::VerifyStarted { id: first("agent-1") }),
        (
            13_020,
            Fact::Verified {
                id: first("agent-1"),
                exit: Exit::Code(0),
                took: Duration::from_secs(1),
                tail: String::new(),
            },
        ),
        (13_100, Fact::Placed { id: first("agent-1"), commit: oid("a"), index_left: vec![path("a.rs")] }),
        (13_104, Fact::AgentEnded { agent: agent("agent-1"), state: State::Completed, reason: None }),
        (14_000, Fact::AttemptStarted { id: first("agent-2-database"), dirty: vec![] }),
        (14_000, Fact::AttemptSpawned { id: first("agent-2-database"), process: process(4712) }),
        (
            20_000,
            Fact::EndIntended {
                id: first("agent-2-database"),
                part: Part::Agent,
                how: Ending::AtOnce,
                reason: EndReason::Timeout { after: Duration::from_secs(6) },
            },
        ),
        (20_100, Fact::Frozen { id: first("agent-2-database"), purpose: Purpose::Salvage, commit: oid("c") }),
        (20_200, Fact::Restored { id: first("agent-2-database"), restored: vec![], left: vec![path("b.sql")] }),
        (
            20_300,
            Fact::AgentRequeued {
                id: first("agent-2-database"),
                why: RequeueReason::Retry(EndReason::Timeout { after: Duration::from_secs(6) }),
                not_before: Moment(30_300),
            },
        ),
        (20_400, Fact::RunnerPaused { runner: RunnerName::new("codex"), until: Moment(80_000) }),
        (80_000, Fact::RunnerResumed { runner: RunnerName::new("codex") }),
        (
            80_100,
            Fact::AgentEnded {
                agent: agent("agent-2-database"),
                state: State::Timeout,
                reason: Some(EndReason::Timeout { after: Duration::from_secs(6) }),
            },
        ),
        (80_200, Fact::PhaseEnded { phase: 0, completed: false }),
        (
            80_200,
            Fact::AgentEnded {
                agent: agent("docs"),
                state: State::Skipped,
                reason: Some(EndReason::PhaseFailed { phase: 0 }),
            },
        ),
        (80_250, Fact::StopRequested { by: StopCause::Limit(Limit::Failures) }),
        (80_300, Fact::StopRequested { by: StopCause::Interrupt(Interrupt::Interrupt) }),
        (80_400, Fact::KillRequested { by: Interrupt::Interrupt }),
        (80_500, Fact::Surveyed { unattributed: vec![path("stray.txt")] }),
        (80_600, Fact::RunEnded { outcome: RunOutcome::Interrupted(Interrupt::Interrupt) }),
    ];
    Story::at(facts)
}

#[test]
fn a_run_is_told_in_lines() {
    insta::assert_snapshot!(story().told(Palette::Plain));
}

#[test]
fn colours_add_nothing_but_colours() {
    let coloured = story().told(Palette::Colour);
    assert!(coloured.contains("\u{1b}[31m") || coloured.contains("\u{1b}[1m\u{1b}[31m"), "{coloured:?}");
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let plain = story().told(Palette::Plain);
    assert_eq!(trimmed(&anstream::adapter::strip_str(&coloured).to_string()), trimmed(&plain));
}

/// What the gate sees, and what comes of it.
fn gate_story() -> Story {
    let (writer, holder) = (first("agent-5"), first("agent-1"));
    let conflict = ConflictId(1);
    let hops = || path("services/hops.py");
    let denied = |why| Fact::Denied {
        id: first("agent-5"),
        part: Part::Agent,
        path: RefusedPath::Inside(hops()),
        touch: Touch::Open,
        why,
    };
    let requeued = |why| Fact::AgentRequeued { id: first("agent-5"), why, not_before: Moment(0) };
    let analysis = Analysis {
        lock: Lock::Exclusive,
        pattern: Some("services/*.py".to_owned()),
        writer_priority: 1,
        holder_priority: 3,
        holder_first: true,
    };
    let facts = [
        Fact::RunOpened(RunOpened {
            run: run_id(),
            session: "backend".to_owned(),
            base: Some(oid("5")),
            branch: Some("refs/heads/main".to_owned()),
            layers: Layers { gate: true, watch: true, cgroup: false },
            agents: ["agent-1", "agent-5"].map(agent).to_vec(),
        }),
        Fact::Wrote { id: holder.clone(), paths: vec![hops(), path("b")] },
        Fact::Busied { id: writer.clone(), path: hops(), why: BusyReason::Held { by: agent("agent-1") } },
        Fact::Busied { id: writer.clone(), path: hops(), why: BusyReason::Read { by: agent("agent-1") } },
        Fact::Busied { id: writer.clone(), path: hops(), why: BusyReason::Stale },
        Fact::Locked { id: writer.clone(), path: hops(), how: Lockings::Late },
        Fact::Locked { id: writer.clone(), path: hops(), how: Lockings::Claimed },
        Fact::Locked { id: writer.clone(), path: hops(), how: Lockings::Won },
        Fact::Admitted { id: writer.clone(), path: hops(), how: Admission::Provisional },
        Fact::Admitted { id: writer.clone(), path: hops(), how: Admission::Warned },
        Fact::Admitted { id: writer.clone(), path: hops(), how: Admission::Ignored },
        Fact::ConflictFound(Found {
            conflict,
            path: hops(),
            writer: writer.clone(),
            holder: holder.clone(),
            attribution: Attribution::Certain,
        }),
        Fact::ConflictAnalysed { conflict, analysis },
        Fact::ConflictRecommended { conflict, recommendation: Recommendation::KeepWriter },
        denied(DenialReason::Conflict { conflict, holder: agent("agent-1") }),
        Fact::ConflictResolved {
            conflict,
            resolution: Resolution::RequeueHolder,
            by: Decider::Policy(OnConflict::Priority),
        },
        Fact::EndIntended {
            id: holder.clone(),
            part: Part::Agent,
            how: Ending::AtOnce,
            reason: EndReason::Outranked { conflict, path: hops(), with: agent("agent-5") },
        },
        Fact::ConflictChecked { conflict },
        Fact::ConflictVerified { conflict, outcome: Verification::Clean },
        Fact::ConflictVerified { conflict, outcome: Verification::Markers },
        denied(DenialReason::Undeclared),
        denied(DenialReason::ProtectedIgnored),
        denied(DenialReason::Reserved { by: agent("agent-1") }),
        requeued(RequeueReason::Busy { paths: vec![hops()] }),
        requeued(RequeueReason::Conflict { conflict, path: hops() }),
        requeued(RequeueReason::Outranked { conflict }),
        Fact::LockWatched { id: holder, next: Moment(0) },
        Fact::OutsideWrite { paths: vec![hops()] },
        Fact::WriteSet { id: writer, writes: vec![write("mixed", Fate::Mixed), write("too", Fate::CommitMixed)] },
    ];
    Story::of(facts)
}

#[test]
fn what_the_gate_sees_is_told_in_lines() {
    insta::assert_snapshot!(gate_story().told(Palette::Plain));
}

#[test]
fn going_on_is_told_in_lines() {
    let anew = |why| Fact::BegunAnew { id: first("a"), from: Attempt(1), why };
    let facts = [
        Fact::ThreadKnown { id: first("a"), thread: "t".to_owned() },
        Fact::ReturnIntended { id: first("a"), from: Attempt(1), paths: vec![path("f")] },
        Fact::Continued { id: first("a"), from: Attempt(1), thread: "t".to_owned() },
        anew(AnewReason::Runner),
        anew(AnewReason::NoThread),
        anew(AnewReason::HeadChanged { paths: ["a", "b", "c", "d"].map(path).to_vec(), more: 0 }),
        anew(AnewReason::Occupied { paths: vec![path("f")], more: 0 }),
        anew(AnewReason::Mixed { paths: vec![path("f")], more: 0 }),
        anew(AnewReason::BeyondClaim { paths: vec![path("f")], more: 0 }),
        anew(AnewReason::Held { path: path("f"), by: agent("b") }),
        anew(AnewReason::NotKept),
        anew(AnewReason::Failed { error: "no \u{1b}[31mspace".to_owned() }),
    ];
    insta::assert_snapshot!(Story::of(facts).told(Palette::Plain));
}

//! What people and programs are shown: a run told line by line, the report, the documents.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::{Value, json};
use supervise::core::agent::{
    AgentPlan, Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit,
    OnUndeclared, Plan, Priority, Rank, RetryMode,
};
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use supervise::core::claim::Claim;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::effect::{Ending, Part, Purpose};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, WaitReason};
use supervise::core::record::{
    Admission, Fact, Fate, Layers, Lockings, Need, ProcessId, Record, RequeueReason, RunOpened, RunOutcome, StopCause,
    Summary, Usage, Write,
};
use supervise::core::view::{AgentView, ConflictView, DeniedView, LocksView, RunState, RunView, VerifyView, Why};
use supervise::journal::{Entry as JournalEntry, event_line};
use supervise::render::event::EventLines;
use supervise::render::style::Palette;
use supervise::render::{Setting, json as documents, junit, reason, report, summary};

fn setting(width: usize) -> Setting {
    Setting {
        start: "2026-11-24T12:04:31Z".parse().unwrap(),
        zone: TimeZone::UTC,
        phases: vec![Some("phase-1-backend".to_owned()), Some("phase-2-docs".to_owned())],
        git_dir: ".git".to_owned(),
        git: "git".to_owned(),
        palette: Palette::Plain,
        width,
        notes: vec!["commit hooks are not run".to_owned()],
    }
}

fn run_id() -> RunId {
    RunId::new("20261124T120431-4f2a").unwrap()
}

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn first(id: &str) -> AttemptId {
    AttemptId { agent: agent(id), attempt: Attempt::FIRST }
}

fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

fn oid(digit: &str) -> ObjectId {
    ObjectId::from_hex(&digit.repeat(40)).unwrap()
}

fn write(name: &str, fate: Fate) -> Write {
    let change = Change { path: path(name), before: None, after: Some(Entry { mode: Mode::File, id: oid("3") }) };
    Write { change, attribution: Attribution::Inferred, fate }
}

/// A run in which something of everything happens.
fn story() -> Vec<Record> {
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
        (2, Fact::AgentWaits { agent: agent("late"), reason: WaitReason::DirtyClaim { paths: vec![path("a\nb")] } }),
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
    facts.map(|(t, fact)| Record { at: Moment(t), fact }).to_vec()
}

#[test]
fn a_run_is_told_in_lines() {
    let mut lines = EventLines::new(setting(80));
    let told: Vec<String> = story().iter().filter_map(|r| lines.line(r)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// What the gate sees, and what comes of it.
fn gate_story() -> Vec<Record> {
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
    facts.into_iter().zip(0..).map(|(fact, t)| Record { at: Moment(t * 1_000), fact }).collect()
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
        anew(AnewReason::HeadChanged { paths: ["a", "b", "c", "d"].map(path).to_vec() }),
        anew(AnewReason::Occupied { paths: vec![path("f")] }),
        anew(AnewReason::Mixed { paths: vec![path("f")] }),
        anew(AnewReason::BeyondClaim { paths: vec![path("f")] }),
        anew(AnewReason::Held { path: path("f"), by: agent("b") }),
        anew(AnewReason::NotKept),
        anew(AnewReason::Failed { error: "no \u{1b}[31mspace".to_owned() }),
    ];
    let mut lines = EventLines::new(setting(80));
    let told: Vec<String> = facts
        .into_iter()
        .zip(0..)
        .filter_map(|(fact, t)| lines.line(&Record { at: Moment(t * 1_000), fact }))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn what_the_gate_sees_is_told_in_lines() {
    let mut lines = EventLines::new(setting(80));
    let told: Vec<String> = gate_story().iter().filter_map(|r| lines.line(r)).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn colours_add_nothing_but_colours() {
    let tell = |palette| {
        let mut lines = EventLines::new(Setting { palette, ..setting(80) });
        story().iter().filter_map(|r| lines.line(r)).collect::<Vec<_>>().join("\n")
    };
    let coloured = tell(Palette::Colour);
    assert!(coloured.contains("\u{1b}[31m") || coloured.contains("\u{1b}[1m\u{1b}[31m"), "{coloured:?}");
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    assert_eq!(trimmed(&anstream::adapter::strip_str(&coloured).to_string()), trimmed(&tell(Palette::Plain)));
}

fn agent_view(id: &str, state: State) -> AgentView {
    AgentView {
        id: agent(id),
        name: id.to_owned(),
        phase: None,
        priority: 3,
        runner: RunnerName::new("codex"),
        state,
        why: Why::Nothing,
        attempt: None,
        pid: None,
        depends_on: vec![],
        locks: LocksView::default(),
        started_at: None,
        ended_at: None,
        exit: None,
        writes: vec![],
        attribution: None,
        index_left: vec![],
        not_restored: vec![],
        in_tree: vec![],
        denied: vec![],
        warned: vec![],
        needs: vec![],
        message: None,
        commit: None,
        salvage: vec![],
        began: None,
        verify: None,
        usage: None,
    }
}

fn view() -> RunView {
    let mut done = agent_view("agent-1-backend-api-with-a-rather-long-name-of-sixty-characters", State::Completed);
    done.attempt = Some(Attempt(1));
    done.started_at = Some(Moment(40));
    done.ended_at = Some(Moment(62_040));
    done.exit = Some(Exit::Code(0));
    done.phase = Some("phase-1-backend".to_owned());
    done.writes = vec![path("src/a.rs"), path("src/b.rs")];
    done.attribution = Some(Attribution::Inferred);
    done.commit = Some(oid("a"));
    done.locks.exclusive = vec!["src/*.rs".to_owned()];
    done.usage = Some(Usage { input_tokens: 12_000, output_tokens: 345 });
    done.verify = Some(VerifyView { ok: true, took: Duration::from_millis(1500), tail: "ok".to_owned() });

    let mut timeout = agent_view("agent-2-database", State::Timeout);
    timeout.why = Why::Ends(EndReason::Timeout { after: Duration::from_mins(10) });
    timeout.attempt = Some(Attempt(2));
    timeout.started_at = Some(Moment(100));
    timeout.ended_at = Some(Moment(600_200));
    timeout.exit = Some(Exit::Signal(15));
    timeout.message = Some("I was\n\u{1b}[31mstill\u{1b}[0m reading".to_owned());
    timeout.salvage = vec!["refs/supervise/attempts/20261124T120431-4f2a/agent-2-database/2".to_owned()];
    timeout.not_restored = vec![path("db/schema.sql")];
    timeout.depends_on = vec![done.id.clone()];

    let mut verify = agent_view("tests", State::Failed);
    verify.why = Why::Ends(EndReason::VerifyFailed { exit: Exit::Code(1) });
    verify.attempt = Some(Attempt(1));
    verify.started_at = Some(Moment(100));
    verify.ended_at = Some(Moment(950));
    verify.exit = Some(Exit::Code(0));
    verify.verify =
        Some(VerifyView { ok: false, took: Duration::from_secs(2), tail: "1 passed\n2 failed\n".to_owned() });
    verify.needs = vec![Need { path: "Cargo.lock".to_owned(), why: "new crate".to_owned() }];

    let mut skipped = agent_view("docs", State::Skipped);
    skipped.why = Why::Ends(EndReason::PhaseFailed { phase: 0 });

    RunView {
        run: run_id(),
        session: "backend-foundation".to_owned(),
        state: RunState::Failed,
        base: Some(oid("5")),
        head: Some(oid("a")),
        branch: Some("refs/heads/main".to_owned()),
        layers: Layers::default(),
        max_concurrent: 4,
        agents: vec![done, timeout, verify, skipped],
        conflicts: vec![],
        unattributed: vec![path("stray\u{202e}.txt")],
        ended_at: Some(Moment(601_000)),
    }
}

#[test]
fn the_report_tells_what_became_of_every_agent() {
    insta::assert_snapshot!(report::report(&view(), &setting(80), Moment(601_000)));
}

/// A run with the gate on, where agents met.
fn gated_view() -> RunView {
    let denied = |text: &str, why| DeniedView { path: RefusedPath::Inside(path(text)), why };
    let mut kept = agent_view("agent-1", State::Completed);
    kept.attempt = Some(Attempt(1));
    kept.writes = vec![path("hops.py")];
    kept.attribution = Some(Attribution::Certain);
    kept.commit = Some(oid("a"));
    kept.warned = vec![path("notes.md")];
    let mut ended = agent_view("agent-5", State::Terminated);
    ended.attempt = Some(Attempt(1));
    ended.why =
        Why::Ends(EndReason::Conflict { conflict: ConflictId(1), path: path("hops.py"), with: agent("agent-1") });
    ended.denied = vec![
        denied("hops.py", DenialReason::Conflict { conflict: ConflictId(1), holder: agent("agent-1") }),
        denied("src/new.rs", DenialReason::Undeclared),
        denied(".env", DenialReason::ProtectedIgnored),
    ];
    let conflict = |id: u32, resolution, verification| ConflictView {
        found_at: Moment(2_000),
        found: Found {
            conflict: ConflictId(id),
            path: path("hops.py"),
            writer: first("agent-5"),
            holder: first("agent-1"),
            attribution: Attribution::Certain,
        },
        analysis: Some(Analysis {
            lock: Lock::Exclusive,
            pattern: Some("*.py".to_owned()),
            writer_priority: 3,
            holder_priority: 3,
            holder_first: true,
        }),
        recommendation: Some(Recommendation::KeepHolder),
        resolution,
        verification,
    };
    let by = Decider::Policy(OnConflict::Terminate);
    RunView {
        agents: vec![kept, ended],
        layers: Layers { gate: true, watch: true, cgroup: false },
        unattributed: vec![],
        conflicts: vec![
            conflict(1, Some((Resolution::EndWriter, by)), Some(Verification::Clean)),
            conflict(2, None, None),
            conflict(3, Some((Resolution::Refused, Decider::Policy(OnConflict::Deny))), Some(Verification::Changed)),
        ],
        ..view()
    }
}

#[test]
fn the_report_tells_what_was_refused_and_who_met_whom() {
    insta::assert_snapshot!(report::report(&gated_view(), &setting(80), Moment(601_000)));
}

#[test]
fn the_document_of_a_run_has_its_conflicts() {
    let document = serde_json::to_value(documents::run(&gated_view(), &setting(80), Moment(601_000))).unwrap();
    assert_eq!(
        document["conflicts"][0],
        json!({
            "id": 1, "path": "hops.py", "holders": ["agent-1"], "writer": "agent-5", "attribution": "certain",
            "lock": "exclusive", "recommendation": "keep_holder", "resolution": "end_writer", "decided_by": "policy",
            "verified": true,
        })
    );
    assert_eq!(document["conflicts"][1]["resolution"], Value::Null);
    assert_eq!(document["conflicts"][2]["verified"], false);
    assert_eq!(document["agents"][1]["denied"], json!(["hops.py", "src/new.rs", ".env"]));
    assert_eq!(document["agents"][1]["reason"]["kind"], "conflict");
}

#[test]
fn the_table_fits_its_width() {
    use unicode_width::UnicodeWidthStr as _;
    for width in [80, 120] {
        let text = report::report(&view(), &setting(width), Moment(601_000));
        let table: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("AGENT")).take(5).collect();
        assert_eq!(table.len(), 5);
        for line in table {
            assert!(line.width() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_run_of_nothing_has_a_report() {
    let empty = RunView { agents: vec![], unattributed: vec![], head: None, base: None, branch: None, ..view() };
    let text = report::report(&empty, &setting(10), Moment(5));
    assert!(text.starts_with("backend-foundation  FAILED"), "{text}");
}

#[test]
fn the_document_of_a_run_has_every_key() {
    let document = serde_json::to_value(documents::run(&view(), &setting(80), Moment(601_000))).unwrap();
    let expected = json!({
        "version": 1, "run": "20261124T120431-4f2a", "session": "backend-foundation", "state": "FAILED",
        "base": "5".repeat(40), "head": "a".repeat(40),
        "layers": {"gate": false, "watch": false, "cgroup": false},
        "conflicts": [], "unattributed": ["stray\u{202e}.txt"],
    });
    let mut rest = document.clone();
    let agents = rest.as_object_mut().unwrap().remove("agents").unwrap();
    assert_eq!(rest, expected);

    assert_eq!(
        agents[0],
        json!({
            "id": "agent-1-backend-api-with-a-rather-long-name-of-sixty-characters",
            "name": "agent-1-backend-api-with-a-rather-long-name-of-sixty-characters",
            "phase": "phase-1-backend", "priority": 3, "state": "COMPLETED", "reason": null, "attempt": 1, "pid": null,
            "depends_on": [], "locks": {"exclusive": ["src/*.rs"], "late": [], "shared": []},
            "started_at": "2026-11-24T12:04:31.040Z", "ended_at": "2026-11-24T12:05:33.040Z", "duration_ms": 62_000,
            "exit": {"code": 0, "signal": null}, "writes": ["src/a.rs", "src/b.rs"], "denied": [], "denials": [], "warned": [], "in_tree": [], "needs": [],
            "commit": "a".repeat(40), "salvage": null, "continues": null, "verify": {"ok": true, "duration_ms": 1500, "tail": "ok"},
            "usage": {"input_tokens": 12_000, "output_tokens": 345},
        })
    );
    assert_eq!(agents[1]["reason"]["kind"], "timeout");
    assert_eq!(agents[1]["exit"], json!({"code": null, "signal": 15}));
    assert_eq!(agents[1]["salvage"], "refs/supervise/attempts/20261124T120431-4f2a/agent-2-database/2");
    assert_eq!(agents[2]["needs"], json!([{"path": "Cargo.lock", "why": "new crate"}]));
    let keys = |agent: &Value| agent.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in ["started_at", "ended_at", "duration_ms", "exit", "attempt", "commit", "verify", "usage"] {
        assert_eq!(agents[3][key], Value::Null, "{key}");
    }
    assert_eq!(keys(&agents[3]), keys(&agents[0]));
}

fn plan() -> Plan {
    let agent_plan = |id: &str, position: u32, depends_on: Vec<Dependency>| AgentPlan {
        id: agent(id),
        name: id.to_owned(),
        rank: Rank { phase: 0, priority: Priority::DEFAULT, position },
        runner: RunnerName::new("codex"),
        claim: Claim::default(),
        depends_on,
        on_dependency_failure: OnDependencyFailure::default(),
        timeout: Duration::from_mins(10),
        idle_timeout: None,
        lock_timeout: Duration::from_mins(10),
        grace: Duration::from_secs(10),
        retries: 0,
        retry: RetryMode::default(),
        verify: None,
        on_undeclared: OnUndeclared::default(),
        on_conflict: OnConflict::default(),
        on_abort: OnAbort::default(),
        on_outside_edit: OnOutsideEdit::default(),
        on_denied: OnDenied::default(),
        ignored: IgnoredPaths::default(),
        expect_changes: false,
    };
    let after = Dependency { on: agent("writer"), wait_for_completion: false };
    Plan {
        phases: vec![],
        agents: vec![agent_plan("writer", 0, vec![]), agent_plan("reader", 1, vec![after])],
        max_concurrent: std::num::NonZeroU32::new(4).unwrap(),
        fits: None,
        runner_limits: BTreeMap::new(),
        stop_at: None,
        max_failures: None,
        max_tokens: None,
        checkpoint_interval: None,
        allow_dirty: false,
    }
}

#[test]
fn the_snapshot_tells_who_holds_what() {
    let mut writer = agent_view("writer", State::Running);
    writer.attempt = Some(Attempt(1));
    writer.pid = Some(4711);
    writer.started_at = Some(Moment(1_500));
    writer.locks.exclusive = vec!["src/*.rs".to_owned()];
    let mut reader = agent_view("reader", State::Blocked);
    reader.why = Why::Waits(WaitReason::Locks { holders: vec![agent("writer")] });
    reader.depends_on = vec![agent("writer")];
    reader.locks.shared = vec!["src/".to_owned()];
    let running = RunView { agents: vec![writer, reader], state: RunState::Running, ended_at: None, ..view() };

    let snapshot = documents::orchestrator(&running, &plan(), &setting(80), Moment(2_000));
    let snapshot = serde_json::to_value(snapshot).unwrap();
    assert_eq!(snapshot["active_agents"], json!(["writer"]));
    assert_eq!(snapshot["file_locks"], json!({"src/*.rs": [{"agent": "writer", "mode": "exclusive"}]}));
    assert_eq!(snapshot["dependencies"], json!({"reader": ["writer"]}));
    assert_eq!(snapshot["conflicts"], json!([]));
    assert_eq!(snapshot["coordination_rules"]["max_concurrent_agents"], 4);
    assert_eq!(snapshot["updated_at"], "2026-11-24T12:04:33.000Z");
    assert_eq!(
        snapshot["agents"]["reader"],
        json!({
            "name": "reader", "status": "BLOCKED", "priority": 3, "phase": null, "pid": null, "attempt": null,
            "file_locks": [], "shared_locks": ["src/"], "dependencies": ["writer"], "wait_for_completion": false,
            "timeout": 600, "started_at": null, "ended_at": null,
            "reason": {"kind": "locks", "text": "locked by writer"}, "commit": null,
        })
    );
    assert_eq!(snapshot["agents"]["writer"]["started_at"], "2026-11-24T12:04:32.500Z");
}

/// The words of the documents are those of the journal.
#[test]
fn kinds_agree_with_the_journal() {
    let kind_of = |fact: Fact, field: &str| {
        let entry = JournalEntry { seq: 1, at: setting(80).start, record: Record { at: Moment(0), fact } };
        let line: Value = serde_json::from_str(&event_line(&entry).unwrap()).unwrap();
        line[field]["kind"].as_str().unwrap().to_owned()
    };
    let ends = [
        EndReason::Exit(Exit::Lost),
        EndReason::RunnerFailed { message: String::new() },
        EndReason::RateLimited,
        EndReason::SpawnFailed { error: String::new() },
        EndReason::VerifyFailed { exit: Exit::Lost },
        EndReason::VerifyTimeout { after: Duration::ZERO },
        EndReason::NoChanges,
        EndReason::DirtyClaim { paths: vec![] },
        EndReason::BranchMoved,
        EndReason::ChangedUnderneath { paths: vec![] },
        EndReason::OutsideEdit { paths: vec![] },
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
        EndReason::Leftovers { paths: vec![path("a.tmp")] },
        EndReason::AllDenied { paths: vec![] },
        EndReason::Denied { paths: vec![RefusedPath::Other("/etc/passwd".to_owned())] },
        EndReason::LockTimeout { after: Duration::ZERO },
        EndReason::LocksReleased,
        EndReason::Undeclared { path: path("a") },
        EndReason::Conflict { conflict: ConflictId(1), path: path("a"), with: agent("b") },
        EndReason::WaitsBehind { conflict: ConflictId(1), path: path("a"), with: agent("b") },
        EndReason::Outranked { conflict: ConflictId(1), path: path("a"), with: agent("b") },
    ];
    for end in ends {
        let fact = Fact::AgentEnded { agent: agent("a"), state: State::Failed, reason: Some(end.clone()) };
        assert_eq!(reason::end_kind(&end), kind_of(fact, "reason"));
        assert!(!reason::end_text(&end, &setting(80)).is_empty());
    }
    let waits = [
        WaitReason::Phase { open: 0 },
        WaitReason::Dependencies { on: vec![] },
        WaitReason::Locks { holders: vec![] },
        WaitReason::Reserved { by: agent("a") },
        WaitReason::DirtyClaim { paths: vec![] },
        WaitReason::Slot,
        WaitReason::OpenFiles { fit: 24 },
        WaitReason::RunnerSlot { runner: RunnerName::new("codex") },
        WaitReason::RateLimit { runner: RunnerName::new("codex"), until: Moment(0) },
        WaitReason::Backoff { until: Moment(0) },
        WaitReason::Preparing,
        WaitReason::Stopping,
    ];
    let denials = [
        DenialReason::Git,
        DenialReason::Deny,
        DenialReason::Undeclared,
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
    for why in denials {
        let (id, path) = (first("a"), RefusedPath::Inside(path("p")));
        let fact = Fact::Denied { id, part: Part::Agent, path, touch: Touch::Open, why: why.clone() };
        assert_eq!(reason::denial_kind(&why), kind_of(fact, "why"));
        assert!(!reason::denial_text(&why).is_empty());
    }
    for wait in waits {
        let fact = Fact::AgentWaits { agent: agent("a"), reason: wait.clone() };
        assert_eq!(reason::wait_kind(&wait), kind_of(fact, "reason"));
        assert!(!reason::wait_text(&wait, &setting(80)).is_empty());
    }
}

/// Every end of an agent, with texts that XML and Markdown would take for markup.
fn ci_view() -> RunView {
    let mut view = view();
    view.agents[1].message = Some("<b>\u{1b}[31mred\u{1b}[0m & \u{0}\u{fffe}]]> | done".to_owned());
    view.agents[2].why = Why::Ends(EndReason::RunnerFailed { message: "a | \"b\" <c>\n`d` @all".to_owned() });
    view.agents[2].denied.clone_from(&gated_view().agents[1].denied);
    view
}

#[test]
fn a_run_is_told_to_ci_as_junit() {
    insta::assert_snapshot!(junit::junit(&ci_view(), &setting(80), Moment(601_000)));
    insta::assert_snapshot!(junit::unusable("cannot \u{1b}[1mswitch\u{1b}[0m to <b>\nbecause & so"));
}

#[test]
fn a_run_is_told_to_ci_as_a_table() {
    insta::assert_snapshot!(summary::markdown(&ci_view(), &setting(80), Moment(601_000)));
}

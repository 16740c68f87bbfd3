//! Runs as they stand, to be shown.

use std::time::Duration;

use supervise::core::agent::OnConflict;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::Attribution;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::ids::{Attempt, RunnerName};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::{DenialReason, EndReason, Exit};
use supervise::core::record::{Layers, Need, Usage};
use supervise::core::view::{
    AgentView, ConflictView, DeniedView, LocksView, PhaseState, PhaseView, RunState, RunView, VerifyView, Why,
};

use super::{agent, first, oid, path, run_id};

pub(crate) fn agent_view(id: &str, state: State) -> AgentView {
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

pub(crate) fn view() -> RunView {
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
        phases: vec![
            PhaseView {
                name: "phase-1-backend".to_owned(),
                state: PhaseState::Failed,
                completed: 1,
                failed: 2,
                running: 0,
                waiting: 0,
            },
            PhaseView {
                name: "phase-2-\u{1b}[31mdocs".to_owned(),
                state: PhaseState::Skipped,
                completed: 0,
                failed: 1,
                running: 0,
                waiting: 0,
            },
        ],
        agents: vec![done, timeout, verify, skipped],
        conflicts: vec![],
        unattributed: vec![path("stray\u{202e}.txt")],
        ended_at: Some(Moment(601_000)),
    }
}

/// A run with the gate on, where agents met.
pub(crate) fn gated_view() -> RunView {
    let denied = |text: &str, why| DeniedView { path: RefusedPath::Inside(path(text)), touch: Touch::Open, why };
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

/// Every end of an agent, with texts that XML and Markdown would take for markup.
pub(crate) fn ci_view() -> RunView {
    let mut view = view();
    view.agents[1].message = Some("<b>\u{1b}[31mred\u{1b}[0m & \u{0}\u{fffe}]]> | done".to_owned());
    view.agents[2].why = Why::Ends(EndReason::RunnerFailed { message: "a | \"b\" <c>\n`d` @all".to_owned() });
    view.agents[2].denied.clone_from(&gated_view().agents[1].denied);
    view
}

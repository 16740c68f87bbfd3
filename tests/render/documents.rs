//! The documents: of a run, and the snapshot for other programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use supervise::core::agent::{
    AgentPlan, Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit,
    OnUndeclared, Plan, Priority, Rank, RetryMode,
};
use supervise::core::claim::Claim;
use supervise::core::ids::{Attempt, RunnerName};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::WaitReason;
use supervise::core::view::{RunState, RunView, Why};
use supervise::render::json as documents;

use super::views::{agent_view, gated_view, view};
use super::{Shown, agent, setting};

#[test]
fn the_document_of_a_run_has_every_key() {
    let document = Shown::ended(view()).document();
    let expected = json!({
        "version": 1, "run": "20261124T120431-4f2a", "session": "backend-foundation", "state": "FAILED",
        "base": "5".repeat(40), "head": "a".repeat(40),
        "layers": {"gate": false, "watch": false, "cgroup": false},
        "phases": [
            {"name": "phase-1-backend", "state": "FAILED", "agents": 3, "completed": 1, "failed": 2, "running": 0, "waiting": 0},
            {"name": "phase-2-\u{1b}[31mdocs", "state": "SKIPPED", "agents": 1, "completed": 0, "failed": 1, "running": 0, "waiting": 0},
        ],
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

#[test]
fn the_document_of_a_run_has_its_conflicts() {
    let document = Shown::ended(gated_view()).document();
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

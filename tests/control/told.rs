//! Conflicts and denials as they are told: from a view made by hand with every step of the workflow,
//! and from a journal.

use std::path::Path;

use jiff::tz::TimeZone;
use supervise::core::agent::OnConflict;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::Attribution;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::effect::Part;
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId, Slot};
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::DenialReason;
use supervise::core::record::{Fact, Layers, ProcessId, Record, RunOpened};
use supervise::core::view::{ConflictView, RunState, RunView};
use supervise::journal::{Header, Journal};
use supervise::render::Setting;
use supervise::render::conflicts::conflicts;
use supervise::render::status::{Commands, Going};
use supervise::render::style::Palette;

use super::support::{TestRepo, run_dir, with_input};
use super::{normal, scripted};

fn setting() -> Setting {
    Setting {
        start: "2026-11-24T12:04:31Z".parse().unwrap(),
        zone: TimeZone::UTC,
        phases: vec![],
        git_dir: ".git".to_owned(),
        git: "git".to_owned(),
        palette: Palette::Plain,
        width: 80,
        notes: vec![],
    }
}

fn commands() -> Commands {
    Commands { supervise: "supervise".to_owned(), run: String::new() }
}

fn known(number: u32, resolution: Option<(Resolution, Decider)>, verification: Option<Verification>) -> ConflictView {
    let id = |agent: &str| AttemptId { agent: AgentId::new(agent).unwrap(), attempt: Attempt::FIRST };
    ConflictView {
        found_at: Moment(u64::from(number) * 1000),
        found: Found {
            conflict: ConflictId(number),
            path: RepoPath::new(b"services/backend/hops.py").unwrap(),
            writer: id("agent-5"),
            holder: id("agent-1"),
            attribution: if number == 3 { Attribution::Inferred } else { Attribution::Certain },
        },
        analysis: Some(Analysis {
            lock: Lock::Exclusive,
            pattern: Some("services/backend/*.py".to_owned()),
            writer_priority: 3,
            holder_priority: 1,
            holder_first: true,
        }),
        recommendation: Some(Recommendation::KeepHolder),
        resolution,
        verification,
    }
}

fn view() -> RunView {
    RunView {
        run: RunId::new("20261124T120431-4f2a").unwrap(),
        session: "backend".to_owned(),
        state: RunState::Running,
        base: None,
        head: None,
        branch: None,
        layers: Layers::default(),
        max_concurrent: 4,
        phases: vec![],
        agents: vec![],
        conflicts: vec![
            known(1, Some((Resolution::EndWriter, Decider::Policy(OnConflict::Terminate))), Some(Verification::Clean)),
            known(2, Some((Resolution::WriterWaits, Decider::Person)), Some(Verification::Markers)),
            known(3, None, None),
        ],
        unattributed: vec![],
        ended_at: None,
    }
}

#[test]
fn conflicts_are_told_from_beginning_to_end() {
    insta::assert_snapshot!(conflicts(&view(), Going::On, &setting(), &commands()));
    let over = conflicts(&view(), Going::Over, &setting(), &commands());
    assert!(over.contains("conflict 3 never decided") && !over.contains("supervise resolve"), "{over}");
}

/// The journal of a run in which one agent wrote into the other's file and waits for a person.
fn rewrite_journal(dir: &Path) {
    let id = |agent: &str| AttemptId { agent: AgentId::new(agent).unwrap(), attempt: Attempt::FIRST };
    let run = RunId::new(dir.file_name().unwrap().to_str().unwrap()).unwrap();
    let opened = RunOpened {
        run: run.clone(),
        session: "backend".to_owned(),
        base: None,
        branch: Some("refs/heads/main".to_owned()),
        layers: Layers { gate: true, ..Layers::default() },
        agents: vec![id("agent-1").agent, id("agent-5").agent],
    };
    let ConflictView { found, analysis, recommendation, .. } = known(1, None, None);
    let conflict = found.conflict;
    let denied = |path: &str, why| Fact::Denied {
        id: id("agent-5"),
        part: Part::Agent,
        path: RefusedPath::Inside(RepoPath::new(path.as_bytes()).unwrap()),
        touch: Touch::Open,
        why,
    };
    let started = |agent: &str, slot, pid| {
        let process = ProcessId { pid, start: 1, boot: "b".to_owned() };
        [
            Fact::AttemptOpened { id: id(agent), slot: Slot(slot) },
            Fact::AttemptStarted { id: id(agent), dirty: vec![] },
            Fact::AttemptSpawned { id: id(agent), process },
        ]
    };
    let mut facts = vec![Fact::RunOpened(opened), Fact::PhaseOpened { phase: 0 }];
    facts.extend(started("agent-1", 0, 11));
    facts.extend(started("agent-5", 1, 12));
    let holder = found.holder.agent.clone();
    facts.push(denied("services/backend/hops.py", DenialReason::Conflict { conflict, holder }));
    facts.push(denied("Cargo.lock\u{1b}[2J", DenialReason::Undeclared));
    facts.push(Fact::ConflictFound(found));
    facts.push(Fact::ConflictAnalysed { conflict, analysis: analysis.unwrap() });
    facts.push(Fact::ConflictRecommended { conflict, recommendation: recommendation.unwrap() });
    let records: Vec<Record> =
        facts.into_iter().zip(0..).map(|(fact, n)| Record { at: Moment(n * 100), fact }).collect();
    let journal = dir.join("journal.jsonl");
    std::fs::remove_file(&journal).unwrap();
    let created = setting().start;
    let mut journal = Journal::create(&journal, &Header::new(run, created)).unwrap();
    let _ = journal.append(&records, (), created).unwrap();
}

#[test]
fn a_conflict_and_denials_are_found_in_the_journal_afterwards() {
    let repo = TestRepo::new();
    let session = scripted("agent-1", "[\"services/backend/*.py\"]", "true", "priority = 1")
        + &scripted("agent-5", "[\"docs/\"]", "true", "on_conflict = \"manual\"");
    repo.run(&session, &[]).expect(0);
    rewrite_journal(&run_dir(&repo));
    let shown = |args: &[&str]| {
        let mut command = repo.supervise();
        command.args(args).env("TZ", "UTC");
        with_input(command, b"").expect(0)
    };
    let timeline = shown(&["timeline"]).stdout;
    assert!(timeline.contains("CONFLICT: agent-1 and agent-5 both modifying services/backend/hops.py"), "{timeline}");
    insta::assert_snapshot!("an_undecided_conflict", normal(&shown(&["conflicts"]).stdout, &repo));
    insta::assert_snapshot!("denials", normal(&shown(&["status"]).stdout, &repo));
    let json = shown(&["conflicts", "--format", "json"]).json();
    assert_eq!(json["conflicts"], shown(&["status", "--format", "json"]).json()["conflicts"]);
    assert_eq!(json["conflicts"][0]["writer"], "agent-5");
    assert_eq!(json["conflicts"][0]["resolution"], serde_json::Value::Null);
}

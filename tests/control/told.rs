//! Conflicts and denials as they are told afterwards, from a view made by hand: every step of the
//! workflow, open and decided.

use jiff::tz::TimeZone;
use supervise::core::agent::OnConflict;
use supervise::core::change::Attribution;
use supervise::core::conflict::{Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId};
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::record::Layers;
use supervise::core::view::{ConflictView, RunState, RunView};
use supervise::render::Setting;
use supervise::render::conflicts::conflicts;
use supervise::render::status::{Commands, Going};
use supervise::render::style::Palette;

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

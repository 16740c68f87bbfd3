//! What people and programs are shown: a run told line by line, the report, the documents, and their words.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documents;
mod lines;
mod report;
mod views;
mod words;

use jiff::tz::TimeZone;
use serde_json::Value;
use supervise::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId};
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::record::{Fact, Fate, Record, Write};
use supervise::core::view::RunView;
use supervise::render::event::EventLines;
use supervise::render::style::Palette;
use supervise::render::{Setting, json as documents_of, junit, report as report_of, summary};

/// A run as its records tell it.
pub(crate) struct Story(Vec<Record>);

impl Story {
    /// Each fact with its milliseconds.
    pub(crate) fn at(facts: impl IntoIterator<Item = (u64, Fact)>) -> Self {
        Self(facts.into_iter().map(|(t, fact)| Record { at: Moment(t), fact }).collect())
    }

    /// One fact a second.
    pub(crate) fn of(facts: impl IntoIterator<Item = Fact>) -> Self {
        Self::at((0..).step_by(1_000).zip(facts))
    }

    pub(crate) fn told(&self, palette: Palette) -> String {
        let mut lines = EventLines::new(Setting { palette, ..setting(80) });
        self.0.iter().filter_map(|record| lines.line(record)).collect::<Vec<_>>().join("\n")
    }
}

/// A run as it stands, and when it is looked at.
pub(crate) struct Shown {
    pub(crate) view: RunView,
    pub(crate) at: Moment,
}

impl Shown {
    /// When it had ended.
    pub(crate) fn ended(view: RunView) -> Self {
        Self { at: view.ended_at.unwrap(), view }
    }

    pub(crate) fn report(&self, width: usize) -> String {
        report_of::report(&self.view, &setting(width), self.at)
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::to_value(documents_of::run(&self.view, &setting(80), self.at)).unwrap()
    }

    pub(crate) fn junit(&self) -> String {
        junit::junit(&self.view, &setting(80), self.at)
    }

    pub(crate) fn markdown(&self) -> String {
        summary::markdown(&self.view, &setting(80), self.at)
    }
}

pub(crate) fn setting(width: usize) -> Setting {
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

pub(crate) fn run_id() -> RunId {
    RunId::new("20261124T120431-4f2a").unwrap()
}

pub(crate) fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

pub(crate) fn first(id: &str) -> AttemptId {
    AttemptId { agent: agent(id), attempt: Attempt::FIRST }
}

pub(crate) fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

pub(crate) fn oid(digit: &str) -> ObjectId {
    ObjectId::from_hex(&digit.repeat(40)).unwrap()
}

pub(crate) fn write(name: &str, fate: Fate) -> Write {
    let change = Change { path: path(name), before: None, after: Some(Entry { mode: Mode::File, id: oid("3") }) };
    Write { change, attribution: Attribution::Inferred, fate }
}

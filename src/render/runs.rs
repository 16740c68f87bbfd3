//! The runs of a repository as a table and as a document.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::json::{VERSION, run_state};
use super::style::Tone;
use super::table::{Cell, Column, table};
use super::text::{duration, plural, printable, size, wrap};
use super::{Setting, day_and_time};
use crate::core::ids::RunId;
use crate::core::lifecycle::State;
use crate::core::view::{RunState, RunView};

/// The narrowest table that is made.
const MIN_WIDTH: usize = 60;
/// The fewest columns that a session's name or agents are cut to.
const LEAST: usize = 10;
/// Runs of which it is said why they cannot be read.
const TOLD: usize = 5;

/// A run in the list.
#[derive(Clone, Debug)]
pub struct ListedView {
    pub run: RunId,
    /// The text says why it cannot be read.
    pub told: Result<ToldView, String>,
    pub bytes: u64,
    /// Attempts whose work is kept.
    pub salvage: usize,
}

/// What its journal tells.
#[derive(Clone, Debug)]
pub struct ToldView {
    pub session: String,
    pub started: Timestamp,
    pub took: Duration,
    pub state: RunState,
    /// Its supervisor was gone before the end.
    pub died: bool,
    pub agents: BTreeMap<State, usize>,
}

impl ToldView {
    #[must_use]
    pub fn of(view: &RunView, started: Timestamp, took: Duration, died: bool) -> Self {
        let mut agents = BTreeMap::new();
        for agent in &view.agents {
            *agents.entry(agent.state).or_default() += 1;
        }
        Self { session: view.session.clone(), started, took, state: view.state, died, agents }
    }
}

/// The table, newest last, several lines, each with its line feed.
#[must_use]
pub fn runs(runs: &[ListedView], setting: &Setting) -> String {
    if runs.is_empty() {
        return "there has been no run in this repository yet: `supervise run` starts one\n".to_owned();
    }
    let columns = [
        ("RUN", Column::Whole),
        ("SESSION", Column::Cut(LEAST)),
        ("STARTED", Column::Whole),
        ("TIME", Column::Number),
        ("STATE", Column::Whole),
        ("AGENTS", Column::Cut(LEAST)),
        ("SIZE", Column::Number),
        ("SALVAGE", Column::Number),
    ];
    let rows: Vec<Vec<Cell>> = runs.iter().map(|run| row(run, setting)).collect();
    let mut lines = table(&columns, &rows, setting.width.max(MIN_WIDTH), setting.palette);
    lines.push(String::new());
    let all: u64 = runs.iter().map(|run| run.bytes).sum();
    lines.push(format!("{}, {}", plural(runs.len(), "run", "runs"), size(all)));
    let unreadable: Vec<_> = runs.iter().filter_map(|run| Some((&run.run, run.told.as_ref().err()?))).collect();
    for (run, why) in unreadable.iter().take(TOLD) {
        lines.extend(wrap(&format!("{run}: {}", printable(why)), setting.width.max(MIN_WIDTH), 4));
    }
    if unreadable.len() > TOLD {
        lines.push(format!("… and {} more that cannot be read", unreadable.len() - TOLD));
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn row(run: &ListedView, setting: &Setting) -> Vec<Cell> {
    let mut row: Vec<Cell> = vec![run.run.as_str().into()];
    if let Ok(told) = &run.told {
        let (tone, state) = match told.state {
            _ if told.died => (Tone::Bad, "DIED"),
            RunState::Running => (Tone::Active, run_state(told.state)),
            RunState::Completed => (Tone::Good, run_state(told.state)),
            RunState::Failed | RunState::Interrupted => (Tone::Bad, run_state(told.state)),
        };
        // The column may be cut: what did not complete is told first.
        let (done, others): (Vec<_>, Vec<_>) = told.agents.iter().partition(|(state, _)| **state == State::Completed);
        let agents = others.into_iter().chain(done).map(|(state, count)| format!("{count} {state}"));
        row.extend([
            printable(&told.session).into(),
            day_and_time(told.started, setting).into(),
            duration(told.took).into(),
            Cell::toned(tone, state),
            agents.collect::<Vec<_>>().join(", ").into(),
        ]);
    } else {
        let nothing = || Cell::from("");
        row.extend([nothing(), nothing(), nothing(), Cell::toned(Tone::Bad, "UNREADABLE"), nothing()]);
    }
    row.push(size(run.bytes).into());
    row.push(if run.salvage > 0 { run.salvage.to_string().into() } else { Cell::from("-") });
    row
}

/// What `runs list --format json` prints.
#[derive(Debug, Serialize)]
pub struct RunsDocument {
    version: u32,
    runs: Vec<ListedDocument>,
}

#[derive(Debug, Serialize)]
struct ListedDocument {
    run: String,
    session: Option<String>,
    state: Option<&'static str>,
    died: Option<bool>,
    started_at: Option<String>,
    duration_ms: Option<u64>,
    agents: Option<BTreeMap<&'static str, usize>>,
    bytes: u64,
    salvage: usize,
    error: Option<String>,
}

#[must_use]
pub fn document(runs: &[ListedView]) -> RunsDocument {
    let one = |run: &ListedView| {
        let told = run.told.as_ref().ok();
        ListedDocument {
            run: run.run.to_string(),
            session: told.map(|told| told.session.clone()),
            state: told.map(|told| run_state(told.state)),
            died: told.map(|told| told.died),
            started_at: told.map(|told| format!("{:.3}", told.started)),
            duration_ms: told.map(|told| u64::try_from(told.took.as_millis()).unwrap_or(u64::MAX)),
            agents: told.map(|told| told.agents.iter().map(|(state, count)| (state.as_str(), *count)).collect()),
            bytes: run.bytes,
            salvage: run.salvage,
            error: run.told.as_ref().err().cloned(),
        }
    };
    RunsDocument { version: VERSION, runs: runs.iter().map(one).collect() }
}

/// What `runs prune` did, or would do.
#[derive(Debug, Serialize)]
pub struct Pruned {
    version: u32,
    dry_run: bool,
    removed: Vec<PrunedRun>,
    /// Their work is kept, and it was not said that it may go.
    held_back: Vec<PrunedRun>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PrunedRun {
    pub run: String,
    pub bytes: u64,
    pub salvage: usize,
}

impl Pruned {
    #[must_use]
    pub fn new(dry_run: bool, removed: Vec<PrunedRun>, held_back: Vec<PrunedRun>) -> Self {
        Self { version: VERSION, dry_run, removed, held_back }
    }

    /// Several lines, each with its line feed.
    #[must_use]
    pub fn text(&self, supervise: &str) -> String {
        let mut lines = Vec::new();
        let verb = if self.dry_run { "would remove" } else { "removed" };
        let work = |run: &PrunedRun| plural(run.salvage, "attempt's work", "attempts' work");
        for run in &self.removed {
            let also = if run.salvage > 0 { format!(", and {}", work(run)) } else { String::new() };
            lines.push(format!("{verb} {}  {}{also}", run.run, size(run.bytes)));
        }
        for run in &self.held_back {
            lines.push(format!("kept {}  {}: {} is in it", run.run, size(run.bytes), work(run)));
        }
        let all: u64 = self.removed.iter().map(|run| run.bytes).sum();
        lines.push(match self.removed.len() {
            0 if self.held_back.is_empty() => "no run is old enough to be removed".to_owned(),
            0 => format!("{verb} no run"),
            count => format!("{verb} {}, {}", plural(count, "run", "runs"), size(all)),
        });
        if !self.held_back.is_empty() {
            lines.push(format!("`{supervise} salvage list` shows that work; `--salvage` lets it go too"));
        }
        lines.into_iter().map(|line| line + "\n").collect()
    }
}

//! The registry: who is there, in which order, and for which files. One line an agent.
//!
//! Invariant: the same agents are shown in the same words, whether they run, ran, or are only in a
//! session file; of the latter nobody has a state yet.
//!
//! Deliberately absent: reasons and what happened (`status`).

use serde::Serialize;

use super::Setting;
use super::json::{VERSION, run_state};
use super::style::{Palette, Tone, of_state};
use super::table::{Cell, Column, table};
use super::text::{plural, printable};
use crate::core::agent::Plan;
use crate::core::claim::Pattern;
use crate::core::lifecycle::State;
use crate::core::view::{LocksView, RunView};

/// The narrowest table that is made.
const MIN_WIDTH: usize = 60;
/// The fewest columns that a name or files are cut to.
const LEAST: usize = 12;

/// The agents of a run, or of a session that is yet to be run.
#[derive(Clone, Debug, Serialize)]
pub struct Registry {
    version: u32,
    run: Option<String>,
    session: String,
    state: Option<&'static str>,
    agents: Vec<Registered>,
}

#[derive(Clone, Debug, Serialize)]
struct Registered {
    id: String,
    name: String,
    phase: Option<String>,
    priority: u8,
    runner: String,
    state: Option<&'static str>,
    files: Vec<String>,
    late: Vec<String>,
    reads: Vec<String>,
    depends_on: Vec<String>,
    #[serde(skip)]
    tone: Tone,
}

impl Registry {
    /// The agents of a run as they stand, in rank order.
    #[must_use]
    pub fn of_run(view: &RunView) -> Self {
        let agents = view.agents.iter().map(|agent| {
            let LocksView { exclusive, late, shared } = agent.locks.clone();
            Registered {
                id: agent.id.to_string(),
                name: agent.name.clone(),
                phase: agent.phase.clone(),
                priority: agent.priority,
                runner: agent.runner.to_string(),
                state: Some(agent.state.as_str()),
                files: exclusive,
                late,
                reads: shared,
                depends_on: agent.depends_on.iter().map(ToString::to_string).collect(),
                tone: of_state(agent.state),
            }
        });
        Self {
            version: VERSION,
            run: Some(view.run.to_string()),
            session: view.session.clone(),
            state: Some(run_state(view.state)),
            agents: agents.collect(),
        }
    }

    /// The agents of a session that has not been run.
    #[must_use]
    pub fn of_plan(session: &str, plan: &Plan) -> Self {
        let mut agents: Vec<_> = plan.agents.iter().collect();
        agents.sort_by_key(|agent| agent.rank);
        let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        let agents = agents.into_iter().map(|agent| Registered {
            id: agent.id.to_string(),
            name: agent.name.clone(),
            phase: plan.phases.get(agent.rank.phase).and_then(|phase| phase.name.clone()),
            priority: agent.rank.priority.get(),
            runner: agent.runner.to_string(),
            state: None,
            files: texts(&agent.claim.exclusive),
            late: texts(&agent.claim.late),
            reads: texts(&agent.claim.shared),
            depends_on: agent.depends_on.iter().map(|dependency| dependency.on.to_string()).collect(),
            tone: of_state(State::Registered),
        });
        Self { version: VERSION, run: None, session: session.to_owned(), state: None, agents: agents.collect() }
    }

    /// For people, several lines, each with its line feed.
    #[must_use]
    pub fn text(&self, setting: &ListSetting) -> String {
        let palette = setting.palette;
        let agents = plural(self.agents.len(), "agent", "agents");
        let session = palette.paint(Tone::Heading, printable(&self.session));
        let head = match (&self.run, self.state) {
            (Some(run), Some(state)) => format!("{session}  {state}  {agents}  run {run}"),
            _ => format!("{session}  {agents}, not run yet  {}", setting.next),
        };
        let columns = [
            ("AGENT", Column::Cut(LEAST)),
            ("NAME", Column::Cut(LEAST)),
            ("PHASE", Column::Cut(LEAST)),
            ("PRIO", Column::Number),
            ("STATE", Column::Whole),
            ("FILES", Column::Cut(LEAST)),
        ];
        let rows: Vec<Vec<Cell>> = self.agents.iter().map(Registered::row).collect();
        let table = table(&columns, &rows, setting.width.max(MIN_WIDTH), palette);
        [head, String::new()].into_iter().chain(table).map(|line| line + "\n").collect()
    }
}

/// How a registry is shown.
#[derive(Clone, Debug)]
pub struct ListSetting {
    pub palette: Palette,
    pub width: usize,
    /// What to do with a session that has not been run.
    pub next: String,
}

impl From<&Setting> for ListSetting {
    fn from(setting: &Setting) -> Self {
        Self { palette: setting.palette, width: setting.width, next: String::new() }
    }
}

impl Registered {
    fn row(&self) -> Vec<Cell> {
        let name = if self.name == self.id { String::new() } else { printable(&self.name) };
        let phase = self.phase.as_deref().map(printable).unwrap_or_default();
        vec![
            self.id.clone().into(),
            name.into(),
            phase.into(),
            self.priority.to_string().into(),
            Cell::toned(self.tone, self.state.unwrap_or_default()),
            self.claims().into(),
        ]
    }

    /// `src/*.rs, main.rs (late), docs/ (reads)`
    fn claims(&self) -> String {
        let kinds = [(&self.files, ""), (&self.late, " (late)"), (&self.reads, " (reads)")];
        let all = kinds.into_iter().flat_map(|(list, kind)| list.iter().map(move |text| format!("{text}{kind}")));
        let all = all.map(|text| printable(&text)).collect::<Vec<_>>().join(", ");
        if all.is_empty() { "none".to_owned() } else { all }
    }
}

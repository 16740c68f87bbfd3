//! A run as it is shown where it was started, and told to others, while it goes on.
//!
//! Invariant: nothing here decides anything or waits while the run goes on; a reader that has gone away
//! changes nothing.

use std::path::{Path, PathBuf};

use super::RunFormat;
use super::alerts::Alerts;
use super::detach;
use super::manner::Manner;
use super::progress::Progress;
use super::records::event_json;
use super::relay::{STDERR, STDOUT, Through};
use crate::core::agent::Plan;
use crate::core::effect::Telling;
use crate::core::ids::AttemptId;
use crate::core::reason::EndReason;
use crate::core::record::{Fact, Record, RunOpened};
use crate::core::view::RunView;
use crate::host::clock::Clock;
use crate::host::driver::{self, Contests, DriverError, Observer, Setup};
use crate::host::hooks::{self, Hooks};
use crate::host::process::{self, Launcher};
use crate::journal::Entry;
use crate::render::check::CheckDocument;
use crate::render::style::Palette;
use crate::render::{Setting, json, reason, steer};
use crate::runner;
use crate::session::analysis::Analysis;

/// Runs the session; tells the display, and the hooks.
pub(super) async fn supervised(
    setup: Setup,
    hooks: Option<hooks::Setup>,
    mut display: Display,
) -> Result<driver::Finished, DriverError> {
    let start = |hooks| Launcher::new(process::OWN_BINARY).and_then(|launcher| Hooks::start(launcher, hooks));
    let started = hooks.map(start).transpose();
    // As with a hook that fails: the run is what matters.
    display.alerts.hooks = started.inspect_err(|error| tracing::warn!(%error, "hooks are not run")).ok().flatten();
    let finished = driver::run(setup, &mut display).await;
    display.progress.finish();
    STDOUT.settle();
    let view = finished.as_ref().ok().map(|finished| &finished.view);
    let document = view.map(|view| display.document(view));
    display.alerts.finish(view, document, &display.progress).await;
    finished
}

/// Shows the run on standard error, and for `--format jsonl` every record on standard output.
pub(super) struct Display {
    progress: Progress,
    alerts: Alerts,
    setting: Setting,
    plan: Plan,
    jsonl: bool,
    human: bool,
    clock: Clock,
    /// With a slash at its end.
    workspace: String,
    /// What is printed goes there when the run is open, or open again.
    leaves_for: Option<PathBuf>,
    /// How it was opened.
    opened: Option<RunOpened>,
}

impl Display {
    pub(super) fn new(setting: Setting, plan: Plan, manner: &Manner, clock: Clock, workspace: &Path) -> Self {
        let (jsonl, human) = (manner.format == RunFormat::Jsonl, manner.format == RunFormat::Human);
        let alerts = Alerts::new(&plan, manner.user.notify);
        let workspace = format!("{}/", workspace.display());
        Self {
            progress: Progress::new(setting.clone()),
            alerts,
            setting,
            plan,
            jsonl,
            human,
            clock,
            workspace,
            leaves_for: None,
            opened: None,
        }
    }

    /// Leaves the terminal when the run is open.
    pub(super) fn leave_for(&mut self, output: PathBuf) {
        let setting = Setting { palette: Palette::Plain, ..self.setting.clone() };
        self.progress = Progress::plain(setting, Box::new(Through(&STDERR)));
        self.leaves_for = Some(output);
    }

    /// When the run is open: says so, and goes.
    fn leave(&mut self) {
        let (Some(opened), Some(output)) = (&self.opened, self.leaves_for.take()) else { return };
        let pid = (!self.human).then(std::process::id);
        let text = steer::detached(opened, &self.setting, &output, pid);
        if let Err(error) = detach::leave(&output, &text) {
            tracing::warn!(%error, "the run goes on in this terminal");
        }
    }

    /// Something that was a fact before this was shown.
    pub(super) fn recall(&mut self, record: &Record) {
        self.remember(record);
        self.progress.recall(record);
        self.alerts.recall(record);
    }

    fn remember(&mut self, record: &Record) {
        match &record.fact {
            Fact::RunOpened(opened) => self.opened = Some(opened.clone()),
            Fact::AgentRegistered(agent) if self.plan.agents.iter().all(|known| known.id != agent.id) => {
                self.plan.agents.push((**agent).clone());
            }
            _ => {}
        }
    }
}

/// What an agent is doing, in a few words; paths of the workspace relative to it.
pub(super) fn doing(progress: &runner::Progress, workspace: &str) -> String {
    match progress {
        runner::Progress::Says(text) | runner::Progress::Note(text) => text.clone(),
        runner::Progress::Runs(command) => format!("$ {command}"),
        runner::Progress::Edits(paths) => {
            let paths: Vec<_> = paths.iter().map(|p| p.strip_prefix(workspace).unwrap_or(p)).collect();
            format!("edits {}", paths.join(", "))
        }
        runner::Progress::Uses(tool) => format!("uses {tool}"),
        runner::Progress::Thinks => "thinks".to_owned(),
    }
}

impl Observer for Display {
    fn recorded(&mut self, entry: &Entry) {
        self.remember(&entry.record);
        self.leave();
        self.progress.record(&entry.record);
        self.alerts.recorded(entry, &self.setting, &self.progress);
        if self.jsonl {
            STDOUT.say(event_json(entry).as_bytes());
        }
    }

    fn progress(&mut self, id: &AttemptId, progress: &runner::Progress) -> String {
        let text = doing(progress, &self.workspace);
        self.progress.progress(id, &text);
        text
    }

    fn snapshot(&mut self, view: &RunView) -> Vec<u8> {
        let document = json::orchestrator(view, &self.plan, &self.setting, self.clock.now());
        serde_json::to_vec_pretty(&document).unwrap_or_default()
    }

    fn telling(&mut self, telling: &Telling) -> String {
        reason::telling(telling)
    }

    fn why(&mut self, reason: &EndReason) -> String {
        reason::end_text(reason, &self.setting)
    }

    fn document(&mut self, view: &RunView) -> serde_json::Value {
        // Texts and numbers are always representable.
        serde_json::to_value(json::run(view, &self.setting, self.clock.now())).unwrap_or_default()
    }

    fn contests(&mut self, plan: &Plan, analysis: &Analysis) -> Contests {
        let mut found = serde_json::to_value(CheckDocument::valid(plan, analysis, &[])).unwrap_or_default();
        let mut part = |name: &str| found.get_mut(name).map(serde_json::Value::take).unwrap_or_default();
        Contests { contested: part("contested"), duplicates: part("duplicates") }
    }
}

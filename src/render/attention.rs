//! What needs a person, as a stable word for programs and one line for people that ends in what to do.

use super::Setting;
use super::reason::{refused_paths, trouble_text};
use super::text::{plural, printable, some_of, some_of_more};
use crate::core::attention::Attention;
use crate::core::lifecycle::State;
use crate::core::record::Trouble;
use crate::core::view::{RunState, RunView};

const SHOWN: usize = 3;

#[must_use]
pub fn kind(attention: &Attention) -> &'static str {
    match attention {
        Attention::OpenConflict { .. } => "open_conflict",
        Attention::RateLimit { .. } => "rate_limit",
        Attention::DirtyClaim { .. } => "dirty_claim",
        Attention::Denied { .. } => "denied",
        Attention::Needs { .. } => "needs",
        Attention::Survivors { .. } => "survivors",
        Attention::NotSalvaged { .. } => "not_salvaged",
    }
}

#[must_use]
pub fn text(attention: &Attention, setting: &Setting) -> String {
    match attention {
        Attention::OpenConflict { conflict, path, writer, holder } => format!(
            "conflict {conflict}: {writer} wants to write {path}, which {holder} has locked: \
             supervise resolve {conflict} --keep {holder} --terminate {writer}"
        ),
        Attention::RateLimit { runner, until } => {
            format!(
                "rate limit of {} until {}: nothing to do but wait",
                printable(runner.as_str()),
                setting.clock(*until)
            )
        }
        Attention::DirtyClaim { agent, paths, more } => {
            let paths = some_of_more(paths, *more, SHOWN);
            format!("{agent} waits for uncommitted changes in {paths}: commit or stash them")
        }
        Attention::Denied { agent, paths } => {
            format!("{agent} was refused {}: supervise status {agent}", refused_paths(paths, 0))
        }
        Attention::Needs { agent, needs } => {
            let needs: Vec<String> = needs.iter().map(|need| format!("{} ({})", need.path, need.why)).collect();
            format!("{agent} says it needs {}: supervise status {agent}", some_of(&needs, SHOWN))
        }
        Attention::Survivors { agent, count } => {
            format!("{agent}: {}: supervise status {agent}", trouble_text(&Trouble::Survivors { count: *count }))
        }
        Attention::NotSalvaged { agent, error } => {
            format!("{agent}: {}: git status", trouble_text(&Trouble::SalvageFailed { error: error.clone() }))
        }
    }
}

/// How a run ended, for a notification.
#[must_use]
pub fn ended(view: &RunView) -> String {
    let completed = view.agents.iter().filter(|agent| agent.state == State::Completed).count();
    let state = match view.state {
        RunState::Running => "goes on",
        RunState::Completed => "completed",
        RunState::Failed => "failed",
        RunState::Interrupted => "was interrupted",
    };
    format!(
        "supervise: {} {state}: {completed} of {} completed",
        printable(&view.session),
        plural(view.agents.len(), "agent", "agents")
    )
}

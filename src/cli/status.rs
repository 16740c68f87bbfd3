//! `supervise status`: how a run stands, live or over.
//!
//! Invariant: the JSON document is that of `run --format json`, and that of the supervisor's control
//! socket: all three are made of the same view, here rebuilt from the journal.

use super::look::{AboutRun, Look, LookError, PerhapsAgent, print};
use super::{Common, Exit, Failure, Format};
use crate::core::view::RunView;
use crate::render::json::pretty;
use crate::render::{json, status};

/// Show how the run stands: each agent's state, reason, locks, and what to do next
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArgs {
    #[command(flatten)]
    pub agent: PerhapsAgent,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Examples:
  supervise status
  supervise status api
  supervise status --run 20260131T14 --format json";

pub fn run(args: &StatusArgs, common: &Common) -> Result<Exit, Failure> {
    let text = answer(args, common)?;
    print(text);
    Ok(Exit::Success)
}

fn answer(args: &StatusArgs, common: &Common) -> Result<String, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    let agent = args.agent.named().map(|id| state.agent(id)).transpose().map_err(LookError::fail)?;
    let now = state.past.until(&state.life);
    Ok(match (args.about.format, agent) {
        (Format::Human, None) => status::status(&state.view, state.going(), &state.setting, &look.commands, now),
        (Format::Human, Some(agent)) => status::agent(agent, state.going(), &state.setting, &look.commands, now),
        (Format::Json, None) => pretty(&json::run(&state.view, &state.setting, now)),
        (Format::Json, Some(agent)) => {
            let alone = RunView { agents: vec![agent.clone()], ..state.view.clone() };
            pretty(&json::run(&alone, &state.setting, now))
        }
    })
}

//! `supervise status`: how a run stands, live or over.
//!
//! Invariant: the JSON document is that of `run --format json`, and that of the supervisor's control
//! socket: all three are made of the same view, here rebuilt from the journal.

use super::look::{Look, LookError, RunArg, pretty, print};
use super::{Common, Exit, Failure, Format};
use crate::core::view::RunView;
use crate::render::{json, status};

/// Show how the run stands: each agent's state, reason, locks, and what to do next
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct StatusArgs {
    /// Only this agent, with all that is known of it
    #[arg(value_name = "ID")]
    pub agent: Option<String>,
    /// The same
    #[arg(long = "id", value_name = "ID", hide_short_help = true, conflicts_with = "agent")]
    pub id: Option<String>,
    #[command(flatten)]
    pub run: RunArg,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
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
    let look = Look::at(common, &args.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    let named = args.agent.as_deref().or(args.id.as_deref());
    let agent = named.map(|id| state.agent(id)).transpose().map_err(LookError::fail)?;
    let now = state.past.until(&state.life);
    Ok(match (args.format, agent) {
        (Format::Human, None) => status::status(&state.view, state.going(), &state.setting, &look.commands, now),
        (Format::Human, Some(agent)) => status::agent(agent, state.going(), &state.setting, &look.commands, now),
        (Format::Json, None) => pretty(&json::run(&state.view, &state.setting, now)),
        (Format::Json, Some(agent)) => {
            let alone = RunView { agents: vec![agent.clone()], ..state.view.clone() };
            pretty(&json::run(&alone, &state.setting, now))
        }
    })
}

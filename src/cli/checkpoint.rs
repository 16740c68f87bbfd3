//! `supervise checkpoint`: freezes now what running agents have changed, beside the branch.

use std::time::Duration;

use super::look::{Look, LookError, RunArg, agent_id, pretty, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::steer::Frozen;
use crate::render::steer;

/// Freeze now, as a commit beside the branch, what running agents have changed
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CheckpointArgs {
    /// Only this agent
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
  supervise checkpoint
  supervise checkpoint api --format json | jq -r '.checkpoints[].commit'";

/// How long it may take to compare and freeze what was changed.
const LIMIT: Duration = Duration::from_secs(65);

pub fn run(args: &CheckpointArgs, common: &Common) -> Result<Exit, Failure> {
    checkpoint(args, common).map_err(LookError::fail)
}

fn checkpoint(args: &CheckpointArgs, common: &Common) -> Result<Exit, LookError> {
    let look = Look::at(common, &args.run)?;
    let state = look.state()?;
    let named = args.agent.as_deref().or(args.id.as_deref());
    let agent = named.map(|id| agent_id(id, &state.view)).transpose()?;
    let Reply::Checkpointed { checkpoints } = look.wish_within(&Request::Checkpoint { agent }, LIMIT)? else {
        return Ok(Exit::Success);
    };
    print(match args.format {
        Format::Human => steer::checkpoints(&checkpoints, &look.run, &state.setting.git),
        Format::Json => pretty(&steer::checkpoints_document(&checkpoints, &look.run)),
    });
    let failed = checkpoints.iter().any(|made| matches!(made.outcome, Frozen::Failed(_)));
    Ok(if failed { Exit::AgentsFailed } else { Exit::Success })
}

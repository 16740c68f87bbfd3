//! `supervise checkpoint`: freezes now what running agents have changed, beside the branch.

use std::time::Duration;

use super::look::{AboutRun, Look, LookError, PerhapsAgent, agent_id, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::steer::Frozen;
use crate::render::json::pretty;
use crate::render::steer;

/// Freeze now, as a commit beside the branch, what running agents have changed
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CheckpointArgs {
    #[command(flatten)]
    pub agent: PerhapsAgent,
    #[command(flatten)]
    pub about: AboutRun,
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
    let look = Look::at(common, &args.about.run)?;
    let state = look.state()?;
    let agent = args.agent.named().map(|id| agent_id(id, &state.view)).transpose()?;
    let Reply::Checkpointed { checkpoints } = look.wish_within(&Request::Checkpoint { agent }, LIMIT)? else {
        return Ok(Exit::Success);
    };
    print(match args.about.format {
        Format::Human => steer::checkpoints(&checkpoints, &look.run, &state.setting.git),
        Format::Json => pretty(&steer::checkpoints_document(&checkpoints, &look.run)),
    });
    let failed = checkpoints.iter().any(|made| matches!(made.outcome, Frozen::Failed(_)));
    Ok(if failed { Exit::AgentsFailed } else { Exit::Success })
}

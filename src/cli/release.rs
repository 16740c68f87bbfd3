//! `supervise release-locks`: end what an agent runs, so that its locks pass on.
//!
//! A lock never leaves a living tree, so this ends the attempt: its work is kept aside, its files are
//! put back, and then the locks are free.

use super::look::{AboutRun, Look, LookError, OneAgent, agent_id, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::steer::Stopping;
use crate::render::json::pretty;
use crate::render::steer;

/// End what an agent runs, so that its locks are free; its work is kept aside
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub agent: OneAgent,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Example:
  supervise release-locks api";

pub fn run(args: &ReleaseArgs, common: &Common) -> Result<Exit, Failure> {
    release(args, common).map_err(LookError::fail)
}

fn release(args: &ReleaseArgs, common: &Common) -> Result<Exit, LookError> {
    let look = Look::at(common, &args.about.run)?;
    let state = look.state()?;
    let agent = agent_id(args.agent.text(), &state.view)?;
    if let Reply::Releasing { agent } = look.wish(&Request::ReleaseLocks { agent })? {
        print(match args.about.format {
            Format::Human => steer::releasing(&agent, &look.commands),
            Format::Json => pretty(&steer::stopped_document(&[(agent, Stopping::Ending)], &look.run)),
        });
    }
    Ok(Exit::Success)
}

//! `supervise release-locks`: end what an agent runs, so that its locks pass on.
//!
//! A lock never leaves a living tree, so this ends the attempt: its work is kept aside, its files are
//! put back, and then the locks are free.

use super::look::{Look, LookError, OneAgent, RunArg, agent_id, print};
use super::{Common, Exit, Failure};
use crate::control::{Reply, Request};

/// End what an agent runs, so that its locks are free; its work is kept aside
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ReleaseArgs {
    #[command(flatten)]
    pub agent: OneAgent,
    #[command(flatten)]
    pub run: RunArg,
}

const AFTER_HELP: &str = "\
Example:
  supervise release-locks api";

pub fn run(args: &ReleaseArgs, common: &Common) -> Result<Exit, Failure> {
    release(args, common).map_err(LookError::fail)
}

fn release(args: &ReleaseArgs, common: &Common) -> Result<Exit, LookError> {
    let look = Look::at(common, &args.run)?;
    let state = look.state()?;
    let agent = agent_id(args.agent.text(), &state.view)?;
    if let Reply::Releasing { agent } = look.wish(&Request::ReleaseLocks { agent })? {
        let supervise = &look.commands.supervise;
        print(format!("{agent} is being ended; its locks are free when it is: {supervise} status {agent}\n"));
    }
    Ok(Exit::Success)
}

//! `supervise resolve`: a person decides a conflict that waits for it (`on_conflict = "manual"`).

use super::look::{AboutRun, Look, LookError, agent_id, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::conflict::{ConflictId, Wish};
use crate::render::json::pretty;
use crate::render::steer;

/// Decide an open conflict
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group = clap::ArgGroup::new("decision").required(true).args(["keep", "wait"]))]
pub struct ResolveArgs {
    /// The conflict's number; may be left out where only one is open
    #[arg(value_name = "CONFLICT")]
    pub conflict: Option<u32>,
    /// This agent goes on
    #[arg(long, value_name = "ID", requires = "terminate")]
    pub keep: Option<String>,
    /// This agent is ended; its work is kept aside
    #[arg(long, value_name = "ID", requires = "keep", conflicts_with = "wait")]
    pub terminate: Option<String>,
    /// The agent that wrote is ended, and tried again when the lock is free
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Examples:
  supervise conflicts
  supervise resolve --keep api --terminate docs
  supervise resolve 3 --wait";

pub fn run(args: &ResolveArgs, common: &Common) -> Result<Exit, Failure> {
    decide(args, common).map_err(LookError::fail)
}

fn decide(args: &ResolveArgs, common: &Common) -> Result<Exit, LookError> {
    let look = Look::at(common, &args.about.run)?;
    let state = look.state()?;
    let wish = match (&args.keep, &args.terminate) {
        (Some(keep), Some(terminate)) => {
            Wish::Keep { keep: agent_id(keep, &state.view)?, terminate: agent_id(terminate, &state.view)? }
        }
        _ => Wish::Wait,
    };
    if let Reply::Resolved { conflict } =
        look.wish(&Request::Resolve { conflict: args.conflict.map(ConflictId), wish })?
    {
        print(match args.about.format {
            Format::Human => steer::resolved(conflict, &look.commands),
            Format::Json => pretty(&steer::resolved_document(conflict, &look.run)),
        });
    }
    Ok(Exit::Success)
}

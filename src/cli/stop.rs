//! `supervise stop`: stops agents, or the whole run, in one of three ways.
//!
//! Whatever was changed is kept aside as at every other end; who was stopped is not tried again.

use super::look::{AboutRun, Look, LookError, SomeAgents, State, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::steer::Stop;
use crate::render::json::pretty;
use crate::render::steer;
use crate::render::text::some_of;

/// Stop agents, or the whole run; what they changed is kept aside, and they are not tried again
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct StopArgs {
    #[command(flatten)]
    pub agents: SomeAgents,
    /// The whole run, as by Ctrl-C in its terminal
    #[arg(long, conflicts_with_all = ["agents", "ids"])]
    pub all: bool,
    /// Let what runs finish and be committed; start nothing more of it
    #[arg(long, conflicts_with = "force")]
    pub graceful: bool,
    /// Kill at once, without the grace
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Without --graceful and --force, processes get SIGTERM, and SIGKILL after the agent's grace.

Examples:
  supervise stop api
  supervise stop api docs --graceful
  supervise stop --all";

/// Ids named to somebody who gave none.
const LISTED: usize = 8;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum StopError {
    #[error("it is not said what to stop")]
    #[diagnostic(help("{help}"))]
    Nobody { help: String },
}

pub fn run(args: &StopArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    if !args.all && args.agents.is_empty() {
        let help = whom(&look, &state);
        return Err(Failure::new(Exit::Invalid, StopError::Nobody { help }));
    }
    stop(args, &look, &state).map_err(LookError::fail)?;
    Ok(Exit::Success)
}

fn stop(args: &StopArgs, look: &Look, state: &State) -> Result<(), LookError> {
    let how = match (args.graceful, args.force) {
        (true, _) => Stop::Graceful,
        (_, true) => Stop::AtOnce,
        _ => Stop::Orderly,
    };
    let agents = if args.all { None } else { Some(args.agents.of(&state.view)?) };
    if let Reply::Stopping { agents } = look.wish(&Request::Stop { agents, how })? {
        print(match args.about.format {
            Format::Human => steer::stopped(&agents, args.all, &look.commands),
            Format::Json => pretty(&steer::stopped_document(&agents, &look.run)),
        });
    }
    Ok(())
}

/// Who could be stopped.
fn whom(look: &Look, state: &State) -> String {
    let supervise = &look.commands.supervise;
    let open: Vec<_> = state.view.agents.iter().filter(|agent| !agent.state.is_end()).map(|agent| &agent.id).collect();
    match open.as_slice() {
        _ if state.life.is_over() => format!("nothing is running: `{supervise} status` shows the last run"),
        [] => format!("name agents, or `{supervise} stop --all`"),
        open => format!("name agents (not ended: {}), or `{supervise} stop --all`", some_of(open, LISTED)),
    }
}

//! `supervise complete`: nothing more is started, what runs may finish, then the run is over.

use super::look::{AboutRun, Look, LookError, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::render::json::pretty;
use crate::render::steer;
use crate::render::text::printable;
use crate::session::problem::suggest;

/// Start nothing more, let what runs finish, and close the run
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompleteArgs {
    /// Only this phase: the next one opens, or is skipped, as its `on_failure` says
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Agents that are not started end as SKIPPED.

Examples:
  supervise complete
  supervise complete --phase phase-1-backend";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CompleteError {
    #[error("no phase `{name}` is in this run")]
    #[diagnostic(help("{help}"))]
    Phase { name: String, help: String },
}

pub fn run(args: &CompleteArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    if let Some(name) = &args.phase {
        let phases: Vec<&str> = state.past.plan().phases.iter().filter_map(|phase| phase.name.as_deref()).collect();
        if !phases.contains(&name.as_str()) {
            let known = || match phases.as_slice() {
                [] => "its session has no phases; leave --phase out".to_owned(),
                phases => format!("its phases are {}", printable(&phases.join(", "))),
            };
            let help = suggest(name, phases.iter().copied()).unwrap_or_else(known);
            let error = CompleteError::Phase { name: name.escape_debug().to_string(), help };
            return Err(Failure::new(Exit::Invalid, error));
        }
    }
    complete(args, &look).map_err(LookError::fail)?;
    Ok(Exit::Success)
}

fn complete(args: &CompleteArgs, look: &Look) -> Result<(), LookError> {
    if let Reply::Completing(completing) = look.wish(&Request::Complete { phase: args.phase.clone() })? {
        let phase = args.phase.as_deref();
        print(match args.about.format {
            Format::Human => steer::completing(&completing, phase, &look.commands),
            Format::Json => pretty(&steer::completing_document(&completing, phase, &look.run)),
        });
    }
    Ok(())
}

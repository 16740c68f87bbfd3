//! `supervise conflicts`: which agents met at which path, and what became of it.

use serde::Serialize;

use super::look::{AboutRun, Look, LookError, print};
use super::{Common, Exit, Failure, Format};
use crate::render::conflict::{self, ConflictDocument};
use crate::render::conflicts::conflicts;
use crate::render::json::VERSION;
use crate::render::json::pretty;

/// Show the conflicts of the run: who wrote into whose files, and what was decided
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ConflictsArgs {
    #[command(flatten)]
    pub about: AboutRun,
}

/// The conflicts of the run's document, by themselves.
#[derive(Serialize)]
struct Document {
    version: u32,
    run: String,
    conflicts: Vec<ConflictDocument>,
}

const AFTER_HELP: &str = "\
Examples:
  supervise conflicts
  supervise conflicts --format json";

pub fn run(args: &ConflictsArgs, common: &Common) -> Result<Exit, Failure> {
    let text = answer(args, common).map_err(LookError::fail)?;
    print(text);
    Ok(Exit::Success)
}

fn answer(args: &ConflictsArgs, common: &Common) -> Result<String, LookError> {
    let look = Look::at(common, &args.about.run)?;
    let state = look.state()?;
    Ok(match args.about.format {
        Format::Json => {
            let conflicts = state.view.conflicts.iter().map(conflict::document).collect();
            pretty(&Document { version: VERSION, run: look.run.to_string(), conflicts })
        }
        Format::Human => conflicts(&state.view, state.going(), &state.setting, &look.commands),
    })
}

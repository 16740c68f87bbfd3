//! `supervise reset`: clear what a dead supervisor left, without going on with its run.
//!
//! Invariant: the same as for `resume`, and what attempts had changed is kept before it is put back.

use super::look::{Look, LookError, RunArg};
use super::manner::Manner;
use super::resume::{Then, prepare};
use super::run::{print, supervise};
use super::{Common, Exit, Failure, RunFormat, look};
use crate::host::past::NoRun;
use crate::render::json;
use crate::render::json::pretty;

/// Clear what a run left whose supervisor died: its work is kept aside, its files are put back
///
/// The run is over then; `supervise resume` can take it up all the same.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ResetArgs {
    /// What standard output gets: a report, one JSON document, or every record as it is written
    #[arg(long, value_enum, default_value_t)]
    pub format: RunFormat,
}

const AFTER_HELP: &str = "\
Example:
  supervise reset && supervise run

Exit codes: 0 where nothing is left to clear; 3 where it could not be done.";

pub fn run(args: &ResetArgs, common: &Common) -> Result<Exit, Failure> {
    let latest = RunArg::default();
    let look = match Look::at(common, &latest) {
        Err(LookError::Run(NoRun::None)) => return Ok(never(args)),
        look => look.map_err(LookError::fail)?,
    };
    if look.runs.goes_on(&look.run) {
        return Err(LookError::GoesOn { run: look.run }.fail());
    }
    if look.dir.seems_ended() {
        return nothing(args, &look).map_err(LookError::fail);
    }
    let mut manner = Manner::of(args.format)?;
    manner.user.notify = false;
    let done = supervise(prepare(&latest, common, Then::Close)?, &manner)?;
    print(&done, args.format);
    Ok(Exit::Success)
}

/// There has been nothing that could be cleared.
fn never(args: &ResetArgs) -> Exit {
    match args.format {
        RunFormat::Human => look::print("there is nothing to clear: there has been no run in this repository yet\n"),
        RunFormat::Json => look::print("null\n"),
        RunFormat::Jsonl => true,
    };
    Exit::Success
}

/// There is nothing to clear: says so, or how the run ended.
fn nothing(args: &ResetArgs, look: &Look) -> Result<Exit, LookError> {
    match args.format {
        RunFormat::Human => {
            look::print(format!("there is nothing to clear: run {} came to its end\n", look.run));
        }
        RunFormat::Json => {
            let look::State { past, life, view, setting } = look.state()?;
            look::print(pretty(&json::run(&view, &setting, past.until(&life))));
        }
        RunFormat::Jsonl => {} // every record was written as it happened
    }
    Ok(Exit::Success)
}

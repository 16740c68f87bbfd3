//! `supervise reset`: clear what a dead supervisor left, without going on with its run.
//!
//! Invariant: the same as for `resume`, and what attempts had changed is kept before it is put back.

use super::manner::Manner;
use super::resume::{Then, find, prepare};
use super::run::{print, supervise};
use super::{Common, Exit, Failure, RunFormat, look};

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
    let (runs, run) = find(None, common)?;
    if runs.goes_on(&run) {
        return Err(look::LookError::GoesOn { run }.fail());
    }
    if runs.dir(&run).seems_ended() {
        look::print(format!("There is nothing to clear: run {run} came to its end.\n"));
        return Ok(Exit::Success);
    }
    let manner = Manner::of(true, false, args.format)?;
    let done = supervise(prepare(None, common, Then::Close)?, &manner)?;
    print(&done, args.format);
    Ok(Exit::Success)
}

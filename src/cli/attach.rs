//! `supervise attach`: shows a run that goes on here, as `run` shows it in its own terminal.
//!
//! Invariant: it only reads; the run does not know of it, and goes on when it is gone.

use super::look::{Look, LookError, RunArg, print};
use super::progress::Progress;
use super::records::{Records, Waited};
use super::{Common, Exit, Failure};
use crate::core::ids::RunId;
use crate::core::record::{Fact, RunOutcome};
use crate::host::clock::Clock;
use crate::render::report;

/// Show the progress of a run that goes on, and its report when it ends; Ctrl-C leaves it running
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct AttachArgs {
    #[command(flatten)]
    pub run: RunArg,
}

const AFTER_HELP: &str = "\
Example:
  supervise run --detach && supervise attach

Its exit code is that of the run.";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum AttachError {
    #[error("run {run} is over: nothing to attach to")]
    #[diagnostic(help("`supervise timeline` tells what happened, `supervise status` how it ended"))]
    Over { run: RunId },
}

pub fn run(args: &AttachArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.run).map_err(LookError::fail)?;
    if !look.runs.goes_on(&look.run) {
        return Err(Failure::new(Exit::Unusable, AttachError::Over { run: look.run }));
    }
    match show(&look).map_err(LookError::fail)? {
        Some(outcome) => {
            let state = look.state().map_err(LookError::fail)?;
            print(report::report(&state.view, &state.setting, state.past.until(&state.life)));
            Ok(Exit::of(outcome))
        }
        None => Err(LookError::CutOff { run: look.run }.fail()),
    }
}

/// Shows every record, until the run has ended; `None`: it was cut off.
fn show(look: &Look) -> Result<Option<RunOutcome>, LookError> {
    let clock = Clock::start();
    let mut records = Records::open(look, true)?;
    let mut progress = Progress::new(look.setting(&records.header));
    let mut outcome = None;
    loop {
        let entries = records.more()?;
        if entries.is_empty() && (outcome.is_some() || records.wait(None)? == Waited::Over) {
            progress.finish();
            records.settle()?;
            return Ok(outcome);
        }
        for entry in &entries {
            let passed = clock.wall().duration_since(entry.at);
            progress.record_of(&entry.record, passed.try_into().unwrap_or_default());
            match &entry.record.fact {
                Fact::RunEnded { outcome: ended } => outcome = Some(*ended),
                Fact::RunResumed { .. } => outcome = None,
                _ => {}
            }
        }
    }
}

//! `supervise attach`: shows a run that goes on here, as `run` shows it in its own terminal.
//!
//! Invariant: it only reads, the journal and on a terminal what agents are doing; the run goes on when it is gone.

use std::io;
use std::time::Duration;

use super::look::{Look, LookError, RunArg, print};
use super::progress::{Progress, Speaker};
use super::records::{Records, Waited, event_json};
use super::{Common, Exit, Failure, RunFormat};
use crate::control;
use crate::core::ids::RunId;
use crate::core::record::{Fact, RunOutcome};
use crate::host::clock::Clock;
use crate::host::signals::Held;
use crate::render::{json, report};

/// Show the progress of a run that goes on, and its report when it ends; Ctrl-C leaves it running
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct AttachArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// What to print on standard output: a report, or JSON, at the end; or each record, as it comes
    #[arg(long, value_enum, default_value_t)]
    pub format: RunFormat,
}

const AFTER_HELP: &str = "\
Examples:
  supervise run --detach && supervise attach
  supervise attach --format jsonl | jq -r .kind

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
        if !look.dir.seems_ended() {
            return Err(look.cut_off().fail());
        }
        return Err(Failure::new(Exit::Unusable, AttachError::Over { run: look.run }));
    }
    match show(&look, args.format).map_err(LookError::fail)? {
        Some(outcome) => {
            let state = look.state().map_err(LookError::fail)?;
            let now = state.past.until(&state.life);
            print(match args.format {
                RunFormat::Human => report::report(&state.view, &state.setting, now),
                RunFormat::Json => json::pretty(&json::run(&state.view, &state.setting, now)),
                RunFormat::Jsonl => String::new(),
            });
            Ok(Exit::of(outcome))
        }
        None => Err(look.cut_off().fail()),
    }
}

/// Shows every record, until the run has ended; `None`: it was cut off.
fn show(look: &Look, format: RunFormat) -> Result<Option<RunOutcome>, LookError> {
    let clock = Clock::start();
    let mut records = Records::open(look, true)?;
    // Before there are threads of the live lines.
    let held = Held::hold();
    let mut progress = Progress::new(look.setting(&records.header));
    match progress.speaker() {
        Some(speaker) => {
            leave_in_order(look, held, speaker.clone());
            tell_doing(look, speaker);
        }
        None => drop(held),
    }
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
            if format == RunFormat::Jsonl {
                print(event_json(entry));
            }
            match &entry.record.fact {
                Fact::RunEnded { outcome: ended } => outcome = Some(*ended),
                Fact::RunResumed { .. } => outcome = None,
                _ => {}
            }
        }
    }
}

/// Leaves no live lines behind when somebody has seen enough.
fn leave_in_order(look: &Look, held: io::Result<Held>, speaker: Speaker) {
    let text = format!("the run goes on; to see it again: {}", look.commands.call("attach"));
    if let Err(error) = held.and_then(|held| held.take(move || speaker.leave(&text))) {
        tracing::warn!(%error, "its live lines stay when this is ended");
    }
}

/// How long the supervisor may take to let one read along.
const LIMIT: Duration = Duration::from_secs(5);

/// Shows what agents are doing, which is in no journal, from a thread of its own that ends with the run. Where
/// it cannot be had, their lines show the rest.
fn tell_doing(look: &Look, speaker: Speaker) {
    let (root, run) = (look.runs.root().to_owned(), look.run.to_string());
    let listen = move || {
        // No record has this number: they are read from the journal.
        let Ok((found, lines)) = control::subscribe(&root, u64::MAX, true, LIMIT) else { return };
        if found != run {
            return;
        }
        for line in lines.map_while(Result::ok) {
            if let Some((id, text)) = control::read_doing(&line) {
                speaker.say(&id, &text);
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("doing".to_owned()).spawn(listen) {
        tracing::warn!(%error, "it is not shown what agents are doing");
    }
}

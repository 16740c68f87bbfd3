//! `supervise timeline`: what happened in a run, as `run` told it while it went on.
//!
//! Invariant: it needs nothing but the journal, and changes nothing.

use super::look::{AboutRun, Look, LookError, print};
use super::records::{Records, Waited, event_json};
use super::{Common, Exit, Failure, Format};
use crate::journal::{Entry, Header};
use crate::render::event::EventLines;

/// Tell what happened in the run, one line an event
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct TimelineArgs {
    /// Go on with what happens until the run ends
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Examples:
  supervise timeline
  supervise timeline --follow
  supervise timeline --format json | jq 'select(.kind == \"agent_ended\")'";

pub fn run(args: &TimelineArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    tell(args, &look).map_err(LookError::fail)?;
    Ok(Exit::Success)
}

fn tell(args: &TimelineArgs, look: &Look) -> Result<(), LookError> {
    let mut records = Records::open(look, args.follow)?;
    let mut teller = Teller::new(args.about.format, look, &records.header);
    loop {
        let entries = records.more()?;
        if entries.is_empty() && records.wait(None)? == Waited::Over {
            return Ok(());
        }
        for entry in &entries {
            if !print(teller.tell(entry)) {
                return Ok(());
            }
        }
    }
}

enum Teller {
    Human(Box<EventLines>),
    Json,
}

impl Teller {
    fn new(format: Format, look: &Look, header: &Header) -> Self {
        match format {
            Format::Human => Self::Human(Box::new(EventLines::new(look.setting(header)))),
            Format::Json => Self::Json,
        }
    }

    /// The lines of an entry, or nothing.
    fn tell(&mut self, entry: &Entry) -> String {
        match self {
            Self::Human(lines) => lines.line(&entry.record).map(|line| line + "\n").unwrap_or_default(),
            Self::Json => event_json(entry),
        }
    }
}

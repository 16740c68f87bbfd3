//! `supervise timeline`: what happened in a run, as `run` told it while it went on.
//!
//! Invariant: it needs nothing but the journal, and changes nothing.

use std::time::Duration;

use super::look::{Look, LookError, RunArg, print};
use super::{Common, Exit, Failure, Format};
use crate::core::record::Fact;
use crate::host::follow::Watch;
use crate::host::past::PastError;
use crate::journal::{Entry, Follow, Header, JournalError, event_line};
use crate::render::event::EventLines;

/// Tell what happened in the run, one line an event
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct TimelineArgs {
    /// Go on with what happens until the run ends
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub run: RunArg,
    /// Lines for people, or every record as one line of JSON
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
Examples:
  supervise timeline
  supervise timeline --follow
  supervise timeline --format json | jq 'select(.kind == \"agent_ended\")'";

/// How long nothing may happen before it is asked whether the run still goes on.
const QUIET: Duration = Duration::from_secs(5);

pub fn run(args: &TimelineArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.run).map_err(LookError::fail)?;
    tell(args, &look).map_err(LookError::fail)?;
    Ok(Exit::Success)
}

fn tell(args: &TimelineArgs, look: &Look) -> Result<(), LookError> {
    let journal = look.dir.journal();
    let failed = |error| LookError::Past(PastError::Journal(error));
    let unwatched = |source| failed(JournalError::Read { path: journal.clone(), source });
    // The watch comes first: what happens after the look at the journal is told by it.
    let watch = args.follow.then(|| Watch::directory(look.dir.path())).transpose().map_err(unwatched)?;
    let mut pace = watch.map(|watch| Pace { watch, over: !look.runs.goes_on(&look.run) });
    let (mut follow, header) = loop {
        match (Follow::open(&journal), &mut pace) {
            (Ok(opened), _) => break opened,
            (Err(JournalError::Read { .. } | JournalError::NoHeader { .. }), Some(pace)) if !pace.over => {
                pace.wait(look).map_err(unwatched)?;
            }
            (Err(error), _) => return Err(failed(error)),
        }
    };
    let mut teller = Teller::new(args.format, look, &header);
    loop {
        let entries = follow.more().map_err(failed)?;
        if entries.is_empty() {
            match &mut pace {
                Some(pace) if !pace.over => pace.wait(look).map_err(unwatched)?,
                _ => return Ok(()),
            }
        }
        for entry in &entries {
            if !print(teller.tell(entry)) {
                return Ok(());
            }
        }
        if let (Some(Entry { record, .. }), Some(pace)) = (entries.last(), &mut pace) {
            pace.over |= matches!(record.fact, Fact::RunEnded { .. });
        }
    }
}

/// When to look again.
struct Pace {
    watch: Watch,
    /// Nothing more will come than what is there.
    over: bool,
}

impl Pace {
    fn wait(&mut self, look: &Look) -> std::io::Result<()> {
        let seen = self.watch.wait(QUIET)?;
        let journal = look.dir.journal();
        let closed = seen.closed.iter().any(|name| Some(name.as_os_str()) == journal.file_name());
        // A supervisor that is killed closes its journal, too.
        self.over = closed || (seen.quiet && !look.runs.goes_on(&look.run));
        Ok(())
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
        let line = match self {
            Self::Human(lines) => lines.line(&entry.record),
            Self::Json => event_line(entry).ok().map(|line| line.trim_end().to_owned()),
        };
        line.map(|line| line + "\n").unwrap_or_default()
    }
}

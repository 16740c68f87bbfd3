//! The records of a run as they come, for the commands that go on until something has happened.
//!
//! Invariant: every record is given once and in order; waiting for more costs nothing, and ends when
//! nothing more can come: the run is over, or its supervisor is gone.

use std::time::Duration;

use super::look::{Look, LookError};
use crate::core::moment::Moment;
use crate::core::record::Fact;
use crate::host::clock::Clock;
use crate::host::follow::Watch;
use crate::host::past::PastError;
use crate::journal::{Entry, Follow, Header, JournalError, event_line};
use crate::render::text::harmless_json;

/// How long nothing may happen before it is asked whether the run still goes on.
const QUIET: Duration = Duration::from_secs(5);
/// How long a supervisor may take to go after the last record, and the pause between two looks.
const LAST_STEPS: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// A record for programs, with its line feed.
pub fn event_json(entry: &Entry) -> String {
    // What was read from a journal can be written.
    event_line(entry).map(|line| harmless_json(line.trim_end().to_owned()) + "\n").unwrap_or_default()
}

/// A place in the records of a run.
#[derive(Debug)]
pub struct Records<'a> {
    look: &'a Look,
    follow: Follow,
    pub header: Header,
    /// When to look again; `None`: what is there is all that is wanted.
    pace: Option<Pace>,
}

#[derive(Debug)]
struct Pace {
    watch: Watch,
    clock: Clock,
    /// Nothing more will come than what is there.
    over: bool,
}

/// What waiting for more came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There may be more now.
    Again,
    /// The limit has come.
    Late,
    /// Nothing more will come.
    Over,
}

impl<'a> Records<'a> {
    /// From the first record on. `follow`: more are to be waited for while the run goes on.
    pub fn open(look: &'a Look, follow: bool) -> Result<Self, LookError> {
        let journal = look.dir.journal();
        // The watch comes first: what happens after the look at the journal is told by it.
        let watch = follow.then(|| Watch::directory(look.dir.path())).transpose();
        let watch = watch.map_err(|source| unwatched(look, source))?;
        let mut pace = watch.map(|watch| Pace { watch, clock: Clock::start(), over: !look.runs.goes_on(&look.run) });
        let (follow, header) = loop {
            match (Follow::open(&journal), &mut pace) {
                (Ok(opened), _) => break opened,
                (Err(JournalError::Read { .. } | JournalError::NoHeader { .. }), Some(pace)) if !pace.over => {
                    pace.wait(look, QUIET)?;
                }
                (Err(error), _) => return Err(LookError::Past(PastError::Journal(error))),
            }
        };
        Ok(Self { look, follow, header, pace })
    }

    /// What there is now, or a part of it; empty: there is nothing more now.
    pub fn more(&mut self) -> Result<Vec<Entry>, LookError> {
        let entries = self.follow.more().map_err(|error| LookError::Past(PastError::Journal(error)))?;
        if let (Some(Entry { record, .. }), Some(pace)) = (entries.last(), &mut self.pace) {
            // A run that was taken up again goes on after its end; one whose supervisor is gone does not.
            pace.over =
                matches!(record.fact, Fact::RunEnded { .. }) || (pace.over && !self.look.runs.goes_on(&self.look.run));
        }
        Ok(entries)
    }

    /// Waits for more than [`Records::more`] gave, up to this moment of [`Records::now`].
    pub fn wait(&mut self, until: Option<Moment>) -> Result<Waited, LookError> {
        let Some(pace) = self.pace.as_mut().filter(|pace| !pace.over) else { return Ok(Waited::Over) };
        let rest = until.map_or(QUIET, |until| until.since(pace.clock.now()));
        if rest.is_zero() {
            return Ok(Waited::Late);
        }
        pace.wait(self.look, rest.min(QUIET))?;
        Ok(Waited::Again)
    }

    /// Milliseconds since the records were opened.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.pace.as_ref().map_or(Moment::ZERO, |pace| pace.clock.now())
    }

    /// After the last record, waits (bounded) until the supervisor is gone, so that the next run can
    /// begin.
    pub fn settle(&mut self) -> Result<(), LookError> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let end = pace.clock.now() + LAST_STEPS;
        while self.look.runs.goes_on(&self.look.run) && pace.clock.now() < end {
            pace.watch.wait(PAUSE).map_err(|source| unwatched(self.look, source))?;
        }
        Ok(())
    }
}

impl Pace {
    fn wait(&mut self, look: &Look, limit: Duration) -> Result<(), LookError> {
        let seen = self.watch.wait(limit).map_err(|source| unwatched(look, source))?;
        let journal = look.dir.journal();
        let closed = seen.closed.iter().any(|name| Some(name.as_os_str()) == journal.file_name());
        // A supervisor that is killed closes its journal, too.
        self.over = closed || (seen.quiet && !look.runs.goes_on(&look.run));
        Ok(())
    }
}

fn unwatched(look: &Look, source: std::io::Error) -> LookError {
    LookError::Past(PastError::Journal(JournalError::Read { path: look.dir.journal(), source }))
}

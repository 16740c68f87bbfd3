//! Views and records become text and JSON. Pure: the time, the zone and the width are arguments.
//!
//! Invariant: text that an agent, a file name or a tool made passes through [`text::printable`]
//! (or a path's own `Display`) before it is shown, so it can neither move the cursor nor forge a
//! line. Every kind in JSON is one of the words in [`reason`].
//!
//! Deliberately absent: writing to a terminal and deciding on colours (`cli`).

pub mod attention;
pub mod check;
pub mod conflict;
pub mod conflicts;
pub mod diagnostic;
pub mod event;
pub mod join;
pub mod json;
pub mod junit;
pub mod list;
pub mod patch;
pub mod phases;
pub mod reason;
pub mod rehearsal;
pub mod report;
pub mod resolved;
pub mod runs;
pub mod salvage;
pub mod status;
pub mod steer;
pub mod style;
pub mod summary;
pub mod table;
pub mod text;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::core::ids::{AttemptId, RunId};
use crate::core::moment::Moment;
use style::Palette;

/// What rendering a run has to know beside its records.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The wall time of [`Moment::ZERO`].
    pub start: Timestamp,
    /// The zone in which people read times.
    pub zone: TimeZone,
    /// The phases' names, by index; `None` for the one phase of a session without phases.
    pub phases: Vec<Option<String>>,
    /// The git directory as a person would type it, `.git`.
    pub git_dir: String,
    /// How git is called for this repository from where the person is: `git`, or `git -C DIR`.
    pub git: String,
    pub palette: Palette,
    /// Columns of the report; event lines are never cut.
    pub width: usize,
    /// Shown with the line that opens the run, say that commit hooks are not run.
    pub notes: Vec<String>,
}

impl Setting {
    /// The time of day of `moment`, `12:04:31`.
    #[must_use]
    pub fn clock(&self, moment: Moment) -> String {
        self.zone.to_datetime(wall(self.start, moment)).strftime("%H:%M:%S").to_string()
    }

    /// A phase as people call it: its name in quotes, else its number from 1.
    #[must_use]
    pub fn phase(&self, index: usize) -> String {
        match self.phases.get(index) {
            Some(Some(name)) => format!("`{}`", text::printable(name)),
            _ => (index + 1).to_string(),
        }
    }

    /// How supervise is called for this repository from where the person is, as [`Setting::git`].
    #[must_use]
    pub fn supervise(&self) -> String {
        self.git.replacen("git", "supervise", 1)
    }

    /// The folder of an attempt's log files.
    #[must_use]
    pub fn logs(&self, run: &RunId, id: &AttemptId) -> String {
        format!("{}/supervise/runs/{run}/agents/{}/{}", self.git_dir, id.agent, id.attempt)
    }
}

/// The wall time of `moment` in a run that began at `start`.
#[must_use]
pub fn wall(start: Timestamp, moment: Moment) -> Timestamp {
    let ms = i64::try_from(moment.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(start.as_millisecond().saturating_add(ms)).unwrap_or(Timestamp::MAX)
}

/// A day and a time in the zone in which people read them, `2026-11-24 12:04`.
#[must_use]
pub fn day_and_time(at: Timestamp, setting: &Setting) -> String {
    setting.zone.to_datetime(at).strftime("%Y-%m-%d %H:%M").to_string()
}

/// What `supervise salvage` calls the work that a reference keeps: `ID/ATTEMPT`, of another run than
/// `newest` `RUN/ID/ATTEMPT`.
#[must_use]
pub fn work_name<'r>(reference: &'r str, newest: Option<&RunId>) -> &'r str {
    let name = reference.strip_prefix("refs/supervise/attempts/").unwrap_or(reference);
    let own = newest.and_then(|run| name.strip_prefix(run.as_str())?.strip_prefix('/'));
    own.unwrap_or(name)
}

/// The reference that keeps the work of an attempt.
#[must_use]
pub fn attempt_reference(run: &RunId, id: &AttemptId) -> String {
    format!("refs/supervise/attempts/{run}/{}/{}", id.agent, id.attempt)
}

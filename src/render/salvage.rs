//! Kept work as a table and as a document.
//!
//! Invariant: every line begins with the name by which the other commands take it.

use jiff::Timestamp;
use serde::Serialize;

use super::json::VERSION;
use super::reason::{attempt_end_kind, attempt_end_text};
use super::style::Tone;
use super::table::{Cell, Column, table};
use super::text::plural;
use super::{Setting, day_and_time};
use crate::core::change::ObjectId;
use crate::core::ids::{AttemptId, RunId};
use crate::core::view::AttemptEnd;

/// The narrowest table that is made.
const MIN_WIDTH: usize = 60;
/// The fewest columns that a reason is cut to.
const LEAST: usize = 16;

/// The work of an attempt that did not complete.
#[derive(Clone, Debug)]
pub struct KeptView {
    pub run: RunId,
    pub id: AttemptId,
    pub reference: String,
    pub commit: ObjectId,
    /// Taken while the attempt ran; what it did later is not in it.
    pub checkpoint: bool,
    pub made: Timestamp,
    pub ended: AttemptEnd,
    pub lines: Lines,
}

/// How large changes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub files: usize,
    pub added: u64,
    pub removed: u64,
}

impl Lines {
    /// `+12 -3`
    #[must_use]
    pub fn text(self) -> String {
        format!("+{} -{}", self.added, self.removed)
    }
}

/// The table, several lines, each with its line feed. `supervise`: how it is called from here.
#[must_use]
pub fn salvage(kept: &[KeptView], setting: &Setting, supervise: &str) -> String {
    if kept.is_empty() {
        return "no work is kept: every attempt completed, or its work was applied or dropped\n".to_owned();
    }
    let columns = [
        ("WORK", Column::Whole),
        ("RUN", Column::Whole),
        ("KEPT", Column::Whole),
        ("FILES", Column::Number),
        ("LINES", Column::Number),
        ("WHY IT IS NOT COMMITTED", Column::Cut(LEAST)),
    ];
    let row = |kept: &KeptView| {
        let checkpoint = if kept.checkpoint { "a checkpoint; " } else { "" };
        let why = format!("{checkpoint}{}", attempt_end_text(&kept.ended, setting));
        vec![
            Cell::from(name(&kept.id)),
            Cell::toned(Tone::Quiet, kept.run.as_str()),
            day_and_time(kept.made, setting).into(),
            kept.lines.files.to_string().into(),
            kept.lines.text().into(),
            why.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = kept.iter().map(row).collect();
    let mut lines = table(&columns, &rows, setting.width.max(MIN_WIDTH), setting.palette);
    lines.push(String::new());
    let work = plural(kept.len(), "attempt's work is", "attempts' work is");
    lines.push(format!("{work} kept: {supervise} salvage show|apply|drop WORK"));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// `ID/ATTEMPT`
#[must_use]
pub fn name(id: &AttemptId) -> String {
    format!("{}/{}", id.agent, id.attempt)
}

/// What `salvage list --format json` prints.
#[derive(Debug, Serialize)]
pub struct SalvageDocument {
    version: u32,
    salvage: Vec<KeptDocument>,
}

#[derive(Debug, Serialize)]
struct KeptDocument {
    run: String,
    agent: String,
    attempt: u32,
    reference: String,
    commit: String,
    checkpoint: bool,
    at: String,
    reason: Option<Reason>,
    files: usize,
    added: u64,
    removed: u64,
}

#[derive(Debug, Serialize)]
struct Reason {
    kind: &'static str,
    text: String,
}

#[must_use]
pub fn document(kept: &[KeptView], setting: &Setting) -> SalvageDocument {
    let one = |kept: &KeptView| KeptDocument {
        run: kept.run.to_string(),
        agent: kept.id.agent.to_string(),
        attempt: kept.id.attempt.0,
        reference: kept.reference.clone(),
        commit: kept.commit.to_string(),
        checkpoint: kept.checkpoint,
        at: kept.made.to_string(),
        reason: attempt_end_kind(&kept.ended).map(|kind| Reason { kind, text: attempt_end_text(&kept.ended, setting) }),
        files: kept.lines.files,
        added: kept.lines.added,
        removed: kept.lines.removed,
    };
    SalvageDocument { version: VERSION, salvage: kept.iter().map(one).collect() }
}

/// What `salvage show`, `apply` and `drop` print for programs.
#[derive(Debug, Serialize)]
pub struct WorkDocument<T> {
    version: u32,
    #[serde(flatten)]
    work: Work,
    #[serde(flatten)]
    more: T,
}

/// Which work.
#[derive(Clone, Debug, Serialize)]
pub struct Work {
    run: String,
    agent: String,
    attempt: u32,
    commit: String,
}

impl Work {
    #[must_use]
    pub fn of(run: &RunId, id: &AttemptId, commit: &ObjectId) -> Self {
        Self { run: run.to_string(), agent: id.agent.to_string(), attempt: id.attempt.0, commit: commit.to_string() }
    }

    /// The document of this work, with what there is to say of it.
    #[must_use]
    pub fn with<T: Serialize>(self, more: T) -> WorkDocument<T> {
        WorkDocument { version: VERSION, work: self, more }
    }
}

/// What `salvage drop --format json` prints.
#[derive(Debug, Serialize)]
pub struct DroppedDocument {
    version: u32,
    dropped: Vec<Work>,
}

#[must_use]
pub fn dropped(dropped: Vec<Work>) -> DroppedDocument {
    DroppedDocument { version: VERSION, dropped }
}

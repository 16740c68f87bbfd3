//! The record of a run on disk: JSON Lines, appended and synced before anything is done.
//!
//! Invariant: every line ends in a checksum over the rest of it, sequence numbers have no gap, and
//! what a reader gives back is always a prefix of what was written. An effect can be taken only out
//! of a [`Committed`], which only a completed sync of its records makes; but for those that mean nothing
//! once the machine has gone down.
//!
//! Deliberately absent: what the records mean (`core`), when to sync and on which thread (`host`),
//! text for people (`render`).

mod follow;
mod forms;
mod gate;
mod line;
mod plan;
mod read;
mod reasons;
mod wire;
mod write;

pub use follow::Follow;
pub use line::{Entry, Header, MAX_LINE, VERSION, event_line};
pub use plan::{KeptPlan, PLAN_VERSION, PlanError, read_plan, write_plan};
pub use read::{Extent, Replay, Torn, read, read_each};
pub use write::{Appended, Committed, Journal, SyncPoint, Synced};

use std::io;
use std::path::PathBuf;

/// Why a journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{} cannot be created", .path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("{} cannot be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The disk or the quota is full; nothing of the batch stays in the file.
    #[error("no space left for {}", .path.display())]
    NoSpace { path: PathBuf, source: io::Error },
    #[error("{} cannot be written", .path.display())]
    Write { path: PathBuf, source: io::Error },
    /// After a failed sync the kernel may have dropped what was written, so nothing more is appended.
    #[error("{} may have lost records, because writing them to the disk failed", .path.display())]
    Sync { path: PathBuf, source: io::Error },
    /// An earlier failure left the end of the file unknown.
    #[error("{} is not written any more after an earlier failure", .path.display())]
    Poisoned { path: PathBuf },
    #[error("a record of {size} bytes is longer than the journal takes ({MAX_LINE})")]
    TooLong { size: usize },
    #[error("a record cannot be written as JSON")]
    Encode { source: serde_json::Error },

    /// The run died before it could begin; nothing was started.
    #[error("{} has no complete first line: the run ended before it began", .path.display())]
    NoHeader { path: PathBuf },
    #[error("{} is not a journal of supervise", .path.display())]
    NotAJournal { path: PathBuf },
    #[error("{} has format version {found}; this program reads up to {VERSION}", .path.display())]
    NewerVersion { path: PathBuf, found: u32 },
    #[error("{}, line {line}: the checksum is wrong, and valid records follow", .path.display())]
    Damaged { path: PathBuf, line: u64 },
    #[error("{}, line {line}: record {found} where {expected} was due", .path.display())]
    Gap { path: PathBuf, line: u64, expected: u64, found: u64 },
    #[error("{}, line {line}: a record that this program cannot read", .path.display())]
    Unreadable { path: PathBuf, line: u64, source: serde_json::Error },
}

impl JournalError {
    /// What a person can do about it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoSpace { .. } => {
                "free some space; what ran is ended, its files are as they were left, and the records are complete"
            }
            Self::NewerVersion { .. } | Self::Unreadable { .. } => {
                "it was written by a newer supervise: use that version, or a newer one"
            }
            Self::Damaged { .. } | Self::Gap { .. } => {
                "the file was changed or the disk is faulty: restore it from a backup, or start a new run; \
                 commits and salvage of this run are kept under refs/supervise/"
            }
            Self::NoHeader { .. } => "nothing of that run was started: start a new one",
            Self::NotAJournal { .. } => "give the journal.jsonl of a run",
            Self::TooLong { .. } | Self::Encode { .. } => "this is a bug of supervise: please report it",
            Self::Create { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Sync { .. }
            | Self::Poisoned { .. } => "check the disk and the permissions of the repository's git directory",
        }
    }
}

impl miette::Diagnostic for JournalError {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        Some(Box::new(JournalError::help(self)))
    }
}

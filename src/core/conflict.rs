//! A write into another running agent's lock, from its detection to its verification.
//!
//! Invariant: a conflict is resolved once; what it leads to is told by its [`Resolution`] alone. The
//! write itself was refused, whatever the resolution.
//!
//! Deliberately absent: carrying a resolution out (`supervisor`).

use super::agent::OnConflict;
use super::change::Attribution;
use super::ids::{AgentId, AttemptId};
use super::path::RepoPath;

/// The number of a conflict in its run, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConflictId(pub u32);

impl std::fmt::Display for ConflictId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub conflict: ConflictId,
    pub path: RepoPath,
    /// Who wanted to write.
    pub writer: AttemptId,
    /// Who holds the lock.
    pub holder: AttemptId,
    /// How sure it is that the writer is the writer.
    pub attribution: Attribution,
}

/// What the two are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    pub lock: Lock,
    /// The pattern that the holder declared; `None`: it locked the very path at its first write.
    pub pattern: Option<String>,
    /// 1 is first, 5 is last.
    pub writer_priority: u8,
    pub holder_priority: u8,
    /// Did the holder's attempt start before the writer's?
    pub holder_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Exclusive,
    Late,
    Shared,
}

/// What is advised: the seed of every decision, and what a person is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommendation {
    /// Keep the holder, end the writer: it declared the file.
    KeepHolder,
    /// Keep the writer, end the holder: it has the higher priority, or started earlier.
    KeepWriter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The writer's attempt is ended, for good.
    EndWriter,
    /// The holder's attempt is ended, for good; the writer gets the path.
    EndHolder,
    /// The holder's attempt is ended and the agent waits at its rank; the writer gets the path.
    RequeueHolder,
    /// The writer's attempt is ended, and the agent waits behind the lock, which it now claims too.
    WriterWaits,
    /// The write was refused; both live.
    Refused,
    /// One of the two ended before anybody decided.
    Moot,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The writer's `on_conflict`.
    Policy(OnConflict),
    /// Somebody, by `supervise resolve`.
    Person,
    /// Nobody had to.
    Nobody,
}

/// What the contested file was found to be afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Byte for byte what the kept agent (or HEAD) left, without conflict markers.
    Clean,
    /// Something else.
    Changed,
    /// It holds conflict markers.
    Markers,
    /// It could not be looked at (bounded text).
    Unknown { error: String },
}

/// How somebody wants a conflict resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Keep the one, end the other.
    Keep { keep: AgentId, terminate: AgentId },
    /// Let the writer wait behind the lock.
    Wait,
}

/// Why a wish cannot be fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishRefusal {
    #[error("there is no conflict {0}")]
    Unknown(ConflictId),
    #[error("no conflict is open")]
    NoneOpen,
    #[error("{0} conflicts are open: say which")]
    Several(usize),
    #[error("conflict {0} is resolved already")]
    Resolved(ConflictId),
    #[error("{0} is just being started: try again")]
    NotStarted(AgentId),
    #[error("conflict {conflict} is between {writer} and {holder}")]
    Others { conflict: ConflictId, writer: AgentId, holder: AgentId },
}

//! How a person steers a run that goes on, and what that comes to.
//!
//! Invariant: a wish is answered by what will follow from it, in a type, before anything is done.
//!
//! Deliberately absent: decisions about conflicts (`conflict`).

use super::ids::{AgentId, AttemptId};

/// How an agent is stopped; a later one goes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Its attempt may finish and be committed; there is no further one.
    Graceful,
    /// SIGTERM, the grace, SIGKILL.
    Orderly,
    /// SIGKILL.
    AtOnce,
}

impl Stop {
    pub const ALL: [Self; 3] = [Self::Graceful, Self::Orderly, Self::AtOnce];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "graceful",
            Self::Orderly => "orderly",
            Self::AtOnce => "at_once",
        }
    }
}

/// What a stop comes to for one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// No attempt of it runs, and none will.
    NotStarted,
    /// Its processes are being ended.
    Ending,
    /// Its attempt may finish; there is no further one.
    Finishing,
    /// It had ended before.
    Over,
}

impl Stopping {
    pub const ALL: [Self; 4] = [Self::NotStarted, Self::Ending, Self::Finishing, Self::Over];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Ending => "ending",
            Self::Finishing => "finishing",
            Self::Over => "over",
        }
    }
}

/// What `complete` comes to: who is not started any more, and who may finish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completing {
    pub skipped: Vec<AgentId>,
    pub running: Vec<AgentId>,
}

/// What a checkpoint that somebody asked for came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub id: AttemptId,
    pub outcome: Frozen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// Its work is this commit now.
    Commit(super::change::ObjectId),
    /// Nothing has changed since the checkpoint before, which is this commit; `None`: since it began.
    Unchanged(Option<super::change::ObjectId>),
    /// It could not be made, or the attempt ended before (one line).
    Failed(String),
}

/// From when on an agent may write what it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granting {
    /// It runs.
    Now,
    /// It waits.
    NextAttempt,
}

impl Granting {
    pub const ALL: [Self; 2] = [Self::Now, Self::NextAttempt];

    /// The word for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::NextAttempt => "next_attempt",
        }
    }
}

/// Why an agent cannot be granted more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefusal {
    #[error("{0} has ended")]
    Ended(AgentId),
    #[error("{0} is just ending")]
    Ending(AgentId),
    #[error("{0} may write that already")]
    Known(AgentId),
    #[error("it is git's own, where no agent may write")]
    Git,
    #[error("{by} has a lock on some of it")]
    Locked { by: AgentId },
    #[error("processes of {by} could not be ended, and {by} has a lock on some of it")]
    Haunted { by: AgentId },
    #[error("{by} is first in line for some of it")]
    Reserved { by: AgentId },
    #[error("{0} runs without the gate, so it can be given nothing before its next attempt")]
    Ungated(AgentId),
}

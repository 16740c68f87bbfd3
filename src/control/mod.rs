//! Talking to a running supervisor: what may be asked, what is answered, and the side that asks.
//!
//! Invariant: one connection carries one request and one reply, each one line of JSON with a version
//! (`wire`); after the reply to a subscription come lines to the end of the run. A line is bounded, and what cannot be understood is answered with a [`Rejection`].
//!
//! Deliberately absent: the side that answers (`host::control`) and what a request means for the run
//! (`core`).

mod client;
mod wire;

pub use client::{AskError, Lines, SOCKET, ask, subscribe};
pub use wire::{
    MAX_REPLY, MAX_REQUEST, VERSION, read_doing, read_reply, read_request, write_doing, write_reply, write_request,
};

use serde_json::Value;

use crate::core::claim::Pattern;
use crate::core::conflict::{ConflictId, Wish};
use crate::core::ids::AgentId;
use crate::core::newcomer::NewAgent;
use crate::core::steer::{Checkpoint, Completing, Granting, Stop, Stopping};

/// What can be asked of a running supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The document of the run as it is now.
    Status,
    /// The conflicts of that document.
    Conflicts,
    /// A decision about an open conflict; `conflict` may be left out where only one is open.
    Resolve { conflict: Option<ConflictId>, wish: Wish },
    /// End what the agent runs, so that its locks are free.
    ReleaseLocks { agent: AgentId },
    /// Stop these agents; `None`: the whole run.
    Stop { agents: Option<Vec<AgentId>>, how: Stop },
    /// Start nothing more, of the phase of this name or at all; let what runs finish.
    Complete { phase: Option<String> },
    /// Freeze now what this agent, or every agent that runs, has changed.
    Checkpoint { agent: Option<AgentId> },
    /// Let the agent write what this pattern matches, too.
    Grant { agent: AgentId, pattern: Pattern },
    /// Send every record from this number on, as it is written; and what agents are doing, if that is wanted.
    /// After the reply come the records, a line each.
    Subscribe { from: u64, doing: bool },
    /// Let this agent take part in the run.
    Register { agent: NewAgent },
}

/// What comes back when it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Status {
        run: Value,
    },
    Conflicts {
        conflicts: Value,
    },
    /// The decision is in the journal.
    Resolved {
        conflict: ConflictId,
    },
    /// Its end is in the journal; the locks are free when its processes are gone and its work is
    /// kept.
    Releasing {
        agent: AgentId,
    },
    /// It is in the journal; what it comes to for each of them.
    Stopping {
        agents: Vec<(AgentId, Stopping)>,
    },
    /// It is in the journal.
    Completing(Completing),
    /// They are made, or were found not to be needed.
    Checkpointed {
        checkpoints: Vec<Checkpoint>,
    },
    /// It is in the journal.
    Granted {
        from: Granting,
    },
    /// The records follow; `next` is the number of the first that is still to be written.
    Subscribed {
        run: String,
        next: u64,
    },
    /// It is in the journal.
    Registered {
        /// As in the document of the run, once it has been tried to start it.
        agent: Value,
        /// With whom it contends, and whose work it does again, as `check` tells it.
        contested: Value,
        duplicates: Value,
    },
}

/// Why a request was not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Rejection {
    pub kind: RejectionKind,
    /// For people; one line.
    pub text: String,
}

impl Rejection {
    pub fn new(kind: RejectionKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// The words of the `kind` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// No request at all, or a field of it is missing or wrong.
    BadRequest,
    UnknownKind,
    /// The request is of a later version than the supervisor.
    WrongVersion,
    TooLarge,
    /// The request did not come in time.
    TooSlow,
    /// Who asks may not.
    NotAllowed,
    /// Too many ask at once.
    Busy,
    UnknownAgent,
    UnknownConflict,
    UnknownPhase,
    /// An agent is not as agents have to be.
    InvalidAgent,
    /// It is understood and cannot be done now.
    NotPossible,
    /// The run is ending.
    Ending,
}

impl RejectionKind {
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::UnknownKind,
        Self::WrongVersion,
        Self::TooLarge,
        Self::TooSlow,
        Self::NotAllowed,
        Self::Busy,
        Self::UnknownAgent,
        Self::UnknownConflict,
        Self::UnknownPhase,
        Self::InvalidAgent,
        Self::NotPossible,
        Self::Ending,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownKind => "unknown_kind",
            Self::WrongVersion => "wrong_version",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::NotAllowed => "not_allowed",
            Self::Busy => "busy",
            Self::UnknownAgent => "unknown_agent",
            Self::UnknownConflict => "unknown_conflict",
            Self::UnknownPhase => "unknown_phase",
            Self::InvalidAgent => "invalid_agent",
            Self::NotPossible => "not_possible",
            Self::Ending => "ending",
        }
    }
}

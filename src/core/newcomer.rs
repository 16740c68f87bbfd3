//! An agent that somebody adds: what they say of it, and why it may not join a run.
//!
//! Invariant: what is said is text that nobody has looked at yet; [`super::agent::AgentPlan`] is what comes of
//! it.
//!
//! Deliberately absent: reading it (`session`), and what joining changes (`supervisor`).

use super::ids::AgentId;
use super::reason::{Interrupt, Limit};
use super::record::StopCause;

/// What an `[[agent]]` section is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAgent {
    pub id: String,
    pub name: Option<String>,
    pub phase: Option<String>,
    pub priority: Option<u8>,
    pub runner: Option<String>,
    pub work: Work,
    pub files: Vec<String>,
    pub late: Vec<String>,
    pub reads: Vec<String>,
    pub depends_on: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    Prompt(String),
    Command(Vec<String>),
}

impl Default for Work {
    fn default() -> Self {
        Self::Prompt(String::new())
    }
}

/// Why an agent cannot join a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinRefusal {
    #[error("there is an agent `{0}` in this run already")]
    Known(AgentId),
    #[error("nothing more is started in this run: {}", cause(*.0))]
    Stopping(StopCause),
    #[error("all agents of this run have ended")]
    Over,
    #[error("its phase is over")]
    PhaseOver,
    #[error("nothing more of its phase is started: it was completed by hand")]
    PhaseClosing,
    #[error("its phase will not be opened, because an earlier one failed")]
    PhaseStopped,
    /// It would be skipped at once.
    #[error("{on}, which it depends on, has ended without completing")]
    DependencyFailed { on: AgentId },
    /// An agent that it waits for is not there, or of a later phase.
    #[error("{on}, which it depends on, does not come before it")]
    DependencyLater { on: AgentId },
    #[error("processes of {by} could not be ended, and {by} has a lock on some of what it claims")]
    Haunted { by: AgentId },
    #[error("a run takes at most {} agents", super::agent::MAX_AGENTS)]
    Full,
}

fn cause(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Interrupt(Interrupt::Asked) => "it was stopped by hand",
        StopCause::Interrupt(_) => "it was interrupted",
        StopCause::Complete => "it was completed by hand",
        StopCause::Limit(Limit::StopAt) => "`stop_at` has come",
        StopCause::Limit(Limit::Failures) => "`max_failures` is reached",
        StopCause::Limit(Limit::Tokens) => "`max_tokens` is reached",
    }
}

//! Exit codes and the errors that choose them.

use std::fmt;
use std::process::ExitCode;

use crate::core::reason::Interrupt;
use crate::core::record::RunOutcome;
use crate::session::SessionErrors;

/// Every way in which `supervise` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked; for `run`: every agent COMPLETED
    Success,
    /// 1: some agents did not complete
    AgentsFailed,
    /// 2: wrong usage, or an invalid session
    Invalid,
    /// 3: the workspace or the machine cannot be used
    Unusable,
    /// 4: nothing was selected
    NothingSelected,
    /// 5: completed, but with denied or unattributed paths (`--strict`)
    Strict,
    /// 124: `wait`: the time was over before the run (as timeout(1))
    TimedOut,
    /// 129: ended by SIGHUP
    Hangup,
    /// 130: ended by SIGINT
    Interrupted,
    /// 143: ended by SIGTERM, or by `stop --all`
    Terminated,
}

impl Exit {
    const ALL: [Self; 10] = [
        Self::Success,
        Self::AgentsFailed,
        Self::Invalid,
        Self::Unusable,
        Self::NothingSelected,
        Self::Strict,
        Self::TimedOut,
        Self::Hangup,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// How a run that ended so ends.
    #[must_use]
    pub fn of(outcome: RunOutcome) -> Self {
        match outcome {
            RunOutcome::Completed => Self::Success,
            RunOutcome::Failed => Self::AgentsFailed,
            RunOutcome::Interrupted(Interrupt::Hangup) => Self::Hangup,
            RunOutcome::Interrupted(Interrupt::Interrupt) => Self::Interrupted,
            RunOutcome::Interrupted(Interrupt::Terminate | Interrupt::Asked | Interrupt::Reset) => Self::Terminated,
        }
    }

    /// What another process of this program ended with.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::AgentsFailed => 1,
            Self::Invalid => 2,
            Self::Unusable => 3,
            Self::NothingSelected => 4,
            Self::Strict => 5,
            Self::TimedOut => 124,
            Self::Hangup => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A command that could not do what was asked: what to print, and the code to end with.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub what: What,
}

/// What a failure prints on standard error.
#[derive(Debug)]
pub enum What {
    /// One error, its causes, and what to do.
    Report(miette::Report),
    /// All that is wrong with a session.
    Session(Box<SessionErrors>),
    /// All that would be wrong with a session file if it were added to.
    Addition(Box<SessionErrors>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Report(report) => report.fmt(f),
            What::Session(errors) | What::Addition(errors) => errors.fmt(f),
        }
    }
}

impl Failure {
    pub fn new(exit: Exit, error: impl Into<miette::Report>) -> Self {
        Self { exit, what: What::Report(error.into()) }
    }

    /// A session that cannot be used: invalid, or nothing of it is selected.
    #[must_use]
    pub fn session(errors: SessionErrors) -> Self {
        let exit = if errors.nothing_selected() { Exit::NothingSelected } else { Exit::Invalid };
        Self { exit, what: What::Session(Box::new(errors)) }
    }
}

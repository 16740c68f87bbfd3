//! The states of an agent and the one list of legal steps between them.
//!
//! Invariant: no state of an agent changes but by [`State::may_become`], in the live run and in
//! recovery alike. The idea of one function for both is from `steno`'s saga log.

use std::fmt;

/// What people and JSON see; [`super::supervisor`] keeps richer data behind each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Registered,
    Waiting,
    Blocked,
    Running,
    Completing,
    Conflict,
    Completed,
    Timeout,
    Terminated,
    Failed,
    Skipped,
}

impl State {
    pub const ALL: [Self; 11] = [
        Self::Registered,
        Self::Waiting,
        Self::Blocked,
        Self::Running,
        Self::Completing,
        Self::Conflict,
        Self::Completed,
        Self::Timeout,
        Self::Terminated,
        Self::Failed,
        Self::Skipped,
    ];

    /// Is the step from this state to `next` legal?
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use State::{
            Blocked, Completed, Completing, Conflict, Failed, Registered, Running, Skipped, Terminated, Timeout,
            Waiting,
        };
        match self {
            Waiting | Blocked => {
                self != next && matches!(next, Waiting | Blocked | Running | Skipped | Terminated | Failed)
            }
            Running => matches!(next, Completing | Conflict | Timeout | Failed | Terminated | Waiting),
            Conflict => matches!(next, Running | Completing | Timeout | Failed | Terminated | Waiting),
            Completing => matches!(next, Completed | Failed | Terminated | Waiting),
            Registered | Timeout | Failed | Terminated | Skipped => matches!(next, Waiting),
            Completed => false,
        }
    }

    /// Has the agent ended (it may still be retried)?
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Timeout | Self::Terminated | Self::Failed | Self::Skipped)
    }

    /// The word as users see it, `RUNNING`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "REGISTERED",
            Self::Waiting => "WAITING",
            Self::Blocked => "BLOCKED",
            Self::Running => "RUNNING",
            Self::Completing => "COMPLETING",
            Self::Conflict => "CONFLICT",
            Self::Completed => "COMPLETED",
            Self::Timeout => "TIMEOUT",
            Self::Terminated => "TERMINATED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole table, one row a state: `.` no, `x` yes, columns in the order of [`State::ALL`].
    #[test]
    fn the_legal_steps_are_these() {
        let table = [
            // Reg Wai Blo Run Cpl Con Cmp Tim Ter Fai Ski
            (State::Registered, ".x........."),
            (State::Waiting, "..xx....xxx"),
            (State::Blocked, ".x.x....xxx"),
            (State::Running, ".x..xx.xxx."),
            (State::Completing, ".x....x.xx."),
            (State::Conflict, ".x.xx..xxx."),
            (State::Completed, "..........."),
            (State::Timeout, ".x........."),
            (State::Terminated, ".x........."),
            (State::Failed, ".x........."),
            (State::Skipped, ".x........."),
        ];
        for (from, row) in table {
            let got: String = State::ALL.iter().map(|to| if from.may_become(*to) { 'x' } else { '.' }).collect();
            assert_eq!(got, row, "{from}");
        }
    }

    #[test]
    fn only_ends_are_ends() {
        let ends: Vec<&str> = State::ALL.iter().filter(|s| s.is_end()).map(|s| s.as_str()).collect();
        assert_eq!(ends, ["COMPLETED", "TIMEOUT", "TERMINATED", "FAILED", "SKIPPED"]);
    }
}

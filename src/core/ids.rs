//! Names of things in a run: agents, runs, attempts, slots, runners.
//!
//! Invariant: a value of one of these types is always well formed; parsing is the only way in.

use std::fmt;
use std::sync::Arc;

/// The longest agent id, in bytes.
pub const MAX_AGENT_ID: usize = 64;

/// An agent's id: `[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*`, at most [`MAX_AGENT_ID`] bytes,
/// not ending in `.lock` (it becomes part of a git reference name; see git-check-ref-format(1)).
///
/// Cloning is cheap: every record carries one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(Arc<str>);

/// Why a text is not an agent id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgentIdError {
    #[error("an id may not be empty")]
    Empty,
    #[error("an id has at most {MAX_AGENT_ID} characters")]
    TooLong,
    #[error("an id starts with a letter or a digit")]
    BadStart,
    #[error("an id has only letters, digits, `_`, `-` and single inner `.`")]
    BadCharacter,
    #[error("an id may not end in `.lock`")]
    LockSuffix,
}

impl AgentId {
    /// Checks `text` against the grammar of ids.
    pub fn new(text: &str) -> Result<Self, AgentIdError> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if text.is_empty() {
            return Err(AgentIdError::Empty);
        }
        if text.len() > MAX_AGENT_ID {
            return Err(AgentIdError::TooLong);
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(AgentIdError::BadStart);
        }
        if text.split('.').any(|part| part.is_empty() || !part.chars().all(word)) {
            return Err(AgentIdError::BadCharacter);
        }
        if text.as_bytes().ends_with(b".lock") {
            return Err(AgentIdError::LockSuffix);
        }
        Ok(Self(Arc::from(text)))
    }

    /// `agent-7`: stands in for an id that cannot be had.
    #[must_use]
    pub fn numbered(number: u32) -> Self {
        Self(Arc::from(format!("agent-{number}")))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A run's id: the UTC time of its start and a few random digits, `20260131T142501-4f2a`.
/// Sorts by time. Used as a directory name and in reference names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(Arc<str>);

impl RunId {
    /// `text` must be non-empty and made of ASCII letters, digits and `-`; anything else is `None`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (!text.is_empty() && text.len() <= 64 && text.chars().all(good)).then(|| Self(Arc::from(text)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The name of a runner: `codex`, `claude`, `command`, or a `[runner.NAME]` of the session file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerName(Arc<str>);

impl RunnerName {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The number of one try at an agent's work, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

impl Attempt {
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A place among the agents that run at once, `0..max_concurrent`; no two live attempts share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// One attempt of one agent: what every effect and every answer is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    pub agent: AgentId,
    pub attempt: Attempt,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.agent, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(), AgentIdError>) {
        assert_eq!(AgentId::new(text).map(drop), expected, "{text:?}");
    }

    #[test]
    fn ids_follow_their_grammar() {
        check("a", Ok(()));
        check("agent-1-backend.api_v2", Ok(()));
        check("9lives", Ok(()));
        check("", Err(AgentIdError::Empty));
        check("-a", Err(AgentIdError::BadStart));
        check(".a", Err(AgentIdError::BadStart));
        check("a..b", Err(AgentIdError::BadCharacter));
        check("a.", Err(AgentIdError::BadCharacter));
        check("a b", Err(AgentIdError::BadCharacter));
        check("ä", Err(AgentIdError::BadStart));
        check("a/b", Err(AgentIdError::BadCharacter));
        check("x.lock", Err(AgentIdError::LockSuffix));
        check(&"a".repeat(64), Ok(()));
        check(&"a".repeat(65), Err(AgentIdError::TooLong));
    }
}

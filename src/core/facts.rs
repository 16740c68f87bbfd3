//! What a verdict has to know of a path beyond the claims: what is there, and what git thinks of it.
//!
//! Invariant: facts are of one moment, found by the host before the question is put; a tracked path is
//! never ignored, whatever the rules say.

use super::call::There;
use super::path::RepoPath;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// What is there now; links are not followed.
    pub there: There,
    pub ignored: Ignored,
}

/// Does git ignore the path?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is tracked, or no rule matches it.
    No,
    /// It alone is ignored; the directory that it is in is not.
    File,
    /// The topmost ignored directory that it lies in, or is: all beneath is ignored, nothing tracked.
    Beneath(RepoPath),
}

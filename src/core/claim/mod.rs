//! What an agent declares, and whether two declarations can meet.
//!
//! Invariant: a [`Claim`] holds only patterns that parse, stay in the workspace, and mean what the
//! session file's documentation says; overlap is decided exactly, on the patterns' automata.

mod automaton;
mod contested;
mod pattern;
mod suggest;
mod syntax;
mod walk;

pub use contested::{Contest, Contested, Limits, contested};
pub use pattern::Pattern;
pub use suggest::Lacking;
pub use syntax::{MAX_PATTERN, MAX_WILD, PatternError};

use super::path::RepoPath;

/// What an agent may do to which paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// May write; nobody else may read or write under a lock meanwhile.
    pub exclusive: Vec<Pattern>,
    /// May write; locked at the first write, held to the end.
    pub late: Vec<Pattern>,
    /// Needs unchanged while it runs.
    pub shared: Vec<Pattern>,
    /// Never writes, whatever else matches.
    pub deny: Vec<Pattern>,
}

/// Two patterns of two agents that can meet, and a path at which they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    pub left: Pattern,
    pub right: Pattern,
    pub example: RepoPath,
}

impl Claim {
    /// Does it lock nothing at the start?
    #[must_use]
    pub fn takes_no_lock(&self) -> bool {
        self.exclusive.is_empty() && self.shared.is_empty()
    }

    /// Locks from the start what is to be locked at the first write: where there is no gate, nobody is asked then, and
    /// two that may write one path at once could not be told apart.
    pub fn lock_late_at_start(&mut self) {
        self.exclusive.append(&mut self.late);
    }

    /// Is `path` in the exclusive part (and not denied)?
    #[must_use]
    pub fn exclusive_matches(&self, path: &RepoPath) -> bool {
        any(&self.exclusive, path) && !any(&self.deny, path)
    }

    /// Is `path` in the late part (and not denied)?
    #[must_use]
    pub fn late_matches(&self, path: &RepoPath) -> bool {
        any(&self.late, path) && !any(&self.deny, path)
    }

    /// Is `path` in what is locked as soon as the agent starts?
    #[must_use]
    pub fn locks(&self, path: &RepoPath) -> bool {
        self.exclusive_matches(path) || any(&self.shared, path)
    }

    /// Could something beneath this directory be written under the claim?
    #[must_use]
    pub fn reaches_beneath(&self, directory: &RepoPath) -> bool {
        self.meets(&Pattern::beneath(directory))
    }

    /// Is something in the directory of this path matched by what may be written?
    #[must_use]
    pub fn reaches_beside(&self, path: &RepoPath) -> bool {
        self.meets(&Pattern::beside(path))
    }

    fn meets(&self, place: &Pattern) -> bool {
        self.exclusive.iter().chain(&self.late).any(|pattern| pattern.overlap(place).is_some())
    }

    /// Is something beneath this directory locked by it from the start, exclusive or shared?
    #[must_use]
    pub fn locks_beneath(&self, directory: &RepoPath) -> bool {
        let place = Pattern::beneath(directory);
        self.exclusive.iter().chain(&self.shared).any(|pattern| pattern.overlap(&place).is_some())
    }

    /// May the two not hold their locks at once? Exclusive excludes everything that overlaps,
    /// shared excludes exclusive; late takes no part (it is locked at the first write).
    #[must_use]
    pub fn excludes(&self, other: &Self) -> bool {
        self.first_overlap(other).is_some()
    }

    /// The first pair of patterns for which [`Claim::excludes`] holds.
    #[must_use]
    pub fn first_overlap(&self, other: &Self) -> Option<Overlap> {
        let pairs =
            [(&self.exclusive, &other.exclusive), (&self.exclusive, &other.shared), (&self.shared, &other.exclusive)];
        pairs.into_iter().find_map(|(left, right)| {
            left.iter().find_map(|l| {
                right.iter().find_map(|r| {
                    let example = l.overlap(r)?;
                    Some(Overlap { left: l.clone(), right: r.clone(), example })
                })
            })
        })
    }
}

fn any(patterns: &[Pattern], path: &RepoPath) -> bool {
    patterns.iter().any(|p| p.matches(path))
}

//! What is known of a path of the workspace beyond its name: what is there, what git thinks of it, and
//! how an attempt's measurement and the check of a contested file come out.
//!
//! Invariant: facts are of one moment. Whoever decides by them does so while the writer waits, or looks
//! again.
//!
//! Deliberately absent: how they are found (`host::git`), and what follows from them (`verdict`).

use super::call::There;
use super::change::{Change, Entry};
use super::path::RepoPath;

/// What a verdict about a path rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// What is there now; links are not followed.
    pub there: There,
    pub ignored: Ignored,
}

/// Does git ignore it? Never what is tracked, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// It is tracked, or no rule matches it.
    No,
    /// It alone: its directory is not ignored, or holds something tracked.
    File,
    /// It is this directory or lies in it, the topmost one that is ignored and holds nothing tracked.
    Beneath(RepoPath),
    /// No, but it is this directory or lies in it, which has the temporary name of a directory that would be.
    /// Tools that make a directory whole (cargo its `target`) do so under such a name, and rename it then.
    Making(RepoPath),
}

/// How far the events about an attempt can be trusted to be all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// Every path outside its claim that it touched is known.
    None,
    /// Something may have been missed anywhere.
    Whole,
}

/// What a measurement found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Against the attempt's baseline: its claim, and the paths that it was let on to later.
    pub own: Vec<Change>,
    /// Elsewhere, against HEAD: not as it was when the run was opened. Whose it is remains to be judged.
    pub beyond: Vec<Change>,
}

/// What a contested file should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// What HEAD has there, be it nothing.
    Head,
    Entry(Entry),
    Nothing,
}

/// What a contested file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// It is what was expected, byte for byte, kind and executable bit included.
    pub same: bool,
    /// Its text holds the three lines that an unresolved merge leaves, in their order.
    pub markers: bool,
}

impl Verified {
    #[must_use]
    pub fn is_good(self) -> bool {
        self.same && !self.markers
    }
}

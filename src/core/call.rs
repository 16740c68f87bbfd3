//! A gated call: what a process is about to do to paths of the workspace, and what it is told.
//!
//! Invariant: one call names at most [`MAX_TARGETS`] paths at a time; each of them needs a verdict of
//! its own, and the call goes through only if all of them allow it.
//!
//! Deliberately absent: system call numbers, descriptors and how a path is resolved (`shim::gate`).

use super::path::RepoPath;

/// The most paths that one question carries. Renaming a directory concerns every path beneath it:
/// such a call is asked about in portions.
pub const MAX_TARGETS: usize = 256;

/// A call that waits for its answer, numbered by its shim; unique within one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One path that a call concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub path: RepoPath,
    pub touch: Touch,
    /// What is at the path as the call is made.
    pub there: There,
}

/// What a call would do to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touch {
    /// Open it for writing, creating or emptying it where the flags say so.
    Open,
    /// Make a symbolic link, the second name of a file, or a node.
    Make,
    MakeDirectory,
    /// It is the new name of a rename.
    MoveIn,
    /// It is the old name of a rename.
    MoveOut,
    Remove,
    RemoveDirectory,
    /// It gets a second name, through which it could be written.
    Alias,
    /// Length (truncate(2)), mode, owner, times, attributes.
    Change,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum There {
    Nothing,
    Directory,
    /// A regular file, a symbolic link that is itself meant, or anything else with content.
    File,
}

/// What a process that waits is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The call goes on.
    Allow,
    /// EACCES: not yours.
    Refuse,
    /// EBUSY: somebody else's at this moment, or changed since you looked; read again, then retry.
    Busy,
}

/// What a tree need not ask about again while its attempt lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// This very path.
    Path(RepoPath),
    /// Everything beneath this directory, and the directory.
    Beneath(RepoPath),
}

/// A call that a shim refused by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The path, as far as it is known; bounded.
    pub path: RefusedPath,
    pub touch: Touch,
    pub why: RefusalReason,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedPath {
    /// A path of the workspace.
    Inside(RepoPath),
    /// Any other, as text for people.
    Other(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalReason {
    /// It belongs to git, or to the supervisor.
    Git,
    /// It lies in another repository that is in the tree (a submodule, say), or is one.
    Nested,
    /// The agent's `deny` matches it.
    Denied,
    /// Where the call would write could not be found out.
    Unresolved,
    /// The supervisor did not answer in time.
    NoAnswer,
    /// The tree is being ended.
    Ending,
    /// It changed through somebody else; EBUSY, once.
    Stale,
    /// A directory with more paths beneath it than can be judged at once.
    TooLarge,
}

/// How often things happened to a path: what the gate let through, or what the watch saw. Each field
/// corresponds to an event of inotify(7), so that the two can be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `IN_CLOSE_WRITE`: opened for writing, then closed.
    pub closes: u32,
    /// `IN_CREATE`
    pub creates: u32,
    /// `IN_MOVED_TO`
    pub moves_in: u32,
    /// `IN_MOVED_FROM`
    pub moves_out: u32,
    /// `IN_DELETE`
    pub deletes: u32,
}

impl Tally {
    /// What the watch will see of a call that was let through and succeeds.
    #[must_use]
    pub fn of(touch: Touch, there: There) -> Self {
        let none = Self::default();
        match touch {
            Touch::Open => Self { closes: 1, creates: u32::from(there == There::Nothing), ..none },
            Touch::Make | Touch::MakeDirectory => Self { creates: 1, ..none },
            Touch::MoveIn => Self { moves_in: 1, ..none },
            Touch::MoveOut => Self { moves_out: 1, ..none },
            Touch::Remove | Touch::RemoveDirectory => Self { deletes: 1, ..none },
            Touch::Alias | Touch::Change => none,
        }
    }

    pub fn add(&mut self, other: Self) {
        let sum = u32::saturating_add;
        self.closes = sum(self.closes, other.closes);
        self.creates = sum(self.creates, other.creates);
        self.moves_in = sum(self.moves_in, other.moves_in);
        self.moves_out = sum(self.moves_out, other.moves_out);
        self.deletes = sum(self.deletes, other.deletes);
    }

    /// What is in it beyond `other`, field by field; nothing where `other` has more.
    #[must_use]
    pub fn beyond(self, other: Self) -> Self {
        let rest = u32::saturating_sub;
        Self {
            closes: rest(self.closes, other.closes),
            creates: rest(self.creates, other.creates),
            moves_in: rest(self.moves_in, other.moves_in),
            moves_out: rest(self.moves_out, other.moves_out),
            deletes: rest(self.deletes, other.deletes),
        }
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_call_explains_is_not_beyond_it() {
        let mut allowed = Tally::of(Touch::Open, There::Nothing);
        allowed.add(Tally::of(Touch::Open, There::File));
        let mut seen = Tally { closes: 2, creates: 1, ..Tally::default() };
        assert!(seen.beyond(allowed).is_empty());
        seen.closes += 1;
        assert_eq!(seen.beyond(allowed), Tally { closes: 1, ..Tally::default() });
        assert!(Tally::of(Touch::Change, There::File).is_empty());
    }
}

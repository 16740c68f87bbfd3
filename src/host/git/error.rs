//! What can go wrong between us and a repository.
//!
//! Invariant: texts are lowercase fragments without the source's own text; what came out of a `git`
//! process is bounded.

use std::io;
use std::path::PathBuf;

use crate::core::ids::AttemptId;

/// Why an operation on the repository failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("`{}` is not in a git repository", dir.display())]
    NotARepository { dir: PathBuf },
    #[error("the repository `{}` is bare: it has no working tree", dir.display())]
    Bare { dir: PathBuf },
    #[error("the repository `{}` belongs to another user, so git does not use it", dir.display())]
    NotOurs { dir: PathBuf },
    #[error("git does not know who commits: set user.name and user.email")]
    NoIdentity,
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{what}: {}", source.message())]
    Libgit2 { what: String, source: git2::Error },
    /// `git` itself failed; `text` is the end of what it said.
    #[error("`git {what}` failed: {text}")]
    Command { what: String, text: String },
    #[error("the index of the repository cannot be read: {0}")]
    Index(&'static str),
    #[error("the object {0} is damaged")]
    Object(String),
    #[error("the baseline of {0} is missing or damaged")]
    NoBaseline(AttemptId),
    #[error("the branch `{name}` cannot be switched to: {why}")]
    Switch { name: String, why: String },
    #[error("`{}` stays taken: another git command is running, or one crashed and left it", path.display())]
    IndexLocked { path: PathBuf },
    #[error("the reference `{0}` is not what it was")]
    Moved(String),
    #[error("what was written to `{0}` was not kept")]
    NotKept(String),
    #[error("a file is changing while it is read: `{0}`")]
    Unsteady(String),
}

impl GitError {
    /// Wraps an error of libgit2 with what was being done.
    pub(super) fn lib(what: impl Into<String>) -> impl FnOnce(git2::Error) -> Self {
        let what = what.into();
        move |source| Self::Libgit2 { what, source }
    }

    /// Does the disk take nothing more, so that trying again is of use once it does?
    #[must_use]
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_of_disk(source),
            error => says_disk(&error.to_string()),
        }
    }

    /// Wraps an error of the system with what was being done.
    pub(super) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source: source.into() }
    }
}

/// Is the disk or the quota full, or the file system read-only?
#[must_use]
pub fn is_of_disk(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | FileTooLarge)
}

/// The same of what an error says (strerror(3), which libgit2 and git cite).
#[must_use]
pub fn says_disk(text: &str) -> bool {
    ["No space left on device", "Disk quota exceeded", "Read-only file system"].iter().any(|said| text.contains(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_disk_is_known_however_it_is_told() {
        let check = |error: GitError, expected: bool| assert_eq!(error.is_of_disk(), expected, "{error}");
        for (number, expected) in [(28, true), (30, true), (122, true), (27, true), (13, false), (2, false)] {
            check(GitError::io("writing")(io::Error::from_raw_os_error(number)), expected);
        }
        let lib = |text: &str| GitError::lib("writing")(git2::Error::from_str(text));
        check(lib("failed to write loose object: No space left on device"), true);
        check(lib("the object is not there"), false);
        let command = |text: &str| GitError::Command { what: "commit-tree".to_owned(), text: text.to_owned() };
        check(command("fatal: unable to create 'x': Read-only file system"), true);
        check(command("fatal: not a tree"), false);
    }
}

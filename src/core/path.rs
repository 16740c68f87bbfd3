//! Paths inside the workspace.
//!
//! Invariant: a [`RepoPath`] is relative, has at least one component, and no component is empty,
//! `.`, `..` or holds a NUL byte, so joining one to the workspace root cannot leave it by name.
//! Names are bytes, as Linux has them. (Symbolic links on the way are the business of whoever
//! opens the path.)

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A path of the workspace, relative to its root, `/`-separated, in bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(Arc<[u8]>);

/// Why some bytes are not a [`RepoPath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RepoPathError {
    #[error("the path is empty")]
    Empty,
    #[error("the path is absolute")]
    Absolute,
    #[error("the path has an empty or `.` component")]
    EmptyComponent,
    #[error("the path has a `..` component")]
    ParentComponent,
    #[error("the path holds a NUL byte")]
    Nul,
}

impl RepoPath {
    /// Takes the bytes of a normal relative path; nothing is cleaned up.
    pub fn new(bytes: &[u8]) -> Result<Self, RepoPathError> {
        if bytes.is_empty() {
            return Err(RepoPathError::Empty);
        }
        if bytes[0] == b'/' {
            return Err(RepoPathError::Absolute);
        }
        if bytes.contains(&0) {
            return Err(RepoPathError::Nul);
        }
        for part in bytes.split(|b| *b == b'/') {
            match part {
                b"" | b"." => return Err(RepoPathError::EmptyComponent),
                b".." => return Err(RepoPathError::ParentComponent),
                _ => {}
            }
        }
        Ok(Self(Arc::from(bytes)))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As a path to be joined to the workspace root.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The directory that holds it; `None` at the root of the workspace.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|b| *b == b'/')?;
        Some(Self(Arc::from(&self.0[..cut])))
    }

    /// Is it `dir` itself or something beneath it?
    #[must_use]
    pub fn is_within(&self, dir: &Self) -> bool {
        self.0.strip_prefix(&*dir.0).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl fmt::Display for RepoPath {
    /// Printable on one line of a terminal: control characters and bytes that are not UTF-8 are
    /// escaped (`\n`, `\xff`), so a file name can neither forge a line nor move the cursor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?;
                } else {
                    write!(f, "{c}")?;
                }
            }
            for b in chunk.invalid() {
                write!(f, "\\x{b:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<&str, RepoPathError>) {
        let got = RepoPath::new(bytes).map(|p| p.to_string());
        assert_eq!(got.as_deref().map_err(|e| *e), expected, "{bytes:?}");
    }

    #[test]
    fn only_paths_that_stay_inside_are_paths() {
        check(b"a", Ok("a"));
        check(b"a/b c/d", Ok("a/b c/d"));
        check(b"a\nb/\xff", Ok("a\\nb/\\xff"));
        check(b"...", Ok("..."));
        check(b"", Err(RepoPathError::Empty));
        check(b"/a", Err(RepoPathError::Absolute));
        check(b"a//b", Err(RepoPathError::EmptyComponent));
        check(b"a/", Err(RepoPathError::EmptyComponent));
        check(b"./a", Err(RepoPathError::EmptyComponent));
        check(b"a/../b", Err(RepoPathError::ParentComponent));
        check(b"a\0b", Err(RepoPathError::Nul));
    }

    #[test]
    fn parents_and_containment() {
        let p = RepoPath::new(b"a/b/c").unwrap();
        assert_eq!(p.parent(), RepoPath::new(b"a/b").ok());
        assert_eq!(RepoPath::new(b"a").unwrap().parent(), None);
        assert!(p.is_within(&RepoPath::new(b"a").unwrap()));
        assert!(p.is_within(&p));
        assert!(!RepoPath::new(b"ab/c").unwrap().is_within(&RepoPath::new(b"a").unwrap()));
    }
}

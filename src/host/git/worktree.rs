//! Which of its repository's working trees one is, for whoever comes back to it from another (git-worktree(1)).

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::Repository;

/// A working tree, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worktree {
    /// Its own git directory, beneath the common one; empty: the main working tree.
    pub id: PathBuf,
    /// Where it was.
    pub path: PathBuf,
}

impl Worktree {
    /// Both, with a NUL byte between them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.id.as_os_str().as_bytes(), b"\0", self.path.as_os_str().as_bytes()].concat()
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let at = bytes.iter().position(|byte| *byte == 0)?;
        let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
        Some(Self { id: path(&bytes[..at]), path: path(&bytes[at + 1..]) })
    }
}

impl Repository {
    /// This working tree.
    #[must_use]
    pub fn worktree(&self) -> Worktree {
        let id = self.git_dir.strip_prefix(&self.common_dir).unwrap_or(&self.git_dir).to_owned();
        Worktree { id, path: self.workspace().to_owned() }
    }

    /// The same repository in that working tree; an error, with this one: it is gone.
    pub fn in_worktree(self, wanted: &Worktree) -> Result<Self, Box<Self>> {
        if self.worktree().id == wanted.id {
            return Ok(self);
        }
        self.sibling(wanted).ok_or_else(|| Box::new(self))
    }

    /// Is that working tree there?
    #[must_use]
    pub fn has_worktree(&self, wanted: &Worktree) -> bool {
        self.worktree().id == wanted.id || self.sibling(wanted).is_some()
    }

    /// Where it was, or where git says that it was moved to.
    fn sibling(&self, wanted: &Worktree) -> Option<Self> {
        let moved = fs::read(self.common_dir.join(&wanted.id).join("gitdir")).ok().and_then(|link| {
            let link = PathBuf::from(OsString::from_vec(link.trim_ascii_end().to_vec()));
            link.parent().map(Path::to_owned)
        });
        let places = [Some(wanted.path.clone()), moved];
        let open = places.into_iter().flatten().filter_map(|place| Self::open(&place).ok());
        let mut ours = open.filter(|other| other.common_dir == self.common_dir && other.worktree().id == wanted.id);
        ours.next()
    }
}

//! Throwaway worktrees: a commit checked out outside the workspace, for verify and for hooks.
//!
//! Invariant: a [`ScratchWorktree`] takes its files and git's record of it along when it is dropped.

use std::fs;
use std::path::{Path, PathBuf};

use crate::core::change::ObjectId;

use super::Repository;
use super::command::Git;
use super::error::GitError;

/// A checkout of one commit, detached, outside the workspace. Removed when dropped.
#[derive(Debug)]
pub struct ScratchWorktree {
    /// Holds the checkout and nothing else.
    parent: PathBuf,
    path: PathBuf,
    git: Git,
}

impl ScratchWorktree {
    /// The root of the checkout, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchWorktree {
    fn drop(&mut self) {
        let args =
            ["worktree".as_ref(), "remove".as_ref(), "--force".as_ref(), "--force".as_ref(), self.path.as_os_str()];
        let _ = self.git.run(&args, b"");
        let _ = fs::remove_dir_all(&self.parent);
        let _ = self.git.run(&["worktree", "prune"], b"");
    }
}

impl Repository {
    /// Checks `commit` out into a fresh directory under the system's directory for temporary files.
    pub fn worktree_of(&mut self, commit: &ObjectId) -> Result<ScratchWorktree, GitError> {
        // Made private at once: another user's directory of the same name would be an error.
        let base = std::env::temp_dir();
        let failed = || GitError::io("making a throwaway worktree");
        let mut parent = None;
        for n in 0..10_000_u32 {
            let candidate = base.join(format!("supervise-{}-{}-{n}", std::process::id(), commit.short()));
            let made = rustix::fs::mkdir(&candidate, rustix::fs::Mode::RWXU);
            match made {
                Ok(()) => {
                    parent = Some(candidate);
                    break;
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(failed()(e)),
            }
        }
        let Some(parent) = parent else {
            return Err(failed()(rustix::io::Errno::EXIST));
        };
        let name = self.root.path().file_name().unwrap_or("workspace".as_ref());
        let path = parent.join(name);
        let scratch = ScratchWorktree { parent, path, git: self.objects.git.clone() };
        let id = commit.to_string();
        let args = [
            "worktree".as_ref(),
            "add".as_ref(),
            "--quiet".as_ref(),
            "--detach".as_ref(),
            scratch.path.as_os_str(),
            id.as_ref(),
        ];
        self.objects.git.run(&args, b"")?;
        Ok(scratch)
    }
}

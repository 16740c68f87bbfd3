//! Git, as the supervisor uses it: baselines, frozen work, the branch, the index, salvage.
//!
//! Blocking code, for one thread that owns the [`Repository`]. The order of a completion is
//! `prepare … measure → freeze → prepare_place → place → unpin`, that of a failure
//! `measure → freeze → restore`; each step can be repeated after a crash, going by the journaled ids.
//!
//! Invariant: commits are built on HEAD's tree and never from the index, so neither the user's staged
//! and unstaged work nor the unfinished files of other agents are swept in or reverted. A file is
//! never reached through a symbolic link.
//!
//! libgit2 keeps objects and references where it can open the repository, the `git` command
//! otherwise, and always for what only it can do (filters, signing, hooks, worktrees). The index is
//! read and rewritten in place here; split and sparse ones are expanded by `git` first.
//!
//! Deliberately absent: deciding. What is dirty, mixed or salvaged is judged in `core`.

mod admit;
mod again;
mod apply;
mod attempt;
mod baseline;
mod cachetree;
mod command;
mod error;
mod extras;
mod facts;
mod files;
mod follow;
mod freeze;
mod hash;
mod hooks;
mod ignore;
mod index;
mod index_write;
mod intact;
mod kept;
mod look;
mod measure;
mod message;
mod objects;
mod open;
mod place;
mod restore;
mod scope;
mod scratch;
mod stale;
mod trees;
mod walk;
mod wildmatch;
mod worktree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::change::ObjectId;
use crate::core::ids::{AgentId, AttemptId, RunId};
use crate::core::path::RepoPath;

pub use apply::{Applied, ApplyError};
pub use attempt::Checkpoint;
pub use command::scratch_file;
pub use error::{GitError, is_of_disk, says_disk};
pub use extras::Base;
pub use freeze::FreezeRequest;
pub use ignore::ignore_line_matches;
pub use kept::{KeptRef, Patch, PatchForm, PatchPath};
pub use message::CommitMessage;
pub use open::{Backend, Facts};
pub use scratch::ScratchWorktree;
pub use worktree::Worktree;

use attempt::AttemptState;
use files::{Root, Stat};
use ignore::IgnoreRules;
use index::Index;
use objects::Objects;
use place::HeldLock;

/// A working tree and the repository behind it.
#[derive(Debug)]
pub struct Repository {
    root: Root,
    /// This worktree's own git directory: HEAD, index.
    git_dir: PathBuf,
    /// The directory that all worktrees share: objects, references, `supervise/`.
    common_dir: PathBuf,
    objects: Objects,
    /// `core.fileMode`
    filemode: bool,
    /// Attributes from outside the workspace may apply.
    global_attributes: bool,
    ignore: IgnoreRules,
    /// Of files that this handle makes in the git directory for a moment; no two handles share it.
    scratch_name: String,
    /// The number that the next file in a `kept/` is tried to be given; see `admit`.
    next_kept: u32,
    index: Option<Arc<Index>>,
    run: Option<RunState>,
    /// Paths that differed from HEAD when the run was opened, and what they were.
    at_start: Option<Arc<BTreeMap<RepoPath, Mark>>>,
    attempts: BTreeMap<AttemptId, AttemptState>,
    lock: Option<HeldLock>,
    run_hooks: bool,
}

/// What HEAD is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// `refs/heads/NAME`; `None`: detached.
    pub branch: Option<String>,
    /// `None`: the branch is yet to be born.
    pub commit: Option<ObjectId>,
}

/// What is remembered of the moment in which the run was opened.
#[derive(Debug)]
struct RunState {
    id: RunId,
    branch: Option<String>,
}

/// What a changed path was when the run was opened: enough to tell whether it is so still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    stat: Option<Stat>,
    /// Of files small enough to be hashed.
    content: Option<ObjectId>,
}

impl Repository {
    /// The root of the workspace, absolute.
    pub fn workspace(&self) -> &Path {
        self.root.path()
    }

    /// The git directory that all worktrees of the repository share.
    pub fn common_dir(&self) -> &Path {
        &self.common_dir
    }

    /// Every directory that belongs to git, wherever it lies.
    pub fn git_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.common_dir.clone()];
        if self.git_dir != self.common_dir {
            dirs.push(self.git_dir.clone());
        }
        dirs
    }

    pub fn head(&self) -> Result<Head, GitError> {
        self.objects.head()
    }

    /// The index as it is now; read again only when the file is another one.
    fn index(&mut self) -> Result<Arc<Index>, GitError> {
        let path = self.index_path();
        let stamp = index::stamp(&path).map_err(GitError::io("reading the index"))?;
        if let Some(index) = self.index.as_ref().filter(|i| i.stamp == stamp && stamp.is_some()) {
            return Ok(Arc::clone(index));
        }
        let index = match Index::read(&path, self.objects.hash_len)? {
            index::Parsed::Ours(index) => *index,
            index::Parsed::Foreign(_) => self.expanded_index(stamp)?,
        };
        let index = Arc::new(index);
        self.index = Some(Arc::clone(&index));
        Ok(index)
    }

    /// Looks whether attributes may apply: few repositories have any, and looking them up costs.
    fn look_for_attributes(&mut self, index: &Index, seen: bool) {
        self.objects.attributes = self.global_attributes
            || index.attributes
            || seen
            || self.root.path().join(".gitattributes").exists()
            || self.common_dir.join("info/attributes").exists();
    }

    fn index_path(&self) -> PathBuf {
        self.git_dir.join("index")
    }

    /// Our own directory in the common git directory.
    fn private_dir(&self) -> PathBuf {
        self.common_dir.join("supervise")
    }

    /// Where an attempt's frozen work is kept.
    pub fn attempt_reference(&self, id: &AttemptId) -> Option<String> {
        self.run.as_ref().map(|run| format!("refs/supervise/attempts/{}/{}/{}", run.id, id.agent, id.attempt))
    }

    fn reference_of(&self, id: &AttemptId) -> Result<String, GitError> {
        self.attempt_reference(id).ok_or_else(|| GitError::NoBaseline(id.clone()))
    }
}

/// Claimed paths that differ from git, for one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyClaim {
    pub agent: AgentId,
    pub paths: Vec<RepoPath>,
}

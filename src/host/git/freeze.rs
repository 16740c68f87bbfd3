//! Freezing: an attempt's changes as a commit that git keeps and the branch does not have yet.
//!
//! Invariant: a frozen commit differs from its parent in exactly the paths it was asked for.

use crate::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use crate::core::effect::Purpose;
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::attempt::Now;
use super::error::GitError;
use super::objects::CommitInfo;
use super::trees::Trees;
use super::{CommitMessage, Repository};

/// What to freeze, and how to call it.
#[derive(Debug)]
pub struct FreezeRequest<'r> {
    pub id: &'r AttemptId,
    pub purpose: Purpose,
    /// Of the last measurement. Nested repositories are passed over, and so is, for
    /// [`Purpose::Completion`], what git ignores.
    pub paths: &'r [RepoPath],
    pub attribution: Attribution,
    pub message: &'r CommitMessage,
}

impl Repository {
    /// Makes a commit of the paths' content as measured, on HEAD, kept by the attempt's reference. Asked
    /// again, with nothing changed, it answers with the same commit.
    pub fn freeze(&mut self, request: &FreezeRequest<'_>) -> Result<ObjectId, GitError> {
        let name = self.reference_of(request.id)?;
        let salvage = request.purpose == Purpose::Salvage;
        let there = self.objects.read_reference(&name)?;
        let commit = self.make_commit(request.id, request.paths, salvage, request.attribution, request.message)?;
        if let Some(there) = &there {
            let (old, new) = (self.objects.read_commit(there)?, self.objects.read_commit(&commit)?);
            if old.tree == new.tree && old.parent == new.parent && old.message == new.message {
                return Ok(*there);
            }
        }
        failpoint::around(|| self.objects.swap_reference(&name, there.as_ref(), &commit, "supervise: freeze"))?;
        Ok(commit)
    }

    /// `salvage`: only to keep work; what git ignores goes in too, and it is not signed.
    pub(super) fn make_commit(
        &mut self,
        id: &AttemptId,
        paths: &[RepoPath],
        salvage: bool,
        attribution: Attribution,
        message: &CommitMessage,
    ) -> Result<ObjectId, GitError> {
        let head = self.head()?;
        let base = self.tree_of(head.commit.as_ref())?;
        let mut edits = Vec::with_capacity(paths.len());
        for path in paths {
            // Whoever wrote it since then was not this attempt.
            let now = match (self.state(id)?.measured.get(path), self.put_aside(id, path, salvage)) {
                (Some(measured), _) => *measured,
                (None, Some(change)) => {
                    edits.push((path.clone(), change.after));
                    continue;
                }
                (None, None) => self.settle(id, path)?,
            };
            let nested = now.entry.is_some_and(|e| e.mode == Mode::Submodule);
            if !nested && (salvage || !now.ignored) {
                edits.push((path.clone(), now.entry));
            }
        }
        let mut trees = Trees::new(&self.objects);
        edits.retain(|(path, entry)| {
            // Never replace a submodule by what lies where it was.
            entry.is_some() || !matches!(trees.entry(base.as_ref(), path), Ok(Some(e)) if e.mode == Mode::Submodule)
        });
        let tree = match trees.edit(base.as_ref(), &edits)? {
            Some(tree) => tree,
            None => self.objects.write_tree(&[])?,
        };
        let run = self.run.as_ref().map(|r| &r.id);
        let info = CommitInfo {
            tree,
            parent: head.commit,
            author: self.objects.identity()?,
            message: message.text(run, id, attribution),
        };
        if salvage { self.objects.write_unsigned(&info) } else { self.objects.write_commit(&info) }
    }

    /// What the last checkpoint had there, of a path that is to be salvaged and is as it was before: somebody else put
    /// it back.
    fn put_aside(&self, id: &AttemptId, path: &RepoPath, salvage: bool) -> Option<&Change> {
        let checkpoint = self.attempts.get(id)?.checkpoint.as_ref().filter(|_| salvage)?;
        checkpoint.iter().find(|change| change.path == *path)
    }

    /// The path as it is now: as measured where its stat still says so, else read again.
    pub(super) fn settle(&mut self, id: &AttemptId, path: &RepoPath) -> Result<Now, GitError> {
        let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
        let stat = stat.filter(|s| !s.is_dir());
        let state = self.state(id)?;
        let known = state.measured.get(path).copied();
        if let Some(now) = known {
            let nested = now.entry.is_some_and(|e| e.mode == Mode::Submodule);
            let same = now.stat == stat && !stat.is_some_and(|s| s.racy(now.since));
            if nested || same {
                return Ok(now);
            }
        }
        let before = state.baseline.find(path).map(|b| b.entry.mode);
        let entry = self.store_path(path, before)?;
        let (since, ignored) = known.map_or(((0, 0), false), |n| (n.since, n.ignored));
        let now = Now { entry, stat, since, ignored };
        if let Some(state) = self.attempts.get_mut(id) {
            state.measured.insert(path.clone(), now);
        }
        Ok(now)
    }

    /// Stores what is at a path; `None`: no file or link is.
    pub(super) fn store_path(&self, path: &RepoPath, before: Option<Mode>) -> Result<Option<Entry>, GitError> {
        let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
        Ok(self.store_steady(path, stat, before)?.map(|stored| stored.entry))
    }
}

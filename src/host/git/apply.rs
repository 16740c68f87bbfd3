//! Putting kept work into the working tree.
//!
//! Invariant: the index and the branch are never changed, nor is a path that has uncommitted changes;
//! and nothing is changed at all unless everything can be. What HEAD has got since is merged with, in
//! three ways; what does not merge is a refusal.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::Repository;
use super::error::GitError;
use super::files::Stat;
use super::index::Index;
use super::trees::{Step, Trees};

/// What became of the paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// They are now as the work has them.
    pub changed: Vec<RepoPath>,
    /// They also hold what was committed since.
    pub merged: Vec<RepoPath>,
    /// They were so before.
    pub already: Vec<RepoPath>,
}

/// Why nothing was put into the tree.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("these paths have uncommitted changes")]
    Dirty { paths: Vec<RepoPath> },
    #[error("these paths were changed since in another way")]
    Conflicts { paths: Vec<RepoPath> },
    #[error(transparent)]
    Git(#[from] GitError),
}

/// What is to be at a path, and what is there now.
pub(super) struct Target {
    pub(super) path: RepoPath,
    pub(super) entry: Option<Entry>,
    pub(super) now: Option<Entry>,
}

/// How a path of the work stands to HEAD.
enum Standing {
    Already,
    Dirty,
    Conflict,
    /// This is where it, or a directory that leads to it, is to be.
    InTheWay(RepoPath),
    Apply(Option<Entry>),
    Merge(Entry),
}

impl Repository {
    /// Changes the files of the working tree as `commit` changed them against its parent. The caller
    /// sees to it that nobody else writes them meanwhile.
    pub fn apply_kept(&mut self, commit: &ObjectId) -> Result<Applied, ApplyError> {
        let info = self.objects.read_commit(commit)?;
        let (base, head) = (self.tree_of(info.parent.as_ref())?, self.head()?.commit);
        let head = self.tree_of(head.as_ref())?;
        let index = self.index()?;
        self.look_for_attributes(&index, false);
        let steps = Trees::new(&self.objects).diff(base.as_ref(), Some(&info.tree))?;
        let (mut dirty, mut conflicts) = (Vec::new(), Vec::new());
        let (mut targets, mut applied) = (Vec::new(), Applied::default());
        for step in &steps {
            let now = Trees::new(&self.objects).entry(head.as_ref(), &step.0)?;
            let path = step.0.clone();
            let (list, entry) = match self.standing(step, now, &index, &steps)? {
                Standing::Already => {
                    applied.already.push(path);
                    continue;
                }
                Standing::Dirty => {
                    dirty.push(path);
                    continue;
                }
                Standing::Conflict => {
                    conflicts.push(path);
                    continue;
                }
                Standing::InTheWay(what) => {
                    let committed = self.is_committed(&what, head.as_ref(), &index)?;
                    let (list, path) = if committed { (&mut conflicts, path) } else { (&mut dirty, what) };
                    if !list.contains(&path) {
                        list.push(path);
                    }
                    continue;
                }
                Standing::Apply(entry) => (&mut applied.changed, entry),
                Standing::Merge(entry) => (&mut applied.merged, Some(entry)),
            };
            list.push(path.clone());
            targets.push(Target { path, entry, now });
        }
        if !dirty.is_empty() {
            return Err(ApplyError::Dirty { paths: dirty });
        }
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts { paths: conflicts });
        }
        if let Err(error) = self.write_out(&targets) {
            // All of them were as HEAD has them.
            let back: Vec<_> =
                targets.into_iter().map(|target| Target { entry: target.now, now: target.entry, ..target }).collect();
            if let Err(again) = self.write_out(&back) {
                tracing::warn!(error = %again, "what was written so far could not be taken back");
            }
            return Err(error.into());
        }
        Ok(applied)
    }

    fn standing(&self, step: &Step, now: Option<Entry>, index: &Index, steps: &[Step]) -> Result<Standing, GitError> {
        let (path, was, is) = step;
        let nested = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.mode == Mode::Submodule);
        if [was, is, &now].into_iter().any(nested) {
            return Ok(Standing::Conflict);
        }
        let stat = self.lstat(path)?;
        let item = index.find(path.as_bytes()).map(|at| index.item(at));
        let sparse = stat.is_none() && matches!(item, Some(Some(item)) if item.skip_worktree);
        let disk = if sparse { now } else { self.store_path(path, now.map(|entry| entry.mode))? };
        let staged = match item {
            None => None,
            Some(Some(item)) if item.stage == 0 && item.entry().is_some() => item.entry(),
            // A merge that is not ended, or something that is not known.
            Some(_) => return Ok(Standing::Dirty),
        };
        if disk == *is && !stat.is_some_and(|stat| stat.is_dir()) {
            return Ok(Standing::Already);
        }
        if disk != now || staged != now {
            return Ok(Standing::Dirty);
        }
        if let Some(what) = self.in_the_way(path, stat, steps)? {
            return Ok(Standing::InTheWay(what));
        }
        if now == *was {
            return Ok(Standing::Apply(*is));
        }
        match (was, is, now) {
            (Some(was), Some(is), Some(now)) => {
                Ok(self.merge(*was, *is, now)?.map_or(Standing::Conflict, Standing::Merge))
            }
            _ => Ok(Standing::Conflict),
        }
    }

    pub(super) fn lstat(&self, path: &RepoPath) -> Result<Option<Stat>, GitError> {
        self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))
    }

    /// Is it in the tree and in the index as HEAD has it?
    fn is_committed(&self, path: &RepoPath, head: Option<&ObjectId>, index: &Index) -> Result<bool, GitError> {
        let Some(entry) = Trees::new(&self.objects).entry(head, path)? else { return Ok(false) };
        let staged = index.find(path.as_bytes()).and_then(|at| index.item(at)).and_then(|item| item.entry());
        Ok(staged == Some(entry) && self.store_path(path, Some(entry.mode))? == Some(entry))
    }

    /// What will not be removed and is where the path is to be, beneath it, or on the way to it without being a
    /// directory.
    pub(super) fn in_the_way(
        &self,
        path: &RepoPath,
        stat: Option<Stat>,
        steps: &[Step],
    ) -> Result<Option<RepoPath>, GitError> {
        if stat.is_some_and(|stat| stat.is_dir())
            && let Some(stays) = self.stays(path, steps).map_err(GitError::io(format!("looking at `{path}`")))?
        {
            return Ok(Some(stays));
        }
        for above in std::iter::successors(path.parent(), RepoPath::parent) {
            if self.lstat(&above)?.is_some_and(|stat| !stat.is_dir()) && !is_removed(&above, steps) {
                return Ok(Some(above));
            }
        }
        Ok(None)
    }

    /// What is in the directory and is not removed.
    pub(super) fn stays(&self, directory: &RepoPath, steps: &[Step]) -> io::Result<Option<RepoPath>> {
        let mut open = vec![directory.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(self.workspace().join(directory.as_path()))? {
                let entry = entry?;
                let name = [directory.as_bytes(), b"/", entry.file_name().as_bytes()].concat();
                let Ok(path) = RepoPath::new(&name) else { return Ok(Some(directory)) };
                if entry.file_type()?.is_dir() {
                    open.push(path);
                } else if !is_removed(&path, steps) {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Both changes of a text; `None`: they meet, or it is no text.
    fn merge(&self, was: Entry, is: Entry, now: Entry) -> Result<Option<Entry>, GitError> {
        let is_file = |entry: Entry| matches!(entry.mode, Mode::File | Mode::Executable);
        if ![was, is, now].into_iter().all(is_file) {
            return Ok(None);
        }
        let mode = if was.mode == now.mode { is.mode } else { now.mode };
        let failed = || GitError::io("merging");
        let dir = Scratch::make(&self.private_dir()).map_err(failed())?;
        let mut args = ["merge-file", "-p", "--"].map(Into::into).to_vec();
        for (name, entry) in [("now", now), ("was", was), ("is", is)] {
            let path = dir.0.join(name);
            self.objects.copy_blob(&entry.id, &mut File::create(&path).map_err(failed())?)?;
            args.push(path.into_os_string());
        }
        let merged = self.objects.git.try_run(&args, b"")?;
        if !merged.status.is_some_and(|status| status.success()) {
            return Ok(None);
        }
        Ok(Some(Entry { mode, id: self.objects.write_blob(&merged.stdout)? }))
    }

    /// Removals first, or a directory could not take the place of a file. Git writes the files, so that
    /// they are as it would check them out.
    pub(super) fn write_out(&self, targets: &[Target]) -> Result<(), GitError> {
        for Target { path, .. } in targets.iter().filter(|target| target.entry.is_none()) {
            self.remove(path).map_err(GitError::io(format!("removing `{path}`")))?;
            for above in std::iter::successors(path.parent(), RepoPath::parent) {
                let Ok(Some((dir, name))) = self.root.parent(&above) else { break };
                if rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::REMOVEDIR).is_err() {
                    break;
                }
            }
        }
        let mut input = Vec::new();
        for Target { path, entry, .. } in targets {
            let Some(entry) = entry else { continue };
            input.extend_from_slice(format!("{:o} {} 0\t", entry.mode.bits(), entry.id).as_bytes());
            input.extend_from_slice(path.as_bytes());
            input.push(0);
        }
        if input.is_empty() {
            return Ok(());
        }
        let dir = Scratch::make(&self.private_dir()).map_err(GitError::io("making an index"))?;
        let git = self.objects.git.with("GIT_INDEX_FILE", dir.0.join("index"));
        git.run(&["update-index", "-z", "--index-info"], &input)?;
        git.run(&["checkout-index", "--all", "--force", "--quiet"], b"").map(drop)
    }
}

fn is_removed(path: &RepoPath, steps: &[Step]) -> bool {
    steps.iter().any(|(at, _, is)| at == path && is.is_none())
}

/// A directory of ours for a moment.
struct Scratch(PathBuf);

impl Scratch {
    fn make(private: &Path) -> io::Result<Self> {
        let dir = private.join(format!("apply-{}.tmp", std::process::id()));
        fs::create_dir_all(private)?;
        // One of a process that was killed and had the same number.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

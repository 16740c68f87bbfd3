//! Placing: a frozen commit goes on the branch, and the index follows.
//!
//! `index.lock` is held from the preparation to the end, so nobody can commit through the index in
//! between. After a crash at any point, [`Repository::finish_place`] goes by the journaled intent: if
//! the branch holds the commit, only the index step is left to do, and doing it twice is harmless.
//!
//! Invariant: the branch moves only by compare-and-swap, and only forward from what it held; an
//! index entry is replaced only if it is what the old HEAD had.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use rustix::event::{Timespec, poll};

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::effect::PlaceIntent;
use crate::core::event::{PlaceRefusal, Placement};
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::Repository;
use super::error::GitError;
use super::trees::{Step, Trees};

/// How long to wait for somebody else's `index.lock`: this many times this many milliseconds.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE_MS: i64 = 20;
/// What our own `index.lock` holds, so that it is known after a crash.
const LOCK_MARK: &[u8] = b"supervise: held while a commit is placed\n";

/// `index.lock`, taken; removed when dropped.
#[derive(Debug)]
pub(super) struct HeldLock {
    id: AttemptId,
    path: PathBuf,
    steps: Vec<Step>,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn refused(e: GitError) -> PlaceRefusal {
    match e {
        GitError::Moved(_) => PlaceRefusal::Moved,
        e => PlaceRefusal::Git { error: e.to_string() },
    }
}

impl Repository {
    /// Takes `index.lock`, checks that the branch and the files are what they were, and rebuilds the
    /// commit on HEAD if others were placed or committed meanwhile. A commit that changes nothing
    /// gives an intent whose `new` is the `old`, and placing it does nothing. The lock stays taken until
    /// [`Repository::place`] or [`Repository::abandon_place`].
    pub fn prepare_place(&mut self, id: &AttemptId, commit: ObjectId) -> Result<PlaceIntent, PlaceRefusal> {
        self.lock = None;
        if self.run_hooks {
            self.check_hooks(&commit)?;
        }
        let path = self.take_lock().map_err(refused)?;
        let mut lock = HeldLock { id: id.clone(), path, steps: Vec::new() };
        let (intent, steps) = self.plan_place(id, &commit)?;
        lock.steps = steps;
        self.lock = Some(lock);
        Ok(intent)
    }

    fn plan_place(&mut self, id: &AttemptId, commit: &ObjectId) -> Result<(PlaceIntent, Vec<Step>), PlaceRefusal> {
        let head = self.head().map_err(refused)?;
        if self.run.as_ref().is_some_and(|run| run.branch != head.branch) {
            return Err(PlaceRefusal::BranchMoved);
        }
        let info = self.objects.read_commit(commit).map_err(refused)?;
        let base = self.attempts.get(id).map_or(info.parent, |s| s.baseline.head);
        for old in [base, info.parent].into_iter().flatten() {
            let holds = match &head.commit {
                Some(now) => self.objects.is_ancestor(&old, now).map_err(refused)?,
                None => false,
            };
            if !holds {
                return Err(PlaceRefusal::BranchMoved);
            }
        }
        let trees = |c: Option<ObjectId>| self.tree_of(c.as_ref()).map_err(refused);
        let (base_tree, parent_tree, head_tree) = (trees(base)?, trees(info.parent)?, trees(head.commit)?);
        let mut read = Trees::new(&self.objects);
        let diff = read.diff(parent_tree.as_ref(), Some(&info.tree)).map_err(refused)?;
        let mut touched = Vec::new();
        for (path, before, _) in &diff {
            let now = read.entry(head_tree.as_ref(), path).map_err(refused)?;
            // Also against the baseline: what was committed before the freeze would be reverted.
            if now != *before || self.committed_at_base(id, &mut read, base_tree, path).map_err(refused)? != now {
                touched.push(path.clone());
            }
        }
        for path in self.committed_meanwhile(id, &mut read, base_tree, head_tree).map_err(refused)? {
            if !touched.contains(&path) {
                touched.push(path);
            }
        }
        let edits: Vec<_> = diff.iter().map(|(p, _, new)| (p.clone(), *new)).collect();
        let rebuilt = if info.parent == head.commit || !touched.is_empty() {
            None
        } else {
            read.edit(head_tree.as_ref(), &edits).map_err(refused)?
        };
        for (path, _, new) in &diff {
            if !touched.contains(path) && self.on_disk(id, path, *new).map_err(refused)? != *new {
                touched.push(path.clone());
            }
        }
        if !touched.is_empty() {
            return Err(PlaceRefusal::ChangedUnderneath { paths: touched });
        }
        let new = if diff.is_empty() {
            head.commit.unwrap_or(*commit)
        } else if info.parent == head.commit {
            *commit
        } else {
            self.rebuild(id, commit, rebuilt, head.commit).map_err(refused)?
        };
        let reference = head.branch.unwrap_or_else(|| "HEAD".to_owned());
        Ok((PlaceIntent { reference, old: head.commit, new }, diff))
    }

    /// Paths of the attempt's own lock that it changed and somebody committed since its baseline. Where
    /// the committed content is what lies on disk, nothing of the frozen commit shows them.
    fn committed_meanwhile(
        &self,
        id: &AttemptId,
        trees: &mut Trees<'_>,
        base: Option<ObjectId>,
        head: Option<ObjectId>,
    ) -> Result<Vec<RepoPath>, GitError> {
        let mut found = Vec::new();
        let Some(state) = self.attempts.get(id).filter(|s| base != head || !s.baseline.extras.is_empty()) else {
            return Ok(found);
        };
        let nested = |entry: Option<Entry>| entry.is_some_and(|e| e.mode == Mode::Submodule);
        // Late paths are nobody's alone until the first write, so another agent may rightly have
        // committed one.
        let own = |path: &RepoPath| state.claim.exclusive_matches(path) || state.baseline.extras.has(path);
        for (path, _) in state.measured.iter().filter(|(p, now)| !now.ignored && !nested(now.entry) && own(p)) {
            let was = self.committed_at_base(id, trees, base, path)?;
            let was_dirty = state.baseline.find(path).map(|b| b.entry) != was;
            if !was_dirty && !nested(was) && trees.entry(head.as_ref(), path)? != was {
                found.push(path.clone());
            }
        }
        Ok(found)
    }

    /// What HEAD had when the path's baseline was taken: at the attempt's beginning, or later where the
    /// attempt was let on to it, or on to what it had become, only then.
    pub(super) fn committed_at_base(
        &self,
        id: &AttemptId,
        trees: &mut Trees<'_>,
        base: Option<ObjectId>,
        path: &RepoPath,
    ) -> Result<Option<Entry>, GitError> {
        match self.attempts.get(id).and_then(|s| s.baseline.extras.get(path)) {
            Some(extra) => Ok(extra.committed),
            None => trees.entry(base.as_ref(), path),
        }
    }

    /// The same changes, author and message on another parent, kept by the attempt's reference.
    fn rebuild(
        &self,
        id: &AttemptId,
        commit: &ObjectId,
        tree: Option<ObjectId>,
        parent: Option<ObjectId>,
    ) -> Result<ObjectId, GitError> {
        let mut info = self.objects.read_commit(commit)?;
        info.tree = match tree {
            Some(tree) => tree,
            None => self.objects.write_tree(&[])?,
        };
        info.parent = parent;
        let new = self.objects.write_commit(&info)?;
        if let Some(name) = self.attempt_reference(id) {
            self.objects.set_reference(&name, &new)?;
        }
        Ok(new)
    }

    /// What is at the path; read only where the freeze's stat does not vouch for it.
    fn on_disk(&mut self, id: &AttemptId, path: &RepoPath, expected: Option<Entry>) -> Result<Option<Entry>, GitError> {
        if self.attempts.contains_key(id) {
            return self.settle(id, path).map(|now| now.entry);
        }
        self.store_path(path, expected.map(|e| e.mode))
    }

    /// Moves the branch to the prepared commit, brings the index along, lets go of `index.lock`.
    pub fn place(&mut self, id: &AttemptId, intent: &PlaceIntent) -> Result<Placement, PlaceRefusal> {
        let Some(mut lock) = self.lock.take().filter(|l| l.id == *id) else {
            return Err(PlaceRefusal::Git { error: "the commit was not prepared for placing".to_owned() });
        };
        if lock.steps.is_empty() {
            return Ok(Placement { commit: intent.new, index_left: Vec::new() });
        }
        let log = format!("supervise: {id}");
        let swap = || self.objects.swap_reference(&intent.reference, intent.old.as_ref(), &intent.new, &log);
        failpoint::around(swap).map_err(refused)?;
        let steps = std::mem::take(&mut lock.steps);
        // The branch has moved: whatever happens to the index, the work is placed.
        let index_left = match self.follow(Some(id), intent, &steps) {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%id, %error, "the index could not be brought along");
                steps.into_iter().map(|(path, _, _)| path).collect()
            }
        };
        Ok(Placement { commit: intent.new, index_left })
    }

    /// Lets go of `index.lock`; nothing was placed.
    pub fn abandon_place(&mut self, id: &AttemptId) {
        self.lock = self.lock.take().filter(|l| l.id != *id);
    }

    /// After a crash: if the reference holds the intended commit (or one on top of it), brings the
    /// index along and tells so; `None`: the branch was never moved.
    pub fn finish_place(&mut self, intent: &PlaceIntent) -> Result<Option<Placement>, GitError> {
        let Some(now) = self.objects.read_reference(&intent.reference)? else { return Ok(None) };
        if !self.objects.is_ancestor(&intent.new, &now)? {
            return Ok(None);
        }
        let path = self.take_lock()?;
        let held = HeldLockFile(path);
        let (old, new) = (self.tree_of(intent.old.as_ref())?, self.tree_of(Some(&intent.new))?);
        let steps = Trees::new(&self.objects).diff(old.as_ref(), new.as_ref())?;
        let index_left = self.follow(None, intent, &steps)?;
        drop(held);
        Ok(Some(Placement { commit: intent.new, index_left }))
    }

    fn take_lock(&self) -> Result<PathBuf, GitError> {
        let path = self.git_dir.join("index.lock");
        for attempt in 0.. {
            match File::options().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    if let Err(e) = file.write_all(LOCK_MARK) {
                        let _ = fs::remove_file(&path);
                        return Err(GitError::io("taking index.lock")(e));
                    }
                    return Ok(path);
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && attempt < LOCK_TRIES => {
                    let pause = Timespec { tv_sec: 0, tv_nsec: LOCK_PAUSE_MS * 1_000_000 };
                    let _ = poll(&mut [], Some(&pause));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(GitError::IndexLocked { path }),
                Err(e) => return Err(GitError::io("taking index.lock")(e)),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Removes an `index.lock` of ours that a crash left.
    pub(super) fn remove_stale_lock(&self) -> Result<(), GitError> {
        let path = self.git_dir.join("index.lock");
        match fs::read(&path) {
            Ok(bytes) if bytes == LOCK_MARK => fs::remove_file(&path).map_err(GitError::io("removing index.lock")),
            _ => Ok(()),
        }
    }
}

/// A lock file that is removed when this is dropped.
#[derive(Debug)]
struct HeldLockFile(PathBuf);

impl Drop for HeldLockFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

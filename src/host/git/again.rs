//! Putting the kept work of an attempt back, for one that goes on with it.
//!
//! Invariant: all of it is in the tree afterwards, or nothing; the index and the branch are never changed, and no
//! path that HEAD, the index or the tree has otherwise than before the work.
//!
//! Deliberately absent: merging (a person's `salvage apply` does that), and which paths are meant (`core`).

use crate::core::change::{Change, Entry, Mode, ObjectId};
use crate::core::event::ReturnRefusal;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::Repository;
use super::apply::Target;
use super::error::GitError;
use super::index::Index;
use super::trees::{Step, Trees};

/// How a path stands to the work.
enum Standing {
    Already,
    Fits,
    HeadChanged,
    Occupied,
}

impl Repository {
    /// Makes these changes again, that `commit` holds.
    pub fn return_work(&mut self, commit: &ObjectId, changes: &[Change]) -> Result<(), ReturnRefusal> {
        let failed = |error: GitError| ReturnRefusal::Failed { error: error.to_string() };
        let targets = self.targets_of(commit, changes).map_err(failed)??;
        let Err(error) = failpoint::around(|| self.write_out(&targets)) else { return Ok(()) };
        let back: Vec<Target> = targets
            .into_iter()
            .map(|target| Target { entry: target.now, now: target.entry, path: target.path })
            .collect();
        match self.write_out(&back) {
            Ok(()) => Err(failed(error)),
            Err(again) => Err(ReturnRefusal::Stuck { error: format!("{error}; and then: {again}") }),
        }
    }

    fn targets_of(
        &mut self,
        commit: &ObjectId,
        changes: &[Change],
    ) -> Result<Result<Vec<Target>, ReturnRefusal>, GitError> {
        let tree = self.objects.read_commit(commit)?.tree;
        let head = self.tree_of(self.head()?.commit.as_ref())?;
        let index = self.index()?;
        self.look_for_attributes(&index, false);
        let mut trees = Trees::new(&self.objects);
        let steps: Vec<Step> = changes.iter().map(|c| (c.path.clone(), c.before, c.after)).collect();
        let (mut targets, mut changed, mut occupied) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let path = &change.path;
            let now = trees.entry(head.as_ref(), path)?;
            match self.standing_of(change, now, &index, &steps)? {
                Standing::Already => {}
                Standing::HeadChanged => changed.push(path.clone()),
                Standing::Occupied => occupied.push(path.clone()),
                Standing::Fits if trees.entry(Some(&tree), path)? == change.after => {
                    targets.push(Target { path: path.clone(), entry: change.after, now: change.before });
                }
                Standing::Fits => return Err(GitError::NotKept(path.to_string())),
            }
        }
        Ok(if !changed.is_empty() {
            Err(ReturnRefusal::HeadChanged { paths: changed })
        } else if !occupied.is_empty() {
            Err(ReturnRefusal::Occupied { paths: occupied })
        } else {
            Ok(targets)
        })
    }

    fn standing_of(
        &self,
        change: &Change,
        now: Option<Entry>,
        index: &Index,
        steps: &[Step],
    ) -> Result<Standing, GitError> {
        let path: &RepoPath = &change.path;
        let nested = [change.before, change.after, now].iter().flatten().any(|entry| entry.mode == Mode::Submodule);
        let stat = self.lstat(path)?;
        let failed = || GitError::io(format!("looking at `{path}`"));
        let directory = stat.is_some_and(|stat| stat.is_dir());
        if nested || (directory && self.stays(path, steps).map_err(failed())?.is_some()) {
            return Ok(Standing::Occupied);
        }
        let disk = self.store_path(path, change.before.map(|entry| entry.mode))?;
        if disk == change.after {
            return Ok(Standing::Already);
        }
        // What git does not have (an ignored file that is claimed) is as it was, or not.
        if now != change.before && (now.is_some() || disk != change.before) {
            return Ok(Standing::HeadChanged);
        }
        let staged = match index.find(path.as_bytes()).map(|at| index.item(at)) {
            None => None,
            Some(Some(item)) if item.stage == 0 => item.entry(),
            Some(_) => return Ok(Standing::Occupied),
        };
        let free = disk == change.before && staged == now && self.in_the_way(path, None, steps)?.is_none();
        Ok(if free { Standing::Fits } else { Standing::Occupied })
    }
}

//! The beginning of an attempt, its checkpoints, and what is remembered of it.
//!
//! Invariant: an attempt that is remembered has a baseline, in memory and in its directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use crate::core::claim::Claim;
use crate::core::event::Preparation;
use crate::core::facts::Doubt;
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::baseline::{BaseEntry, Baseline};
use super::error::GitError;
use super::extras::Extras;
use super::files::Stat;
use super::look::Look;
use super::objects::{Conversion, Stored};
use super::scope::Scope;
use super::{CommitMessage, Repository};

/// So many copies are brought to the disk one by one; of more, all in one go (syncfs(2)).
const SYNCED_ALONE: u32 = 16;

/// What is remembered of an attempt.
#[derive(Debug)]
pub(super) struct AttemptState {
    pub(super) claim: Claim,
    pub(super) dir: PathBuf,
    pub(super) baseline: Baseline,
    /// Ignored files that were there and that the claim matches by chance only.
    pub(super) passed: Vec<RepoPath>,
    /// What the last measurement found changed.
    pub(super) measured: BTreeMap<RepoPath, Now>,
    /// Of what was last made a checkpoint.
    pub(super) checkpoint: Option<Vec<Change>>,
}

/// A path as it was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) entry: Option<Entry>,
    pub(super) stat: Option<Stat>,
    /// The file system's time before the measurement.
    pub(super) since: (i64, u32),
    /// Git ignores it: it goes into salvage, never into a commit for the branch.
    pub(super) ignored: bool,
}

impl Now {
    /// Is a file with this stat certainly what was measured?
    pub(super) fn vouches_for(&self, stat: Option<Stat>) -> bool {
        self.stat.is_some() && self.stat == stat && !stat.is_some_and(|s| s.racy(self.since))
    }
}

/// What a checkpoint is made with; see [`Repository::checkpoint`].
#[derive(Debug)]
pub struct Checkpoint<'c> {
    pub id: &'c AttemptId,
    pub message: &'c CommitMessage,
}

impl Repository {
    /// Compares the claim with git and takes the attempt's baseline, which is also written to
    /// `attempt_dir/baseline` (the directory is made). With `allow_dirty` the dirty paths are told
    /// and the baseline taken all the same.
    pub fn prepare(&mut self, id: &AttemptId, claim: &Claim, allow_dirty: bool, attempt_dir: &Path) -> Preparation {
        match self.try_prepare(id, claim, allow_dirty, attempt_dir) {
            Ok(preparation) => preparation,
            Err(e) => Preparation::Failed { error: e.to_string() },
        }
    }

    fn try_prepare(
        &mut self,
        id: &AttemptId,
        claim: &Claim,
        allow_dirty: bool,
        dir: &Path,
    ) -> Result<Preparation, GitError> {
        let scope = Scope::of(claim);
        if scope.is_empty() {
            // It may write nothing, so there is nothing to remember.
            let baseline = Baseline { head: self.head()?.commit, ..Baseline::default() };
            self.remember(id, claim, baseline, dir);
            return Ok(Preparation::Ready { dirty: Vec::new() });
        }
        fs::create_dir_all(dir).map_err(GitError::io("making the attempt's directory"))?;
        let mut file = File::create(dir.join("baseline")).map_err(GitError::io("making the baseline"))?;
        let since = time_of(&file).map_err(GitError::io("making the baseline"))?;
        let head = self.head()?;
        let look = self.look(&scope)?;
        let tree = self.tree_of(head.commit.as_ref())?;
        let dirty = self.changed_in(&look, tree, &scope)?;
        if !dirty.is_empty() && !allow_dirty {
            return Ok(Preparation::Dirty { paths: dirty });
        }
        let passed = look.passed.clone();
        let baseline = self.baseline_of(look, &dirty, head.commit, since, dir)?;
        baseline.save(&mut file)?;
        self.remember(id, claim, baseline, dir);
        if let Some(state) = self.attempts.get_mut(id) {
            state.passed = passed;
        }
        Ok(Preparation::Ready { dirty })
    }

    fn remember(&mut self, id: &AttemptId, claim: &Claim, baseline: Baseline, dir: &Path) {
        let (claim, dir) = (claim.clone(), dir.to_owned());
        let state =
            AttemptState { claim, dir, baseline, passed: Vec::new(), measured: BTreeMap::new(), checkpoint: None };
        self.attempts.insert(id.clone(), state);
    }

    /// Files that git ignores, that were there before the attempt, and that its claim matches by chance
    /// only (a claim means them where its literal beginning is ignored): `.env` under `**`.
    #[must_use]
    pub fn protected(&self, id: &AttemptId) -> Vec<RepoPath> {
        self.attempts.get(id).map(|state| state.passed.clone()).unwrap_or_default()
    }

    /// Takes up an attempt of an earlier supervisor by what it left in `attempt_dir`, so that it can
    /// be measured, frozen and restored.
    pub fn adopt(&mut self, id: &AttemptId, claim: &Claim, attempt_dir: &Path) -> Result<(), GitError> {
        let damaged = || GitError::NoBaseline(id.clone());
        let mut baseline = if Scope::of(claim).is_empty() {
            Baseline::default()
        } else {
            Baseline::load(&attempt_dir.join("baseline")).ok_or_else(damaged)?
        };
        baseline.extras = Extras::load(attempt_dir).ok_or_else(damaged)?;
        self.remember(id, claim, baseline, attempt_dir);
        Ok(())
    }

    /// Forgets what is kept in memory of an attempt that is over. Its files stay.
    pub fn forget(&mut self, id: &AttemptId) {
        self.attempts.remove(id);
        self.abandon_place(id);
    }

    pub(super) fn state(&self, id: &AttemptId) -> Result<&AttemptState, GitError> {
        self.attempts.get(id).ok_or_else(|| GitError::NoBaseline(id.clone()))
    }

    pub(super) fn tree_of(&self, commit: Option<&ObjectId>) -> Result<Option<ObjectId>, GitError> {
        commit.map(|c| self.objects.read_commit(c)).transpose().map(|c| c.map(|c| c.tree))
    }

    /// `dirty`: paths that are not what HEAD has, in their order.
    fn baseline_of(
        &self,
        look: Look,
        dirty: &[RepoPath],
        head: Option<ObjectId>,
        since: (i64, u32),
        dir: &Path,
    ) -> Result<Baseline, GitError> {
        let mut entries = Vec::with_capacity(look.seen.len());
        let mut kept = 0;
        for seen in look.seen {
            let known = seen.item.as_ref().filter(|_| seen.clean).and_then(super::index::Item::entry);
            let Some(stat) = seen.stat else {
                entries.extend(known.map(|entry| BaseEntry { path: seen.path, entry, stat: None, kept: None }));
                continue;
            };
            let stored = match known {
                Some(entry) => Some(Stored { entry, raw: self.object_is_raw(&seen.path, &stat, &entry)? }),
                None => self.store_seen(&seen, None)?,
            };
            let Some(stored) = stored else { continue };
            // An object that only this baseline knows would be garbage to git.
            let in_index = seen.item.as_ref().is_some_and(|item| item.entry().is_some_and(|e| e.id == stored.entry.id));
            let in_git = in_index && dirty.binary_search(&seen.path).is_err();
            let keep = !(seen.nested || stored.raw && in_git);
            if keep {
                self.keep(&seen.path, &stored.entry, dir, kept)?;
            }
            let number = keep.then_some(kept);
            kept += u32::from(keep);
            entries.push(BaseEntry { path: seen.path, entry: stored.entry, stat: Some(stat), kept: number });
        }
        if kept > SYNCED_ALONE {
            let synced = File::open(dir).and_then(|dir| rustix::fs::syncfs(&dir).map_err(io::Error::from));
            synced.map_err(GitError::io("keeping copies"))?;
        }
        Ok(Baseline { head, since, entries, dirs: look.dirs, extras: Extras::default() })
    }

    /// Are the bytes on disk those of the object, for a file that the index vouches for? Conversions
    /// of line ends change the size; what programs do is never taken on trust.
    pub(super) fn object_is_raw(&self, path: &RepoPath, stat: &Stat, entry: &Entry) -> Result<bool, GitError> {
        if entry.mode == Mode::Symlink {
            return Ok(true);
        }
        match self.objects.conversion(path)? {
            Conversion::None => Ok(true),
            Conversion::LineEnds => Ok(self.objects.blob_size(&entry.id)? == stat.size),
            Conversion::Program => Ok(false),
        }
    }

    /// Copies a file that git could not give back byte for byte, or might not have any more.
    fn keep(&self, path: &RepoPath, entry: &Entry, dir: &Path, number: u32) -> Result<(), GitError> {
        let failed = || GitError::io(format!("keeping a copy of `{path}`"));
        let dir = dir.join("kept");
        fs::create_dir_all(&dir).map_err(failed())?;
        let mut to = File::create(dir.join(number.to_string())).map_err(failed())?;
        if entry.mode == Mode::Symlink {
            let target = self.root.link(path).map_err(failed())?;
            to.write_all(&target).map_err(failed())?;
        } else {
            let mut from = self.root.file(path).map_err(failed())?;
            io::copy(&mut from, &mut to).map_err(failed())?;
        }
        if number < SYNCED_ALONE { to.sync_data().map_err(failed()) } else { Ok(()) }
    }

    /// Copies a file of the workspace, durably.
    pub(super) fn copy_out(&self, path: &RepoPath, mut to: File) -> Result<(), GitError> {
        let failed = || GitError::io(format!("keeping a copy of `{path}`"));
        let mut from = self.root.file(path).map_err(failed())?;
        io::copy(&mut from, &mut to).map_err(failed())?;
        to.sync_data().map_err(failed())
    }

    /// Measures a living attempt and freezes what it has changed so far under
    /// `…/<attempt>.checkpoint`; `None`: nothing has changed since the last one.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint<'_>) -> Result<Option<ObjectId>, GitError> {
        let id = checkpoint.id;
        let changes = self.measure(id, Doubt::None, &[])?.own;
        if self.state(id)?.checkpoint.as_ref().map_or(changes.is_empty(), |last| *last == changes) {
            return Ok(None);
        }
        let paths: Vec<RepoPath> = changes.iter().map(|c| c.path.clone()).collect();
        let commit = self.make_commit(id, &paths, true, Attribution::Inferred, checkpoint.message)?;
        let name = format!("{}.checkpoint", self.reference_of(id)?);
        failpoint::around(|| self.objects.set_reference(&name, &commit))?;
        if let Some(state) = self.attempts.get_mut(id) {
            state.checkpoint = Some(changes);
        }
        Ok(Some(commit))
    }

    /// Drops the attempt's private references and what is remembered of it: its work is on the branch,
    /// or there was none.
    pub fn unpin(&mut self, id: &AttemptId) -> Result<(), GitError> {
        let name = self.reference_of(id)?;
        self.forget(id);
        failpoint::around(|| self.objects.delete_reference(&name))?;
        self.objects.delete_reference(&format!("{name}.checkpoint"))?;
        // libgit2 leaves the directory of a loose reference; it goes if it is empty.
        if let Some((dir, _)) = name.rsplit_once('/') {
            let _ = fs::remove_dir(self.common_dir.join(dir));
        }
        Ok(())
    }
}

fn time_of(file: &File) -> io::Result<(i64, u32)> {
    let m = file.metadata()?;
    Ok((m.mtime(), u32::try_from(m.mtime_nsec()).unwrap_or(0)))
}

/// Sets the file's times to now, by the clock that stamps files, and tells that time.
pub(super) fn touch(file: &File) -> io::Result<(i64, u32)> {
    use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    futimens(file, &Timestamps { last_access: now, last_modification: now })?;
    time_of(file)
}

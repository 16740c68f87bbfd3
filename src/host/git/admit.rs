//! Letting an attempt on to paths that its claim does not have, or that became others since it began.
//!
//! Two steps on two threads: [`Repository::base_of`] looks, while the writer waits;
//! [`Repository::extend`] and [`Repository::refresh`] make the attempt's baseline of it.
//!
//! Invariant: what is taken for a base held still while it was read, and can be put back: git has it,
//! or there is a copy.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::core::change::Mode;
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;

use super::Repository;
use super::attempt::touch;
use super::baseline::BaseEntry;
use super::error::GitError;
use super::extras::{self, Base, Held};
use super::files::Stat;
use super::index::Item;
use super::look::TRIES;
use super::objects::Stored;
use super::scope::Scope;
use super::trees::Trees;

/// Numbers of copies made here, far from those of a baseline.
pub(super) const FIRST_KEPT: u32 = 1 << 31;

impl Repository {
    /// What `path` is now, for an attempt whose directory is `attempt_dir`: stored, and copied there
    /// where neither HEAD nor the index has its very bytes. Call it while the writer waits.
    pub fn base_of(&mut self, path: &RepoPath, attempt_dir: &Path) -> Result<Base, GitError> {
        let mut tries = 1;
        loop {
            match self.try_base_of(path, attempt_dir) {
                Err(GitError::Unsteady(_)) if tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    fn try_base_of(&mut self, path: &RepoPath, attempt_dir: &Path) -> Result<Base, GitError> {
        let failed = || GitError::io(format!("looking at `{path}`"));
        let file = extras::open(attempt_dir).map_err(GitError::io("making the attempt's directory"))?;
        let since = touch(&file).map_err(GitError::io("making the attempt's directory"))?;
        let head = self.head()?.commit;
        let tree = self.tree_of(head.as_ref())?;
        let committed = Trees::new(&self.objects).entry(tree.as_ref(), path)?;
        let mut above = path.parent();
        while let Some(dir) = above.take() {
            if self.root.dir(Some(&dir)).map_err(failed())?.is_some() {
                above = Some(dir);
                break;
            }
            above = dir.parent();
        }
        let held = match self.root.lstat(path).map_err(failed())? {
            None => Held::Nothing,
            Some(stat) => match self.content_of(path, &stat)? {
                None => Held::Directory,
                Some((stored, by_git)) => {
                    let in_git = by_git || committed.is_some_and(|c| c.id == stored.entry.id);
                    let link = stored.entry.mode == Mode::Symlink;
                    let kept =
                        if stored.raw && in_git { None } else { Some(self.keep_one(path, attempt_dir, link)?) };
                    if self.root.lstat(path).map_err(failed())? != Some(stat) {
                        return Err(GitError::Unsteady(path.to_string()));
                    }
                    Held::Content(BaseEntry { path: path.clone(), entry: stored.entry, stat: Some(stat), kept })
                }
            },
        };
        Ok(Base { held, above, committed, since })
    }

    /// What is at the path, stored, and whether the index has it; `None`: no file or link is.
    fn content_of(&mut self, path: &RepoPath, stat: &Stat) -> Result<Option<(Stored, bool)>, GitError> {
        let index = self.index()?;
        self.look_for_attributes(&index, false);
        let item = index.find(path.as_bytes()).and_then(|i| index.item(i)).filter(|i| i.stage == 0);
        let Some(mode) = self.mode_of(stat, item.and_then(|i| Mode::from_bits(i.mode))) else { return Ok(None) };
        let time = index.stamp.map_or((0, 0), |s| s.mtime);
        let entry = item.as_ref().and_then(Item::entry);
        let clean = item.filter(|i| i.matches(stat, time, self.filemode)).and(entry);
        let stored = match clean {
            Some(entry) => Stored { entry, raw: self.object_is_raw(path, stat, &entry)? },
            None => match self.objects.store(&self.root, path, stat, mode) {
                // It is gone or another kind of thing: it did not hold still.
                Err(GitError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    return Err(GitError::Unsteady(path.to_string()));
                }
                stored => stored?,
            },
        };
        Ok(Some((stored, entry.is_some_and(|e| e.id == stored.entry.id))))
    }

    /// Copies a file, or the target of a link, to a free number; which one.
    fn keep_one(&mut self, path: &RepoPath, attempt_dir: &Path, link: bool) -> Result<u32, GitError> {
        let failed = || GitError::io(format!("keeping a copy of `{path}`"));
        let dir = attempt_dir.join("kept");
        fs::create_dir_all(&dir).map_err(failed())?;
        // Those that are taken are an earlier supervisor's; there are only so many.
        loop {
            let number = self.next_kept;
            self.next_kept = number.checked_add(1).unwrap_or(FIRST_KEPT);
            match File::create_new(dir.join(number.to_string())) {
                Ok(mut to) if link => {
                    let target = self.root.link(path).map_err(failed())?;
                    to.write_all(&target).and_then(|()| to.sync_data()).map_err(failed())?;
                    return Ok(number);
                }
                Ok(to) => return self.copy_out(path, to).map(|()| number),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed()(e)),
            }
        }
    }

    /// Adds what `path` was to the attempt's baseline, in memory and durably, unless the baseline knows
    /// the path already; whether it was added. From now on the path is measured with the claim.
    pub fn extend(&mut self, id: &AttemptId, path: &RepoPath, base: Base) -> Result<bool, GitError> {
        let scope = Scope::of(&self.state(id)?.claim);
        if self.state(id)?.baseline.extras.has(path) || self.covers(&scope, path)? {
            return Ok(false);
        }
        self.refresh(id, path, base)?;
        Ok(true)
    }

    /// The same, replacing what the baseline knows: the agent reads the path again and goes on from what
    /// is there now.
    pub fn refresh(&mut self, id: &AttemptId, path: &RepoPath, base: Base) -> Result<(), GitError> {
        let state = self.attempts.get_mut(id).ok_or_else(|| GitError::NoBaseline(id.clone()))?;
        state.baseline.extras.insert(&state.dir, path, base)
    }

    /// Does the baseline of a claim know the path, be it as one where nothing was?
    fn covers(&mut self, scope: &Scope, path: &RepoPath) -> Result<bool, GitError> {
        if !scope.matches(path) {
            return Ok(false);
        }
        let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
        if !self.is_ignored(path, stat.as_ref())? {
            return Ok(true);
        }
        let (rules, root) = (&mut self.ignore, &self.root);
        Ok(scope.admits_ignored(path, &mut |p| rules.ignores(root, p, false).unwrap_or(false)))
    }
}

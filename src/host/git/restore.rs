//! Putting paths back to what they were when the attempt began.
//!
//! Invariant: a path is touched only if it still is what the salvage commit holds, so nothing that is
//! not kept somewhere is ever lost; a file appears under its name whole or not at all.
//!
//! Promised are bytes, kind and permission bits; times and owners are not.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode as Perm, OFlags};
use rustix::io::Errno;

use crate::core::call::There;
use crate::core::change::{Mode, ObjectId};
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::Repository;
use super::baseline::BaseEntry;
use super::error::GitError;
use super::files::{name, open_dir_at};
use super::scope::Scope;
use super::trees::Trees;

impl Repository {
    /// Puts back each of `paths` that still is what `commit` holds and that nobody committed since the
    /// attempt's baseline; directories that the attempt made
    /// and that are empty then are removed. Gives the paths put back, and those left as they are.
    pub fn restore(
        &mut self,
        id: &AttemptId,
        commit: ObjectId,
        paths: &[RepoPath],
    ) -> Result<(Vec<RepoPath>, Vec<RepoPath>), GitError> {
        let tree = self.objects.read_commit(&commit)?.tree;
        let (base, head) = (self.tree_of(self.state(id)?.baseline.head.as_ref())?, self.head()?.commit);
        let head = self.tree_of(head.as_ref())?;
        let scope = Scope::of(&self.state(id)?.claim);
        let mut trees = Trees::new(&self.objects);
        let mut frozen = Vec::with_capacity(paths.len());
        let (mut restored, mut left) = (Vec::new(), Vec::new());
        for path in paths {
            // Putting an older content back would undo that commit in the working tree.
            let committed = self.committed_at_base(id, &mut trees, base, path)?;
            if committed != trees.entry(head.as_ref(), path)? || !self.has_base(id, &scope, path)? {
                left.push(path.clone());
            } else {
                frozen.push((path.clone(), trees.entry(Some(&tree), path)?));
            }
        }
        let (mut remove, mut write) = (Vec::new(), Vec::new());
        for (path, entry) in frozen {
            let now = self.settle(id, &path)?;
            let submodule = now.entry.is_some_and(|e| e.mode == Mode::Submodule);
            let base = self.state(id)?.baseline.find(&path).cloned();
            if now.entry != entry || submodule {
                left.push(path);
                continue;
            }
            match base.filter(|b| b.stat.is_some()) {
                Some(base) if base.entry.mode == Mode::Submodule => left.push(path),
                Some(base) => write.push(base),
                None => remove.push(path),
            }
        }
        // Deepest first: what is beneath a directory goes before it.
        remove.sort_by(|a, b| b.cmp(a));
        let mut dirs = BTreeSet::new();
        for path in remove {
            match self.opened_up(&path, || self.remove(&path)) {
                Ok(()) => {
                    self.forget_start(&path);
                    dirs.extend(std::iter::successors(path.parent(), RepoPath::parent));
                    restored.push(path);
                }
                Err(_) => left.push(path),
            }
        }
        // Also those that never held a file. Others may be making directories at this moment: only
        // what the claim itself names is the attempt's.
        dirs.extend(self.look(&scope)?.dirs.into_iter().filter(|d| scope.matches(d)));
        let made = self.state(id)?.baseline.extras.iter().filter(|(_, base)| base.there() == There::Nothing);
        dirs.extend(made.map(|(path, _)| path.clone()));
        self.remove_empty(id, &scope, &dirs)?;
        for base in write {
            match self.opened_up(&base.path, || self.put_back(id, &base)) {
                Ok(true) => restored.push(base.path),
                Ok(false) | Err(_) => left.push(base.path),
            }
        }
        restored.sort();
        left.sort();
        Ok((restored, left))
    }

    /// Does something to a path; where it fails, once more with its directory opened up, if that can be.
    fn opened_up<T, E>(&self, path: &RepoPath, act: impl Fn() -> Result<T, E>) -> Result<T, E> {
        act().or_else(|error| if self.open_up(path) { act() } else { Err(error) })
    }

    /// Lets this user write in a path's directory, if he owns it and may not: who closed it wrote in it before.
    /// `false`: it is not that.
    fn open_up(&self, path: &RepoPath) -> bool {
        let Ok(Some((dir, _))) = self.root.parent(path) else { return false };
        let Ok(stat) = rustix::fs::fstat(&dir) else { return false };
        let (mode, owner) = (Perm::from_raw_mode(stat.st_mode), rustix::process::geteuid().as_raw());
        let is_closed = stat.st_uid == owner && !mode.contains(Perm::WUSR | Perm::XUSR);
        is_closed && rustix::fs::fchmod(&dir, mode | Perm::RWXU).is_ok()
    }

    /// Is it known what the path was? Elsewhere nothing is put back.
    fn has_base(&self, id: &AttemptId, scope: &Scope, path: &RepoPath) -> Result<bool, GitError> {
        Ok(scope.matches(path) || self.state(id)?.baseline.extras.has(path))
    }

    pub(super) fn remove(&self, path: &RepoPath) -> io::Result<()> {
        let Some((dir, name)) = self.root.parent(path)? else { return Ok(()) };
        match failpoint::around(|| rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes those of `dirs` that are empty and were not there when the attempt began.
    fn remove_empty(&self, id: &AttemptId, scope: &Scope, dirs: &BTreeSet<RepoPath>) -> Result<(), GitError> {
        let baseline = &self.state(id)?.baseline;
        for dir in dirs.iter().rev() {
            // Where the claim leads, the baseline knows; elsewhere what was seen of single paths.
            let had = baseline.had_dir(dir)
                || (!scope.touches(dir.as_bytes()) && baseline.extras.had_dir(dir).unwrap_or(true));
            if had {
                continue;
            }
            if let Ok(Some((parent, name))) = self.root.parent(dir) {
                // Not empty, or gone: then it stays as it is.
                let _ = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
            }
        }
        Ok(())
    }

    /// False: something else is where the path or its directory was.
    fn put_back(&self, id: &AttemptId, base: &BaseEntry) -> Result<bool, GitError> {
        let path = &base.path;
        let failed = || GitError::io(format!("putting back `{path}`"));
        let Some((dir, name)) = self.root.make_parent(path).map_err(failed())? else { return Ok(false) };
        // A directory in the way goes only if there is nothing in it.
        if open_dir_at(dir.as_fd(), name.as_bytes()).map_err(failed())?.is_some()
            && rustix::fs::unlinkat(&dir, name, AtFlags::REMOVEDIR).is_err()
        {
            return Ok(false);
        }
        let staged = self.stage(id, base)?;
        let result = match failpoint::around(|| rustix::fs::renameat(rustix::fs::CWD, &staged, &dir, name)) {
            Err(Errno::XDEV) => across(&staged, dir.as_fd(), base),
            other => other.map_err(io::Error::from),
        };
        let _ = fs::remove_file(&staged);
        result.map_err(failed())?;
        Ok(true)
    }

    /// The file that holds what git could not give back.
    fn kept(&self, id: &AttemptId, number: u32) -> Result<PathBuf, GitError> {
        Ok(self.state(id)?.dir.join("kept").join(number.to_string()))
    }

    /// The baseline's file or link, made in our own directory.
    fn stage(&self, id: &AttemptId, base: &BaseEntry) -> Result<PathBuf, GitError> {
        let failed = || GitError::io(format!("putting back `{}`", base.path));
        let dir = self.private_dir();
        fs::create_dir_all(&dir).map_err(failed())?;
        let staged = dir.join("restore.tmp");
        match fs::remove_file(&staged) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed()(e)),
            _ => {}
        }
        if base.entry.mode == Mode::Symlink {
            let target = match base.kept {
                Some(number) => fs::read(self.kept(id, number)?).map_err(failed())?,
                None => self.objects.small_blob(&base.entry.id)?,
            };
            rustix::fs::symlink(target.as_slice(), &staged).map_err(io::Error::from).map_err(failed())?;
            return Ok(staged);
        }
        let mut to = File::create(&staged).map_err(failed())?;
        match base.kept {
            Some(number) => {
                let kept = self.kept(id, number)?;
                io::copy(&mut File::open(kept).map_err(failed())?, &mut to).map_err(failed())?;
            }
            None => self.objects.copy_blob(&base.entry.id, &mut to)?,
        }
        let mode = base.stat.map_or(0o644, |s| s.mode & 0o7777);
        to.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed())?;
        Ok(staged)
    }
}

/// The git directory lies on another file system: a short-lived neighbour takes the rename's part.
fn across(staged: &Path, dir: BorrowedFd<'_>, base: &BaseEntry) -> io::Result<()> {
    let final_name = name(&base.path);
    let temporary = [b".supervise-restore-".as_slice(), &final_name.as_bytes()[..final_name.len().min(200)]].concat();
    let made = if base.entry.mode == Mode::Symlink {
        let target = fs::read_link(staged)?;
        rustix::fs::symlinkat(&target, dir, temporary.as_slice()).map_err(io::Error::from)
    } else {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, temporary.as_slice(), flags, Perm::from_raw_mode(0o600))?;
        let mut to = File::from(fd);
        let mut from = File::open(staged)?;
        io::copy(&mut from, &mut to).and_then(|_| to.set_permissions(from.metadata()?.permissions()))
    };
    let result =
        made.and_then(|()| rustix::fs::renameat(dir, temporary.as_slice(), dir, final_name).map_err(io::Error::from));
    if result.is_err() {
        let _ = rustix::fs::unlinkat(dir, temporary.as_slice(), AtFlags::empty());
    }
    result
}

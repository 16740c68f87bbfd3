//! What is on disk in a scope: one pass over its directories, links never followed.
//!
//! Invariant: a directory that is another repository (it holds a `.git`) is reported and not
//! entered; `.git` itself is never seen; ignored directories without tracked files are not entered
//! unless the claim reaches into them on purpose.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use crate::core::path::RepoPath;

use super::error::GitError;
use super::files::{Root, Stat, lstat_at, open_dir_at};
use super::scope::Scope;

/// Directories deeper than this are refused: the walk holds one descriptor for each level.
const MAX_DEPTH: usize = 256;

/// One thing on disk that git could record.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: RepoPath,
    pub(super) stat: Stat,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A file or a symbolic link.
    Content { ignored: bool },
    /// A directory that is a repository of its own.
    Nested,
}

/// What the walk asks of git.
pub(super) trait Known {
    /// Is there an index entry for exactly this path?
    fn tracked(&self, path: &[u8]) -> bool;
    /// Is there an index entry beneath this directory?
    fn tracked_beneath(&self, dir: &[u8]) -> bool;
    /// Do the ignore rules match this path (as a directory, where it is one)?
    fn ignored(&mut self, path: &RepoPath, dir: bool) -> Result<bool, GitError>;
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Sorted by path.
    pub(super) found: Vec<Found>,
    /// The directories that were entered, and the deepest existing one above roots that do not exist,
    /// sorted: what an agent did not make and a restore must not remove.
    pub(super) dirs: Vec<RepoPath>,
    /// Files that git ignores and that the scope matches by chance only; not among those found.
    pub(super) passed: Vec<RepoPath>,
}

pub(super) fn walk(root: &Root, scope: &Scope, known: &mut dyn Known) -> Result<Walk, GitError> {
    let mut walker = Walker { root, scope, known, out: Walk::default() };
    match scope.roots() {
        None => {
            let fd = root.dir(None).map_err(GitError::io("opening the workspace"))?;
            if let Some(fd) = fd {
                walker.dir(None, &fd, 0)?;
            }
        }
        Some(roots) => {
            for path in roots {
                walker.start(path)?;
            }
        }
    }
    let mut out = walker.out;
    out.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    out.dirs.sort_unstable();
    out.dirs.dedup();
    Ok(out)
}

struct Walker<'w> {
    root: &'w Root,
    scope: &'w Scope,
    known: &'w mut dyn Known,
    out: Walk,
}

impl Walker<'_> {
    /// A repository of its own; not, as for git, a directory of which the index knows files.
    fn is_nested(&self, dir: BorrowedFd<'_>, path: &RepoPath) -> bool {
        is_repository(dir) && !self.known.tracked_beneath(path.as_bytes())
    }

    /// Begins at a root of the scope: a file, a directory, or nothing.
    fn start(&mut self, path: &RepoPath) -> Result<(), GitError> {
        let failed = |e: std::io::Error| GitError::Io { what: format!("looking at `{path}`"), source: e };
        // On the way down there may be another repository, an ignored directory, or nothing.
        let mut at: Option<OwnedFd> = None;
        let bytes = path.as_bytes();
        let mut end = 0;
        loop {
            let next = bytes[end..].iter().position(|b| *b == b'/').map(|i| end + i);
            let part = &bytes[end..next.unwrap_or(bytes.len())];
            let so_far = RepoPath::new(&bytes[..next.unwrap_or(bytes.len())]).ok();
            let base = at.as_ref().map_or_else(|| self.root.fd(), AsFd::as_fd);
            let (Some(so_far), true) = (so_far, part != b".git") else { return Ok(()) };
            let Some(stat) = lstat_at(base, part).map_err(failed)? else {
                self.out.dirs.extend(so_far.parent());
                return Ok(());
            };
            if next.is_none() || !stat.is_dir() {
                let base = match &at {
                    Some(fd) => fd.try_clone().map_err(failed)?,
                    None => self.root.fd().try_clone_to_owned().map_err(failed)?,
                };
                // A file where a directory is claimed is nothing of the claim's.
                return if next.is_none() { self.entry(base.as_fd(), part, so_far, stat, 0) } else { Ok(()) };
            }
            let Some(fd) = open_dir_at(base, part).map_err(failed)? else { return Ok(()) };
            if self.is_nested(fd.as_fd(), &so_far) {
                self.out.found.push(Found { path: so_far, stat, what: What::Nested });
                return Ok(());
            }
            at = Some(fd);
            end = next.map_or(bytes.len(), |i| i + 1);
        }
    }

    fn entry(
        &mut self,
        base: BorrowedFd<'_>,
        name: &[u8],
        path: RepoPath,
        stat: Stat,
        depth: usize,
    ) -> Result<(), GitError> {
        if stat.is_dir() {
            let fd = match open_dir_at(base, name) {
                Ok(Some(fd)) => fd,
                Ok(None) => return Ok(()),
                // Somebody's private directory is no reason to stop, unless it is what we are asked about.
                Err(e)
                    if e.kind() == std::io::ErrorKind::PermissionDenied
                        && !self.scope.names(&path)
                        && !self.known.tracked_beneath(path.as_bytes()) =>
                {
                    return Ok(());
                }
                Err(e) => return Err(GitError::io(format!("opening `{path}`"))(e)),
            };
            if self.is_nested(fd.as_fd(), &path) {
                if self.known.tracked(path.as_bytes()) || !self.known.ignored(&path, true)? {
                    self.out.found.push(Found { path, stat, what: What::Nested });
                }
                return Ok(());
            }
            if !self.known.tracked_beneath(path.as_bytes()) && self.known.ignored(&path, true)? {
                let known = &mut *self.known;
                let mut ignored = |p: &RepoPath| known.ignored(p, true).unwrap_or(false);
                if !self.scope.admits_ignored_dir(&path, &mut ignored) {
                    return Ok(());
                }
            }
            return self.dir(Some(&path), &fd, depth + 1);
        }
        if stat.entry_mode().is_none() || !self.scope.matches(&path) {
            return Ok(());
        }
        let mut is_ignored = false;
        if !self.known.tracked(path.as_bytes()) && self.known.ignored(&path, false)? {
            let known = &mut *self.known;
            let mut ignored = |p: &RepoPath| known.ignored(p, false).unwrap_or(false);
            if !self.scope.admits_ignored(&path, &mut ignored) {
                if self.scope.names(&path) {
                    self.out.passed.push(path);
                }
                return Ok(());
            }
            is_ignored = true;
        }
        self.out.found.push(Found { path, stat, what: What::Content { ignored: is_ignored } });
        Ok(())
    }

    fn dir(&mut self, path: Option<&RepoPath>, fd: &OwnedFd, depth: usize) -> Result<(), GitError> {
        let shown = || path.map_or_else(|| "the workspace".to_owned(), |p| format!("`{p}`"));
        if depth > MAX_DEPTH {
            return Err(GitError::Io {
                what: format!("walking {}", shown()),
                source: std::io::Error::other("directories are nested too deeply"),
            });
        }
        let mut names: Vec<(Vec<u8>, FileType)> = Vec::new();
        for entry in Dir::read_from(fd).map_err(GitError::io(format!("reading {}", shown())))? {
            let entry = entry.map_err(GitError::io(format!("reading {}", shown())))?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        self.out.dirs.extend(path.cloned());
        let mut full = path.map_or_else(Vec::new, |p| [p.as_bytes(), b"/"].concat());
        let base = full.len();
        for (name, kind) in names {
            if name == b".git" {
                continue;
            }
            full.truncate(base);
            full.extend_from_slice(&name);
            let Ok(child) = RepoPath::new(&full) else { continue };
            // Known not to matter without asking the file system.
            let plain = matches!(kind, FileType::RegularFile | FileType::Symlink);
            if plain && !self.scope.matches(&child) {
                continue;
            }
            match lstat_at(fd.as_fd(), &name) {
                Ok(Some(stat)) => self.entry(fd.as_fd(), &name, child, stat, depth)?,
                Ok(None) => {}
                Err(e) if e.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {}
                Err(e) => return Err(GitError::io(format!("looking at `{child}`"))(e)),
            }
        }
        Ok(())
    }
}

/// Does the directory hold a `.git` that means something to git? A stray empty one does not.
fn is_repository(dir: BorrowedFd<'_>) -> bool {
    match lstat_at(dir, b".git") {
        Ok(Some(stat)) if stat.is_dir() => lstat_at(dir, b".git/HEAD").is_ok_and(|s| s.is_some()),
        Ok(Some(stat)) => stat.is_file(),
        _ => false,
    }
}

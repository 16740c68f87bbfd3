//! Taking directories under watch: opened, watched, then listed, in this order.
//!
//! Invariant: the directory that is watched is the one that is listed (both go by one descriptor, and no
//! symbolic link is followed on the way), and its place in the tree is where it was opened.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::WatchFlags;
use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, fstat, inotify, openat, openat2};
use rustix::io::Errno;

use super::events::{EVENTS, Reader};
use super::limits::{Limit, WatchError, is_directory, needed};
use super::tree::{Place, Wd};
use super::{Degraded, SeenKind};
use crate::core::path::RepoPath;

/// Directories that wait to be taken up, at the most; what is beyond stays unwatched, and that is said.
const MAX_JOBS: usize = 1 << 20;

/// A path longer than this is not followed further down.
const MAX_PATH: usize = 16 << 10;

/// Memory for listing.
const LISTING: usize = 32 << 10;

/// Something to be taken up.
#[derive(Debug)]
pub(super) enum Job {
    /// The root of the workspace, and everything beneath it.
    Root,
    Directory {
        parent: Wd,
        name: Box<[u8]>,
        /// List it even if it is known already, and so all beneath it.
        deep: bool,
    },
}

/// The workspace's own directory.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    /// While directories are taken up.
    open: Option<OwnedFd>,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    /// While the workspace is missing: the watch on the directory that held it.
    pub(super) above: Option<Wd>,
    listing: Vec<u8>,
}

impl Root {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None, identity: None, above: None, listing: Vec::with_capacity(LISTING) }
    }

    pub(super) fn name(&self) -> Option<&[u8]> {
        self.path.file_name().map(OsStrExt::as_bytes)
    }

    /// An open descriptor would keep the kernel from telling that the directory was removed.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    fn reopen(&mut self) -> Result<(), Errno> {
        let fd = rustix::fs::open(&self.path, DIRECTORY, Mode::empty())?;
        let stat = fstat(&fd)?;
        self.identity = Some((stat.st_dev, stat.st_ino));
        self.open = Some(fd);
        Ok(())
    }

    /// Opens a directory beneath, by its path. ESTALE: the workspace is another one now.
    fn open(&mut self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let known = self.identity;
        if self.open.is_none() {
            self.reopen()?;
            if known != self.identity {
                self.close();
                return Err(Errno::STALE);
            }
        }
        let root = self.open.as_ref().ok_or(Errno::STALE)?.as_fd();
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        match openat2(root, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            // Not known (before 5.6) or not allowed here, or the path is too long for one call.
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG | Errno::AGAIN) => step_by_step(root, path),
            opened => opened,
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn step_by_step(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut names = path.split(|byte| *byte == b'/').peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { OFlags::PATH | DIRECTORY } else { DIRECTORY } | OFlags::NOFOLLOW;
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        at = Some(openat(from, name, flags, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

impl Reader {
    /// Watches all there is. Nothing of it counts as touched.
    pub(super) fn first_walk(&mut self) -> Result<(), WatchError> {
        self.root.reopen().map_err(|errno| WatchError::directory(&self.root.path, errno))?;
        self.walking = true;
        self.jobs.push(Job::Root);
        while let Some(job) = self.jobs.pop() {
            self.step(job);
        }
        self.walking = false;
        self.root.close();
        self.shared.ledger().stats.directories = self.tree.len();
        let degraded = self.shared.ledger().degraded().cloned();
        match degraded {
            Some(Degraded::Limit(_)) => Err(self.too_many()),
            Some(Degraded::Missing) => Err(WatchError::directory(&self.root.path, Errno::NOENT)),
            _ => Ok(()),
        }
    }

    pub(super) fn too_many(&mut self) -> WatchError {
        // One more is for the cookies.
        let needed = 1 + needed(&self.root.path, &mut *self.ignored);
        WatchError::Watches { limit: Limit::watches(), needed }
    }

    pub(super) fn begin_walk(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.walking = true;
        self.root.close();
        self.jobs.clear();
        self.jobs.push(Job::Root);
    }

    pub(super) fn end_walk(&mut self) {
        self.walking = false;
        let gone = self.tree.sweep(self.round);
        self.remove_watches(&gone);
        self.shared.ledger().walk_ends();
    }

    /// Puts a directory on the list of those to be taken up.
    pub(super) fn take_up(&mut self, parent: Wd, name: &[u8], deep: bool) {
        if self.jobs.len() < MAX_JOBS {
            self.jobs.push(Job::Directory { parent, name: name.into(), deep });
        } else {
            self.unwatched(name, "too many directories at once");
        }
    }

    /// Takes up one directory.
    pub(super) fn step(&mut self, job: Job) {
        match job {
            Job::Root => self.take_up_root(),
            Job::Directory { parent, name, deep } => {
                let mut path = Vec::new();
                if self.tree.path(parent, Some(&name), &mut path) {
                    self.take_up_now(parent, &name, &path, deep);
                }
            }
        }
    }

    fn take_up_root(&mut self) {
        let mut added = self.add_root();
        if added.is_err() && self.root.above.is_none() {
            // To hear when it comes back. It may have done so before this was in place.
            let above = self.root.path.parent().unwrap_or(Path::new("/"));
            let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            self.root.above = inotify::add_watch(&*self.queue, above, flags).ok().map(Wd);
            added = self.add_root();
        }
        match added {
            Ok((wd, dir)) => {
                if let Some(above) = self.root.above.take() {
                    self.remove_watches(&[above]);
                }
                let gone = self.tree.set_root(wd, self.round);
                self.remove_watches(&gone);
                self.list(wd, &dir, b"", true);
            }
            Err(Errno::NOSPC) => self.shared.ledger().degrade(Degraded::Limit(Limit::watches())),
            Err(_) => {
                let gone = self.tree.root().map(|root| self.tree.remove(root)).unwrap_or_default();
                self.remove_watches(&gone);
                self.shared.ledger().degrade(Degraded::Missing);
            }
        }
    }

    fn add_root(&mut self) -> Result<(Wd, OwnedFd), Errno> {
        self.root.reopen()?;
        let dir = self.root.open.as_ref().ok_or(Errno::STALE)?;
        let dir = openat(dir, ".", DIRECTORY, Mode::empty())?;
        Ok((self.add(&dir, EVENTS | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF)?, dir))
    }

    fn take_up_now(&mut self, parent: Wd, name: &[u8], path: &[u8], deep: bool) {
        if path.len() > MAX_PATH {
            return self.unwatched(path, "its path is too long");
        }
        let dir = match self.root.open(path) {
            Ok(dir) => dir,
            // Gone again, or moved, and then there are events that say so.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(Errno::STALE) => return self.lost(),
            Err(Errno::ACCESS | Errno::PERM) => return self.unreadable(),
            Err(errno) => return self.unwatched(path, &errno.to_string()),
        };
        let wd = match self.add(&dir, EVENTS) {
            Ok(wd) => wd,
            Err(Errno::ACCESS | Errno::PERM) => return self.unreadable(),
            Err(Errno::NOSPC) => {
                let mut ledger = self.shared.ledger();
                ledger.stats.unwatched += 1;
                return ledger.degrade(Degraded::Limit(Limit::watches()));
            }
            Err(errno) => return self.unwatched(path, &errno.to_string()),
        };
        self.arrived(wd);
        let (place, gone) = self.tree.place(wd, parent, name, self.round);
        self.remove_watches(&gone);
        if place == Place::Moved {
            self.moved_unseen(wd);
        }
        match place {
            // It is watched, so it was listed, after that.
            Place::Kept if !deep => {}
            Place::Refused => {}
            Place::New | Place::Kept | Place::Moved => self.list(wd, &dir, path, deep),
        }
    }

    /// By way of the descriptor, so that it is this very directory.
    fn add(&self, dir: &OwnedFd, flags: WatchFlags) -> Result<Wd, Errno> {
        inotify::add_watch(&*self.queue, format!("/proc/self/fd/{}", dir.as_raw_fd()), flags).map(Wd)
    }

    fn list(&mut self, wd: Wd, dir: &OwnedFd, path: &[u8], deep: bool) {
        let mut memory = std::mem::take(&mut self.root.listing);
        memory.clear();
        let spare: &mut [MaybeUninit<u8>] = memory.spare_capacity_mut();
        let mut entries = RawDir::new(dir, spare);
        let mut full = path.to_vec();
        if !path.is_empty() {
            full.push(b'/');
        }
        let base = full.len();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                // It was removed.
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    self.unwatched(path, &errno.to_string());
                    break;
                }
            };
            let name: &CStr = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            full.truncate(base);
            full.extend_from_slice(name.to_bytes());
            if !self.walking {
                self.shared.ledger().note(&full, SeenKind::Found, false, false);
            }
            let directory = match entry.file_type() {
                FileType::Unknown => is_directory(dir, name),
                kind => kind == FileType::Directory,
            };
            if directory && RepoPath::new(&full).is_ok_and(|path| !(self.ignored)(&path)) {
                self.take_up(wd, name.to_bytes(), deep);
            }
        }
        self.root.listing = memory;
    }

    pub(super) fn unwatch(&mut self, wd: Wd) {
        let gone = self.tree.remove(wd);
        self.remove_watches(&gone);
    }

    pub(super) fn remove_watches(&self, gone: &[Wd]) {
        for wd in gone {
            // EINVAL: the directory was removed, and its watch with it.
            let _ = inotify::remove_watch(&*self.queue, wd.0);
        }
    }

    fn unwatched(&self, path: &[u8], why: &str) {
        let mut ledger = self.shared.ledger();
        ledger.stats.unwatched += 1;
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(path));
        ledger.degrade(Degraded::Unwatched { path, why: why.to_owned() });
    }

    /// Nor would a walk see what is in there.
    fn unreadable(&self) {
        let mut ledger = self.shared.ledger();
        ledger.stats.unreadable += 1;
        if !self.walking {
            ledger.gap();
        }
    }
}

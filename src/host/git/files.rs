//! The files of the workspace, reached beneath its root and never through a symbolic link.
//!
//! Invariant: every path is opened component by component with `O_NOFOLLOW`, so a directory that
//! became a link leads nowhere instead of outside.
//!
//! Deliberately absent: what git thinks of the files.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode as Perm, OFlags};
use rustix::io::Errno;

use crate::core::change::Mode;
use crate::core::path::RepoPath;

/// What lstat(2) says of a file: enough to tell that it may have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) size: u64,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, u32),
    pub(super) ctime: (i64, u32),
    pub(super) ino: u64,
    pub(super) dev: u64,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Stat {
    #[expect(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "nanoseconds are below 2^30")]
    pub(super) fn of(raw: &rustix::fs::Stat) -> Self {
        Self {
            size: raw.st_size as u64,
            mtime: (raw.st_mtime as i64, raw.st_mtime_nsec as u32),
            ctime: (raw.st_ctime as i64, raw.st_ctime_nsec as u32),
            ino: raw.st_ino as u64,
            dev: raw.st_dev as u64,
            mode: raw.st_mode as u32,
            uid: raw.st_uid,
            gid: raw.st_gid,
        }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    pub(super) fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// The kind of entry that git would record; `None` for directories, sockets and the like.
    pub(super) fn entry_mode(&self) -> Option<Mode> {
        match self.mode & 0o170_000 {
            0o100_000 if self.mode & 0o100 != 0 => Some(Mode::Executable),
            0o100_000 => Some(Mode::File),
            0o120_000 => Some(Mode::Symlink),
            _ => None,
        }
    }

    /// Could the file have been written again without a trace since `since` (the file system's own
    /// clock, taken before this stat)?
    pub(super) fn racy(&self, since: (i64, u32)) -> bool {
        self.ctime >= since || self.mtime >= since
    }
}

/// The root of the workspace, held open.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Perm::empty())?;
        Ok(Self { path: path.to_owned(), fd })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a directory; `None`: it is missing, or it (or one above it) is not a directory.
    pub(super) fn dir(&self, path: Option<&RepoPath>) -> io::Result<Option<OwnedFd>> {
        let Some(path) = path else { return self.fd.try_clone().map(Some) };
        let mut at: Option<OwnedFd> = None;
        for part in path.as_bytes().split(|b| *b == b'/') {
            let base = at.as_ref().map_or_else(|| self.fd(), AsFd::as_fd);
            match open_dir_at(base, part)? {
                Some(fd) => at = Some(fd),
                None => return Ok(None),
            }
        }
        Ok(at)
    }

    /// The directory that holds `path`, and its name there.
    pub(super) fn parent<'p>(&self, path: &'p RepoPath) -> io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let dir = self.dir(path.parent().as_ref())?;
        Ok(dir.map(|d| (d, name(path))))
    }

    /// lstat(2); `None`: nothing is there.
    pub(super) fn lstat(&self, path: &RepoPath) -> io::Result<Option<Stat>> {
        if !path.as_bytes().contains(&b'/') {
            return lstat_at(self.fd(), path.as_bytes());
        }
        match self.parent(path)? {
            Some((dir, name)) => lstat_at(dir.as_fd(), name.as_bytes()),
            None => Ok(None),
        }
    }

    /// Opens a regular file for reading.
    pub(super) fn file(&self, path: &RepoPath) -> io::Result<File> {
        let (dir, name) = self.parent(path)?.ok_or(Errno::NOENT)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(dir, name, flags, Perm::empty())?))
    }

    /// The target of a symbolic link.
    pub(super) fn link(&self, path: &RepoPath) -> io::Result<Vec<u8>> {
        let (dir, name) = self.parent(path)?.ok_or(Errno::NOENT)?;
        Ok(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes())
    }

    /// Whole content of a small regular file.
    pub(super) fn read(&self, path: &RepoPath, size: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        self.file(path)?.take(size.saturating_add(1)).read_to_end(&mut out)?;
        Ok(out)
    }

    /// Makes the directories above `path` that are missing and opens the last one; `None`: something
    /// that is no directory is in the way.
    pub(super) fn make_parent<'p>(&self, path: &'p RepoPath) -> io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let mut at: OwnedFd = self.fd.try_clone()?;
        if let Some(parent) = path.parent() {
            for part in parent.as_bytes().split(|b| *b == b'/') {
                match rustix::fs::mkdirat(&at, part, Perm::from_raw_mode(0o777)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(Errno::NOTDIR) => return Ok(None),
                    Err(e) => return Err(e.into()),
                }
                match open_dir_at(at.as_fd(), part)? {
                    Some(fd) => at = fd,
                    None => return Ok(None),
                }
            }
        }
        Ok(Some((at, name(path))))
    }
}

/// The last component.
pub(super) fn name(path: &RepoPath) -> &OsStr {
    let bytes = path.as_bytes();
    let cut = bytes.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
    OsStr::from_bytes(&bytes[cut..])
}

pub(super) fn open_dir_at(base: BorrowedFd<'_>, part: &[u8]) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(base, part, flags, Perm::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

pub(super) fn lstat_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(raw) => Ok(Some(Stat::of(&raw))),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

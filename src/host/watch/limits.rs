//! What keeps a watch from starting; the limits by name, with the sysctl that raises them.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, statat};
use rustix::io::Errno;

use crate::core::path::RepoPath;

/// A limit of inotify(7), counted for each user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub sysctl: &'static str,
    /// What it is set to; `None`: it could not be read.
    pub value: Option<u64>,
}

impl Limit {
    pub(super) fn watches() -> Self {
        Self::read("fs.inotify.max_user_watches", "/proc/sys/fs/inotify/max_user_watches")
    }

    fn instances() -> Self {
        Self::read("fs.inotify.max_user_instances", "/proc/sys/fs/inotify/max_user_instances")
    }

    fn read(sysctl: &'static str, file: &str) -> Self {
        Self { sysctl, value: fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Some(value) => write!(f, "{} = {value}", self.sysctl),
            None => f.write_str(self.sysctl),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("all inotify instances of this user are taken ({0}): raise it with sysctl -w")]
    Instances(Limit),
    #[error(
        "{needed} directories are to be watched, more than are left to this user ({limit}): raise it with sysctl -w"
    )]
    Watches { limit: Limit, needed: usize },
    #[error("no more files can be opened (RLIMIT_NOFILE)")]
    Files,
    #[error("inotify cannot be used")]
    Queue(#[source] io::Error),
    #[error("`{path}` cannot be watched")]
    Directory { path: PathBuf, source: io::Error },
    #[error("the reader of the watch cannot be started")]
    Thread(#[source] io::Error),
}

impl WatchError {
    pub(super) fn queue(errno: Errno) -> Self {
        match errno {
            Errno::MFILE | Errno::NFILE => Self::Files,
            other => Self::Queue(other.into()),
        }
    }

    /// inotify_init1(2) has one error for two limits: the process's own is reached if nothing else can be opened.
    pub(super) fn init(errno: Errno) -> Self {
        if errno == Errno::MFILE && fs::File::open("/dev/null").is_ok() {
            return Self::Instances(Limit::instances());
        }
        Self::queue(errno)
    }

    pub(super) fn directory(path: &Path, errno: Errno) -> Self {
        Self::Directory { path: path.to_owned(), source: errno.into() }
    }
}

/// The most that are counted: it is for a message.
const MAX_COUNTED: usize = 10_000_000;

/// How many directories of `workspace` would have to be watched.
pub(super) fn needed(workspace: &Path, ignored: &mut dyn FnMut(&RepoPath) -> bool) -> usize {
    let mut count = 0;
    let mut open = vec![PathBuf::new()];
    while let Some(dir) = open.pop() {
        count += 1;
        if count == MAX_COUNTED {
            break;
        }
        for entry in fs::read_dir(workspace.join(&dir)).into_iter().flatten().flatten() {
            let path = dir.join(entry.file_name());
            let inside = RepoPath::new(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()));
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_directory && inside.is_ok_and(|inside| !ignored(&inside)) {
                open.push(path);
            }
        }
    }
    count
}

/// Is `name` in `dir` a directory, where listing it did not say?
pub(super) fn is_directory(dir: impl std::os::fd::AsFd, name: &std::ffi::CStr) -> bool {
    statat(dir, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

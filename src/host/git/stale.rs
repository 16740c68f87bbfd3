//! Locks that a dead supervisor left behind: git(1) would refuse for ever where they lie.
//!
//! Invariant: a lock is removed only where it is a dead supervisor's: all beneath `refs/supervise/` are (whoever calls
//! this is the only supervisor); others where the dead run was open when the lock was made, nobody has it open, and
//! nothing has happened to it for [`QUIET`], which no git needs between making a lock and letting go of it.
//!
//! Source: gitrepository-layout(5); git locks `X` by making `X.lock`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{Timespec, poll};

use super::Repository;
use super::error::GitError;
use crate::host::watch::evidence::{self, Evidence};

/// How long nothing has to have happened to a lock, in seconds.
const QUIET: i64 = 2;
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// Looks at one lock.
const MAX_LOOKS: u32 = 30;

/// Directories beneath `refs/supervise/` that are looked at.
const MAX_DIRECTORIES: usize = 100_000;

impl Repository {
    /// Removes what a supervisor left locked that had opened its run at `opened` (seconds of wall-clock time) and
    /// died since, and gives what was removed. `branch`: the reference that its commits went to.
    pub fn remove_stale_locks(&self, branch: Option<&str>, opened: i64) -> Result<Vec<PathBuf>, GitError> {
        let mut removed = Vec::new();
        for lock in self.own_locks()? {
            remove(&lock, &mut removed)?;
        }
        let mut shared = vec![self.git_dir.join("index.lock"), self.git_dir.join("HEAD.lock")];
        shared.push(self.common_dir.join("packed-refs.lock"));
        shared.extend(branch.map(|name| self.common_dir.join(format!("{name}.lock"))));
        for lock in shared {
            if is_stale(&lock, opened)? {
                remove(&lock, &mut removed)?;
            }
        }
        Ok(removed)
    }

    fn own_locks(&self) -> Result<Vec<PathBuf>, GitError> {
        let failed = || GitError::io("looking for locks of a dead supervisor");
        let (mut locks, mut open) = (Vec::new(), vec![self.common_dir.join("refs/supervise")]);
        for _ in 0..MAX_DIRECTORIES {
            let Some(directory) = open.pop() else { break };
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed()(error)),
            };
            for entry in entries {
                let entry = entry.map_err(failed())?;
                if entry.file_type().map_err(failed())?.is_dir() {
                    open.push(entry.path());
                } else if entry.path().extension().is_some_and(|extension| extension == "lock") {
                    locks.push(entry.path());
                }
            }
        }
        Ok(locks)
    }
}

/// Waits until that can be said.
fn is_stale(lock: &Path, opened: i64) -> Result<bool, GitError> {
    for _ in 0..MAX_LOOKS {
        let found = match fs::symlink_metadata(lock) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(false);
            }
            Err(error) => return Err(GitError::io(format!("looking at {}", lock.display()))(error)),
        };
        if found.mtime() < opened {
            return Ok(false);
        }
        if found.mtime() + QUIET < jiff::Timestamp::now().as_second() {
            return Ok(!is_open(lock));
        }
        let _ = poll(&mut [], Some(&PAUSE));
    }
    Ok(false)
}

/// Does any process that can be looked into have it open for writing?
fn is_open(lock: &Path) -> bool {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // Each by itself: one that cannot be looked into hides nothing of the others.
    let each: Vec<(u32, Vec<u32>)> = pids.into_iter().map(|pid| (pid, vec![pid])).collect();
    each.into_iter().any(|one| !matches!(evidence::writers(&[lock], &[one]).as_slice(), [Evidence::None]))
}

fn remove(lock: &Path, removed: &mut Vec<PathBuf>) -> Result<(), GitError> {
    match fs::remove_file(lock) {
        Ok(()) => removed.push(lock.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(GitError::io(format!("removing {}", lock.display()))(error)),
    }
    Ok(())
}

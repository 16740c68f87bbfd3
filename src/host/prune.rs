//! The runs of a repository as a list, and the removal of old ones.
//!
//! Invariant: the newest run and one that goes on are never removed, and none whose work is kept unless
//! that is to go too. A run is there whole or not at all: its directory is renamed before it is emptied.
//!
//! Deliberately absent: how it is shown.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::git::{GitError, KeptRef, Repository};
use super::past::{Life, Past, PastError, Runs};
use crate::core::ids::RunId;
use crate::core::moment::Moment;
use crate::core::view::RunView;

/// The end of a directory's name that is being removed. No run is called so.
const REMOVED: &str = ".removed";

/// A run, as far as it can be read.
#[derive(Debug)]
pub struct Listed {
    pub run: RunId,
    pub told: Result<Told, PastError>,
    /// Bytes on the disk.
    pub bytes: u64,
    /// References that keep its work.
    pub kept: Vec<KeptRef>,
    /// When its journal was last written.
    pub last: Timestamp,
}

/// What the journal of a run tells.
#[derive(Debug)]
pub struct Told {
    pub view: RunView,
    pub opened: Timestamp,
    /// The moment up to which it is shown.
    pub until: Moment,
    /// Its supervisor was gone before the end.
    pub died: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("cannot use {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Which runs are to go: those that are older and not among the newest.
#[derive(Clone, Copy, Debug)]
pub struct Old {
    pub than: Duration,
    /// Of the newest, so many stay.
    pub keep: usize,
}

/// All runs, oldest first.
pub fn list(repository: &Repository, runs: &Runs) -> Result<Vec<Listed>, PruneError> {
    let names = runs.list().map_err(|source| PruneError::Io { path: runs.root().join("runs"), source })?;
    let mut kept: BTreeMap<RunId, Vec<KeptRef>> = BTreeMap::new();
    for reference in repository.kept_work()? {
        kept.entry(reference.run.clone()).or_default().push(reference);
    }
    let listed = names.into_iter().map(|run| Listed {
        told: told(runs, &run),
        bytes: bytes_of(runs.dir(&run).path()),
        kept: kept.remove(&run).unwrap_or_default(),
        last: last_written(runs, &run),
        run,
    });
    Ok(listed.collect())
}

/// Those that are to go, oldest first.
#[must_use]
pub fn old<'r>(all: &'r [Listed], runs: &Runs, old: Old, now: Timestamp) -> Vec<&'r Listed> {
    let current = runs.current();
    let newest = all.len().saturating_sub(old.keep);
    let is_old = |listed: &&Listed| now.duration_since(listed.last).unsigned_abs() > old.than && now > listed.last;
    let others = all[..newest].iter().filter(|listed| current.as_ref() != Some(&listed.run));
    others.filter(is_old).filter(|listed| !runs.goes_on(&listed.run)).collect()
}

/// Removes a run and the references that keep its work.
pub fn remove(repository: &Repository, runs: &Runs, listed: &Listed) -> Result<(), PruneError> {
    for reference in &listed.kept {
        repository.drop_kept(reference)?;
    }
    let dir = runs.dir(&listed.run);
    let mut gone = dir.path().to_owned().into_os_string();
    gone.push(REMOVED);
    let gone = PathBuf::from(gone);
    let failed = |source| PruneError::Io { path: dir.path().to_owned(), source };
    fs::rename(dir.path(), &gone).map_err(failed)?;
    fs::remove_dir_all(&gone).map_err(failed)
}

/// Removes what an interrupted removal left.
pub fn finish(runs: &Runs) -> Result<(), PruneError> {
    let path = runs.root().join("runs");
    let failed = |source| PruneError::Io { path: path.clone(), source };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(REMOVED)) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn told(runs: &Runs, run: &RunId) -> Result<Told, PastError> {
    // Nobody is asked: that the lock is held is enough for a list.
    let life = if runs.goes_on(run) { Life::Answers } else { Life::Over };
    let past = Past::read(&runs.dir(run))?;
    let died = life.is_over() && !past.is_ended();
    Ok(Told { view: past.view(&life)?, opened: past.header.created, until: past.until(&life), died })
}

fn last_written(runs: &Runs, run: &RunId) -> Timestamp {
    let dir = runs.dir(run);
    let found = fs::metadata(dir.journal()).or_else(|_| fs::metadata(dir.path()));
    found.ok().and_then(|m| Timestamp::from_second(m.mtime()).ok()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What is beneath a directory takes on the disk; what cannot be read counts nothing.
fn bytes_of(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let bytes = |entry: fs::DirEntry| {
        let Ok(metadata) = entry.metadata() else { return 0 };
        let beneath = if metadata.is_dir() { bytes_of(&entry.path()) } else { 0 };
        metadata.blocks() * 512 + beneath
    };
    entries.flatten().map(bytes).sum()
}

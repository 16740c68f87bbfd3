//! A run of a supervisor that is gone, as the next one needs it: journal, plan, launches, and what is known of
//! each attempt whose work is not settled.
//!
//! Invariant: reading it changes nothing but a torn tail of the journal, which is cut off.
//!
//! Deliberately absent: what becomes of the attempts (`core`), and of old processes (`leftovers`).

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::leftovers;
use super::limits;
use super::past::{self, PastError};
use super::state::RunDir;
use crate::core::change::Change;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::record::{Fact, ProcessId, Record};
use crate::core::supervisor::{Supervisor, Unsettled};
use crate::journal::{Entry, Header, Journal};
use crate::session::Session;
use crate::session::kept::{self, KeptError};
use crate::shim::record::ExitRecord;

/// How exact an exit record's times are.
const WRITTEN_TO: jiff::SignedDuration = jiff::SignedDuration::from_micros(1);

/// The most bytes of the launches of a run.
const MAX_LAUNCHES: u64 = 1 << 30;

/// Why a run cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    #[error(transparent)]
    Past(#[from] PastError),
    #[error("run {run} came to its end")]
    Ended { run: String },
    #[error("run {run} was begun by a version that did not keep how its agents are launched")]
    NoLaunches { run: String },
    #[error("{} cannot be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is of no use", .path.display())]
    Launches { path: PathBuf, source: KeptError },
}

/// A run to be taken up again.
#[derive(Debug)]
pub struct TakenUp {
    pub header: Header,
    pub journal: Journal,
    pub supervisor: Supervisor,
    pub session: Session,
    /// When its last record was written.
    pub last: Moment,
    /// What has happened, without what nobody is told of: of that there may be very much.
    pub told: Vec<Record>,
}

/// An attempt whose work is not settled.
#[derive(Clone, Debug)]
pub struct Left {
    pub attempt: Unsettled,
    /// When the last process of its tree had ended, in seconds and nanoseconds of wall-clock time; `None`: it may
    /// have lived until now.
    ended: Option<(i64, i64)>,
}

impl TakenUp {
    /// Reads what is kept in the run's directory.
    pub fn read(dir: &RunDir) -> Result<Self, ResumeError> {
        let run = dir.path().file_name().unwrap_or_default().display().to_string();
        let mut plan = past::read_plan(dir)?.ok_or_else(|| PastError::NoPlan { run: run.clone() })?.plan;
        plan.fits = limits::agents_at_once();
        let mut supervisor = Supervisor::new(plan);
        let (mut last, mut told) = (Moment::ZERO, Vec::new());
        let each = |Entry { record, .. }| {
            supervisor.apply(&record);
            last = record.at;
            if !matches!(record.fact, Fact::Wrote { .. } | Fact::Sampled { .. } | Fact::LockWatched { .. }) {
                told.push(record);
            }
        };
        let (journal, extent) = Journal::reopen(&dir.journal(), each).map_err(PastError::from)?;
        if supervisor.view().is_none() {
            return Err(PastError::NotOpened { run }.into());
        }
        if !supervisor.can_resume() {
            return Err(ResumeError::Ended { run });
        }
        let source = read(&dir.path().join("session.toml"))?.unwrap_or_default();
        let source = String::from_utf8_lossy(&source).into_owned();
        let path = dir.launches();
        let text = read(&path)?.ok_or(ResumeError::NoLaunches { run })?;
        let session = kept::read(&text, supervisor.plan().clone(), source)
            .map_err(|source| ResumeError::Launches { path, source })?;
        Ok(Self { header: extent.header, journal, supervisor, session, last, told })
    }

    /// Processes that were not seen to end.
    #[must_use]
    pub fn processes(&self) -> Vec<ProcessId> {
        self.supervisor.unsettled().into_iter().filter_map(|attempt| attempt.process).collect()
    }

    /// Was some attempt to be started, and is not known whether it was?
    #[must_use]
    pub fn was_starting(&self, dir: &RunDir) -> bool {
        let unsettled = self.supervisor.unsettled();
        let unknown = |attempt: &Unsettled| attempt.process.is_none() && !attempt.tree_ended;
        unsettled.iter().any(|attempt| unknown(attempt) && !dir.attempt(&attempt.id).join("exit.json").exists())
    }

    /// What is known of each attempt whose work is not settled, once nothing of the run lives any more.
    #[must_use]
    pub fn left(&self, dir: &RunDir) -> Vec<Left> {
        self.supervisor.unsettled().into_iter().map(|attempt| Left::of(attempt, dir)).collect()
    }
}

impl Left {
    fn of(attempt: Unsettled, dir: &RunDir) -> Self {
        let record = ExitRecord::read(&dir.attempt(&attempt.id).join("exit.json")).ok().flatten();
        let recorded = record.filter(|record| record.survivors.is_empty()).and_then(|record| time(&record.ended_at));
        let booted = || {
            let before = attempt.process.as_ref().is_some_and(|p| Some(&p.boot) != leftovers::boot_id().as_ref());
            before.then(boot_time).flatten()
        };
        Self { ended: recorded.or_else(booted), attempt }
    }

    /// Of these changes, the paths that somebody else made: seen from outside while the attempt ran, or changed
    /// (statx(2), `stx_ctime`) after its tree was gone. That a file was removed since cannot be seen.
    #[must_use]
    pub fn foreign<'c>(&self, workspace: &Path, changes: impl Iterator<Item = &'c Change>) -> Vec<RepoPath> {
        let since = |path: &RepoPath| {
            let found = fs::symlink_metadata(workspace.join(path.as_path())).ok();
            found.zip(self.ended).is_some_and(|(found, ended)| (found.ctime(), found.ctime_nsec()) > ended)
        };
        let paths = changes.map(|change| &change.path);
        paths.filter(|path| self.attempt.outside.contains(path) || since(path)).cloned().collect()
    }
}

/// The end of the microsecond that is written there.
fn time(text: &str) -> Option<(i64, i64)> {
    let time = text.parse::<Timestamp>().ok()?.checked_add(WRITTEN_TO).ok()?;
    Some((time.as_second(), i64::from(time.subsec_nanosecond())))
}

/// When the machine was started (proc_stat(5), `btime`).
fn boot_time() -> Option<(i64, i64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some((line.trim().parse().ok()?, 0))
}

/// A file that may not be there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ResumeError> {
    let mut text = Vec::new();
    match fs::File::open(path).and_then(|file| file.take(MAX_LAUNCHES).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ResumeError::Read { path: path.to_owned(), source }),
    }
}

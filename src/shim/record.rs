//! The exit record: what a shim leaves on disk about its tree, for a supervisor that was not there.
//!
//! Invariant: under its final name it is whole; it is written beside and renamed. It outlives both
//! processes. It is not synced: after a loss of power the boot id differs, nothing of the tree can be
//! alive, and its end counts as not seen, so a millisecond for each agent would buy nothing.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::logs::{self, Kept};
use crate::core::reason::Exit;

const VERSION: u32 = 1;

/// The file's content. Fields may be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub version: u32,
    /// The agent's process number and start time (proc_pid_stat(5), field 22).
    pub pid: u32,
    pub start: u64,
    /// The leader's exit code, or the signal that ended it; neither: nobody saw it end.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// RFC 3339; of the launch, and of the moment when the tree was empty.
    pub started_at: String,
    pub ended_at: String,
    pub duration_ms: u64,
    /// Why the shim ended the tree, if it did.
    pub cause: Cause,
    /// Whether the tree was in a cgroup of its own.
    pub cgroup: bool,
    /// Whether its writes were judged before they landed.
    #[serde(default)]
    pub gated: bool,
    /// Processes that could not be ended.
    pub survivors: Vec<u32>,
    pub stdout: LogRecord,
    pub stderr: LogRecord,
}

/// What set the end in motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The leader ended by itself.
    Leader,
    /// The supervisor asked for it.
    Asked,
    /// The supervisor was gone.
    SupervisorGone,
}

/// What became of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    pub bytes: u64,
    pub omitted: u64,
    pub error: Option<String>,
}

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot read the exit record")]
    Read(#[source] io::Error),
    #[error("the exit record does not parse")]
    Parse(#[source] serde_json::Error),
    #[error("the exit record is of version {0}, which this version does not know")]
    Version(u32),
}

/// A record is a few hundred bytes; survivors may add some.
const MAX_RECORD: u64 = 1 << 20;

impl ExitRecord {
    /// Writes it under `path`.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut beside: OsString = path.as_os_str().to_owned();
        beside.push(".new");
        logs::private(beside.as_ref())?.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&beside, path)
    }

    /// Reads one; `None`: there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let bytes = match fs::metadata(path) {
            Ok(metadata) if metadata.len() > MAX_RECORD => {
                return Err(RecordError::Read(io::ErrorKind::FileTooLarge.into()));
            }
            Ok(_) => fs::read(path).map_err(RecordError::Read)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RecordError::Read(error)),
        };
        let record: Self = serde_json::from_slice(&bytes).map_err(RecordError::Parse)?;
        if record.version == VERSION { Ok(Some(record)) } else { Err(RecordError::Version(record.version)) }
    }

    #[must_use]
    pub fn current_version() -> u32 {
        VERSION
    }

    /// How the leader ended.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match (self.code, self.signal) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Lost,
        }
    }
}

impl From<Kept> for LogRecord {
    fn from(kept: Kept) -> Self {
        Self { bytes: kept.total, omitted: kept.omitted, error: kept.error.map(|kind| kind.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ExitRecord {
        let log = LogRecord { bytes: 1, omitted: 0, error: None };
        ExitRecord {
            version: VERSION,
            pid: 7,
            start: 8,
            code: None,
            signal: Some(15),
            started_at: "2026-01-01T00:00:00.000Z".into(),
            ended_at: "2026-01-01T00:00:01.000Z".into(),
            duration_ms: 1000,
            cause: Cause::Asked,
            cgroup: false,
            gated: false,
            survivors: vec![],
            stdout: log.clone(),
            stderr: log,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        assert!(ExitRecord::read(&path).unwrap().is_none());
        record().write(&path).unwrap();
        assert_eq!(ExitRecord::read(&path).unwrap(), Some(record()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(record().exit(), Exit::Signal(15));
    }

    #[test]
    fn a_damaged_or_later_record_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exit.json");
        fs::write(&path, "{").unwrap();
        assert!(matches!(ExitRecord::read(&path), Err(RecordError::Parse(_))));
        ExitRecord { version: 2, ..record() }.write(&path).unwrap();
        assert!(matches!(ExitRecord::read(&path), Err(RecordError::Version(2))));
    }
}

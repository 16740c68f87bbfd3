//! The temporary directory that the agents of a run share.
//!
//! Invariant: only a directory of this run and of this user is ever removed.

use std::env;
use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::run::RunError;
use crate::core::ids::RunId;

/// The run's temporary directory; goes with it.
pub(super) struct SharedTmp {
    path: PathBuf,
}

impl SharedTmp {
    pub(super) fn make(run: &RunId) -> Result<Self, RunError> {
        let path = env::temp_dir().join(format!("supervise-{run}-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| RunError::Tmp { path: path.clone(), source })?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes those of supervisors of the run that died; nothing that only has such a name.
    pub(super) fn remove_earlier(run: &RunId) {
        let prefix = format!("supervise-{run}-");
        for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let pid = name.to_str().and_then(|name| name.strip_prefix(&prefix));
            let ours = pid.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
                && entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == rustix::process::geteuid().as_raw());
            if ours && let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "what a dead supervisor left there stays");
            }
        }
    }
}

impl Drop for SharedTmp {
    fn drop(&mut self) {
        // What cannot be removed is in a temporary directory, where the system looks after it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

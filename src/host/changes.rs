//! What an agent changed: in the working tree while it runs, else in its commit or its kept work.
//!
//! Invariant: looking disturbs nobody. The files of a living attempt are read in a copy, because reading
//! them may repair them; objects that are stored for the comparison are git's to clean up.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::git::{GitError, Patch, Repository};
use super::past::Past;
use super::state::RunDir;
use crate::core::change::ObjectId;
use crate::core::facts::Doubt;
use crate::core::ids::{AttemptId, RunId};
use crate::core::lifecycle::State;
use crate::core::view::AgentView;

/// An agent's changes, and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    pub place: Place,
    pub patch: Patch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the working tree, against what was there when its attempt began.
    Tree,
    Commit(ObjectId),
    /// Kept: its attempt did not complete.
    Salvage(ObjectId),
}

#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("cannot copy what {id} began with")]
    Copy { id: AttemptId, source: io::Error },
}

/// Files of an attempt's directory that say what it began with.
const BEGINNING: [&str; 2] = ["baseline", "extras"];

/// What the agent changed in its latest attempt; `None`: nothing that could be found. `newest`: is it of
/// the newest run? What lies in the tree is no older one's any more.
pub fn of_agent(
    repository: &mut Repository,
    (run, dir): (&RunId, &RunDir),
    past: &Past,
    agent: &AgentView,
    newest: bool,
) -> Result<Option<Changes>, ChangesError> {
    if let Some(commit) = agent.commit {
        return Ok(Some(Changes { place: Place::Commit(commit), patch: repository.patch_of(&commit)? }));
    }
    let live = matches!(agent.state, State::Running | State::Completing | State::Conflict);
    if let (true, true, Some(attempt)) = (live, newest, agent.attempt) {
        let id = AttemptId { agent: agent.id.clone(), attempt };
        if let Some(patch) = in_tree(repository, &id, past, &dir.attempt(&id))? {
            return Ok(Some(Changes { place: Place::Tree, patch }));
        }
    }
    let kept = repository.kept_work()?.into_iter().filter(|kept| kept.run == *run && kept.id.agent == agent.id);
    // Of an attempt's two the checkpoint is the earlier one.
    let Some(kept) = kept.max_by_key(|kept| (kept.id.attempt, !kept.checkpoint)) else { return Ok(None) };
    Ok(Some(Changes { place: Place::Salvage(kept.commit), patch: repository.patch_of(&kept.commit)? }))
}

/// `None`: it is not known what the attempt began with, because it has not begun.
fn in_tree(
    repository: &mut Repository,
    id: &AttemptId,
    past: &Past,
    attempt_dir: &Path,
) -> Result<Option<Patch>, ChangesError> {
    let claim = past.supervisor().claim(&id.agent).unwrap_or_default();
    let copy = Copy::of(attempt_dir).map_err(|source| ChangesError::Copy { id: id.clone(), source })?;
    match repository.adopt(id, &claim, &copy.0) {
        Ok(()) => {}
        Err(GitError::NoBaseline(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let measured = repository.measure(id, Doubt::None, &[]);
    repository.forget(id);
    Ok(Some(repository.patch_between(&measured?.own)?))
}

/// A copy of what says what an attempt began with; gone when this is.
struct Copy(PathBuf);

impl Copy {
    fn of(attempt_dir: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = std::env::temp_dir().join(format!("supervise-look-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let copy = Self(dir);
        for name in BEGINNING {
            match fs::copy(attempt_dir.join(name), copy.0.join(name)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What cannot be removed is in a temporary directory, where the system looks after it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

//! How a run goes and is shown, whether it begins or goes on; with what the person wants of every run.
//!
//! Invariant: the person's own file is read, and found good, before anything is started.

use std::path::{Path, PathBuf};

use super::{Failure, RunFormat};
use crate::core::ids::RunId;
use crate::host::hooks;
use crate::host::state::RunDir;
use crate::session::{self, Session, UserConfig};

/// How a run goes and is shown.
#[derive(Debug)]
pub struct Manner {
    /// Is the gate wanted?
    pub gate: bool,
    /// What the person wants of every run.
    pub user: UserConfig,
    pub format: RunFormat,
}

impl Manner {
    /// With what the person's own file says.
    pub(super) fn of(gate: bool, notify: bool, format: RunFormat) -> Result<Self, Failure> {
        let mut user = user_config()?;
        user.notify &= notify;
        Ok(Self { gate, user, format })
    }
}

/// What the person wants of every run.
fn user_config() -> Result<UserConfig, Failure> {
    let [config, home] = ["XDG_CONFIG_HOME", "HOME"].map(|name| std::env::var_os(name).map(PathBuf::from));
    let path = session::config::path(config.as_deref(), home.as_deref());
    path.map_or_else(|| Ok(UserConfig::default()), |path| session::config::load(&path)).map_err(Failure::session)
}

/// The session's hooks and the person's own; `None`: there are none.
pub(super) fn hooks_of(
    manner: &Manner,
    session: &Session,
    run: &RunId,
    run_dir: &RunDir,
    workspace: &Path,
) -> Option<hooks::Setup> {
    let hooks: Vec<_> = session.hooks.iter().chain(&manner.user.hooks).cloned().collect();
    (!hooks.is_empty()).then(|| hooks::Setup {
        hooks,
        run: run.clone(),
        run_dir: run_dir.path().to_owned(),
        workspace: workspace.to_owned(),
        environment: std::env::vars_os().collect(),
        bound: hooks::BOUND,
    })
}

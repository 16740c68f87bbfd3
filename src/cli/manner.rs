//! How a run goes and is shown, whether it begins or goes on; with what the person wants of every run.
//!
//! Invariant: the person's own file is read, and found good, before anything is started.

use std::path::{Path, PathBuf};

use super::detach::{self, DetachArgs};
use super::run::{Done, print};
use super::{Exit, Failure, RunFormat, ci};
use crate::core::ids::RunId;
use crate::core::reason::DenialReason;
use crate::core::record::RunOutcome;
use crate::core::view::DeniedView;
use crate::host::hooks;
use crate::host::state::RunDir;
use crate::session::{self, Session, UserConfig};

/// The flags of every command that runs agents.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct MannerArgs {
    /// Run without the gate: no write is decided beforehand, and who changed what is inferred
    #[arg(long)]
    pub no_gate: bool,
    #[command(flatten)]
    pub background: DetachArgs,
    /// Exit with 5 if the run completed but paths were denied, or changed that no agent accounts for
    #[arg(long)]
    pub strict: bool,
    /// Write the result as JUnit XML to FILE at the end
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Do not ring the terminal's bell, nor notify the desktop through it
    #[arg(long)]
    pub no_notify: bool,
    /// What standard output gets: a report, one JSON document, or every record as it is written
    #[arg(long, value_enum, default_value_t)]
    pub format: RunFormat,
}

/// Whether nothing was refused, and every change has its agent, as far as could be found out.
fn spotless(done: &Done) -> bool {
    // `git diff` wants to refresh the index: what was refused of git's own files tells nothing.
    let counts = |denied: &DeniedView| denied.why != DenialReason::Git;
    let refused = done.view.agents.iter().any(|agent| agent.denied.iter().any(counts));
    done.surveyed && done.view.unattributed.is_empty() && !refused
}

impl MannerArgs {
    /// Runs, here or in the background, and tells what came of it.
    pub(super) fn carry_out(&self, run: impl FnOnce(&Manner) -> Result<Done, Failure>) -> Result<Exit, Failure> {
        if self.background.detach {
            return detach::launch();
        }
        let done = ci::reported(self.junit.as_deref(), || run(&self.manner()?))?;
        print(&done, self.format);
        Ok(match done.outcome {
            RunOutcome::Completed if self.strict && !spotless(&done) => Exit::Strict,
            outcome => Exit::of(outcome),
        })
    }

    fn manner(&self) -> Result<Manner, Failure> {
        let mut manner = Manner::of(self.format)?;
        manner.gate = !self.no_gate;
        manner.user.notify &= !self.no_notify;
        manner.detached = self.background.detached;
        Ok(manner)
    }
}

/// How a run goes and is shown.
#[derive(Debug)]
pub struct Manner {
    /// Is the gate wanted?
    pub gate: bool,
    /// What the person wants of every run.
    pub user: UserConfig,
    /// Is the terminal to be left when the run is open?
    pub detached: bool,
    pub format: RunFormat,
}

impl Manner {
    /// As the person's own file says.
    pub(super) fn of(format: RunFormat) -> Result<Self, Failure> {
        Ok(Self { gate: true, user: user_config()?, detached: false, format })
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

//! The validated session: what the supervisor decides by, and how each agent is launched.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::agent::Plan;
use crate::core::ids::{AgentId, RunnerName};
use crate::core::path::RepoPath;

use super::hooks::Hook;
use super::kept::{as_path, as_text};
use super::template::Template;

/// A session in which nothing can be wrong any more.
#[derive(Clone, Debug)]
pub struct Session {
    pub name: String,
    /// What the supervisor decides by. `stop_at` is still `None` there: it needs the clock.
    pub plan: Plan,
    /// How each agent of the plan is launched.
    pub launches: BTreeMap<AgentId, Launch>,
    /// The branch to make (where it is missing) and switch to before the run.
    pub branch: Option<String>,
    /// Wall-clock time of day after which nothing more is started; the next such time.
    pub stop_at: Option<jiff::civil::Time>,
    /// Commands that run when something happens.
    pub hooks: Vec<Hook>,
    pub git_hooks: GitHooks,
    pub salvage_days: u32,
    /// The text of the session file, as it was read (kept with the run).
    pub source: String,
    /// What else it was read with, for agents that are added later.
    pub ground: Ground,
}

/// What an agent that is added to a session is read with, beside the session's text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// What relative paths in the file are relative to; `None`: its name is no text.
    pub base_dir: Option<String>,
    /// `--set KEY=VALUE`.
    pub sets: Vec<String>,
    /// The tags of agents that have some.
    pub tags: BTreeMap<String, Vec<String>>,
    /// Agents that were added to the run, by id, each as a section of a session file.
    pub added: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GitHooks {
    #[default]
    Skip,
    Run,
}

/// Which built-in way of launching and reading a runner has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerKind {
    Codex,
    Claude,
    /// Any program; its output is a log and nothing more.
    Command,
}

/// How an agent is launched.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    #[serde(with = "as_text")]
    pub runner: RunnerName,
    pub kind: RunnerKind,
    /// The runner's own program and leading arguments where the session overrides them
    /// (`[runner.X] command`), or the agent's `command`, which replaces the runner.
    pub command: Option<Vec<Template>>,
    /// The runner's `args`, then the agent's.
    pub args: Vec<Template>,
    pub model: Option<Template>,
    /// The whole prompt: brief, preamble, the agent's own. `None` for commands without one.
    pub prompt: Option<Template>,
    pub env: BTreeMap<String, Template>,
    /// With `env_clear`, the only variables of the supervisor's environment that are passed on.
    pub env_pass: Vec<String>,
    pub env_clear: bool,
    /// Where it starts, below the workspace; `None`: its root.
    #[serde(with = "as_path")]
    pub cwd: Option<RepoPath>,
    /// The most bytes that each of its log files keeps.
    pub log_limit: u64,
    pub verify: Option<VerifyPlan>,
    /// Subject (and perhaps body) of its commit.
    pub commit_message: Template,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifyPlan {
    /// Each is run by `sh -c`, in order; all must succeed.
    pub commands: Vec<Template>,
    pub place: VerifyIn,
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyIn {
    #[default]
    Workspace,
    Commit,
}

/// Where a session's text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    StandardInput,
    /// Part of the program (the demo).
    Embedded,
}

//! What all commands that look at a run share: which run, which agent, how it is shown.
//!
//! Invariant: they take the same words for the same things, work while the run goes on and when it is
//! over, and change nothing on the disk.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use rustix::event::{Timespec, poll};

use crate::control::{AskError, RejectionKind, Reply, Request, ask};
use crate::core::ids::{AgentId, RunId};
use crate::core::view::{AgentView, RunView};
use crate::host::git::{GitError, Repository};
use crate::host::past::{Life, NoRun, Past, PastError, Runs, phase_names};
use crate::host::salvage;
use crate::host::state::RunDir;
use crate::journal::Header;
use crate::render::Setting;
use crate::render::status::{Commands, Going};
use crate::render::text::shell_word;
use crate::session::problem::suggest;

use super::progress::{palette_for, report_width};
use super::run::from_here;
use super::{Common, Exit, Failure, Format};

/// How long a supervisor may take to do what it is asked.
const WISH_LIMIT: Duration = Duration::from_secs(15);
/// Tries to reach one that has the repository and does not listen, and the pause between two.
const WISH_TRIES: u32 = 250;
const WISH_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// Ids named to somebody who gave one that is not there.
const LISTED: usize = 8;

/// Which run.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct RunArg {
    /// The run: its name, or how it begins [default: the latest]
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
}

/// Which run, and how it is shown.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct AboutRun {
    #[command(flatten)]
    pub run: RunArg,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// One agent, which has to be named.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct OneAgent {
    /// The agent
    #[arg(value_name = "ID")]
    pub agent: Option<String>,
    /// The same
    #[arg(long = "id", value_name = "ID", hide_short_help = true)]
    pub id: Option<String>,
}

impl OneAgent {
    /// What was named.
    #[must_use]
    pub fn text(&self) -> &str {
        self.agent.as_deref().or(self.id.as_deref()).unwrap_or_default()
    }
}

/// One agent, or all.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PerhapsAgent {
    /// Only this agent
    #[arg(value_name = "ID")]
    pub agent: Option<String>,
    /// The same
    #[arg(long = "id", value_name = "ID", hide_short_help = true, conflicts_with = "agent")]
    pub id: Option<String>,
}

impl PerhapsAgent {
    /// What was named.
    #[must_use]
    pub fn named(&self) -> Option<&str> {
        self.agent.as_deref().or(self.id.as_deref())
    }
}

/// Agents by their ids, as many as there are.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SomeAgents {
    /// These agents
    #[arg(value_name = "ID")]
    pub agents: Vec<String>,
    /// The same
    #[arg(long = "id", value_name = "ID", hide_short_help = true)]
    pub ids: Vec<String>,
}

impl SomeAgents {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty() && self.ids.is_empty()
    }

    /// Each once, in the order in which they were named.
    pub fn of(&self, view: &RunView) -> Result<Vec<AgentId>, LookError> {
        let mut agents = Vec::new();
        for id in self.agents.iter().chain(&self.ids) {
            let agent = agent_id(id, view)?;
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
        Ok(agents)
    }
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum LookError {
    #[error(transparent)]
    #[diagnostic(help("{}", repository_help(.0)))]
    Repository(GitError),
    #[error(transparent)]
    #[diagnostic(help("{}", no_run_help(.0)))]
    Run(NoRun),
    #[error(transparent)]
    #[diagnostic(help("{}", past_help(.0)))]
    Past(PastError),
    #[error("no agent `{id}` is in run {run}")]
    #[diagnostic(help("{help}"))]
    Agent { id: String, run: RunId, help: String },
    #[error("run {run} goes on")]
    #[diagnostic(help("wait for its end (`supervise wait`), or end it with `supervise stop --all`"))]
    GoesOn { run: RunId },
    #[error("run {run} was cut off: its supervisor is gone")]
    #[diagnostic(help("{}", cut_off_help(.run, *.latest)))]
    CutOff { run: RunId, latest: bool },
    #[error("run {run} is over, so nothing can be asked of it")]
    #[diagnostic(help("`supervise status` shows how it ended"))]
    Over { run: RunId },
    #[error(transparent)]
    #[diagnostic(help("{}", ask_help(.0)))]
    Ask(AskError),
}

/// What helps where there is no repository that can be used.
pub(super) fn repository_help(error: &GitError) -> String {
    match error {
        GitError::Bare { .. } => {
            "`git worktree add DIR` makes a working tree of it: run it there, or name it with -C DIR"
        }
        GitError::NotOurs { dir } => {
            let dir = shell_word(&dir.to_string_lossy());
            return format!("if you trust who it belongs to: `git config --global --add safe.directory {dir}`");
        }
        _ => "run it inside a git repository, or name one with -C DIR; `git init` makes one",
    }
    .to_owned()
}

/// Only the latest run can be taken up.
fn cut_off_help(run: &RunId, latest: bool) -> String {
    if latest {
        return "`supervise status` shows how far it came, `supervise resume` goes on with it".to_owned();
    }
    format!("a later run has begun; `supervise retry --run {run}` runs again what did not complete in it")
}

fn no_run_help(error: &NoRun) -> String {
    match error {
        NoRun::None => "`supervise run` starts one".to_owned(),
        NoRun::Unknown { suggestion: Some(suggestion), .. } => suggestion.clone(),
        NoRun::Unknown { .. } => "`supervise runs list` shows those that there are".to_owned(),
        NoRun::Io { .. } => "check the permissions of the repository's git directory".to_owned(),
        NoRun::Ambiguous { .. } => "give more of its name".to_owned(),
    }
}

pub(super) fn past_help(error: &PastError) -> String {
    match error {
        PastError::Journal(error) => error.help().to_owned(),
        PastError::NoPlan { .. } => "`supervise timeline` needs none and tells what happened".to_owned(),
        PastError::Plan { .. } | PastError::Read { .. } | PastError::NotOpened { .. } => {
            "`supervise timeline` tells what the journal holds".to_owned()
        }
    }
}

fn ask_help(error: &AskError) -> &'static str {
    match error {
        AskError::Absent | AskError::Stale => "nothing is running: `supervise status` shows the last run",
        AskError::Rejected(rejection) if rejection.kind == RejectionKind::UnknownConflict => {
            "`supervise conflicts` lists them"
        }
        AskError::Rejected(_) => "`supervise status` shows how the run stands",
        AskError::Garbled => "use the version of supervise that started the run",
        AskError::Silent { .. } | AskError::Ended | AskError::Io(_) => "try again; `supervise status` shows the run",
    }
}

impl LookError {
    /// As a failure of the command, with its exit code.
    #[must_use]
    pub fn fail(self) -> Failure {
        let exit = match &self {
            Self::Run(NoRun::None) => Exit::NothingSelected,
            Self::Run(NoRun::Unknown { .. } | NoRun::Ambiguous { .. }) | Self::Agent { .. } => Exit::Invalid,
            Self::Ask(AskError::Rejected(rejection)) => match rejection.kind {
                RejectionKind::UnknownAgent
                | RejectionKind::UnknownConflict
                | RejectionKind::UnknownPhase
                | RejectionKind::InvalidAgent
                | RejectionKind::NotPossible => Exit::Invalid,
                _ => Exit::Unusable,
            },
            _ => Exit::Unusable,
        };
        Failure::new(exit, self)
    }
}

/// A run that was found.
#[derive(Debug)]
pub struct Look {
    pub runs: Runs,
    pub run: RunId,
    pub dir: RunDir,
    pub commands: Commands,
    pub repository: Repository,
    /// Is there no later run?
    pub newest: bool,
    /// The git directory and git, as in [`Setting`].
    git_dir: String,
    git: String,
}

/// Its state.
#[derive(Debug)]
pub struct State {
    pub past: Past,
    pub life: Life,
    pub view: RunView,
    pub setting: Setting,
}

/// The repository that a command is about.
pub fn repository(common: &Common) -> Result<Repository, LookError> {
    let directory = common.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    // Where there is none, it is said in full where that was.
    Repository::open(&directory.canonicalize().unwrap_or(directory)).map_err(LookError::Repository)
}

impl Look {
    /// Finds the repository and the run.
    pub fn at(common: &Common, arg: &RunArg) -> Result<Self, LookError> {
        let repository = repository(common)?;
        let runs = Runs::of(repository.common_dir());
        let run = runs.find(arg.run.as_deref()).map_err(LookError::Run)?;
        let dir = runs.dir(&run);
        // A run is shown where it is, from whichever working tree it is looked at.
        let repository = match dir.worktree() {
            Some(worktree) => repository.in_worktree(&worktree).unwrap_or_else(|same| *same),
            None => repository,
        };
        let (git_dir, git) = from_here(&repository);
        let newest = runs.current().as_ref() == Some(&run);
        let commands = Commands {
            supervise: git.replacen("git", "supervise", 1),
            run: if newest { String::new() } else { format!(" --run {run}") },
        };
        Ok(Self { runs, run, dir, commands, repository, newest, git_dir, git })
    }

    /// Reads the run's state.
    pub fn state(&self) -> Result<State, LookError> {
        // Whether it goes on is found out first: what it writes until then is read.
        let life = self.runs.life(&self.run);
        let past = Past::read(&self.dir).map_err(LookError::Past)?;
        let mut view = past.view(&life).map_err(LookError::Past)?;
        salvage::forget_dropped(&self.repository, &mut view);
        let setting = self.setting(&past.header);
        Ok(State { past, life, view, setting })
    }

    /// How the run is rendered on standard output.
    #[must_use]
    pub fn setting(&self, header: &Header) -> Setting {
        Setting {
            start: header.created,
            zone: TimeZone::system(),
            phases: phase_names(&self.dir),
            git_dir: self.git_dir.clone(),
            git: self.git.clone(),
            palette: palette_for(&io::stdout()),
            width: report_width(),
            notes: Vec::new(),
        }
    }

    /// Of a run that did not come to its end.
    #[must_use]
    pub fn cut_off(&self) -> LookError {
        LookError::CutOff { run: self.run.clone(), latest: self.newest }
    }

    /// Asks the run's supervisor for something.
    pub fn wish(&self, request: &Request) -> Result<Reply, LookError> {
        self.wish_within(request, WISH_LIMIT)
    }

    /// The same, where it may take longer.
    pub fn wish_within(&self, request: &Request, limit: Duration) -> Result<Reply, LookError> {
        let mut tries = 1;
        loop {
            if !self.runs.goes_on(&self.run) {
                let over = || LookError::Over { run: self.run.clone() };
                return Err(if self.dir.seems_ended() { over() } else { self.cut_off() });
            }
            match ask(self.runs.root(), request, limit) {
                // Who begins a run or takes one up has the repository before it listens.
                Err(error) if error.nobody() && tries < WISH_TRIES => {
                    let _ = poll(&mut [], Some(&WISH_PAUSE));
                    tries += 1;
                }
                answer => return answer.map_err(LookError::Ask),
            }
        }
    }
}

impl State {
    #[must_use]
    pub fn going(&self) -> Going {
        match self.life {
            Life::Answers => Going::On,
            Life::Silent(_) => Going::Silent,
            Life::Over => Going::Over,
        }
    }

    /// The agent of this id.
    pub fn agent(&self, id: &str) -> Result<&AgentView, LookError> {
        let found = self.view.agents.iter().find(|agent| agent.id.as_str() == id);
        found.ok_or_else(|| unknown_agent(id, &self.view))
    }
}

/// The agent of this id, for a request.
pub fn agent_id(id: &str, view: &RunView) -> Result<AgentId, LookError> {
    let found = view.agents.iter().find(|agent| agent.id.as_str() == id);
    found.map(|agent| agent.id.clone()).ok_or_else(|| unknown_agent(id, view))
}

fn unknown_agent(id: &str, view: &RunView) -> LookError {
    let help = suggest(id, view.agents.iter().map(|agent| agent.id.as_str())).unwrap_or_else(|| {
        let ids: Vec<_> = view.agents.iter().map(|agent| &agent.id).collect();
        format!("its agents are {}", crate::render::text::some_of(&ids, LISTED))
    });
    LookError::Agent { id: id.escape_debug().to_string(), run: view.run.clone(), help }
}

/// Writes a result to standard output; `false`: its reader went away, having read what it wanted.
pub fn print(text: impl AsRef<[u8]>) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).is_ok()
}

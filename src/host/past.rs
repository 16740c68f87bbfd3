//! Looking at a run from outside: which runs there are, whether one goes on, and its state rebuilt
//! from what is on the disk.
//!
//! Invariant: the state of a run, live or over, is its plan with the records of its journal applied,
//! by the same functions that the supervisor itself goes by. Nothing here changes a file.
//!
//! Deliberately absent: taking a run up again; how anything is shown.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clock::Clock;
use super::state::{RunDir, is_held, replace_synced, state_root};
use crate::control::{self, AskError, Reply, Request};
use crate::core::agent::Plan;
use crate::core::ids::{AgentId, RunId};
use crate::core::moment::Moment;
use crate::core::record::Fact;
use crate::core::supervisor::Supervisor;
use crate::core::view::{RunState, RunView};
use crate::journal::{self, Entry, Follow, Header, JournalError, KeptPlan, PlanError};
use crate::session::kept;
use crate::session::problem::suggest;
use crate::session::{RunnerKind, Session};

/// How long a supervisor may take to answer who only looks.
const LOOK_LIMIT: Duration = Duration::from_secs(2);
/// The most bytes of a plan: some hundred thousand agents.
const MAX_PLAN: u64 = 256 << 20;
/// The most that is read of the file that names the newest run.
const MAX_CURRENT: u64 = 256;

/// The runs of a repository.
#[derive(Clone, Debug)]
pub struct Runs {
    root: PathBuf,
}

/// Why no run was found.
#[derive(Debug, thiserror::Error)]
pub enum NoRun {
    #[error("there has been no run in this repository yet")]
    None,
    #[error("there is no run `{named}`")]
    Unknown { named: String, suggestion: Option<String> },
    #[error("{count} runs begin with `{named}`")]
    Ambiguous { named: String, count: usize },
    #[error("cannot list the runs in {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Why a run cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Made by a version that kept none, or cut off before it began.
    #[error("run {run} has no plan beside its journal, so its state cannot be rebuilt")]
    NoPlan { run: String },
    #[error("{} cannot be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is of no use", .path.display())]
    Plan { path: PathBuf, source: PlanError },
    #[error("the journal of run {run} does not say that it was opened")]
    NotOpened { run: String },
}

/// Does a run go on?
#[derive(Debug)]
pub enum Life {
    /// Its supervisor answered.
    Answers,
    /// A supervisor holds the repository, and did not answer for this reason.
    Silent(AskError),
    Over,
}

impl Life {
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Over)
    }
}

impl Runs {
    /// The runs of the repository whose common git directory this is.
    #[must_use]
    pub fn of(common_dir: &Path) -> Self {
        Self { root: state_root(common_dir) }
    }

    /// The directory that all of it is in, and the control socket.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    #[must_use]
    pub fn dir(&self, run: &RunId) -> RunDir {
        RunDir::of(&self.root, run)
    }

    /// All runs, oldest first.
    pub fn list(&self) -> io::Result<Vec<RunId>> {
        let entries = match fs::read_dir(self.root.join("runs")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut runs = Vec::new();
        for entry in entries {
            runs.extend(entry?.file_name().to_str().and_then(RunId::new));
        }
        runs.sort();
        Ok(runs)
    }

    /// The run that was begun last.
    #[must_use]
    pub fn current(&self) -> Option<RunId> {
        let mut text = String::new();
        let file = fs::File::open(self.root.join("current")).ok()?;
        file.take(MAX_CURRENT).read_to_string(&mut text).ok()?;
        RunId::new(text.trim()).filter(|run| self.dir(run).path().is_dir())
    }

    /// The run of this name, or whose name alone begins so; the newest where none is named.
    pub fn find(&self, named: Option<&str>) -> Result<RunId, NoRun> {
        let list = || self.list().map_err(|source| NoRun::Io { path: self.root.join("runs"), source });
        let Some(named) = named else {
            return match self.current() {
                Some(run) => Ok(run),
                None => list()?.pop().ok_or(NoRun::None),
            };
        };
        let mut runs = list()?;
        if let Some(run) = runs.iter().find(|run| run.as_str() == named) {
            return Ok(run.clone());
        }
        let shown = || named.escape_debug().to_string();
        let suggestion = suggest(named, runs.iter().map(RunId::as_str));
        runs.retain(|run| run.as_str().starts_with(named));
        match runs.pop() {
            Some(run) if runs.is_empty() => Ok(run),
            Some(_) => Err(NoRun::Ambiguous { named: shown(), count: runs.len() + 1 }),
            None => Err(NoRun::Unknown { named: shown(), suggestion }),
        }
    }

    /// Does this run go on, as far as the lock tells? It asks nobody.
    #[must_use]
    pub fn goes_on(&self, run: &RunId) -> bool {
        self.current().as_ref() == Some(run) && is_held(&self.root).unwrap_or(false)
    }

    /// Does this run go on? Only the newest can: its supervisor holds the repository.
    pub fn life(&self, run: &RunId) -> Life {
        if !self.goes_on(run) {
            return Life::Over;
        }
        match control::ask(&self.root, &Request::Status, LOOK_LIMIT) {
            Ok(Reply::Status { run: document }) if document.get("run").is_some_and(|id| id == run.as_str()) => {
                Life::Answers
            }
            Ok(_) => Life::Silent(AskError::Garbled),
            // It may have ended since the lock was looked at.
            Err(error) if self.goes_on(run) => Life::Silent(error),
            Err(_) => Life::Over,
        }
    }
}

/// A run as it is on the disk.
#[derive(Debug)]
pub struct Past {
    pub header: Header,
    pub entries: Vec<Entry>,
    /// The form of each agent's output.
    kinds: BTreeMap<AgentId, String>,
    supervisor: Supervisor,
}

impl Past {
    /// Reads plan and journal. A torn tail of the journal is left out; the files are not changed.
    pub fn read(dir: &RunDir) -> Result<Self, PastError> {
        let replay = journal::read(&dir.journal())?;
        let kept = read_plan(dir)?.ok_or_else(|| PastError::NoPlan { run: replay.header.run.to_string() })?;
        let mut supervisor = Supervisor::new(kept.plan);
        for entry in &replay.entries {
            supervisor.apply(&entry.record);
        }
        Ok(Self { header: replay.header, entries: replay.entries, kinds: kept.kinds, supervisor })
    }

    #[must_use]
    pub fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// As it was when the run was opened, and the agents that joined it.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        self.supervisor.plan()
    }

    /// The form of an agent's output.
    #[must_use]
    pub fn kind(&self, agent: &AgentId) -> RunnerKind {
        let word = self.kinds.get(agent).map_or("", String::as_str);
        KINDS.iter().find(|(_, name)| *name == word).map_or(RunnerKind::Command, |(kind, _)| *kind)
    }

    /// The run as it is shown. Of one that is over without having come to its end, nothing runs any
    /// more: it is INTERRUPTED, and its agents are in the states that were last written down.
    pub fn view(&self, life: &Life) -> Result<RunView, PastError> {
        let view = self.supervisor.view();
        let mut view = view.ok_or_else(|| PastError::NotOpened { run: self.header.run.to_string() })?;
        if life.is_over() && view.state == RunState::Running {
            view.state = RunState::Interrupted;
            view.ended_at = Some(self.last());
            for agent in &mut view.agents {
                agent.pid = None;
            }
        }
        Ok(view)
    }

    /// Did the run come to its end?
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.supervisor.view().is_some_and(|view| view.state != RunState::Running)
    }

    /// The moment up to which the run is to be shown: now while it goes on, else its last record.
    #[must_use]
    pub fn until(&self, life: &Life) -> Moment {
        if life.is_over() {
            return self.last();
        }
        let passed = Clock::start().wall().as_millisecond() - self.header.created.as_millisecond();
        Moment(u64::try_from(passed).unwrap_or(0)).max(self.last())
    }

    fn last(&self) -> Moment {
        self.entries.last().map_or(Moment::ZERO, |entry| entry.record.at)
    }
}

const KINDS: [(RunnerKind, &str); 3] =
    [(RunnerKind::Codex, "codex"), (RunnerKind::Claude, "claude"), (RunnerKind::Command, "command")];

fn name_of(kind: RunnerKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("command", |(_, name)| name)
}

/// Keeps what an agent needs that is about to join the run, by which the session is extended already: how it is
/// launched, and the form of its output. Its plan is the journal's; whoever is not in there has not joined.
pub(super) fn keep_joining(dir: &RunDir, session: &Session, agent: &AgentId) -> io::Result<()> {
    let invalid = |error: PastError| io::Error::new(io::ErrorKind::InvalidData, error);
    if let (Some(mut kept), Some(launch)) = (read_plan(dir).map_err(invalid)?, session.launches.get(agent)) {
        kept.kinds.insert(agent.clone(), name_of(launch.kind).to_owned());
        replace_synced(&dir.plan(), &journal::write_plan(&kept)?)?;
    }
    replace_synced(&dir.launches(), &kept::write(session)?)
}

/// The sections of the agents that joined a run, in their order; none where that cannot be read.
#[must_use]
pub fn joined(dir: &RunDir, past: &Past) -> Vec<(AgentId, String)> {
    let mut added = fs::read(dir.launches()).ok().and_then(|text| kept::added(&text).ok()).unwrap_or_default();
    let ids = past.plan().agents.iter().map(|agent| &agent.id);
    ids.filter_map(|id| Some((id.clone(), added.remove(id.as_str())?))).collect()
}

/// Keeps what [`Past::read`] and taking the run up again need beside the journal. To be called before the journal is made, whose
/// making puts the directory on the disk.
pub(super) fn keep(dir: &RunDir, session: &Session, plan: &Plan) -> io::Result<()> {
    let kinds = session.launches.iter().map(|(agent, launch)| (agent.clone(), name_of(launch.kind).to_owned()));
    let plan = journal::write_plan(&KeptPlan { plan: plan.clone(), kinds: kinds.collect() })?;
    for (path, text) in [(dir.plan(), plan), (dir.launches(), kept::write(session)?)] {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&text)?;
        file.sync_all()?;
    }
    Ok(())
}

/// The name of a run's session, from the beginning of its journal; `None` where that cannot be read.
#[must_use]
pub fn session_name(dir: &RunDir) -> Option<String> {
    let (mut journal, _) = Follow::open(&dir.journal()).ok()?;
    journal.more().ok()?.into_iter().find_map(|entry| match entry.record.fact {
        Fact::RunOpened(opened) => Some(opened.session),
        _ => None,
    })
}

/// The names of a run's phases; none where its plan is not there.
#[must_use]
pub fn phase_names(dir: &RunDir) -> Vec<Option<String>> {
    let kept = read_plan(dir).ok().flatten();
    kept.map_or_else(Vec::new, |kept| kept.plan.phases.into_iter().map(|phase| phase.name).collect())
}

pub(super) fn read_plan(dir: &RunDir) -> Result<Option<KeptPlan>, PastError> {
    let path = dir.plan();
    let mut text = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(MAX_PLAN).read_to_end(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(PastError::Read { path, source }),
    }
    journal::read_plan(&text).map(Some).map_err(|source| PastError::Plan { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(names: &[&str]) -> (tempfile::TempDir, Runs) {
        let root = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir_all(root.path().join("supervise/runs").join(name)).unwrap();
        }
        let runs = Runs::of(root.path());
        (root, runs)
    }

    #[test]
    fn runs_are_found_by_name_and_beginning() {
        let (_root, runs) = runs(&["20260102T000000-0001", "20260101T000000-0001", "20260101T000000-0002", "no_run"]);
        let find = |named: Option<&str>| runs.find(named).map(|run| run.to_string());
        assert_eq!(find(None).unwrap(), "20260102T000000-0001");
        assert_eq!(find(Some("20260102")).unwrap(), "20260102T000000-0001");
        assert_eq!(find(Some("20260101T000000-0002")).unwrap(), "20260101T000000-0002");
        assert!(matches!(find(Some("20260101")), Err(NoRun::Ambiguous { count: 2, .. })));
        let Err(NoRun::Unknown { suggestion: Some(suggestion), .. }) = find(Some("20260102T000000-0011")) else {
            panic!("a suggestion was due")
        };
        assert!(suggestion.contains("20260102T000000-0001"), "{suggestion}");
        assert!(matches!(find(Some("../x\u{1b}")), Err(NoRun::Unknown { suggestion: None, .. })));
        fs::write(runs.root().join("current"), "20260101T000000-0001\n").unwrap();
        assert_eq!(find(None).unwrap(), "20260101T000000-0001");
        fs::write(runs.root().join("current"), "../../etc\n").unwrap();
        assert_eq!(find(None).unwrap(), "20260102T000000-0001");
    }

    #[test]
    fn without_runs_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(Runs::of(root.path()).find(None), Err(NoRun::None)));
        let run = RunId::new("x").unwrap();
        assert!(Runs::of(root.path()).life(&run).is_over());
    }
}

//! `supervise run`: the main job.
//!
//! Invariant: nothing is started before session, repository, lock, branch, claims and runners have
//! been found good; from then on everything ends in a report.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::core::ids::{AgentId, RunId};
use crate::core::moment::Moment;
use crate::core::record::{Layers, Record, RunOutcome};
use crate::core::view::RunView;
use crate::host::cgroup;
use crate::host::clock::{self, Clock};
use crate::host::control;
use crate::host::driver::{DriverError, Earlier, Setup};
use crate::host::gate::{self, GateProbe};
use crate::host::git::{DirtyClaim, Facts, GitError, Repository};
use crate::host::process;
use crate::host::salvage;
use crate::host::state::{Hold, RunDir, StateError};
use crate::journal::JournalError;
use crate::render::text::{plural, shell_word, some_of};
use crate::render::{Setting, diagnostic, json, report};
use crate::runner::{self, RunnerError};
use crate::session::{self, GitHooks, Loaded, Origin, Session};

use super::display::{Display, supervised};
use super::look::{self};
use super::manner::{Manner, MannerArgs, hooks_of};
use super::progress::{palette_for, report_width};
use super::resume::refuse_unfinished;
use super::select::{DEFAULT_SESSION, SelectArgs, origin};
use super::tmp::SharedTmp;
use super::{Common, Exit, Failure, RunFormat, rehearse};
use crate::render::json::pretty;

/// Run a session: launch its agents and commit each one's changes separately
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunArgs {
    /// The session file; `-` is standard input
    #[arg(value_name = "SESSION", default_value = DEFAULT_SESSION)]
    pub session: PathBuf,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Go on although claimed paths have uncommitted changes; such paths are never committed
    #[arg(long)]
    pub allow_dirty: bool,
    /// Show the order in which agents would start, in which slots and why they wait, and start nothing
    #[arg(long, conflicts_with = "junit")]
    pub dry_run: bool,
    #[command(flatten)]
    pub manner: MannerArgs,
}

const AFTER_HELP: &str = "\
Examples:
  supervise run
  supervise run batch.toml --phase phase-1-backend -j 2
  supervise run - --format json < session.toml
  supervise run --detach && supervise wait
  supervise run --dry-run
  supervise run --junit result.xml

Exit codes:
  0  every agent COMPLETED          4  nothing was selected
  1  some agents did not            5  --strict: paths that no agent accounts for
  2  wrong usage, invalid session   129, 130, 143  ended by HUP, INT, TERM
  3  workspace or machine cannot be used";

/// What is run, however it was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub common: Common,
    pub origin: Origin,
    /// The session's text where it is not to be read from `origin`.
    pub text: Option<String>,
    pub select: SelectArgs,
    /// Only these agents, as `retry` has them named.
    pub named: Vec<String>,
    /// The options that hold for those who try the run again.
    pub keeps: Vec<String>,
    pub allow_dirty: bool,
    /// The run whose agents are tried again.
    pub retries: Option<RunId>,
}

/// A run that came to its end, with what rendering it needs.
#[derive(Debug)]
pub struct Done {
    pub view: RunView,
    pub outcome: RunOutcome,
    /// Is `view.unattributed` all there is, or could it not be found out?
    pub surveyed: bool,
    pub setting: Setting,
    /// When it ended.
    pub ended: Moment,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum RunError {
    #[error(transparent)]
    #[diagnostic(help("{}", look::repository_help(.0)))]
    Repository(GitError),
    #[error(transparent)]
    #[diagnostic(help("wait for it to end, or end it with `supervise stop --all`; a lock file alone holds nothing"))]
    Held(StateError),
    #[error(transparent)]
    #[diagnostic(help("the git directory must be writable: agents' logs and the journal are kept there"))]
    State(StateError),
    #[error("cannot switch to branch {branch}")]
    #[diagnostic(help("commit or stash what is in the way, or leave `branch` out to stay on the current one"))]
    Branch { branch: String, source: GitError },
    #[error("{}", dirty_text(.claims))]
    #[diagnostic(help(
        "commit or stash these changes, or go on with --allow-dirty: such paths are then kept as salvage and not committed"
    ))]
    DirtyClaims { claims: Vec<DirtyClaim> },
    #[error("git does not know who commits")]
    #[diagnostic(help("`git config user.name NAME` and `git config user.email MAIL` tell it"))]
    NoIdentity,
    #[error("the supervisor of run {run} died {}", died_text(.agents, .working, .elsewhere.as_deref()))]
    #[diagnostic(help(
        "`supervise resume` goes on with the run, `supervise reset` gives it up; either keeps aside what is in the tree"
    ))]
    Unfinished {
        run: RunId,
        /// Those that are to run yet.
        agents: Vec<AgentId>,
        /// Those of them whose work is in the tree.
        working: Vec<AgentId>,
        /// The working tree, if it is another than this.
        elsewhere: Option<PathBuf>,
    },
    #[error("cannot look at the workspace")]
    #[diagnostic(help("`git status` in the workspace should say more"))]
    Status(#[source] GitError),
    #[error("agent {agent} cannot be launched, so nothing was started")]
    #[diagnostic(help("`supervise doctor` shows which agent programs were found"))]
    Runner { agent: AgentId, source: RunnerError },
    #[error("cannot make a temporary directory for the agents in {}", .path.display())]
    #[diagnostic(help("TMPDIR names another place"))]
    Tmp { path: PathBuf, source: std::io::Error },
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    #[diagnostic(help("{}", driver_help(.0)))]
    Driver(DriverError),
}

fn driver_help(error: &DriverError) -> &'static str {
    match error {
        DriverError::Journal(JournalError::Create { .. }) | DriverError::Plan(_) => {
            "nothing was started; make space, or the repository's git directory writable, and run it again"
        }
        DriverError::Journal(JournalError::TooLong { .. } | JournalError::Encode { .. }) => {
            "this is a bug of supervise: please report it; `supervise resume` goes on with the run"
        }
        DriverError::Journal(_) | DriverError::Disk { .. } => {
            "make space, or the file system writable, then `supervise resume` goes on with the run; until then the \
             work is where the agents left it (git status)"
        }
        _ => "the work is where the agents left it (git status); `supervise resume` goes on with the run",
    }
}

/// The most agents that an error lists, and the most paths of each.
pub(super) const MAX_LISTED: usize = 5;

fn died_text(agents: &[AgentId], working: &[AgentId], elsewhere: Option<&Path>) -> String {
    let (list, it) = (some_of(working, MAX_LISTED), if working.len() == 1 { "it" } else { "they" });
    if working.is_empty() {
        return format!("before {} had ended", some_of(agents, MAX_LISTED));
    }
    let tree = elsewhere.map_or_else(|| "the tree".to_owned(), |path| path.display().to_string());
    format!("while {list} ran, and what {it} changed is still in {tree}")
}

fn dirty_text(claims: &[DirtyClaim]) -> String {
    let mut text = String::from("claimed paths have uncommitted changes, and nothing was started:");
    for DirtyClaim { agent, paths } in claims {
        for path in paths.iter().take(MAX_LISTED) {
            text.push_str(&format!("\n  {agent}: {path}"));
        }
        if paths.len() > MAX_LISTED {
            text.push_str(&format!("\n  {agent}: … and {} more", paths.len() - MAX_LISTED));
        }
    }
    text
}

pub fn run(args: &RunArgs, common: &Common) -> Result<Exit, Failure> {
    if args.dry_run {
        return rehearse::run(&request(args, common), args.manner.format);
    }
    args.manner.carry_out(|manner| execute(&request(args, common), manner))
}

fn request(args: &RunArgs, common: &Common) -> Request {
    Request {
        common: common.clone(),
        origin: origin(&args.session),
        text: None,
        select: args.select.clone(),
        named: Vec::new(),
        keeps: args.select.words(),
        allow_dirty: args.allow_dirty,
        retries: None,
    }
}

/// How long a thread that syncs the journal waits for more; then nothing wakes up any more.
const IDLE_THREADS: Duration = Duration::from_secs(1);

/// Finds everything good, then runs the session to its end.
pub fn execute(request: &Request, manner: &Manner) -> Result<Done, Failure> {
    let unusable = |e: RunError| Failure::new(Exit::Unusable, e);
    let (session, mut repository) = load(request)?;
    let clock = Clock::start();
    let hold = take_hold(&repository, &format!("session {}", session.name))?;
    let unfinished = refuse_unfinished(&hold, &repository).map_err(unusable)?;
    if let Some(branch) = &session.branch {
        let switched = repository.switch_branch(branch);
        switched.map_err(|source| unusable(RunError::Branch { branch: branch.clone(), source }))?;
    }
    refuse(request, &session, &mut repository)?;
    let (run, run_dir) = new_run(&hold, &clock, &session).map_err(|e| unusable(RunError::State(e)))?;
    run_dir.keep_worktree(&repository.worktree()).map_err(|e| unusable(RunError::State(e)))?;
    let file = match &request.origin {
        Origin::File(path) => path.canonicalize().ok(),
        Origin::StandardInput | Origin::Embedded => None,
    };
    if let Err(error) = run_dir.keep_origin(&request.keeps, file.as_deref(), request.retries.as_ref()) {
        tracing::warn!(%error, "`supervise retry` will have to be told the session file");
    }
    if let Some(left) = unfinished.filter(|left| request.retries.as_ref() != Some(&left.run)) {
        anstream::eprintln!("{}", left.left_behind());
    }
    let (earlier, told) = (None, Vec::new());
    supervise(Prepared { session, repository, hold, clock, run, run_dir, earlier, told }, manner)
}

/// The right to supervise; `what` says what for.
pub(super) fn take_hold(repository: &Repository, what: &str) -> Result<Hold, Failure> {
    let since = TimeZone::system().to_datetime(Clock::start().opened()).strftime("%Y-%m-%d %H:%M:%S");
    let who = format!("process {}, since {since}, {what}", std::process::id());
    Hold::take(repository.common_dir(), &who).map_err(|error| {
        let error = match error {
            StateError::Held { .. } => RunError::Held(error),
            StateError::Io { .. } => RunError::State(error),
        };
        Failure::new(Exit::Unusable, error)
    })
}

/// A run about to begin, or to go on.
pub(super) struct Prepared {
    pub(super) session: Session,
    pub(super) repository: Repository,
    pub(super) hold: Hold,
    pub(super) clock: Clock,
    pub(super) run: RunId,
    pub(super) run_dir: RunDir,
    pub(super) earlier: Option<Earlier>,
    /// What has happened before.
    pub(super) told: Vec<Record>,
}

/// Runs it to its end.
pub(super) fn supervise(prepared: Prepared, manner: &Manner) -> Result<Done, Failure> {
    let unusable = |e: RunError| Failure::new(Exit::Unusable, e);
    let Prepared { session, mut repository, hold, clock, run, run_dir, earlier, told } = prepared;
    let workspace = repository.workspace().to_owned();
    let facts = repository.facts().map_err(|e| unusable(RunError::Status(e)))?;
    if facts.identity.is_none() {
        return Err(unusable(RunError::NoIdentity));
    }
    if earlier.is_some() {
        SharedTmp::remove_earlier(&run);
    }
    let shared_tmp = SharedTmp::make(&run).map_err(unusable)?;
    let cgroups = cgroup::probe().ok();
    let gate = if manner.gate { Some(gate::probe(Path::new(process::OWN_BINARY), shared_tmp.path())) } else { None };
    let layers = Layers { gate: matches!(gate, Some(Ok(_))), watch: false, cgroup: cgroups.is_some() };
    let mut notes = notes(&session, &facts, gate.as_ref());
    if earlier.is_none() {
        // One that was begun with the gate goes on with its locks as they are.
        let has_late = session.plan.agents.iter().any(|agent| !agent.claim.late.is_empty());
        if has_late && !layers.gate {
            notes.push("without the gate nobody is asked at a first write: `late` is locked from the start".to_owned());
        }
        notes.extend(expired(&session, &repository, &clock));
    }
    let setting = setting(&session, &repository, &clock, notes);
    let mut display = Display::new(setting.clone(), session.plan.clone(), manner, clock, &workspace);
    for record in &told {
        display.recall(record);
    }
    drop(told);
    if manner.detached {
        display.leave_for(run_dir.output());
    }
    let hooks = hooks_of(manner, &session, &run, &run_dir, &workspace);
    let cookies = run_dir.path().join("watch");
    let setup = Setup {
        session,
        repository,
        run,
        run_dir,
        clock,
        layers,
        environment: std::env::vars_os().collect(),
        shared_tmp: shared_tmp.path().to_owned(),
        cgroups,
        control: control_socket(&hold),
        cookies,
        earlier,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().thread_keep_alive(IDLE_THREADS).build();
    let runtime = runtime.map_err(|e| unusable(RunError::Runtime(e)))?;
    let finished = tokio::task::LocalSet::new().block_on(&runtime, supervised(setup, hooks, display));
    let finished = finished.map_err(|e| unusable(RunError::Driver(e)))?;
    let mut view = finished.view;
    if view.agents.iter().any(|agent| !agent.salvage.is_empty())
        && let Ok(repository) = Repository::open(&workspace)
    {
        salvage::forget_dropped(&repository, &mut view);
    }
    Ok(Done { view, outcome: finished.outcome, surveyed: finished.surveyed, setting, ended: clock.now() })
}

/// Lets go of kept work that is old enough, and says so. That it cannot be done stops no run.
fn expired(session: &Session, repository: &Repository, clock: &Clock) -> Option<String> {
    let days = session.salvage_days;
    let dropped = salvage::expire(repository, days, clock.opened());
    let dropped = dropped.inspect_err(|error| tracing::warn!(%error, "old kept work could not be dropped")).ok()?;
    let work = plural(dropped, "attempt's work", "attempts' work");
    (dropped > 0).then(|| format!("{work}, kept for more than {days} days, was dropped (salvage_days)"))
}

/// Where others ask about the run. One that nobody can ask is a run all the same.
fn control_socket(hold: &Hold) -> Option<control::Socket> {
    let bound = control::Socket::bind(hold);
    bound.inspect_err(|error| tracing::warn!(%error, "no control socket: `status` reads the journal only")).ok()
}

/// Reads the session and opens the repository that it is about. What is doubtful about it is told.
pub(super) fn load(request: &Request) -> Result<(Session, Repository), Failure> {
    let (loaded, repository) = look_at(request)?;
    // That a pattern matches nothing yet is for `check` to say: new files are what agents are for.
    let warnings: Vec<_> =
        loaded.warnings.iter().filter(|w| !w.code.starts_with("unmatched_pattern")).cloned().collect();
    anstream::eprint!("{}", diagnostic::problems(&warnings, &loaded.source, super::look()));
    Ok((loaded.session, repository))
}

/// The same without a word.
pub(super) fn look_at(request: &Request) -> Result<(Loaded, Repository), Failure> {
    let bytes = match &request.text {
        Some(text) => text.as_bytes().to_vec(),
        None => session::read(&request.origin).map_err(Failure::session)?,
    };
    let mut options = request.select.load_options(&request.common, &request.origin, &bytes);
    let repository = Repository::open(&options.workspace);
    let repository = repository.map_err(|e| Failure::new(Exit::Unusable, RunError::Repository(e)))?;
    repository.workspace().clone_into(&mut options.workspace);
    options.allow_dirty = request.allow_dirty;
    options.named.clone_from(&request.named);
    let loaded = session::load(&request.origin, &bytes, &options).map_err(Failure::session)?;
    Ok((loaded, repository))
}

/// What the line that opens a run has to add.
fn notes(session: &Session, facts: &Facts, gate: Option<&GateProbe>) -> Vec<String> {
    let mut notes = Vec::new();
    match gate {
        None => notes.push("the gate is off by --no-gate".to_owned()),
        Some(Err(why)) => notes.push(format!("the gate cannot be had here: {why} (supervise doctor)")),
        Some(Ok(_)) => {}
    }
    if session.git_hooks == GitHooks::Skip && !facts.hooks.is_empty() {
        notes.push(format!("commit hooks are not run ({}); `git_hooks = \"run\"` runs them", facts.hooks.join(", ")));
    }
    notes
}

pub(super) fn setting(session: &Session, repository: &Repository, clock: &Clock, notes: Vec<String>) -> Setting {
    let (git_dir, git) = from_here(repository);
    Setting {
        start: clock.opened(),
        zone: TimeZone::system(),
        phases: session.plan.phases.iter().map(|p| p.name.clone()).collect(),
        git_dir,
        git,
        palette: palette_for(&std::io::stdout()),
        width: report_width(),
        notes,
    }
}

/// The common git directory, and how git is called for the workspace, as a person would type them in
/// the current directory.
pub(super) fn from_here(repository: &Repository) -> (String, String) {
    let (common, workspace) = (repository.common_dir(), repository.workspace());
    // Without a current directory everything is named in full.
    let here = std::env::current_dir().and_then(std::fs::canonicalize).unwrap_or_default();
    let git_dir = if here == workspace { common.strip_prefix(workspace).unwrap_or(common) } else { common };
    // Between here and the workspace there may be another repository, which git would find first.
    let mut between = here.ancestors().take_while(|dir| *dir != workspace);
    let git = if here.starts_with(workspace) && between.all(|dir| !dir.join(".git").exists()) {
        "git".to_owned()
    } else {
        format!("git -C {}", shell_word(&workspace.to_string_lossy()))
    };
    (git_dir.display().to_string(), git)
}

/// Prints a run's result to standard output.
pub fn print(done: &Done, format: RunFormat) {
    let text = match format {
        RunFormat::Human => report::report(&done.view, &done.setting, done.ended),
        RunFormat::Json => pretty(&json::run(&done.view, &done.setting, done.ended)),
        RunFormat::Jsonl => return, // every record was written as it happened
    };
    // A reader that has gone away does not change how the run went.
    look::print(text);
}

/// Looks for the agent programs that the session needs before anything is started. Other commands
/// may be made by an agent that runs before; theirs are found when they are due.
pub(super) fn find_programs(session: &Session, workspace: &Path) -> Result<(), RunError> {
    let environment = std::env::vars_os().collect();
    let mut launches = session.plan.agents.iter().filter_map(|agent| session.launches.get_key_value(&agent.id));
    launches.try_for_each(|(agent, launch)| {
        let found = runner::check_launch(launch, agent, workspace, &environment);
        found.map_err(|source| RunError::Runner { agent: agent.clone(), source })
    })
}

/// What keeps a run from starting, as far as the session is at fault.
pub(super) fn refuse(request: &Request, session: &Session, repository: &mut Repository) -> Result<(), Failure> {
    let unusable = |e: RunError| Failure::new(Exit::Unusable, e);
    if !request.allow_dirty {
        refuse_dirty_claims(session, repository).map_err(unusable)?;
    }
    let workspace = repository.workspace().to_owned();
    find_programs(session, &workspace).map_err(unusable)
}

fn refuse_dirty_claims(session: &Session, repository: &mut Repository) -> Result<(), RunError> {
    let claims: Vec<_> = session.plan.agents.iter().map(|a| (a.id.clone(), &a.claim)).collect();
    let dirty = repository.dirty_many(&claims).map_err(RunError::Status)?;
    if dirty.is_empty() { Ok(()) } else { Err(RunError::DirtyClaims { claims: dirty }) }
}

/// Tries of a run id, should the directory of one be taken.
const RUN_ID_TRIES: u32 = 100;

fn new_run(hold: &Hold, clock: &Clock, session: &Session) -> Result<(RunId, RunDir), StateError> {
    let mut salt = std::process::id();
    for _ in 0..RUN_ID_TRIES {
        #[expect(clippy::expect_used, reason = "clock::run_id makes digits, letters and a dash only")]
        let run = RunId::new(&clock::run_id(clock.opened(), salt)).expect("a well-formed run id");
        match hold.new_run(&run, &session.source)? {
            Some(dir) => return Ok((run, dir)),
            None => salt = salt.wrapping_add(1),
        }
    }
    Err(StateError::Io { path: hold.root().to_owned(), source: std::io::ErrorKind::AlreadyExists.into() })
}

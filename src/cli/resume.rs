//! `supervise resume`: take up a run whose supervisor died, or that was interrupted.
//!
//! Invariant: nothing of the old run's processes lives when its attempts are looked at; until then nothing is
//! changed but a torn end of the journal.

use std::path::PathBuf;

use crate::core::ids::{AgentId, RunId};
use crate::core::reason::Interrupt;
use crate::core::record::{Fact, RunOutcome};
use crate::host::clock::Clock;
use crate::host::driver::Earlier;
use crate::host::git::Repository;
use crate::host::leftovers;
use crate::host::past::{Past, Runs, session_name};
use crate::host::resume::{ResumeError, TakenUp};
use crate::host::state::Hold;
use crate::render::text::{plural, some_of};

use super::look::{self, LookError, RunArg};
use super::manner::MannerArgs;
use super::run::{MAX_LISTED, Prepared, RunError, find_programs, from_here, supervise, take_hold};
use super::{Common, Exit, Failure};

/// Go on with a run whose supervisor died, or that was interrupted
///
/// What its attempts had changed is kept as salvage and put back, and their agents begin anew; what was
/// finished is not done again.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ResumeArgs {
    /// The run: its name, or how it begins; only the latest can be taken up [default: the latest]
    #[arg(value_name = "RUN")]
    pub run: Option<String>,
    /// The same
    #[arg(long = "run", value_name = "RUN", conflicts_with = "run", hide_short_help = true)]
    pub named: Option<String>,
    #[command(flatten)]
    pub manner: MannerArgs,
}

const AFTER_HELP: &str = "\
Example:
  supervise resume

Exit codes: those of `supervise run`.";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CannotResume {
    #[error("run {run} is not the latest, which is {latest}")]
    #[diagnostic(help(
        "`supervise retry --run {run}` runs again what did not complete in it; what it kept: `supervise salvage list`"
    ))]
    NotLatest { run: RunId, latest: RunId },
    #[error(transparent)]
    #[diagnostic(help("{}", help(.0)))]
    Run(ResumeError),
    #[error("{} of run {run} could not be ended", plural(*count, "process", "processes"))]
    #[diagnostic(help("another user's, or stuck in the kernel: end them by hand, then try again"))]
    Survivors { run: RunId, count: usize },
    #[error("the working tree of run {run} is gone: {}", .path.display())]
    #[diagnostic(help("`supervise salvage list` shows what was kept of its work; `supervise run` begins a new one"))]
    NoWorktree { run: RunId, path: PathBuf },
    #[error("run {run} is on branch {expected}, and HEAD is on {found}")]
    #[diagnostic(help("`{git} switch {expected}`, then try again"))]
    OtherBranch { run: RunId, expected: String, found: String, git: String },
}

fn help(error: &ResumeError) -> String {
    match error {
        ResumeError::Past(crate::host::past::PastError::Journal(error)) => error.help().to_owned(),
        ResumeError::Ended { .. } => {
            "`supervise status` shows how; `supervise retry` runs again what did not complete".to_owned()
        }
        ResumeError::Past(_)
        | ResumeError::NoLaunches { .. }
        | ResumeError::Read { .. }
        | ResumeError::Launches { .. } => {
            "what its agents had changed is in the tree (git status): commit or stash what is good, then start a new \
             run; what was kept before is under refs/supervise/ (supervise salvage list)"
                .to_owned()
        }
    }
}

pub fn run(args: &ResumeArgs, common: &Common) -> Result<Exit, Failure> {
    args.manner.carry_out(|manner| {
        let run = RunArg { run: args.run.clone().or_else(|| args.named.clone()) };
        supervise(prepare(&run, common, Then::GoOn)?, manner)
    })
}

/// What becomes of a run that is taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// What was unsettled is kept aside, and nothing more is started.
    Close,
}

/// The run that is meant, and where it is.
pub(super) fn find(arg: &RunArg, common: &Common) -> Result<(Repository, Runs, RunId), Failure> {
    let repository = look::repository(common).map_err(LookError::fail)?;
    let runs = Runs::of(repository.common_dir());
    let run = runs.find(arg.run.as_deref()).map_err(|error| LookError::Run(error).fail())?;
    Ok((repository, runs, run))
}

pub(super) fn prepare(arg: &RunArg, common: &Common, then: Then) -> Result<Prepared, Failure> {
    let unusable = |error: CannotResume| Failure::new(Exit::Unusable, error);
    let (repository, runs, run) = find(arg, common)?;
    let repository = match runs.dir(&run).worktree() {
        Some(worktree) => repository
            .in_worktree(&worktree)
            .map_err(|_| unusable(CannotResume::NoWorktree { run: run.clone(), path: worktree.path }))?,
        None => repository,
    };
    let what = session_name(&runs.dir(&run)).map_or_else(|| format!("run {run}"), |name| format!("session {name}"));
    let hold = take_hold(&repository, &what)?;
    let latest = runs.find(None).map_err(|error| LookError::Run(error).fail())?;
    if latest != run {
        return Err(Failure::new(Exit::Invalid, CannotResume::NotLatest { run, latest }));
    }
    let dir = runs.dir(&run);
    let taken = TakenUp::read(&dir).map_err(|error| unusable(CannotResume::Run(error)))?;
    check_branch(&taken, &repository, &run).map_err(unusable)?;
    if then == Then::GoOn {
        find_programs(&taken.session, repository.workspace()).map_err(|e| Failure::new(Exit::Unusable, e))?;
    }
    let leftovers = leftovers::end(&run, &taken.processes(), taken.was_starting(&dir));
    if leftovers.survivors > 0 {
        return Err(unusable(CannotResume::Survivors { run, count: leftovers.survivors }));
    }
    let branch = taken.supervisor.opened().and_then(|opened| opened.branch.as_deref());
    let stale = repository.remove_stale_locks(branch, taken.header.created.as_second());
    for lock in stale.map_err(|e| Failure::new(Exit::Unusable, RunError::Status(e)))? {
        tracing::warn!(lock = %lock.display(), "removed a lock that the dead supervisor had left");
    }
    let left = taken.left(&dir);
    let clock = Clock::resume(taken.header.created, taken.last);
    let TakenUp { journal, supervisor, session, told, .. } = taken;
    let earlier = Some(Earlier { journal, supervisor, left, closes: then == Then::Close });
    Ok(Prepared { session, repository, hold, clock, run, run_dir: dir, earlier, told })
}

/// The run's commits go to the branch that it was begun on.
fn check_branch(taken: &TakenUp, repository: &Repository, run: &RunId) -> Result<(), CannotResume> {
    let name = |branch: Option<&String>| {
        branch.map_or("a detached HEAD", |branch| branch.strip_prefix("refs/heads/").unwrap_or(branch)).to_owned()
    };
    let Some(opened) = taken.supervisor.opened() else { return Ok(()) };
    match repository.head() {
        Ok(head) if head.branch != opened.branch => Err(CannotResume::OtherBranch {
            run: run.clone(),
            expected: name(opened.branch.as_ref()),
            found: name(head.branch.as_ref()),
            git: from_here(repository).1,
        }),
        _ => Ok(()),
    }
}

/// A run that can no longer be gone on with once the next one has begun.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) run: RunId,
    agents: Vec<AgentId>,
}

impl Unfinished {
    /// What is said of it when the next one has begun.
    pub(super) fn left_behind(&self) -> String {
        let Self { run, agents } = self;
        format!(
            "run {run} stays unfinished, which `supervise resume` would have gone on with: {} did not complete \
             (supervise retry --run {run})",
            some_of(agents, MAX_LISTED)
        )
    }
}

/// Refuses to begin while the latest run was cut off and agents of it have not ended: their changes may be in the
/// tree, and it could not be taken up any more. Gives one that was interrupted in order, of which nothing is left
/// there; not one that was cleared, since who did that has let go of it.
pub(super) fn refuse_unfinished(hold: &Hold, repository: &Repository) -> Result<Option<Unfinished>, RunError> {
    debug_assert!(hold.root().starts_with(repository.common_dir()), "the lock of this repository");
    let runs = Runs::of(repository.common_dir());
    // Of the journals of those that ended otherwise nothing is wanted, and they may be long.
    let is_left = |run: &RunId| !runs.dir(run).seems_ended() || runs.dir(run).seems_interrupted();
    let Some(run) = runs.find(None).ok().filter(is_left) else { return Ok(None) };
    // What cannot be read cannot be taken up either; nothing is lost by beginning.
    let Ok(past) = Past::read(&runs.dir(&run)) else { return Ok(None) };
    // Nor can one be taken up whose working tree is gone.
    let worktree = runs.dir(&run).worktree();
    if worktree.as_ref().is_some_and(|worktree| !repository.has_worktree(worktree)) {
        return Ok(None);
    }
    let agents = past.supervisor().unfinished();
    let last = past.entries.last().map(|entry| &entry.record.fact);
    match last {
        _ if agents.is_empty() => Ok(None),
        Some(Fact::RunEnded { outcome: RunOutcome::Interrupted(Interrupt::Reset) }) => Ok(None),
        Some(Fact::RunEnded { .. }) => Ok(Some(Unfinished { run, agents })),
        _ => {
            let working = past.supervisor().unsettled().into_iter().map(|attempt| attempt.id.agent).collect();
            let elsewhere = worktree.filter(|other| other.id != repository.worktree().id).map(|other| other.path);
            Err(RunError::Unfinished { run, agents, working, elsewhere })
        }
    }
}

//! `supervise retry`: run again what did not complete in a run that ended, from the session file as it is now.
//!
//! It is a run of its own; agents that completed in the one before (or in those that that one tried again) count
//! as done.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::look::{LookError, RunArg};
use super::manner::MannerArgs;
use super::resume::find;
use super::run::{Request, execute, load};
use super::select::{SelectArgs, items, origin};
use super::{Common, Exit, Failure};
use crate::core::ids::{AgentId, RunId};
use crate::core::lifecycle::State;
use crate::host::past::{Life, Past, PastError, Runs, joined};
use crate::session::append::append_section;
use crate::session::{self, Origin, Session};

/// Run again what did not complete in a run that ended, from the edited session file
///
/// Agents that completed count as done. New agents of the file run too.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct RetryArgs {
    /// Only these agents, and what they depend on [default: all that did not complete]
    #[arg(value_name = "ID|PATTERN|tag:T")]
    pub agents: Vec<String>,
    /// Only those that ended without completing: no skipped and no new ones
    #[arg(long, conflicts_with = "agents")]
    pub failed: bool,
    /// The session file [default: the one that the run was begun from]
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArg,
    /// Go on although claimed paths have uncommitted changes; such paths are never committed
    #[arg(long)]
    pub allow_dirty: bool,
    #[command(flatten)]
    pub manner: MannerArgs,
}

const AFTER_HELP: &str = "\
Examples:
  supervise retry
  supervise retry api docs-*
  supervise retry --failed

Exit codes: those of `supervise run`; 4 where every agent completed.";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CannotRetry {
    #[error(transparent)]
    #[diagnostic(help("`supervise timeline` tells what the journal holds"))]
    Past(PastError),
    #[error("run {run} has not come to its end")]
    #[diagnostic(help("`supervise resume` goes on with it"))]
    NotEnded { run: RunId },
    #[error("it is not known which session file run {run} was begun from")]
    #[diagnostic(help("name it with --session FILE"))]
    NoSession { run: RunId },
    #[error("all agents of {} completed in run {run}", .file.display())]
    #[diagnostic(help("`supervise run` runs them again"))]
    NothingLeft { run: RunId, file: PathBuf },
}

/// The most runs of which each tries the one before again.
const MAX_CHAIN: usize = 1000;

pub fn run(args: &RetryArgs, common: &Common) -> Result<Exit, Failure> {
    let (_, runs, run) = find(&args.run, common)?;
    let is_latest = runs.find(None).is_ok_and(|latest| latest == run);
    if runs.goes_on(&run) {
        return Err(LookError::GoesOn { run }.fail());
    }
    // What an older one left was settled, or nobody could begin the next.
    if is_latest && !runs.dir(&run).seems_ended() {
        return Err(Failure::new(Exit::Unusable, CannotRetry::NotEnded { run }));
    }
    let file = args.session.clone().or_else(|| runs.dir(&run).origin());
    let file = file.ok_or_else(|| Failure::new(Exit::Invalid, CannotRetry::NoSession { run: run.clone() }))?;
    let ends = Ends::of(&runs, &run).map_err(|error| Failure::new(Exit::Unusable, CannotRetry::Past(error)))?;
    let mut request = Request {
        common: common.clone(),
        origin: origin(&file),
        text: None,
        select: SelectArgs::default(),
        allow_dirty: args.allow_dirty,
        retries: Some(run.clone()),
    };
    let (mut all, _) = load(&request)?;
    if let Some(text) = with_joined(&request.origin, &all, &ends)? {
        request.text = Some(text);
        (all, _) = load(&request)?;
    }
    request.select = select(args, &all, &ends).ok_or_else(|| {
        let nothing = CannotRetry::NothingLeft { run: run.clone(), file: file.clone() };
        Failure::new(Exit::NothingSelected, nothing)
    })?;
    args.manner.carry_out(|manner| execute(&request, manner))
}

/// The session's text with the agents that joined the runs and are not in it; `None`: there are none.
fn with_joined(origin: &Origin, session: &Session, ends: &Ends) -> Result<Option<String>, Failure> {
    let missing: Vec<_> = ends.joined.iter().filter(|(id, _)| !session.launches.contains_key(id)).collect();
    if missing.is_empty() {
        return Ok(None);
    }
    let bytes = session::read(origin).map_err(Failure::session)?;
    let text = missing
        .into_iter()
        .try_fold(String::from_utf8_lossy(&bytes).into_owned(), |text, (_, section)| append_section(&text, section));
    Ok(text.ok())
}

/// Which agents are to run; `None`: none is left.
fn select(args: &RetryArgs, all: &Session, ends: &Ends) -> Option<SelectArgs> {
    let ids = || all.plan.agents.iter().map(|agent| &agent.id);
    let skip: Vec<String> = ids().filter(|id| ends.completed.contains(*id)).map(ToString::to_string).collect();
    let only = if args.failed {
        ids().filter(|id| ends.failed.contains(*id)).map(ToString::to_string).collect()
    } else {
        items(&args.agents)
    };
    let nothing = skip.len() == all.plan.agents.len() || (args.failed && only.is_empty());
    (!nothing).then(|| SelectArgs { only, skip, ..SelectArgs::default() })
}

/// How agents ended, in a run and those that it tried again.
#[derive(Debug, Default)]
struct Ends {
    completed: BTreeSet<AgentId>,
    /// In the run itself.
    failed: BTreeSet<AgentId>,
    /// Agents that were added while one of them went on, each as a section of a session file, the first first.
    joined: Vec<(AgentId, String)>,
}

impl Ends {
    fn of(runs: &Runs, run: &RunId) -> Result<Self, PastError> {
        let mut ends = Self::default();
        let mut next = Some(run.clone());
        for _ in 0..MAX_CHAIN {
            let Some(of) = next else { break };
            let past = Past::read(&runs.dir(&of))?;
            let view = past.view(&Life::Over)?;
            let mut joined = joined(&runs.dir(&of), &past);
            joined.retain(|(id, _)| !ends.joined.iter().any(|(later, _)| later == id));
            ends.joined.splice(0..0, joined);
            for agent in view.agents {
                match agent.state {
                    State::Completed => drop(ends.completed.insert(agent.id)),
                    State::Failed | State::Timeout | State::Terminated if of == *run => {
                        ends.failed.insert(agent.id);
                    }
                    _ => {}
                }
            }
            next = runs.dir(&of).retries();
        }
        Ok(ends)
    }
}

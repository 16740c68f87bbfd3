//! `supervise retry`: run again what did not complete in a run that ended, from the session file as it is now.
//!
//! Invariant: the run's own options hold (its selection, `--set`, `-j`), and what is given here comes after them.
//!
//! It is a run of its own; agents that completed in the one before (or in those that that one tried again) count
//! as done.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;

use super::look::{LookError, RunArg, past_help};
use super::manner::MannerArgs;
use super::resume::find;
use super::run::{Request, execute, look_at};
use super::select::{SelectArgs, items, origin};
use super::{Common, Exit, Failure};
use crate::core::ids::{AgentId, RunId};
use crate::core::lifecycle::State;
use crate::host::past::{Life, Past, PastError, Runs, joined};
use crate::render::text::shell_word;
use crate::session;
use crate::session::append::append_section;

/// Run again what did not complete in a run that ended, from the edited session file
///
/// Agents that completed count as done. The options that the run was begun with hold: agents that were not selected
/// do not run, new agents of the file do where these options select them.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct RetryArgs {
    /// Only these agents, and what they depend on [default: all that did not complete]
    #[arg(value_name = "ID|PATTERN|tag:T")]
    pub agents: Vec<String>,
    /// The same
    #[arg(long = "id", value_name = "ID|PATTERN|tag:T", hide_short_help = true)]
    pub ids: Vec<String>,
    /// Only those that ended without completing: no skipped and no new ones
    #[arg(long, conflicts_with_all = ["agents", "ids"])]
    pub failed: bool,
    /// The session file [default: the one that the run was begun from]
    #[arg(long, value_name = "FILE")]
    pub session: Option<PathBuf>,
    #[command(flatten)]
    pub run: RunArg,
    /// Set a key of the session, after what was set for the run; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// At most N agents at once
    #[arg(short = 'j', value_name = "N")]
    pub jobs: Option<NonZeroU32>,
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
  supervise retry api --set agent.api.timeout=1h

Exit codes: those of `supervise run`; 4 where every agent completed.";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CannotRetry {
    #[error(transparent)]
    #[diagnostic(help("{}", past_help(.0)))]
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
    #[error("nothing is left to be tried again: what is meant completed in run {run}, or was not selected for it")]
    #[diagnostic(help("`supervise list` shows the agents, `supervise run --only ID` runs any of them"))]
    NothingChosen { run: RunId },
    #[error("it cannot be read with which options run {run} was begun")]
    #[diagnostic(help("`supervise run` with the options that it had begins anew"))]
    Options { run: RunId, source: OptionsError },
}

#[derive(Debug, thiserror::Error)]
enum OptionsError {
    #[error(transparent)]
    Io(io::Error),
    #[error("another version of supervise wrote them")]
    Unknown,
}

/// The most runs of which each tries the one before again.
const MAX_CHAIN: usize = 1000;

pub fn run(args: &RetryArgs, common: &Common) -> Result<Exit, Failure> {
    let (_, runs, run) = find(&args.run, common)?;
    let is_latest = runs.find(None).is_ok_and(|latest| latest == run);
    if runs.goes_on(&run) {
        return Err(LookError::GoesOn { run }.fail());
    }
    // Of a journal that cannot be read, it is not known whether its run has ended.
    let ends = Ends::of(&runs, &run).map_err(|error| Failure::new(Exit::Unusable, CannotRetry::Past(error)))?;
    // What an older one left was settled, or nobody could begin the next.
    if is_latest && !runs.dir(&run).seems_ended() {
        return Err(Failure::new(Exit::Unusable, CannotRetry::NotEnded { run }));
    }
    let file = args.session.clone().or_else(|| runs.dir(&run).origin());
    let file = file.ok_or_else(|| Failure::new(Exit::Invalid, CannotRetry::NoSession { run: run.clone() }))?;
    let options = options(&runs, &run, args)?;
    let mut request = Request {
        common: common.clone(),
        origin: origin(&file),
        text: None,
        select: SelectArgs { set: options.set.clone(), ..SelectArgs::default() },
        named: Vec::new(),
        keeps: options.words(),
        allow_dirty: args.allow_dirty,
        retries: Some(run.clone()),
    };
    let bytes = session::read(&request.origin).map_err(Failure::session)?;
    // What is no text has its errors told by being read again.
    request.text = String::from_utf8(bytes).ok();
    let mut all = ids(&request)?;
    if let Some(text) = request.text.as_deref().and_then(|text| with_joined(text, &all, &ends)) {
        request.text = Some(text);
        all = ids(&request)?;
    }
    let chosen = chosen(&request, &options, &all, &ends)?;
    let left = chosen.iter().any(|id| !ends.completed.contains(id));
    let wanted = wanted(&mut request, args, all.clone(), &ends)?;
    let skip = |id: &&AgentId| !chosen.contains(*id) || ends.completed.contains(*id);
    request.select.skip = all.iter().filter(skip).map(ToString::to_string).collect();
    if wanted.iter().all(|id| skip(&id)) {
        let nothing = if left || chosen.len() < all.len() {
            CannotRetry::NothingChosen { run }
        } else {
            CannotRetry::NothingLeft { run, file }
        };
        return Err(Failure::new(Exit::NothingSelected, nothing));
    }
    args.manner.carry_out(|manner| execute(&request, manner))
}

/// The agents of the session as it is selected.
fn ids(request: &Request) -> Result<BTreeSet<AgentId>, Failure> {
    let (loaded, _) = look_at(request)?;
    Ok(loaded.session.plan.agents.into_iter().map(|agent| agent.id).collect())
}

/// The agents that the run's own options select, and those that joined it.
fn chosen(
    request: &Request,
    options: &SelectArgs,
    all: &BTreeSet<AgentId>,
    ends: &Ends,
) -> Result<BTreeSet<AgentId>, Failure> {
    if !options.chooses() {
        return Ok(all.clone());
    }
    let mut chosen = ids(&Request { select: options.clone(), ..request.clone() }).inspect_err(|_| {
        let words: Vec<_> = options.words().iter().map(|word| shell_word(word)).collect();
        anstream::eprintln!("the run was begun with {}, which holds for its retries too", words.join(" "));
    })?;
    chosen.extend(ends.joined.iter().map(|(id, _)| id.clone()));
    Ok(chosen)
}

/// The agents that are asked for, and what they depend on; the request selects them.
fn wanted(
    request: &mut Request,
    args: &RetryArgs,
    all: BTreeSet<AgentId>,
    ends: &Ends,
) -> Result<BTreeSet<AgentId>, Failure> {
    request.named = items(&[&args.agents[..], &args.ids[..]].concat());
    if args.failed {
        request.named = all.intersection(&ends.failed).map(ToString::to_string).collect();
        if request.named.is_empty() {
            return Ok(BTreeSet::new());
        }
    }
    if request.named.is_empty() { Ok(all) } else { ids(request) }
}

/// The options that the run was begun with, and then those of this command.
fn options(runs: &Runs, run: &RunId, args: &RetryArgs) -> Result<SelectArgs, Failure> {
    let words = runs.dir(run).options().map_err(OptionsError::Io);
    let options = words.and_then(|words| SelectArgs::of_words(&words).map_err(|_| OptionsError::Unknown));
    let mut options =
        options.map_err(|source| Failure::new(Exit::Unusable, CannotRetry::Options { run: run.clone(), source }))?;
    options.set.extend(SelectArgs { set: args.set.clone(), jobs: args.jobs, ..SelectArgs::default() }.sets());
    Ok(options)
}

/// The session's text with the agents that joined the runs and are not in it; `None`: there are none.
fn with_joined(text: &str, all: &BTreeSet<AgentId>, ends: &Ends) -> Option<String> {
    let mut missing = ends.joined.iter().filter(|(id, _)| !all.contains(id)).peekable();
    missing.peek()?;
    missing.try_fold(text.to_owned(), |text, (_, section)| append_section(&text, section)).ok()
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

//! `supervise runs`: the runs of the repository, and the removal of old ones.
//!
//! Invariant: `list` changes nothing; `prune` never touches the newest run or one that goes on.

use std::time::Duration;

use super::look::{LookError, print, repository};
use super::salvage::bare_setting;
use super::span::span;
use super::{Common, Exit, Failure, Format};
use crate::core::moment::Moment;
use crate::host::clock::Clock;
use crate::host::git::Repository;
use crate::host::past::Runs;
use crate::host::prune::{self, Listed, Old, PruneError};
use crate::host::state::{Hold, StateError};
use crate::render::json::pretty;
use crate::render::runs::{ListedView, Pruned, PrunedRun, ToldView, document, runs as table};

/// Age from which a run is removed where nothing else is said.
const AGE: Duration = Duration::from_hours(30 * 24);

/// List the runs of the repository, or remove old ones
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct RunsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Prune(PruneArgs),
}

/// List all runs: session, time, state, agents, size, kept work
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Remove the journals and logs of old runs
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = PRUNE_HELP)]
struct PruneArgs {
    /// Those that ended so long ago [default: 30d, without --keep]
    #[arg(long, value_name = "TIME", value_parser = span)]
    older_than: Option<Duration>,
    /// All but the newest N
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Also those whose attempts' work is still kept, and that work
    #[arg(long)]
    salvage: bool,
    /// Only tell what would be removed
    #[arg(long)]
    dry_run: bool,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const LIST_HELP: &str = "\
Examples:
  supervise runs list
  supervise runs list --format json";

const PRUNE_HELP: &str = "\
Examples:
  supervise runs prune --dry-run
  supervise runs prune --keep 10";

const AFTER_HELP: &str = "\
The newest run stays, and so does one that goes on. With both --older-than and --keep, what
goes is old and not among the newest.

Examples:
  supervise runs list
  supervise runs prune --dry-run
  supervise runs prune --keep 10";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum RunsError {
    #[error(transparent)]
    #[diagnostic(help("they lie in .git/supervise/runs; what was removed so far is gone, the rest is as it was"))]
    Prune(PruneError),
    #[error(transparent)]
    #[diagnostic(help("the git directory must be writable"))]
    State(StateError),
}

pub fn run(args: &RunsArgs, common: &Common) -> Result<Exit, Failure> {
    let repository = repository(common).map_err(LookError::fail)?;
    let runs = Runs::of(repository.common_dir());
    let done = match &args.verb {
        Verb::List(args) => list(args, &repository, &runs),
        Verb::Prune(args) => prune(args, &repository, &runs),
    };
    done.map(|()| Exit::Success).map_err(|error| Failure::new(Exit::Unusable, error))
}

fn list(args: &ListArgs, repository: &Repository, runs: &Runs) -> Result<(), RunsError> {
    let listed = prune::list(repository, runs).map_err(RunsError::Prune)?;
    let views: Vec<ListedView> = listed.iter().map(view).collect();
    print(match args.format {
        Format::Human => table(&views, &bare_setting(repository)),
        Format::Json => pretty(&document(&views)),
    });
    Ok(())
}

fn view(listed: &Listed) -> ListedView {
    let told = listed.told.as_ref().map_err(ToString::to_string).map(|told| {
        let took = told.view.ended_at.unwrap_or(told.until).since(Moment::ZERO);
        ToldView::of(&told.view, told.opened, took, told.died)
    });
    ListedView { run: listed.run.clone(), told, bytes: listed.bytes, salvage: salvage(listed) }
}

/// Attempts whose work is kept.
fn salvage(listed: &Listed) -> usize {
    let attempts: std::collections::BTreeSet<_> = listed.kept.iter().map(|kept| &kept.id).collect();
    attempts.len()
}

fn prune(args: &PruneArgs, repository: &Repository, runs: &Runs) -> Result<(), RunsError> {
    // A run that starts or is taken up again waits; beside one that goes on, the others can go.
    let who = format!("process {}, removing old runs", std::process::id());
    let hold = (!args.dry_run && runs.root().exists()).then(|| Hold::take(repository.common_dir(), &who));
    if let Some(Err(error @ StateError::Io { .. })) = hold {
        return Err(RunsError::State(error));
    }
    let than = args.older_than.unwrap_or(if args.keep.is_some() { Duration::ZERO } else { AGE });
    let old = Old { than, keep: args.keep.unwrap_or(0) };
    let all = prune::list(repository, runs).map_err(RunsError::Prune)?;
    let chosen = prune::old(&all, runs, old, Clock::start().wall());
    let (mut removed, mut held_back) = (Vec::new(), Vec::new());
    for listed in chosen {
        let told = PrunedRun { run: listed.run.to_string(), bytes: listed.bytes, salvage: salvage(listed) };
        if told.salvage > 0 && !args.salvage {
            held_back.push(told);
            continue;
        }
        if !args.dry_run {
            prune::remove(repository, runs, listed).map_err(RunsError::Prune)?;
        }
        removed.push(told);
    }
    if !args.dry_run {
        prune::finish(runs).map_err(RunsError::Prune)?;
    }
    let pruned = Pruned::new(args.dry_run, removed, held_back);
    print(match args.format {
        Format::Human => pruned.text(&bare_setting(repository).supervise()),
        Format::Json => pretty(&pruned),
    });
    Ok(())
}

//! `supervise salvage`: the kept work of attempts that did not complete.
//!
//! Invariant: nothing but `drop` lets go of work, and nothing but `apply` changes the working tree: all
//! of the work or nothing, never the index, never a path with uncommitted changes, and not while a run
//! goes on.

use std::io;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::look::{LookError, print, repository};
use super::patch::{Wanted, print_patch};
use super::progress::{palette_for, report_width};
use super::run::from_here;
use super::span::span;
use super::{Common, Exit, Failure, Format};
use crate::core::path::RepoPath;
use crate::host::clock::Clock;
use crate::host::git::{Applied, ApplyError, GitError, Patch, PatchPath, Repository};
use crate::host::past::Runs;
use crate::host::salvage::{self, Kept};
use crate::host::state::{Hold, StateError};
use crate::render::Setting;
use crate::render::json::pretty;
use crate::render::patch::{self, PathDocument};
use crate::render::salvage::{self as documents, KeptView, Lines, Work, name};
use crate::render::text::{limit, plural, some_of};
use crate::session::problem::suggest;

/// Names that an error lists.
const LISTED: usize = 8;

/// Look at, take or drop the kept work of attempts that did not complete
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct SalvageArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Verb {
    List(ListArgs),
    Show(ShowArgs),
    Apply(ApplyArgs),
    Drop(DropArgs),
}

/// List kept work: of which attempt, why it is not committed, how much it is
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = LIST_HELP)]
struct ListArgs {
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Print the changes, as `git diff` does
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SHOW_HELP)]
struct ShowArgs {
    /// ID, ID/ATTEMPT or RUN/ID/ATTEMPT
    #[arg(value_name = "WORK")]
    work: String,
    /// A line a file
    #[arg(long)]
    stat: bool,
    /// The changes, or the changed paths as JSON
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Put the changes into the working tree, uncommitted
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = APPLY_HELP)]
struct ApplyArgs {
    /// ID, ID/ATTEMPT or RUN/ID/ATTEMPT
    #[arg(value_name = "WORK")]
    work: String,
    /// How to print what was done
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Let go of kept work
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = DROP_HELP)]
struct DropArgs {
    /// ID, ID/ATTEMPT or RUN/ID/ATTEMPT
    #[arg(value_name = "WORK", required_unless_present_any = ["all", "older_than"])]
    #[arg(conflicts_with_all = ["all", "older_than"])]
    work: Vec<String>,
    /// All of it
    #[arg(long, conflicts_with = "older_than")]
    all: bool,
    /// What is older, say `30d`
    #[arg(long, value_name = "TIME", value_parser = span)]
    older_than: Option<Duration>,
    /// How to print what was dropped
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const AFTER_HELP: &str = "\
WORK is ID/ATTEMPT; ID alone means its latest kept attempt, RUN/ID/ATTEMPT that of a run.

Examples:
  supervise salvage list
  supervise salvage show api --stat
  supervise salvage apply api/2
  supervise salvage drop --older-than 30d";

const LIST_HELP: &str = "\
Examples:
  supervise salvage list
  supervise salvage list --format json";

const SHOW_HELP: &str = "\
Examples:
  supervise salvage show api
  supervise salvage show api/2 --stat";

const APPLY_HELP: &str = "\
Example:
  supervise salvage apply api/2 && git diff";

const DROP_HELP: &str = "\
Examples:
  supervise salvage drop api/1 docs
  supervise salvage drop --older-than 30d";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum SalvageError {
    #[error("kept work cannot be read")]
    #[diagnostic(help("`git for-each-ref refs/supervise` should say more"))]
    Git(#[source] GitError),
    #[error("no work of `{named}` is kept")]
    #[diagnostic(help("{help}"))]
    Unknown { named: String, help: String },
    #[error("{held}, and only it may change the tree")]
    #[diagnostic(help("apply it when that has ended; `supervise salvage show {work}` shows it meanwhile"))]
    Goes { held: StateError, work: String },
    #[error(transparent)]
    #[diagnostic(help("the git directory must be writable"))]
    State(StateError),
    #[error("{} uncommitted changes, and nothing was changed: {}", have(.paths), some_of(.paths, LISTED))]
    #[diagnostic(help("commit or stash these changes, then apply it again"))]
    Dirty { paths: Vec<RepoPath> },
    #[error("it does not apply, and nothing was changed: since then other changes were made to {}",
        some_of(.paths, LISTED))]
    #[diagnostic(help("`{git} cherry-pick -n {reference}` leaves conflict markers to resolve"))]
    Conflicts { paths: Vec<RepoPath>, git: String, reference: String },
    #[error("it cannot be put into the working tree")]
    #[diagnostic(help("`git status` shows what the tree is like; the work is kept as it was"))]
    Apply(#[source] GitError),
}

fn have(paths: &[RepoPath]) -> String {
    format!("{} with", plural(paths.len(), "path", "paths"))
}

impl SalvageError {
    fn fail(self) -> Failure {
        let exit = match &self {
            Self::Unknown { .. } => Exit::Invalid,
            Self::Dirty { .. } | Self::Conflicts { .. } => Exit::AgentsFailed,
            _ => Exit::Unusable,
        };
        Failure::new(exit, self)
    }
}

pub fn run(args: &SalvageArgs, common: &Common) -> Result<Exit, Failure> {
    let repository = repository(common).map_err(LookError::fail)?;
    let done = Salvage::of(repository).and_then(|salvage| match &args.verb {
        Verb::List(args) => list(args, &salvage),
        Verb::Show(args) => show(args, &salvage),
        Verb::Apply(args) => apply(args, salvage),
        Verb::Drop(args) => drop_work(args, &salvage),
    });
    done.map(|()| Exit::Success).map_err(SalvageError::fail)
}

/// The repository, and what is kept in it.
struct Salvage {
    repository: Repository,
    kept: Vec<Kept>,
    setting: Setting,
}

impl Salvage {
    fn of(repository: Repository) -> Result<Self, SalvageError> {
        let kept = salvage::list(&repository, &Runs::of(repository.common_dir())).map_err(SalvageError::Git)?;
        let setting = bare_setting(&repository);
        Ok(Self { repository, kept, setting })
    }

    /// The work that is named so: the latest where several are.
    fn find(&self, named: &str) -> Result<&Kept, SalvageError> {
        let text = named.strip_prefix("refs/supervise/attempts/").unwrap_or(named);
        let parts: Vec<&str> = text.split('/').collect();
        let found = self.kept.iter().rev().find(|kept| is_called(kept, &parts));
        found.ok_or_else(|| SalvageError::Unknown { named: named.escape_debug().to_string(), help: self.help(text) })
    }

    fn help(&self, text: &str) -> String {
        if self.kept.is_empty() {
            return "nothing is: every attempt completed, or its work was dropped (`supervise status`)".to_owned();
        }
        let names: Vec<String> = self.kept.iter().map(|kept| name(&kept.id)).collect();
        let agents = self.kept.iter().map(|kept| kept.id.agent.as_str());
        let full: Vec<String> = self.kept.iter().map(|kept| format!("{}/{}", kept.run, name(&kept.id))).collect();
        let known = names.iter().map(String::as_str).chain(agents).chain(full.iter().map(String::as_str));
        suggest(text, known).unwrap_or_else(|| format!("kept is {}", some_of(&names, LISTED)))
    }

    fn patch(&self, kept: &Kept) -> Result<Patch, SalvageError> {
        self.repository.patch_of(&kept.commit).map_err(SalvageError::Git)
    }

    fn views(&self) -> Result<Vec<KeptView>, SalvageError> {
        let patches = self.kept.iter().map(|kept| self.patch(kept)).collect::<Result<Vec<_>, _>>()?;
        let paths = self.repository.patch_paths(&patches).map_err(SalvageError::Git)?;
        let view = |(kept, paths): (&Kept, Vec<PatchPath>)| KeptView {
            run: kept.run.clone(),
            id: kept.id.clone(),
            reference: kept.reference().to_owned(),
            commit: kept.commit,
            checkpoint: kept.is_checkpoint(),
            made: kept.made,
            ended: kept.ended.clone(),
            lines: lines_of(&paths),
        };
        Ok(self.kept.iter().zip(paths).map(view).collect())
    }
}

/// How things that belong to no single run are rendered on standard output.
pub(super) fn bare_setting(repository: &Repository) -> Setting {
    let (git_dir, git) = from_here(repository);
    Setting {
        start: Timestamp::UNIX_EPOCH,
        zone: TimeZone::system(),
        phases: Vec::new(),
        git_dir,
        git,
        palette: palette_for(&io::stdout()),
        width: report_width(),
        notes: Vec::new(),
    }
}

/// `ID`, `ID/ATTEMPT`, `RUN/ID`, `RUN/ID/ATTEMPT`; a run by how its name begins.
fn is_called(kept: &Kept, parts: &[&str]) -> bool {
    let agent = |text: &str| kept.id.agent.as_str() == text;
    let attempt = |text: &str| kept.id.attempt.to_string() == text.strip_suffix(".checkpoint").unwrap_or(text);
    let run = |text: &str| !text.is_empty() && kept.run.as_str().starts_with(text);
    match parts {
        [id] => agent(id),
        [first, second] => (agent(first) && attempt(second)) || (run(first) && agent(second)),
        [first, id, number] => run(first) && agent(id) && attempt(number),
        _ => false,
    }
}

/// All paths of a patch together.
pub(super) fn lines_of(paths: &[PatchPath]) -> Lines {
    let mut lines = Lines { files: paths.len(), ..Lines::default() };
    for (added, removed) in paths.iter().filter_map(|path| path.lines) {
        lines.added += added;
        lines.removed += removed;
    }
    lines
}

fn list(args: &ListArgs, salvage: &Salvage) -> Result<(), SalvageError> {
    let views = salvage.views()?;
    print(match args.format {
        Format::Human => documents::salvage(&views, &salvage.setting, &salvage.setting.supervise()),
        Format::Json => pretty(&documents::document(&views, &salvage.setting)),
    });
    Ok(())
}

#[derive(Serialize)]
struct Paths {
    paths: Vec<PathDocument>,
}

fn show(args: &ShowArgs, salvage: &Salvage) -> Result<(), SalvageError> {
    let kept = salvage.find(&args.work)?;
    let patch = salvage.patch(kept)?;
    if args.format == Format::Json {
        let paths = salvage.repository.patch_paths(&[patch]).map_err(SalvageError::Git)?;
        let paths = paths.into_iter().flatten().map(|p| patch::path(&p.path, p.before, p.after, p.lines)).collect();
        print(pretty(&work(kept).with(Paths { paths })));
        return Ok(());
    }
    let wanted = if args.stat { Wanted::Stat } else { Wanted::Whole };
    print_patch(&salvage.repository, &patch, wanted).map(drop).map_err(SalvageError::Git)
}

fn work(kept: &Kept) -> Work {
    Work::of(&kept.run, &kept.id, &kept.commit)
}

fn apply(args: &ApplyArgs, mut salvage: Salvage) -> Result<(), SalvageError> {
    let kept = salvage.find(&args.work)?.clone();
    // Nobody may start a run while files are being written.
    let who = format!("process {}, applying kept work", std::process::id());
    let _hold = Hold::take(salvage.repository.common_dir(), &who).map_err(|error| match error {
        StateError::Held { .. } => SalvageError::Goes { held: error, work: name(&kept.id) },
        StateError::Io { .. } => SalvageError::State(error),
    })?;
    let applied = salvage.repository.apply_kept(&kept.commit).map_err(|error| match error {
        ApplyError::Dirty { paths } => SalvageError::Dirty { paths },
        ApplyError::Conflicts { paths } => {
            SalvageError::Conflicts { paths, git: salvage.setting.git.clone(), reference: kept.reference().to_owned() }
        }
        ApplyError::Git(error) => SalvageError::Apply(error),
    })?;
    print(match args.format {
        Format::Human => told(&salvage, &kept, &applied),
        Format::Json => pretty(&work(&kept).with(AppliedDocument::of(&applied))),
    });
    Ok(())
}

/// What became of each path.
#[derive(Serialize)]
struct AppliedDocument {
    changed: Vec<String>,
    merged: Vec<String>,
    already: Vec<String>,
}

impl AppliedDocument {
    fn of(applied: &Applied) -> Self {
        let texts = |paths: &[RepoPath]| paths.iter().map(ToString::to_string).collect();
        Self { changed: texts(&applied.changed), merged: texts(&applied.merged), already: texts(&applied.already) }
    }
}

/// What was done, and what is next.
fn told(salvage: &Salvage, kept: &Kept, applied: &Applied) -> String {
    let Applied { changed, merged, already } = applied;
    let mut lines = vec![format!("{} of run {}:", name(&kept.id), kept.run)];
    for (label, paths) in [("changed", changed), ("merged", merged), ("as it was", already)] {
        lines.extend(paths.iter().map(|path| format!("  {label:9}  {path}")));
    }
    let command = format!("{} salvage drop {}/{}", salvage.setting.supervise(), kept.run, name(&kept.id));
    lines.push(format!(
        "Nothing is committed: {} status; when it is not needed any more: {command}",
        salvage.setting.git
    ));
    lines.into_iter().map(|line| line + "\n").collect()
}

fn drop_work(args: &DropArgs, salvage: &Salvage) -> Result<(), SalvageError> {
    let now = Clock::start().wall();
    let chosen: Vec<&Kept> = match args.older_than {
        Some(age) => salvage.kept.iter().filter(|kept| kept.is_older_than(age, now)).collect(),
        None if args.all => salvage.kept.iter().collect(),
        None => args.work.iter().map(|work| salvage.find(work)).collect::<Result<_, _>>()?,
    };
    let mut dropped = Vec::new();
    for kept in chosen {
        if kept.drop_from(&salvage.repository).map_err(SalvageError::Git)? {
            dropped.push(kept);
        }
    }
    print(match args.format {
        Format::Json => pretty(&documents::dropped(dropped.into_iter().map(work).collect())),
        Format::Human if dropped.is_empty() => match args.older_than {
            Some(age) => format!("no kept work is older than {}\n", limit(age)),
            None => "nothing is kept\n".to_owned(),
        },
        Format::Human => dropped_text(&dropped, &salvage.setting.git),
    });
    Ok(())
}

fn dropped_text(dropped: &[&Kept], git: &str) -> String {
    let widest = dropped.iter().map(|kept| name(&kept.id).len()).max().unwrap_or(0);
    let line = |kept: &&Kept| format!("dropped {:widest$}  of run {}  {}\n", name(&kept.id), kept.run, kept.commit);
    let lines: String = dropped.iter().map(line).collect();
    format!("{lines}Until git cleans up, `{git} branch NAME COMMIT` gets it back.\n")
}

//! `supervise diff`: what agents changed so far, as git shows it.
//!
//! Invariant: an agent's own changes and nobody else's: those of its claim against what was there when
//! its attempt began, its commit, or its kept work. Nothing in the tree or the index is changed.

use serde::Serialize;

use super::look::{AboutRun, Look, LookError, PerhapsAgent, State, print};
use super::patch::{Wanted, print_patch};
use super::salvage::lines_of;
use super::{Common, Exit, Failure, Format};
use crate::core::ids::RunId;
use crate::core::view::AgentView;
use crate::host::changes::{Changes, ChangesError, Place, of_agent};
use crate::host::git::{GitError, PatchPath, Repository};
use crate::host::state::RunDir;
use crate::render::json::VERSION;
use crate::render::json::pretty;
use crate::render::patch::{self, PathDocument};
use crate::render::style::{Palette, Tone};
use crate::render::text::plural;

/// Show what an agent changed so far: in the tree, in its commit, or in its kept work
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct DiffArgs {
    #[command(flatten)]
    pub agent: PerhapsAgent,
    /// A line a file
    #[arg(long)]
    pub stat: bool,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
As JSON: the changed paths. Without an ID, a line that begins with `#` stands before each agent's changes.

Examples:
  supervise diff api
  supervise diff --stat
  supervise diff --format json | jq -r '.agents[] | .id as $id | .paths[] | \"\\($id) \\(.path)\"'";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum DiffError {
    #[error("the changes cannot be compared")]
    #[diagnostic(help("a file that is being written does not hold still: try again"))]
    Changes(#[source] ChangesError),
    #[error("git cannot show the changes")]
    #[diagnostic(help("`git status` in the workspace should say more"))]
    Git(#[source] GitError),
}

impl From<DiffError> for Failure {
    fn from(error: DiffError) -> Self {
        Self::new(Exit::Unusable, error)
    }
}

/// What `diff --format json` prints.
#[derive(Serialize)]
struct Document {
    version: u32,
    run: String,
    agents: Vec<AgentDocument>,
}

#[derive(Serialize)]
struct AgentDocument {
    id: String,
    state: &'static str,
    /// `tree`, `commit`, `salvage`; null: it changed nothing.
    place: Option<&'static str>,
    commit: Option<String>,
    paths: Vec<PathDocument>,
}

pub fn run(args: &DiffArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    let Look { repository, run, dir, newest, .. } = look;
    let mut diff = Diff { repository: repository.looking(), run, dir, newest, state };
    let named = args.agent.named();
    let agents = match named {
        Some(id) => vec![diff.state.agent(id).map_err(LookError::fail)?.clone()],
        None => diff.state.view.agents.clone(),
    };
    if args.about.format == Format::Json {
        let agents = agents.iter().map(|agent| diff.document(agent)).collect::<Result<_, _>>()?;
        print(pretty(&Document { version: VERSION, run: diff.run.to_string(), agents }));
    } else {
        diff.show(&agents, named, if args.stat { Wanted::Stat } else { Wanted::Whole })?;
    }
    Ok(Exit::Success)
}

struct Diff {
    repository: Repository,
    run: RunId,
    dir: RunDir,
    newest: bool,
    state: State,
}

impl Diff {
    /// An agent's changes with their paths; none of them: `None`.
    fn of(&mut self, agent: &AgentView) -> Result<Option<(Changes, Vec<PatchPath>)>, DiffError> {
        let run = (&self.run, &self.dir);
        let changes = of_agent(&mut self.repository, run, &self.state.past, agent, self.newest);
        let Some(changes) = changes.map_err(DiffError::Changes)? else { return Ok(None) };
        let paths = self.repository.patch_paths(&[changes.patch]).map_err(DiffError::Git)?;
        let paths: Vec<PatchPath> = paths.into_iter().flatten().collect();
        Ok((!paths.is_empty()).then_some((changes, paths)))
    }

    fn document(&mut self, agent: &AgentView) -> Result<AgentDocument, DiffError> {
        let found = self.of(agent)?;
        let place = found.as_ref().map(|(changes, _)| changes.place);
        let paths = found.map(|(_, paths)| paths).unwrap_or_default();
        Ok(AgentDocument {
            id: agent.id.to_string(),
            state: agent.state.as_str(),
            place: place.map(|place| match place {
                Place::Tree => "tree",
                Place::Commit(_) => "commit",
                Place::Salvage(_) => "salvage",
            }),
            commit: place.and_then(|place| match place {
                Place::Tree => None,
                Place::Commit(commit) | Place::Salvage(commit) => Some(commit.to_string()),
            }),
            paths: paths.iter().map(|p| patch::path(&p.path, p.before, p.after, p.lines)).collect(),
        })
    }

    fn show(&mut self, agents: &[AgentView], named: Option<&str>, wanted: Wanted) -> Result<(), DiffError> {
        let mut any = false;
        for agent in agents {
            let Some((changes, paths)) = self.of(agent)? else { continue };
            any = true;
            let heading = heading(agent, changes.place, &paths, self.state.setting.palette);
            if named.is_none() && !print(heading) {
                return Ok(());
            }
            if !print_patch(&self.repository, &changes.patch, wanted).map_err(DiffError::Git)? {
                return Ok(());
            }
        }
        if !any {
            let run = &self.run;
            match named {
                Some(id) => anstream::eprintln!("{id} has changed nothing in run {run}"),
                None => anstream::eprintln!("no agent of run {run} has changed anything"),
            }
        }
        Ok(())
    }
}

/// `# api RUNNING, in the tree: 2 files +12 -3`
fn heading(agent: &AgentView, place: Place, paths: &[PatchPath], palette: Palette) -> String {
    let place = match place {
        Place::Tree => "in the tree".to_owned(),
        Place::Commit(commit) => format!("commit {}", commit.short()),
        Place::Salvage(_) => "kept, not committed".to_owned(),
    };
    let files = plural(paths.len(), "file", "files");
    let text = format!("# {} {}, {place}: {files} {}", agent.id, agent.state, lines_of(paths).text());
    format!("{}\n", palette.paint(Tone::Heading, text))
}

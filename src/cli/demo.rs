//! `supervise demo`: a scratch repository and four scripted agents that show what a run does.
//!
//! Invariant: it needs no login, no network and no agent program, touches nothing outside a new
//! directory, and succeeds only if the run went as the story says.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::core::lifecycle::State;
use crate::core::view::RunView;
use crate::render::work_name;
use crate::session::{Origin, UserConfig};

use super::manner::Manner;
use super::run::{self, Request};
use super::select::SelectArgs;
use super::{Common, Exit, Failure, RunFormat};

const SESSION: &str = include_str!("demo.toml");

/// How each agent of the demo is to end.
const STORY: &[(&str, State)] = &[
    ("database", State::Completed),
    ("tests", State::Timeout),
    ("migrations", State::Completed),
    ("api", State::Completed),
];

/// Show a run: four scripted agents in a scratch repository
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct DemoArgs {}

const AFTER_HELP: &str = "\
Example:
  supervise demo";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum DemoError {
    #[error("cannot make a scratch repository")]
    #[diagnostic(help("the demo needs a writable temporary directory; TMPDIR names another one"))]
    Scratch(#[source] std::io::Error),
    #[error("cannot make a scratch repository")]
    #[diagnostic(help("the demo needs a writable temporary directory; TMPDIR names another one"))]
    Git(#[source] git2::Error),
    #[error("the run did not go as it should: {agent} ended {state}, not {expected}")]
    #[diagnostic(help("`supervise doctor` says what this machine lacks"))]
    Story { agent: String, state: State, expected: State },
}

pub fn run(_args: &DemoArgs, _common: &Common) -> Result<Exit, Failure> {
    let unusable = |e: DemoError| Failure::new(Exit::Unusable, e);
    let repository = scratch_repository().map_err(unusable)?;
    anstream::eprintln!("{}", introduction(&repository));
    let request = Request {
        common: Common { directory: Some(repository.clone()) },
        origin: Origin::Embedded,
        text: Some(SESSION.to_owned()),
        select: SelectArgs::default(),
        named: Vec::new(),
        keeps: Vec::new(),
        allow_dirty: false,
        retries: None,
    };
    let user = UserConfig { hooks: Vec::new(), notify: false };
    let done = run::execute(&request, &Manner { gate: true, user, detached: false, format: RunFormat::Human })?;
    run::print(&done, RunFormat::Human);
    check_story(&done.view).map_err(|e| Failure::new(Exit::AgentsFailed, e))?;
    let mut out = anstream::stdout();
    let _ = out.write_all(conclusion(&repository, &done.view).as_bytes());
    Ok(Exit::Success)
}

fn check_story(view: &RunView) -> Result<(), DemoError> {
    for (id, expected) in STORY {
        let state = view.agents.iter().find(|a| a.id.as_str() == *id).map_or(State::Registered, |a| a.state);
        if state != *expected {
            return Err(DemoError::Story { agent: (*id).to_owned(), state, expected: *expected });
        }
    }
    Ok(())
}

/// A new repository with one commit, in a directory of its own that stays.
fn scratch_repository() -> Result<PathBuf, DemoError> {
    let base = std::env::temp_dir();
    let path = (0..100u32)
        .map(|n| base.join(format!("supervise-demo-{}-{n}", std::process::id())))
        .find_map(|path| match fs::create_dir(&path) {
            Ok(()) => Some(Ok(path)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
            Err(e) => Some(Err(e)),
        })
        .unwrap_or_else(|| Err(std::io::ErrorKind::AlreadyExists.into()))
        .map_err(DemoError::Scratch)?;
    fs::write(path.join("README.md"), "# A brewery\n\nWhat the agents of the demo work on.\n")
        .map_err(DemoError::Scratch)?;
    first_commit(&path).map_err(DemoError::Git)?;
    Ok(path)
}

fn first_commit(path: &Path) -> Result<(), git2::Error> {
    let mut options = git2::RepositoryInitOptions::new();
    options.initial_head("main").external_template(false);
    let repository = git2::Repository::init_opts(path, &options)?;
    let mut config = repository.config()?;
    config.set_str("user.name", "Demo")?;
    config.set_str("user.email", "demo@example.invalid")?;
    config.set_bool("commit.gpgsign", false)?;
    let mut index = repository.index()?;
    index.add_path(Path::new("README.md"))?;
    index.write()?;
    let tree = repository.find_tree(index.write_tree()?)?;
    let author = repository.signature()?;
    repository.commit(Some("HEAD"), &author, &author, "Begin", &tree, &[])?;
    Ok(())
}

fn introduction(repository: &Path) -> String {
    format!(
        "A scratch repository: {}\n\
         Four agents: `database` and `tests` start at once, on files that do not meet. `migrations` wants\n\
         files that `database` has locked, so it waits for the lock; `api` waits for `database` to complete.\n\
         `tests` never ends: its time runs out after 2 s, its processes are ended, its work is kept aside.\n",
        repository.display()
    )
}

fn conclusion(repository: &Path, view: &RunView) -> String {
    let at = repository.display();
    let salvage = view.agents.iter().find_map(|a| a.salvage.last());
    let kept = salvage.map_or_else(String::new, |reference| {
        format!(
            "  supervise -C {at} salvage show {}\n      what `tests` had done when its time ran out\n",
            work_name(reference, Some(&view.run))
        )
    });
    format!(
        "\nThe run counts as FAILED because `tests` ran out of its time, as it was meant to.\n\
         The repository stays at {at}. Look at:\n\
         \x20 git -C {at} log --stat --format='%h %s%n%(trailers)'\n\
         \x20     one commit an agent, exactly its files\n{kept}\
         \x20 git -C {at} status\n\
         \x20     clean: nothing was left behind\n\
         To do this with your own repository: `supervise init` writes a session file to begin with.\n"
    )
}

//! `supervise completions`, and the candidates that the shells ask for while somebody types.
//!
//! The script that is printed calls the program back for each completion, so that ids of agents, runs,
//! kept work and phases are those of this moment.
//!
//! Invariant: completing reads and asks nobody; what cannot be read gives no candidates and no error.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCandidates, CompleteEnv, CompletionCandidate, Shell};

use super::look::{Look, RunArg, print};
use super::select::{DEFAULT_SESSION, SelectArgs, origin};
use super::{Cli, Common, Exit, Failure};
use crate::core::ids::RunId;
use crate::core::view::RunView;
use crate::host::git::Repository;
use crate::host::past::{Past, Runs};
use crate::host::salvage;
use crate::render::json::phase_state;
use crate::render::salvage::name;
use crate::render::text::printable;
use crate::session::{self, Session};

/// Set to a shell's name by the script of that shell.
const VARIABLE: &str = "SUPERVISE_COMPLETE";

/// Print the script that makes a shell complete commands, agents, runs and phases
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

const AFTER_HELP: &str = "\
Have the shell read it whenever it starts, so that it fits the program:
  bash        echo 'source <(supervise completions bash)' >> ~/.bashrc
  zsh         echo 'source <(supervise completions zsh)' >> ~/.zshrc
  fish        echo 'supervise completions fish | source' >> ~/.config/fish/config.fish
  elvish      echo 'eval (supervise completions elvish | slurp)' >> ~/.config/elvish/rc.elv
  powershell  supervise completions powershell | Out-String | Invoke-Expression";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CompleteError {
    #[error("cannot make the script")]
    #[diagnostic(help("this is a bug of supervise: please report it"))]
    Script(#[source] io::Error),
    #[error("shells of this name are not completed for")]
    #[diagnostic(help("`supervise completions --help` names those that are"))]
    Shell,
}

pub fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string());
    let shell = shell.ok_or_else(|| Failure::new(Exit::Invalid, CompleteError::Shell))?;
    let mut script = Vec::new();
    let written = shell.write_registration(VARIABLE, "supervise", "supervise", &program(), &mut script);
    written.map_err(|error| Failure::new(Exit::Unusable, CompleteError::Script(error)))?;
    print(script);
    Ok(Exit::Success)
}

/// How the program was called; in full where that was by a path.
fn program() -> String {
    let called = PathBuf::from(env::args_os().next().unwrap_or_else(|| "supervise".into()));
    let full = if called.components().count() > 1 { called.canonicalize().unwrap_or(called) } else { called };
    full.to_string_lossy().into_owned()
}

/// Answers a shell that asks for candidates; `None`: no shell asks.
pub(super) fn answer() -> Option<Exit> {
    let here = env::current_dir().ok();
    let complete = CompleteEnv::with_factory(|| with_candidates(Cli::command())).var(VARIABLE);
    match complete.try_complete(env::args_os(), here.as_deref()) {
        Ok(true) => Some(Exit::Success),
        Ok(false) => None,
        Err(error) => {
            let _ = error.print();
            Some(Exit::Invalid)
        }
    }
}

/// What stands for a value says what it is: wherever an agent is named, agents are offered.
fn with_candidates(command: Command) -> Command {
    let begins = command.get_name() == "run";
    let with = |arg: Arg| {
        let names: Vec<String> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
        let candidates = match names.first().map(String::as_str) {
            Some("ID") => ArgValueCandidates::new(agents),
            Some("RUN") => ArgValueCandidates::new(runs),
            Some("WORK") => ArgValueCandidates::new(works),
            Some("PHASE") if begins => ArgValueCandidates::new(planned_phases),
            Some("PHASE") => ArgValueCandidates::new(phases),
            Some("ID|PATTERN|tag:T") => ArgValueCandidates::new(planned),
            _ => return arg,
        };
        arg.add(candidates)
    };
    command.mut_args(with).mut_subcommands(with_candidates)
}

fn candidate(value: &str, help: &str, order: usize) -> CompletionCandidate {
    let help = (!help.is_empty() && help != value).then(|| StyledStr::from(printable(help)));
    CompletionCandidate::new(value).help(help).display_order(Some(order))
}

/// The words of the line that is completed; the shell gives them behind `--`.
fn words() -> impl Iterator<Item = std::ffi::OsString> {
    env::args_os().skip_while(|word| word != "--").skip(2)
}

/// What follows an option on the line.
fn option(name: &str) -> Option<std::ffi::OsString> {
    let mut words = words().skip_while(|word| word != OsStr::new(name));
    words.next().and_then(|_| words.next())
}

fn common() -> Common {
    Common { directory: option("-C").map(PathBuf::from) }
}

fn repository() -> Option<(Repository, Runs)> {
    let repository = super::look::repository(&common()).ok()?;
    let runs = Runs::of(repository.common_dir());
    Some((repository, runs))
}

/// The run that is on the line, else the latest.
fn shown() -> Option<RunView> {
    let run = option("--run").and_then(|run| run.into_string().ok());
    let look = Look::at(&common(), &RunArg { run }).ok()?;
    Past::read(&look.dir).ok()?.supervisor().view()
}

/// The agents of the run, else of the session file.
fn agents() -> Vec<CompletionCandidate> {
    match shown() {
        Some(view) => {
            let agents = view.agents.iter().zip(0..);
            agents.map(|(agent, order)| candidate(agent.id.as_str(), agent.state.as_str(), order)).collect()
        }
        None => planned(),
    }
}

/// The runs, newest first.
fn runs() -> Vec<CompletionCandidate> {
    let listed = repository().and_then(|(_, runs)| runs.list().ok()).unwrap_or_default();
    listed.iter().rev().map(RunId::as_str).zip(0..).map(|(run, order)| candidate(run, "", order)).collect()
}

/// Kept work, latest first.
fn works() -> Vec<CompletionCandidate> {
    let kept = repository().and_then(|(repository, runs)| salvage::list(&repository, &runs).ok()).unwrap_or_default();
    let kept = kept.iter().rev().zip(0..);
    kept.map(|(kept, order)| candidate(&name(&kept.id), kept.run.as_str(), order)).collect()
}

/// The agents of the session file.
fn planned() -> Vec<CompletionCandidate> {
    let Some(session) = session() else { return Vec::new() };
    let agents = session.plan.agents.iter().zip(0..);
    agents.map(|(agent, order)| candidate(agent.id.as_str(), &agent.name, order)).collect()
}

/// The phases of the run, else of the session file.
fn phases() -> Vec<CompletionCandidate> {
    match shown() {
        Some(view) => {
            let phases = view.phases.iter().zip(0..);
            phases.map(|(phase, order)| candidate(&phase.name, phase_state(phase.state), order)).collect()
        }
        None => planned_phases(),
    }
}

/// The phases of the session file.
fn planned_phases() -> Vec<CompletionCandidate> {
    let Some(session) = session() else { return Vec::new() };
    let phases = session.plan.phases.iter().filter_map(|phase| phase.name.as_deref()).zip(0..);
    phases.map(|(phase, order)| candidate(phase, "", order)).collect()
}

/// The session that is on the line, else the one that `run` would take.
fn session() -> Option<Session> {
    let is_session = |word: &Path| word.extension().is_some_and(|end| end == "toml") && word.is_file();
    let named = words().map(PathBuf::from).find(|word| is_session(word));
    let origin = origin(&named.unwrap_or_else(|| PathBuf::from(DEFAULT_SESSION)));
    let bytes = session::read(&origin).ok()?;
    let options = SelectArgs::default().load_options(&common(), &origin, &bytes);
    session::load(&origin, &bytes, &options).ok().map(|loaded| loaded.session)
}

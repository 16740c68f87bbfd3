//! The command line: one verb, one file. Parses, hands over, renders what comes back.
//!
//! Invariant: standard output carries the result and nothing else; progress and errors go to
//! standard error. Exit codes are those of [`Exit`], and nowhere else in the crate is one chosen.

pub mod alerts;
pub mod attach;
pub mod check;
pub mod checkpoint;
mod ci;
pub mod complete;
pub mod completions;
pub mod conflicts;
pub mod demo;
pub mod detach;
pub mod diff;
mod display;
pub mod doctor;
pub mod exit;
pub mod grant;
pub mod init;
pub mod list;
mod log;
pub mod logs;
pub mod look;
pub mod man;
mod manner;
pub mod patch;
pub mod progress;
pub mod records;
pub mod register;
mod rehearse;
mod relay;
pub mod release;
pub mod reset;
pub mod resolve;
pub mod resume;
pub mod retry;
pub mod run;
pub mod runs;
pub mod salvage;
pub mod schema;
pub mod select;
mod span;
pub mod status;
pub mod stop;
mod suggest;
pub mod terminal;
pub mod timeline;
mod tmp;
pub mod wait;

pub use exit::{Exit, Failure, What};
pub use select::SelectArgs;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::render::diagnostic;
use crate::render::style::Palette;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// How a run is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum RunFormat {
    #[default]
    Human,
    Json,
    Jsonl,
}

/// What every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Work in the repository that DIR is in
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
}

/// Runs several coding agents in one git working tree: ordered, locked, contained, and committed
/// separately
#[derive(Debug, Parser)]
#[command(name = "supervise", version, max_term_width = 100, arg_required_else_help = true)]
#[command(
    after_help = "`supervise SESSION` is `supervise run SESSION`. Begin with `supervise demo`, then `supervise init`."
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::RunArgs),
    Resume(resume::ResumeArgs),
    Retry(retry::RetryArgs),
    Reset(reset::ResetArgs),
    List(list::ListArgs),
    Status(status::StatusArgs),
    Diff(diff::DiffArgs),
    Conflicts(conflicts::ConflictsArgs),
    Timeline(timeline::TimelineArgs),
    Logs(logs::LogsArgs),
    Salvage(salvage::SalvageArgs),
    Runs(runs::RunsArgs),
    Resolve(resolve::ResolveArgs),
    ReleaseLocks(release::ReleaseArgs),
    Attach(attach::AttachArgs),
    Wait(wait::WaitArgs),
    Stop(stop::StopArgs),
    Complete(complete::CompleteArgs),
    Checkpoint(checkpoint::CheckpointArgs),
    Grant(grant::GrantArgs),
    Register(register::RegisterArgs),
    Check(check::CheckArgs),
    Init(init::InitArgs),
    Schema(schema::SchemaArgs),
    Demo(demo::DemoArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Parses the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(exit) = completions::answer() {
        return exit.into();
    }
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(with_verb(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; everything else is wrong usage.
            let _ = error.print();
            return if error.use_stderr() { Exit::Invalid.into() } else { Exit::Success.into() };
        }
    };
    log::to_stderr();
    let result = match &cli.verb {
        Verb::Run(args) => run::run(args, &cli.common),
        Verb::Resume(args) => resume::run(args, &cli.common),
        Verb::Retry(args) => retry::run(args, &cli.common),
        Verb::Reset(args) => reset::run(args, &cli.common),
        Verb::List(args) => list::run(args, &cli.common),
        Verb::Status(args) => status::run(args, &cli.common),
        Verb::Diff(args) => diff::run(args, &cli.common),
        Verb::Conflicts(args) => conflicts::run(args, &cli.common),
        Verb::Timeline(args) => timeline::run(args, &cli.common),
        Verb::Logs(args) => logs::run(args, &cli.common),
        Verb::Runs(args) => runs::run(args, &cli.common),
        Verb::Salvage(args) => salvage::run(args, &cli.common),
        Verb::Resolve(args) => resolve::run(args, &cli.common),
        Verb::ReleaseLocks(args) => release::run(args, &cli.common),
        Verb::Attach(args) => attach::run(args, &cli.common),
        Verb::Wait(args) => wait::run(args, &cli.common),
        Verb::Stop(args) => stop::run(args, &cli.common),
        Verb::Complete(args) => complete::run(args, &cli.common),
        Verb::Checkpoint(args) => checkpoint::run(args, &cli.common),
        Verb::Grant(args) => grant::run(args, &cli.common),
        Verb::Register(args) => register::run(args, &cli.common),
        Verb::Check(args) => check::run(args, &cli.common),
        Verb::Init(args) => init::run(args, &cli.common),
        Verb::Schema(args) => schema::run(args, &cli.common),
        Verb::Demo(args) => demo::run(args, &cli.common),
        Verb::Doctor(args) => doctor::run(args, &cli.common),
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
    };
    relay::STDERR.settle();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            match &failure.what {
                What::Report(report) => anstream::eprintln!("{report:?}"),
                What::Session(errors) => anstream::eprint!("{}", diagnostic::errors(errors.as_ref(), look())),
                What::Addition(errors) => anstream::eprint!("{}", diagnostic::not_added(errors.as_ref(), look())),
            }
            failure.exit.into()
        }
    }
}

/// `supervise SESSION` is `supervise run SESSION`: puts the verb in where the first word that is not
/// an option is no verb but looks like a session: `-`, a name with a dot or a slash in it, a file.
fn with_verb(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let mut at = 1;
    while let Some(word) = arguments.get(at) {
        let word = word.to_string_lossy();
        if word == "-C" {
            at += 2;
        } else if word == "-" || (!word.starts_with('-') && looks_like_a_session(&word)) {
            arguments.insert(at, "run".into());
            break;
        } else if word.starts_with("-C") {
            at += 1;
        } else {
            break;
        }
    }
    arguments
}

fn looks_like_a_session(word: &str) -> bool {
    let verb = Cli::command().find_subcommand(word).is_some();
    !verb && (word.contains(['.', '/']) || std::path::Path::new(word).is_file())
}

/// How problems of a session are shown on standard error.
pub(crate) fn look() -> diagnostic::Look {
    use std::io::IsTerminal as _;
    let stderr = std::io::stderr();
    if stderr.is_terminal() {
        let color = progress::palette_for(&stderr) == Palette::Colour;
        diagnostic::Look::Graphical { color, width: progress::report_width() }
    } else {
        diagnostic::Look::Plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_of_itself() {
        let mut left = vec![(String::from("supervise"), Cli::command())];
        let mut seen = 0;
        while let Some((words, command)) = left.pop() {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                left.push((format!("{words} {}", sub.get_name()), sub.clone()));
            }
            if words == "supervise" {
                continue;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let mut lines = help.lines().filter(|line| line.starts_with("  "));
            assert!(lines.any(|line| line.contains(&words)), "`{words} --help` has no example");
            seen += 1;
        }
        assert!(seen > 30, "only {seen} commands");
    }

    fn check(words: &[&str], expected: &[&str]) {
        let words = words.iter().map(OsString::from).collect();
        assert_eq!(with_verb(words), expected.iter().map(OsString::from).collect::<Vec<_>>());
    }

    #[test]
    fn a_session_needs_no_verb() {
        check(&["s", "a.toml", "-j", "2"], &["s", "run", "a.toml", "-j", "2"]);
        check(&["s", "-C", "dir", "x/y"], &["s", "-C", "dir", "run", "x/y"]);
        check(&["s", "-"], &["s", "run", "-"]);
        check(&["s", "run", "a.toml"], &["s", "run", "a.toml"]);
        check(&["s", "chekc"], &["s", "chekc"]);
        check(&["s", "--help"], &["s", "--help"]);
    }
}

//! `supervise register --into FILE`: adds an agent to a session file.
//!
//! Invariant: the file changes only if the session is valid with the new agent, in one step, and
//! nothing else in it changes. What it would contend for, and with whom, is said at once.
//!
//! Deliberately absent: adding an agent to a run that goes on. Its plan is made when it opens.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::check::analysis;
use super::look::{Look, RunArg, pretty, print};
use super::progress::{palette_for, report_width};
use super::select::{DEFAULT_SESSION, SelectArgs, origin};
use super::{Common, Exit, Failure, Format};
use crate::core::ids::RunId;
use crate::render::check::{AddedDocument, Checked, added};
use crate::session::append::{NewAgent, Work, append, id_of};
use crate::session::{Loaded, Origin, load, read};

/// Add an agent to a session file; its comments and layout stay as they are
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(group = clap::ArgGroup::new("work").required(true).args(["prompt", "command"]))]
pub struct RegisterArgs {
    /// What the agent is called
    #[arg(long)]
    pub name: String,
    /// Its id [default: made of the name]
    #[arg(long, value_name = "NEW-ID")]
    pub id: Option<String>,
    /// What it may write, locked for it alone while it runs; may be given several times
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub files: Vec<String>,
    /// What it may write, locked at the first write
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub late: Vec<String>,
    /// What may not change while it runs
    #[arg(long, value_name = "PATTERN", num_args = 1..)]
    pub reads: Vec<String>,
    /// 1 is first, 5 last [default: 3]
    #[arg(long, value_name = "1-5", value_parser = clap::value_parser!(u8).range(1..=5))]
    pub priority: Option<u8>,
    /// The phase that it belongs to
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    /// Agents that have to complete before: ids, patterns, tag:T
    #[arg(long, value_name = "ID", num_args = 1..)]
    pub depends_on: Vec<String>,
    /// What it is to do
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Or: the command that it runs
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// The session file
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// How to print what was added
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
A run that goes on takes no new agents: what is added runs with the next one.

Examples:
  supervise register --into supervise.toml --name 'API docs' --files 'docs/api/**' --prompt 'Write them.'
  supervise register --into supervise.toml --name lint --files src/ --priority 5 -- make fix";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum RegisterError {
    #[error("run {run} goes on, and a run takes no new agents")]
    #[diagnostic(help(
        "add it to a session file with `--into {DEFAULT_SESSION}`, for the next run; `supervise grant` lets an agent of this one write more"
    ))]
    Live { run: RunId },
    #[error("it is not said which session file the agent belongs to")]
    #[diagnostic(help("`--into {DEFAULT_SESSION}`; `supervise init` writes one"))]
    Nowhere,
    #[error("no id can be made of the name `{name}`")]
    #[diagnostic(help("give one with --id: letters, digits, `-`, `_`"))]
    NoId { name: String },
    #[error("cannot write {}", .path.display())]
    #[diagnostic(help("the file is as it was"))]
    Write { path: PathBuf, source: io::Error },
}

pub fn run(args: &RegisterArgs, common: &Common) -> Result<Exit, Failure> {
    let invalid = |error| Failure::new(Exit::Invalid, error);
    let Some(file) = &args.into else { return Err(invalid(nowhere(common))) };
    let id = args.id.clone().unwrap_or_else(|| id_of(&args.name));
    if id.is_empty() {
        return Err(invalid(RegisterError::NoId { name: args.name.escape_debug().to_string() }));
    }
    let named = origin(file);
    let before = read(&named).map_err(Failure::session)?;
    let agent = new_agent(args, &id);
    let text = std::str::from_utf8(&before).ok().and_then(|text| append(text, &agent).ok());
    // What is no TOML has its errors told by being loaded as it is.
    let after = text.map_or(before, String::into_bytes);
    let options = SelectArgs::default().load_options(common, &named, &after);
    let loaded = load(&named, &after, &options).map_err(Failure::session)?;
    if let Origin::File(path) = &named {
        let failed = |source| RegisterError::Write { path: path.clone(), source };
        replace(path, &after).map_err(|source| Failure::new(Exit::Unusable, failed(source)))?;
    }
    print(told(args, file, &id, &loaded));
    Ok(Exit::Success)
}

/// Without a file: is there a run that was meant?
fn nowhere(common: &Common) -> RegisterError {
    match Look::at(common, &RunArg::default()) {
        Ok(look) if look.runs.goes_on(&look.run) => RegisterError::Live { run: look.run },
        _ => RegisterError::Nowhere,
    }
}

fn new_agent(args: &RegisterArgs, id: &str) -> NewAgent {
    NewAgent {
        id: id.to_owned(),
        name: (args.name != id).then(|| args.name.clone()),
        phase: args.phase.clone(),
        priority: args.priority,
        work: match &args.prompt {
            Some(prompt) => Work::Prompt(prompt.clone()),
            None => Work::Command(args.command.clone()),
        },
        files: args.files.clone(),
        late: args.late.clone(),
        reads: args.reads.clone(),
        depends_on: args.depends_on.clone(),
    }
}

/// Readers see the old file or the new one, never a part; its mode stays, and so does a link to it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let mode = fs::metadata(&path)?.permissions().mode();
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let written = fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o777).open(&beside);
    let renamed = written.and_then(|mut file: File| {
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    });
    renamed.inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn told(args: &RegisterArgs, file: &Path, id: &str, loaded: &Loaded) -> String {
    let mut analysis = analysis(&loaded.session);
    analysis.contested.pairs.retain(|contest| contest.agents.0.as_str() == id || contest.agents.1.as_str() == id);
    analysis.duplicates.retain(|duplicate| duplicate.keep.as_str() == id || duplicate.drop.as_str() == id);
    match args.format {
        Format::Json => pretty(&AddedDocument::of(id, file, &loaded.session.plan, &analysis)),
        Format::Human => added(&Checked {
            session: &file.display().to_string(),
            plan: &loaded.session.plan,
            analysis: &analysis,
            warnings: &[],
            next: id,
            palette: palette_for(&io::stdout()),
            width: report_width(),
        }),
    }
}

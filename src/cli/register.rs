//! `supervise register`: adds an agent to the run that goes on, or with `--into FILE` to a session file.
//!
//! Invariant: the file changes only if the session is valid with the new agent, in one step, and
//! nothing else in it changes; a run takes only an agent that could stand in its session file. What it
//! contends for, and with whom, is said at once.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::analysis;
use super::look::{Look, LookError, RunArg, print};
use super::progress::{palette_for, report_width};
use super::select::{DEFAULT_SESSION, SelectArgs, origin};
use super::{Common, Exit, Failure, Format, What};
use crate::control::{AskError, Rejection, RejectionKind, Reply, Request};
use crate::core::ids::RunId;
use crate::core::newcomer::{NewAgent, Work};
use crate::host::past::NoRun;
use crate::render::check::{AddedDocument, Checked, added};
use crate::render::join::Joined;
use crate::render::json::pretty;
use crate::render::text::printable;
use crate::session::append::{append, id_of, key_at};
use crate::session::{Loaded, Origin, SessionErrors, load, read};

/// Add an agent to the run that goes on, or to a session file
///
/// It stands after all of its phase and priority, and has the session's defaults. A session file keeps its
/// comments and its layout.
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
    /// What launches it [default: the session's, else codex]
    #[arg(long, value_name = "NAME")]
    pub runner: Option<String>,
    /// The phase that it belongs to [default: the first; in a run the one that is open]
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
    /// Add it to this session file, for a later run
    #[arg(long, value_name = "FILE")]
    pub into: Option<PathBuf>,
    /// How to print what was added
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
The session file of a run that goes on is not changed. `resume` and `retry` know who joined.

Examples:
  supervise register --name 'API docs' --files 'docs/api/**' --depends-on api --prompt 'Write them.'
  supervise register --into supervise.toml --name 'API docs' --files 'docs/api/**' --prompt 'Write them.'
  supervise register --into supervise.toml --name lint --files src/ --priority 5 -- make fix";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum RegisterError {
    #[error("no run goes on that it could join")]
    #[diagnostic(help(
        "`--into {DEFAULT_SESSION}` adds it to a session file, for the next run; `supervise init` writes one"
    ))]
    NoRun,
    #[error("no run goes on that it could join: run {run} was cut off")]
    #[diagnostic(help(
        "`supervise resume` goes on with it, and then it can join; `--into {DEFAULT_SESSION}` adds it to a session file"
    ))]
    CutOff { run: RunId },
    #[error("`{id}` cannot join run {run}: {}", printable(&.rejection.text))]
    #[diagnostic(help("{}", help(.rejection.kind)))]
    Refused { id: String, run: RunId, rejection: Rejection },
    #[error("an agent cannot be added to standard input")]
    #[diagnostic(help("nothing was added: name a file, `--into {DEFAULT_SESSION}`"))]
    StandardInput,
    #[error("no id can be made of the name `{name}`")]
    #[diagnostic(help("give one with --id: letters, digits, `-`, `_`"))]
    NoId { name: String },
    #[error("cannot write {}", .path.display())]
    #[diagnostic(help("the file is as it was"))]
    Write { path: PathBuf, source: io::Error },
}

fn help(kind: RejectionKind) -> &'static str {
    match kind {
        RejectionKind::InvalidAgent | RejectionKind::BadRequest => "nothing was added: put that right, then try again",
        RejectionKind::TooLarge => "a long prompt can stand in a session file: `--into FILE`, for the next run",
        RejectionKind::NotPossible | RejectionKind::Ending => {
            "`--into FILE` adds it to a session file, for the next run; `supervise status` shows this one"
        }
        _ => "`supervise status` shows how the run stands",
    }
}

/// How long it may take to look at it and to try to start it.
const LIMIT: Duration = Duration::from_secs(65);

pub fn run(args: &RegisterArgs, common: &Common) -> Result<Exit, Failure> {
    let id = args.id.clone().unwrap_or_else(|| id_of(&args.name));
    if id.is_empty() {
        let name = args.name.escape_debug().to_string();
        return Err(Failure::new(Exit::Invalid, RegisterError::NoId { name }));
    }
    let agent = new_agent(args, &id);
    match &args.into {
        Some(file) => into_file(args, file, &agent, common),
        None => into_run(args, agent, common),
    }
}

fn into_file(args: &RegisterArgs, file: &Path, agent: &NewAgent, common: &Common) -> Result<Exit, Failure> {
    let named = origin(file);
    let Origin::File(path) = &named else {
        return Err(Failure::new(Exit::Invalid, RegisterError::StandardInput));
    };
    let not_added = |errors| Failure { exit: Exit::Invalid, what: What::Addition(Box::new(errors)) };
    let before = read(&named).map_err(not_added)?;
    let text = std::str::from_utf8(&before).ok().and_then(|text| append(text, agent).ok());
    let same = |text: &String| before.iter().zip(text.as_bytes()).take_while(|(a, b)| a == b).count();
    let from = text.as_ref().map_or(usize::MAX, same);
    // What is no TOML has its errors told by being loaded as it is.
    let after = text.map_or(before, String::into_bytes);
    let options = SelectArgs::default().load_options(common, &named, &after);
    let loaded = load(&named, &after, &options).map_err(|errors| not_added(by_option(errors, args, from)))?;
    let failed = |source| RegisterError::Write { path: path.clone(), source };
    replace(path, &after).map_err(|source| Failure::new(Exit::Unusable, failed(source)))?;
    print(told(args, file, &agent.id, &loaded));
    Ok(Exit::Success)
}

/// Problems with what was to be added, from this byte on, are those of the options: no line of the file has them.
fn by_option(mut errors: SessionErrors, args: &RegisterArgs, from: usize) -> SessionErrors {
    let text = errors.source.text().to_owned();
    for problem in &mut errors.problems {
        let Some(at) = problem.span.as_ref().map(|span| span.start).filter(|at| *at >= from) else { continue };
        problem.file = match key_at(&text, from, at).as_deref() {
            Some("command") => "COMMAND".to_owned(),
            Some("id") if args.id.is_some() => "--id".to_owned(),
            Some("id") | None => "--name".to_owned(),
            Some(key) => format!("--{}", key.replace('_', "-")),
        };
        (problem.line, problem.column, problem.span) = (None, None, None);
    }
    errors
}

fn into_run(args: &RegisterArgs, agent: NewAgent, common: &Common) -> Result<Exit, Failure> {
    let look = match Look::at(common, &RunArg::default()) {
        Ok(look) if look.runs.goes_on(&look.run) => look,
        Ok(look) if !look.dir.seems_ended() => {
            return Err(Failure::new(Exit::Invalid, RegisterError::CutOff { run: look.run }));
        }
        Ok(_) | Err(LookError::Run(NoRun::None)) => return Err(Failure::new(Exit::Invalid, RegisterError::NoRun)),
        Err(error) => return Err(error.fail()),
    };
    let id = agent.id.clone();
    match look.wish_within(&Request::Register { agent }, LIMIT) {
        Ok(Reply::Registered { agent, contested, duplicates }) => {
            let joined =
                Joined { run: look.run.as_str(), agent: &agent, contested: &contested, duplicates: &duplicates };
            print(match args.format {
                Format::Human => joined.text(&look.commands),
                Format::Json => pretty(&joined.document()),
            });
            Ok(Exit::Success)
        }
        Ok(_) => Err(LookError::Ask(AskError::Garbled).fail()),
        Err(LookError::Ask(AskError::Rejected(rejection))) => {
            let id = id.escape_debug().to_string();
            Err(Failure::new(Exit::Invalid, RegisterError::Refused { id, run: look.run, rejection }))
        }
        Err(LookError::Over { .. }) => Err(Failure::new(Exit::Invalid, RegisterError::NoRun)),
        Err(error) => Err(error.fail()),
    }
}

fn new_agent(args: &RegisterArgs, id: &str) -> NewAgent {
    NewAgent {
        id: id.to_owned(),
        name: (args.name != id).then(|| args.name.clone()),
        phase: args.phase.clone(),
        priority: args.priority,
        runner: args.runner.clone(),
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

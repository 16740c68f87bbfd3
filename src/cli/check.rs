//! `supervise check`: is the session valid, and what does it amount to?
//!
//! Invariant: nothing is started and nothing is written.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use super::look::LookError;
use super::progress::palette_for;
use super::select::{DEFAULT_SESSION, origin};
use super::suggest;
use super::terminal::columns;
use super::{Common, Exit, Failure, Format, SelectArgs};
use crate::render::check::{CheckDocument, Checked, checked};
use crate::render::diagnostic;
use crate::render::json::pretty;
use crate::render::resolved::resolved;
use crate::render::style::Palette;
use crate::session::analysis::{Analysis, analyse, work_of};
use crate::session::orchestrator;
use crate::session::{Loaded, Origin, Problem, Session, SessionErrors, Severity, SourceText, load, origin_name, read};

/// Columns where the output is no terminal: nothing is cut.
const UNLIMITED: usize = usize::MAX;

/// Validate a session; show its order, contested patterns and duplicate agents
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct CheckArgs {
    /// The session file, or an orchestrator.json; `-` is standard input
    #[arg(value_name = "SESSION", default_value = DEFAULT_SESSION)]
    pub session: PathBuf,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Print the session as it was understood, with every default filled in
    #[arg(long, conflicts_with_all = ["prompt", "convert"])]
    pub resolved: bool,
    /// Print the whole prompt of an agent
    #[arg(long, value_name = "ID", conflicts_with = "convert")]
    pub prompt: Option<String>,
    /// Print an orchestrator.json as a session file
    #[arg(long)]
    pub convert: bool,
    /// Print the claims that the agents of a past run would have needed (a run's name, or how it begins)
    #[arg(long, value_name = "RUN", conflicts_with_all = ["resolved", "prompt", "convert"])]
    pub suggest: Option<String>,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
Examples:
  supervise check
  supervise check batch.toml --only 'docs-*' --resolved
  supervise check --prompt api
  supervise check --suggest 2026
  supervise check orchestrator.json --convert > supervise.toml";

/// What goes to standard output and to standard error, and the code to end with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub text: String,
    pub errors: String,
    pub exit: Exit,
}

impl Answer {
    fn good(text: String) -> Self {
        Self { text, errors: String::new(), exit: Exit::Success }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum CheckError {
    #[error("no agent `{id}` is in the session")]
    #[diagnostic(help("{help}"))]
    NoSuchAgent { id: String, help: String },
    #[error("agent `{id}` has no prompt; it runs a command")]
    #[diagnostic(help("`supervise check --resolved` shows the command"))]
    NoPrompt { id: String },
    #[error("{file} is no orchestrator.json")]
    #[diagnostic(help(
        "`--convert` is for the JSON manifest of the agent scripts; a session file needs no converting"
    ))]
    NotAManifest { file: String },
}

/// Exits with 0 when the session is valid, 2 when it is not, 4 when no agent is selected.
pub fn run(args: &CheckArgs, common: &Common) -> Result<Exit, Failure> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let look = Look {
        palette: palette_for(&stdout),
        width: columns(&stdout).unwrap_or(UNLIMITED),
        errors: columns(&stderr).map_or(diagnostic::Look::Plain, |width| diagnostic::Look::Graphical {
            color: palette_for(&stderr) == Palette::Colour,
            width,
        }),
    };
    let answer = answer(args, common, &look)?;
    // A prompt is printed as it is, but what it holds may not command a terminal.
    let text = if args.prompt.is_some() && stdout.is_terminal() {
        answer.text.chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect()
    } else {
        answer.text
    };
    // A reader that went away has read what it wanted.
    let _ = stdout.lock().write_all(text.as_bytes());
    let _ = stderr.lock().write_all(answer.errors.as_bytes());
    Ok(answer.exit)
}

/// How the answer is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub palette: Palette,
    pub width: usize,
    pub errors: diagnostic::Look,
}

impl Default for Look {
    /// As for a file or a pipe.
    fn default() -> Self {
        Self { palette: Palette::Plain, width: UNLIMITED, errors: diagnostic::Look::Plain }
    }
}

/// [`run`] without the printing.
pub fn answer(args: &CheckArgs, common: &Common, look: &Look) -> Result<Answer, Failure> {
    if let Some(run) = &args.suggest {
        return suggest::answer(run, common).map(Answer::good).map_err(LookError::fail);
    }
    let named = origin(&args.session);
    let found = read(&named).and_then(|bytes| Text::of(&named, bytes));
    let text = match found {
        Ok(text) => text,
        Err(errors) => return Ok(invalid(args, &errors, look)),
    };
    if args.convert {
        if !text.converted {
            return Err(Failure::new(Exit::Invalid, CheckError::NotAManifest { file: origin_name(&named) }));
        }
        return Ok(Answer::good(String::from_utf8_lossy(&text.bytes).into_owned()));
    }
    let options = args.select.load_options(common, &text.origin, &text.bytes);
    let loaded = match load(&text.origin, &text.bytes, &options) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(invalid(args, &errors, look)),
    };
    let text = if let Some(id) = &args.prompt {
        prompt(&loaded.session, id).map_err(|error| Failure::new(Exit::Invalid, error))?
    } else if args.resolved {
        resolved(&loaded.session)
    } else {
        overview(args, &loaded, look, text.converted)
    };
    Ok(Answer::good(text))
}

/// A session file's bytes, perhaps made from a manifest.
struct Text {
    origin: Origin,
    bytes: Vec<u8>,
    converted: bool,
}

impl Text {
    fn of(named: &Origin, bytes: Vec<u8>) -> Result<Self, SessionErrors> {
        let Some(json) = std::str::from_utf8(&bytes).ok().filter(|text| orchestrator::is_json(text)) else {
            return Ok(Self { origin: named.clone(), bytes, converted: false });
        };
        let name = origin_name(named);
        let toml = orchestrator::convert(json).map_err(|problems| manifest_errors(&name, json, problems))?;
        let origin = Origin::File(PathBuf::from(format!("{name} (converted)")));
        Ok(Self { origin, bytes: toml.into_bytes(), converted: true })
    }
}

fn manifest_errors(name: &str, json: &str, problems: Vec<orchestrator::Problem>) -> SessionErrors {
    let number = |n: usize| u32::try_from(n).ok();
    let problem = |p: orchestrator::Problem| Problem {
        code: "bad_manifest",
        severity: Severity::Error,
        message: p.message,
        file: name.to_owned(),
        line: number(p.line),
        column: number(p.column),
        help: p.help,
        span: Some(p.offset..p.offset + p.len),
    };
    let problems = problems.into_iter().map(problem).collect();
    SessionErrors { problems, more: 0, source: SourceText::new(name, json) }
}

fn invalid(args: &CheckArgs, errors: &SessionErrors, look: &Look) -> Answer {
    let exit = if errors.nothing_selected() { Exit::NothingSelected } else { Exit::Invalid };
    match args.format {
        Format::Json => Answer { text: pretty(&CheckDocument::invalid(errors)), errors: String::new(), exit },
        Format::Human => Answer { text: String::new(), errors: diagnostic::errors(errors, look.errors), exit },
    }
}

fn overview(args: &CheckArgs, loaded: &Loaded, look: &Look, converted: bool) -> String {
    let Loaded { session, warnings, .. } = loaded;
    let analysis = analysis(session);
    match args.format {
        Format::Json => pretty(&CheckDocument::valid(&session.plan, &analysis, warnings)),
        Format::Human => checked(&Checked {
            session: &session.name,
            plan: &session.plan,
            analysis: &analysis,
            warnings,
            next: &next(&args.session, converted),
            palette: look.palette,
            width: look.width,
        }),
    }
}

/// The analysis of a session as it was loaded.
#[must_use]
pub fn analysis(session: &Session) -> Analysis {
    analyse(&session.plan, |agent| work_of(session.launches.get(&agent.id)?))
}

fn prompt(session: &Session, id: &str) -> Result<String, CheckError> {
    let found = session.launches.iter().find(|(known, _)| known.as_str() == id);
    let Some((_, launch)) = found else {
        let near = session.launches.keys().map(|known| (strsim::jaro_winkler(known.as_str(), id), known));
        let near = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.7);
        let help = match near {
            Some((_, known)) => format!("did you mean `{known}`?"),
            None => "`supervise check` lists the agents".to_owned(),
        };
        return Err(CheckError::NoSuchAgent { id: id.escape_debug().to_string(), help });
    };
    let prompt = launch.prompt.as_ref().ok_or_else(|| CheckError::NoPrompt { id: id.to_owned() })?;
    let text = prompt.fill(1, 0);
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

fn next(session: &Path, converted: bool) -> String {
    let file = quoted(session);
    if converted {
        format!("to fill in the prompts: `supervise check --convert {file} > {DEFAULT_SESSION}`")
    } else if session == Path::new(DEFAULT_SESSION) {
        "start it with `supervise run`".to_owned()
    } else {
        format!("start it with `supervise run {file}`")
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

//! `supervise logs`: what an agent printed.
//!
//! Invariant: what an agent prints never commands a terminal: every line is made harmless, and only
//! `--raw` into a file or a pipe gives the bytes as they are.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use super::display::doing;
use super::look::{AboutRun, Look, LookError, OneAgent, State, print};
use super::{Common, Exit, Failure, Format};
use crate::core::ids::{Attempt, AttemptId};
use crate::core::view::AgentView;
use crate::host::follow::{LogTail, Watch, log_size};
use crate::render::json::line;
use crate::render::reason::why_text;
use crate::render::text::log_line;
use crate::runner::{Progress, Reader};
use crate::session::RunnerKind;

/// Print what an agent said and did
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
pub struct LogsArgs {
    #[command(flatten)]
    pub agent: OneAgent,
    /// Of this attempt [default: the latest]
    #[arg(long, value_name = "N")]
    pub attempt: Option<u32>,
    /// Its standard error
    #[arg(long, group = "which")]
    pub stderr: bool,
    /// The output of its verify commands
    #[arg(long, group = "which")]
    pub verify: bool,
    /// Its standard output as it is: of codex and claude, their JSON lines
    #[arg(long, group = "which", conflicts_with = "format")]
    pub raw: bool,
    /// Go on with what it prints until the attempt ends
    #[arg(long, short)]
    pub follow: bool,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
Examples:
  supervise logs api
  supervise logs api --follow
  supervise logs api --attempt 1 --stderr
  supervise logs api --format json | jq -r 'select(.kind == \"runs\").text'
  supervise logs api --raw > api.jsonl";

/// How long nothing may happen before it is asked whether the attempt still goes on.
const QUIET: Duration = Duration::from_secs(5);
/// A longer line is shown in pieces.
const MAX_LINE: usize = 1 << 20;

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum LogsError {
    #[error("{agent} has not been started: {why}")]
    #[diagnostic(help("`supervise status {agent}` says more"))]
    NotStarted { agent: String, why: String },
    #[error("{agent} had {had} attempts, and no attempt {attempt}")]
    #[diagnostic(help("they count from 1"))]
    NoAttempt { agent: String, attempt: u32, had: u32 },
    #[error("attempt {id} has no {what}")]
    #[diagnostic(help("{help}"))]
    NoLog { id: String, what: &'static str, help: &'static str },
    #[error("cannot read {}", .path.display())]
    #[diagnostic(help("check the permissions of the repository's git directory"))]
    Read { path: PathBuf, source: io::Error },
}

pub fn run(args: &LogsArgs, common: &Common) -> Result<Exit, Failure> {
    let look = Look::at(common, &args.about.run).map_err(LookError::fail)?;
    let state = look.state().map_err(LookError::fail)?;
    let agent = state.agent(args.agent.text()).map_err(LookError::fail)?;
    let id = attempt(args, agent, &state)?;
    let which = Which::of(args);
    let path = look.dir.attempt(&id).join(which.file());
    let failed = |source| Failure::new(Exit::Unusable, LogsError::Read { path: path.clone(), source });
    // The watch comes first: what is written after the look at the log is told by it.
    let watch = args.follow.then(|| Watch::directory(&look.dir.attempt(&id))).transpose().map_err(failed)?;
    let mut log = match LogTail::open(&path) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (what, help) = which.absent();
            return Err(Failure::new(Exit::NothingSelected, LogsError::NoLog { id: id.to_string(), what, help }));
        }
        Err(error) => return Err(failed(error)),
    };
    let kind = state.past.kind(&id.agent);
    let mut shown = Shown::new(&id, which, args.about.format, kind, &look);
    let mut waiting = watch.map(|watch| Waiting { watch, look: &look, id: &id, file: which.file(), over: false });
    if let Some(waiting) = &mut waiting {
        waiting.over = waiting.is_over();
    }
    let mut piece = Vec::new();
    loop {
        piece.clear();
        if log.more(&mut piece).map_err(failed)? {
            if !shown.show(&piece) {
                return Ok(Exit::Success);
            }
            continue;
        }
        match &mut waiting {
            Some(waiting) if !waiting.over => waiting.wait().map_err(failed)?,
            _ => break,
        }
    }
    shown.finish();
    hint(&look, &id, which, shown.any);
    Ok(Exit::Success)
}

/// The attempt that is meant.
fn attempt(args: &LogsArgs, agent: &AgentView, state: &State) -> Result<AttemptId, Failure> {
    let name = agent.id.to_string();
    let Some(latest) = agent.attempt else {
        let why = why_text(&agent.why, &state.setting).unwrap_or_else(|| agent.state.to_string());
        return Err(Failure::new(Exit::NothingSelected, LogsError::NotStarted { agent: name, why }));
    };
    match args.attempt {
        Some(attempt) if attempt == 0 || attempt > latest.0 => {
            let error = LogsError::NoAttempt { agent: name, attempt, had: latest.0 };
            Err(Failure::new(Exit::Invalid, error))
        }
        attempt => Ok(AttemptId { agent: agent.id.clone(), attempt: attempt.map_or(latest, Attempt) }),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    /// Standard output, told in words where a runner writes it for programs.
    Output,
    Raw,
    Stderr,
    Verify,
}

impl Which {
    fn of(args: &LogsArgs) -> Self {
        match (args.stderr, args.verify, args.raw) {
            (true, _, _) => Self::Stderr,
            (_, true, _) => Self::Verify,
            (_, _, true) => Self::Raw,
            _ => Self::Output,
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Output | Self::Raw => "stdout.log",
            Self::Stderr => "stderr.log",
            Self::Verify => "verify.log",
        }
    }

    /// What programs call it.
    fn name(self) -> &'static str {
        match self {
            Self::Output | Self::Raw => "stdout",
            Self::Stderr => "stderr",
            Self::Verify => "verify",
        }
    }

    /// What is missing where the file is not there, and what that means.
    fn absent(self) -> (&'static str, &'static str) {
        match self {
            Self::Output | Self::Raw => ("output", "its program may not have been started"),
            Self::Stderr => ("standard error", "what it says there may be in its output"),
            Self::Verify => ("output of verify commands", "they run when the agent has ended well, if it has any"),
        }
    }
}

/// Where there is nothing to see, says where there is something.
fn hint(look: &Look, id: &AttemptId, which: Which, any: bool) {
    let stderr = log_size(&look.dir.attempt(id).join("stderr.log"));
    if which == Which::Output && !any && stderr > 0 {
        let command = format!("{} logs {}{} --stderr", look.commands.supervise, id.agent, look.commands.run);
        anstream::eprintln!("nothing on its standard output; {stderr} bytes on its standard error: {command}");
    }
}

/// When to look again.
struct Waiting<'a> {
    watch: Watch,
    look: &'a Look,
    id: &'a AttemptId,
    file: &'static str,
    /// Nothing more will come than what is there.
    over: bool,
}

impl Waiting<'_> {
    fn wait(&mut self) -> io::Result<()> {
        let seen = self.watch.wait(QUIET)?;
        // A shim that is killed closes its logs, too.
        self.over = seen.closed.iter().any(|name| name == self.file) || (seen.quiet && self.is_over());
        Ok(())
    }

    /// Has the tree ended that writes this log, or is there nobody who would tell?
    fn is_over(&self) -> bool {
        let record = if self.file == "verify.log" { "verify.json" } else { "exit.json" };
        self.look.dir.attempt(self.id).join(record).exists() || !self.look.runs.goes_on(&self.look.run)
    }
}

/// Prints a log piece by piece.
struct Shown<'a> {
    form: Form,
    format: Format,
    id: &'a AttemptId,
    which: Which,
    /// The beginning of a line.
    line: Vec<u8>,
    workspace: String,
    any: bool,
}

enum Form {
    /// The bytes themselves.
    Bytes,
    Lines,
    /// What the runner's lines tell.
    Told(Box<Reader>),
}

/// One line of a log, for programs.
#[derive(Clone, Debug, serde::Serialize)]
struct LogLine<'a> {
    agent: &'a str,
    attempt: u32,
    log: &'static str,
    kind: &'static str,
    text: Option<&'a str>,
    paths: Option<Vec<&'a str>>,
}

impl<'a> Shown<'a> {
    fn new(id: &'a AttemptId, which: Which, format: Format, kind: RunnerKind, look: &Look) -> Self {
        let form = match (which, kind) {
            (Which::Raw, _) if !io::stdout().is_terminal() => Form::Bytes,
            (Which::Output, RunnerKind::Codex | RunnerKind::Claude) => Form::Told(Box::new(Reader::new(kind))),
            _ => Form::Lines,
        };
        let workspace = format!("{}/", look.repository.workspace().display());
        Self { form, format, id, which, line: Vec::new(), workspace, any: false }
    }

    /// `false`: the reader of standard output has gone away.
    fn show(&mut self, bytes: &[u8]) -> bool {
        self.any |= !bytes.is_empty();
        let told = match &mut self.form {
            Form::Bytes => return print(bytes),
            Form::Told(reader) => reader.feed(bytes),
            Form::Lines => {
                let mut text = String::new();
                for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.line.extend_from_slice(part);
                    if part.ends_with(b"\n") || self.line.len() >= MAX_LINE {
                        text.push_str(&self.take_line());
                    }
                }
                return print(text);
            }
        };
        print(told.iter().map(|progress| self.progress(progress)).collect::<String>())
    }

    /// A last line without a line feed.
    fn finish(&mut self) {
        if !self.line.is_empty() {
            print(self.take_line());
        }
    }

    fn take_line(&mut self) -> String {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end_matches(['\n', '\r']);
        match self.format {
            Format::Human => log_line(text) + "\n",
            Format::Json => self.json("line", Some(text), None),
        }
    }

    fn progress(&self, progress: &Progress) -> String {
        if self.format == Format::Human {
            return log_line(&doing(progress, &self.workspace)) + "\n";
        }
        match progress {
            Progress::Says(text) => self.json("says", Some(text), None),
            Progress::Runs(command) => self.json("runs", Some(command), None),
            Progress::Edits(paths) => {
                let inside = paths.iter().map(|path| path.strip_prefix(&self.workspace).unwrap_or(path));
                self.json("edits", None, Some(inside.collect()))
            }
            Progress::Uses(tool) => self.json("uses", Some(tool), None),
            Progress::Thinks => self.json("thinks", None, None),
            Progress::Note(text) => self.json("note", Some(text), None),
        }
    }

    fn json(&self, kind: &'static str, text: Option<&str>, paths: Option<Vec<&str>>) -> String {
        let AttemptId { agent, attempt } = self.id;
        line(&LogLine { agent: agent.as_str(), attempt: attempt.0, log: self.which.name(), kind, text, paths })
    }
}

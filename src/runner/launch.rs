//! From an agent's launch to the command line that starts it.
//!
//! Invariant: a [`CommandLine`] is complete. Whoever starts it adds nothing, looks nothing up and
//! leaves nothing out: the program is an absolute path where it was found, the environment is whole.
//!
//! Deliberately absent: the total size of arguments and environment (execve(2) `E2BIG` says it).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::core::ids::{AgentId, Attempt, AttemptId, RunId, Slot};
use crate::session::template::Template;
use crate::session::{Launch, RunnerKind};

use super::again::Again;
use super::program::NotFound;
use super::{claude, codex, environment, program};

/// The longest text that is passed as one argument, in bytes. The kernel's limit is 32 pages of
/// 4 KiB with the closing NUL (execve(2), `MAX_ARG_STRLEN`); some room is left.
pub const MAX_ARGUMENT: usize = 128 * 1024 - 1024;

/// Name of the file that `{{prompt_file}}` stands for, in the attempt's directory.
const PROMPT_FILE: &str = "prompt.md";

/// Everything that the command line of one attempt depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub launch: &'a Launch,
    pub id: &'a AttemptId,
    pub slot: Slot,
    pub run: &'a RunId,
    /// Root of the workspace, absolute.
    pub workspace: &'a Path,
    /// Where the attempt keeps its files; it need not exist yet.
    pub attempt_dir: &'a Path,
    /// The one temporary directory of all agents of the run: codex's sandboxes of several agents in
    /// one tree collide in it unless it is the same.
    pub shared_tmp: &'a Path,
    /// The supervisor's own environment.
    pub environment: &'a BTreeMap<OsString, OsString>,
    /// The attempt goes on with this; `None`: it begins. Nothing to commands.
    pub again: Option<&'a Again>,
}

/// What to start, and all that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program, by its path, and its arguments. Never empty.
    pub argv: Vec<OsString>,
    /// The whole environment, sorted by name.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// What standard input gives; `None`: `/dev/null` (an open pipe would stall codex).
    pub stdin: Option<Vec<u8>>,
    /// Files to write before the start, below the attempt's directory.
    pub files: Vec<(PathBuf, Vec<u8>)>,
    /// Is its standard output events for a [`super::Reader`], besides being a log?
    pub forward: bool,
}

/// Why an agent cannot be launched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunnerError {
    #[error("the runner `{runner}` has no command")]
    NoCommand { runner: String },
    #[error("the runner `{runner}` needs a prompt, and agent `{agent}` has none")]
    NoPrompt { runner: String, agent: String },
    #[error(transparent)]
    NotFound(#[from] NotFound),
    #[error(
        "argument {index} has {length} bytes, the kernel takes {MAX_ARGUMENT} in one: give a long prompt as `{{{{prompt_file}}}}`"
    )]
    ArgumentTooLong { index: usize, length: usize },
    #[error("`{{{{prompt_file}}}}` cannot be filled in: {} is not UTF-8", .path.display())]
    NotText { path: PathBuf },
    #[error("argument {index} holds a NUL byte")]
    NulInArgument { index: usize },
    #[error("the environment variable `{name}` cannot be set: its name or value holds a NUL byte or its name a `=`")]
    BadVariable { name: String },
}

/// The command line of this attempt.
pub fn command_line(context: &Context<'_>) -> Result<CommandLine, RunnerError> {
    let env = environment::of(context)?;
    let cwd = context.cwd();
    let shape = match context.launch.kind {
        RunnerKind::Codex => codex::shape(context, &env)?,
        RunnerKind::Claude => claude::shape(context, &env)?,
        RunnerKind::Command => command_shape(context, &env)?,
    };
    check_arguments(&shape.argv)?;
    Ok(CommandLine {
        argv: shape.argv,
        env: env.into_iter().collect(),
        cwd,
        stdin: shape.stdin,
        files: shape.files,
        forward: context.launch.kind != RunnerKind::Command,
    })
}

/// Looks for the program of an agent that is to be launched some time: an error where it is not there now. A
/// command may be made by an agent that runs before, and is not looked for.
pub fn check_launch(
    launch: &Launch,
    agent: &AgentId,
    workspace: &Path,
    environment: &BTreeMap<OsString, OsString>,
) -> Result<(), RunnerError> {
    if launch.kind == RunnerKind::Command {
        return Ok(());
    }
    #[expect(clippy::expect_used, reason = "a constant")]
    let run = &RunId::new("none").expect("a well-formed run id");
    let id = &AttemptId { agent: agent.clone(), attempt: Attempt::FIRST };
    let (attempt_dir, shared_tmp) = (workspace, workspace);
    let slot = Slot(0);
    command_line(&Context { launch, id, slot, run, workspace, attempt_dir, shared_tmp, environment, again: None })
        .map(drop)
}

/// Runs each of its arguments by a shell of its own, up to the first that fails, whose exit is the
/// whole's.
const VERIFY_SCRIPT: &str = r#"for command do sh -c "$command" || exit; done"#;

/// The verify commands as one command line: `sh -c` each, in order, up to the first that fails, with
/// the agent's own environment and directory (which the caller moves below a throwaway worktree
/// where the plan says so).
pub fn verify_line(context: &Context<'_>) -> Result<CommandLine, RunnerError> {
    let env = environment::of(context)?;
    let shell = context.find("sh", &env)?;
    let mut argv: Vec<OsString> = vec![shell.into(), "-c".into(), VERIFY_SCRIPT.into(), "verify".into()];
    let commands = context.launch.verify.as_ref().map_or(&[][..], |verify| &verify.commands);
    argv.extend(context.fill_all(commands).into_iter().map(OsString::from));
    check_arguments(&argv)?;
    let env = env.into_iter().collect();
    Ok(CommandLine { argv, env, cwd: context.cwd(), stdin: None, files: Vec::new(), forward: false })
}

/// What differs between the kinds of runner.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) argv: Vec<OsString>,
    pub(super) stdin: Option<Vec<u8>>,
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
}

pub(super) type Environment = BTreeMap<OsString, OsString>;

impl Context<'_> {
    pub(super) fn fill(&self, template: &Template) -> String {
        template.fill(self.id.attempt.0, self.slot.0)
    }

    pub(super) fn fill_all(&self, templates: &[Template]) -> Vec<String> {
        templates.iter().map(|t| self.fill(t)).collect()
    }

    /// The directory that the agent starts in.
    pub(super) fn cwd(&self) -> PathBuf {
        match &self.launch.cwd {
            Some(below) => self.workspace.join(below.as_path()),
            None => self.workspace.to_path_buf(),
        }
    }

    /// The file of a program by its name, on the agent's PATH, or on the supervisor's where the
    /// agent has none.
    pub(super) fn find(&self, name: &str, env: &Environment) -> Result<PathBuf, NotFound> {
        let path = env.get(std::ffi::OsStr::new("PATH")).or_else(|| self.environment.get(std::ffi::OsStr::new("PATH")));
        program::find_program(name, path.map(OsString::as_os_str), &self.cwd())
    }

    pub(super) fn prompt(&self) -> Result<String, RunnerError> {
        let prompt = self.launch.prompt.as_ref().ok_or_else(|| RunnerError::NoPrompt {
            runner: self.launch.runner.to_string(),
            agent: self.id.agent.to_string(),
        })?;
        Ok(self.fill(prompt))
    }
}

/// Can the text be an argument of a program?
pub(super) fn fits_argument(text: &str) -> bool {
    text.len() <= MAX_ARGUMENT && !text.contains('\0')
}

fn check_arguments(argv: &[OsString]) -> Result<(), RunnerError> {
    for (index, argument) in argv.iter().enumerate() {
        if argument.len() > MAX_ARGUMENT {
            return Err(RunnerError::ArgumentTooLong { index, length: argument.len() });
        }
        if argument.as_encoded_bytes().contains(&0) {
            return Err(RunnerError::NulInArgument { index });
        }
    }
    Ok(())
}

/// Any program. `{{prompt}}` in its arguments is the prompt, `{{prompt_file}}` the path of a file
/// that holds it; a prompt that no argument asks for is its standard input.
fn command_shape(context: &Context<'_>, env: &Environment) -> Result<Shape, RunnerError> {
    let launch = context.launch;
    let no_command = || RunnerError::NoCommand { runner: launch.runner.to_string() };
    let command = launch.command.as_deref().ok_or_else(no_command)?;
    let templates = || command.iter().chain(&launch.args);
    let in_argument = templates().any(Template::uses_prompt);
    let in_file = templates().any(Template::uses_prompt_file);
    let prompt = match &launch.prompt {
        Some(prompt) => Some(context.fill(prompt)),
        None if in_argument || in_file => Some(context.prompt()?),
        None => None,
    };

    let file = context.attempt_dir.join(PROMPT_FILE);
    let path = match file.to_str() {
        Some(path) => path,
        None if in_file => return Err(RunnerError::NotText { path: file }),
        None => "",
    };
    let text = prompt.as_deref().unwrap_or_default();
    let fill = |t: &Template| t.fill_with_prompt(context.id.attempt.0, context.slot.0, text, path);
    let words: Vec<String> = templates().map(fill).collect();
    let (program, arguments) = words.split_first().ok_or_else(no_command)?;
    let mut argv: Vec<OsString> = vec![context.find(program, env)?.into()];
    argv.extend(arguments.iter().map(OsString::from));

    let prompt = prompt.map(String::into_bytes);
    Ok(match prompt {
        Some(prompt) if in_file => Shape { argv, stdin: None, files: vec![(file, prompt)] },
        Some(prompt) if !in_argument => Shape { argv, stdin: Some(prompt), files: Vec::new() },
        _ => Shape { argv, ..Shape::default() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::{AgentId, Attempt, RunnerName};
    use crate::core::path::RepoPath;
    use crate::session::{self, LoadOptions, Origin, VerifyIn, VerifyPlan};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    /// A launch of agent `a`, attempt 2 in slot 3, with programs of these names on the PATH.
    struct Fixture {
        dir: tempfile::TempDir,
        launch: Launch,
        environment: BTreeMap<OsString, OsString>,
        tmp: PathBuf,
        again: Option<Again>,
    }

    fn texts(words: &[&str]) -> Vec<Template> {
        words.iter().map(|w| Template::text(w)).collect()
    }

    impl Fixture {
        fn new(kind: RunnerKind) -> Self {
            let dir = tempfile::tempdir().unwrap();
            for name in ["codex", "claude", "tool", "sh"] {
                let file = dir.path().join(name);
                std::fs::write(&file, "").unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            let launch = Launch {
                runner: RunnerName::new("r"),
                kind,
                command: None,
                args: Vec::new(),
                model: None,
                prompt: Some(Template::text("do it")),
                env: BTreeMap::new(),
                env_pass: Vec::new(),
                env_clear: false,
                cwd: None,
                log_limit: 1,
                verify: None,
                commit_message: Template::text("m"),
            };
            let environment =
                [("PATH", dir.path().to_str().unwrap()), ("HOME", "/h"), ("GIT_DIR", "/g"), ("PWD", "/p")];
            let environment = environment.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
            Self { dir, launch, environment, tmp: PathBuf::from("/shared-tmp"), again: None }
        }

        fn with<T>(&self, f: impl FnOnce(&Context<'_>) -> T) -> T {
            let id = AttemptId { agent: AgentId::new("a").unwrap(), attempt: Attempt(2) };
            f(&Context {
                launch: &self.launch,
                id: &id,
                slot: Slot(3),
                run: &RunId::new("r1").unwrap(),
                workspace: Path::new("/w"),
                attempt_dir: Path::new("/state/a/2"),
                shared_tmp: &self.tmp,
                environment: &self.environment,
                again: self.again.as_ref(),
            })
        }

        fn line(&self) -> Result<CommandLine, RunnerError> {
            self.with(command_line)
        }

        /// The arguments, with the directory of the programs left out.
        fn argv(&self) -> String {
            let argv = self.line().unwrap().argv;
            let prefix = format!("{}/", self.dir.path().display());
            argv.iter().map(|a| a.to_str().unwrap().replace(&prefix, "")).collect::<Vec<_>>().join(" ")
        }
    }

    #[test]
    fn codex_arguments() {
        let check = |model: Option<&str>, args: &[&str], expected: &str| {
            let mut f = Fixture::new(RunnerKind::Codex);
            f.launch.model = model.map(Template::text);
            f.launch.args = texts(args);
            assert_eq!(f.argv(), expected);
        };
        check(None, &[], "codex exec --json -s workspace-write -- do it");
        check(Some("m1"), &["-c", "x=1"], "codex exec --json -s workspace-write -m m1 -c x=1 -- do it");
        check(Some("m1"), &["--model=m2"], "codex exec --json -s workspace-write --model=m2 -- do it");
        check(None, &["-s", "read-only"], "codex exec --json -s read-only -- do it");
        check(None, &["--sandbox=read-only", "--json"], "codex exec --sandbox=read-only --json -- do it");
        check(None, &["-sread-only"], "codex exec --json -sread-only -- do it");
        check(None, &["-c", "sandbox_mode=\"read-only\""], "codex exec --json -c sandbox_mode=\"read-only\" -- do it");
        check(
            None,
            &["--dangerously-bypass-approvals-and-sandbox"],
            "codex exec --json --dangerously-bypass-approvals-and-sandbox -- do it",
        );
        check(
            None,
            &["-c", "sandbox_workspace_write.network_access=true", "--skip-git-repo-check"],
            "codex exec --json -s workspace-write -c sandbox_workspace_write.network_access=true --skip-git-repo-check -- do it",
        );
    }

    #[test]
    fn codex_prompts() {
        let check = |prompt: &str, by_stdin: bool| {
            let mut f = Fixture::new(RunnerKind::Codex);
            f.launch.prompt = Some(Template::text(prompt));
            let line = f.line().unwrap();
            let last = line.argv.last().unwrap();
            if by_stdin {
                assert_eq!((last.to_str(), line.stdin.as_deref()), (Some("-"), Some(prompt.as_bytes())));
            } else {
                assert_eq!((last.to_str(), line.stdin), (Some(prompt), None));
            }
            assert!(line.forward);
        };
        check("-rf is a prompt", false);
        check("-", true);
        check(&"x".repeat(MAX_ARGUMENT), false);
        check(&"x".repeat(MAX_ARGUMENT + 1), true);
        check("a\0b", true);
        let mut f = Fixture::new(RunnerKind::Codex);
        f.launch.prompt = None;
        assert!(matches!(f.line(), Err(RunnerError::NoPrompt { .. })));
    }

    #[test]
    fn the_program_of_a_runner_can_be_replaced() {
        let mut f = Fixture::new(RunnerKind::Codex);
        f.launch.command = Some(texts(&["tool", "codex"]));
        assert_eq!(f.argv(), "tool codex exec --json -s workspace-write -- do it");
        f.launch.command = Some(texts(&["nowhere"]));
        assert!(matches!(f.line(), Err(RunnerError::NotFound(e)) if e.name == "nowhere"));
        f.launch.command = Some(Vec::new());
        assert!(matches!(f.line(), Err(RunnerError::NoCommand { .. })));
    }

    #[test]
    fn what_goes_on_with_a_thread_is_told_only_what_is_new() {
        let mut f = Fixture::new(RunnerKind::Codex);
        f.launch.model = Some(Template::text("m1"));
        f.launch.args = texts(&["-c", "x=1"]);
        f.again = Some(Again { thread: "01a2".to_owned(), prompt: "Go on.".to_owned() });
        assert_eq!(f.argv(), "codex exec --json -s workspace-write -m m1 -c x=1 resume 01a2 Go on.");
        assert_eq!(f.line().unwrap().stdin, None);
        f.launch.kind = RunnerKind::Claude;
        let argv = f.argv();
        assert!(
            argv.starts_with("claude -p --output-format stream-json") && argv.ends_with("-c x=1 --resume 01a2"),
            "{argv}"
        );
        assert_eq!(f.line().unwrap().stdin.as_deref(), Some(&b"Go on."[..]));
    }

    #[test]
    fn claude_arguments() {
        let mut f = Fixture::new(RunnerKind::Claude);
        f.launch.model = Some(Template::text("opus"));
        let plain = "claude -p --output-format stream-json --verbose";
        assert_eq!(f.argv(), format!("{plain} --permission-mode acceptEdits --model opus"));
        assert_eq!(f.line().unwrap().stdin.as_deref(), Some(&b"do it"[..]));
        f.launch.args = texts(&["--permission-mode", "plan"]);
        assert_eq!(f.argv(), format!("{plain} --model opus --permission-mode plan"));
    }

    #[test]
    fn commands() {
        let mut f = Fixture::new(RunnerKind::Command);
        f.launch.command = Some(texts(&["tool", "-x"]));
        f.launch.args = texts(&["y"]);
        f.launch.prompt = None;
        let line = f.line().unwrap();
        assert_eq!((f.argv().as_str(), &line.stdin, line.forward), ("tool -x y", &None, false));
        f.launch.prompt = Some(Template::text("p"));
        assert_eq!(f.line().unwrap().stdin.as_deref(), Some(&b"p"[..]), "a prompt that no argument names");
        f.launch.command = Some(texts(&["tool", &"x".repeat(200_000)]));
        assert_eq!(f.line(), Err(RunnerError::ArgumentTooLong { index: 1, length: 200_000 }));
        f.launch.command = Some(texts(&["tool", "a\0b"]));
        assert_eq!(f.line(), Err(RunnerError::NulInArgument { index: 1 }));
        f.launch.command = None;
        assert!(matches!(f.line(), Err(RunnerError::NoCommand { .. })));
    }

    #[test]
    fn commands_take_prompts_where_they_ask_for_them() {
        // From a session file: placeholders come from nowhere else.
        let launch = |command: &str| {
            let text = format!("[[agent]]\nid = 'a'\nprompt = 'p {{{{slot}}}}'\nfiles = ['x']\ncommand = {command}\n");
            let options = LoadOptions { base_dir: "/w".into(), workspace: "/w".into(), ..LoadOptions::default() };
            let loaded = session::load(&Origin::Embedded, text.as_bytes(), &options).unwrap();
            let mut launch = loaded.session.launches.into_values().next().unwrap();
            // Without what every agent is told.
            launch.prompt = Some(Template::text("p"));
            launch
        };
        let mut f = Fixture::new(RunnerKind::Command);
        f.launch = launch("['tool', '--prompt={{prompt}}@{{attempt}}{{slot}}']");
        assert_eq!((f.argv().as_str(), f.line().unwrap().stdin), ("tool --prompt=p@23", None));
        f.launch = launch("['tool', '{{prompt_file}}', '{{prompt}}']");
        assert_eq!(f.argv(), "tool /state/a/2/prompt.md p");
        let line = f.line().unwrap();
        assert_eq!(line.files, [(PathBuf::from("/state/a/2/prompt.md"), b"p".to_vec())]);
        assert_eq!((line.stdin, line.forward), (None, false));
        f.launch.prompt = Some(Template::text(&"x".repeat(200_000)));
        let error = f.line().unwrap_err();
        assert!(error.to_string().contains("`{{prompt_file}}`"), "{error}");
        f.launch.prompt = None;
        assert!(matches!(f.line(), Err(RunnerError::NoPrompt { .. })));
        f.launch = launch("['tool']");
        assert_eq!(f.line().unwrap().stdin.as_deref(), Some(&b"p"[..]));
    }

    #[test]
    fn environments() {
        let value = |line: &CommandLine, name: &str| {
            let found = line.env.iter().find(|(k, _)| k.to_str() == Some(name));
            found.map(|(_, v)| v.to_str().unwrap().to_owned())
        };
        let mut f = Fixture::new(RunnerKind::Command);
        f.launch.command = Some(texts(&["tool"]));
        f.launch.cwd = RepoPath::new(b"sub").ok();
        f.launch.env.insert("MINE".to_owned(), Template::text("1"));
        f.launch.env.insert("SUPERVISE_ID".to_owned(), Template::text("somebody else"));
        let line = f.line().unwrap();
        assert_eq!(line.cwd, Path::new("/w/sub"));
        for (name, expected) in [
            ("HOME", Some("/h")),
            ("PWD", Some("/w/sub")),
            ("GIT_DIR", None),
            ("TMPDIR", Some("/shared-tmp")),
            ("GIT_OPTIONAL_LOCKS", Some("0")),
            ("GRADLE_OPTS", Some("-Dorg.gradle.daemon=false")),
            ("MINE", Some("1")),
            ("SUPERVISE_ID", Some("a")),
            ("SUPERVISE_RUN", Some("r1")),
            ("SUPERVISE_ATTEMPT", Some("2")),
            ("SUPERVISE_SLOT", Some("3")),
        ] {
            assert_eq!(value(&line, name).as_deref(), expected, "{name}");
        }

        f.launch.env_clear = true;
        f.launch.env_pass = vec!["HOME".to_owned(), "ABSENT".to_owned()];
        let names: Vec<String> = f.line().unwrap().env.iter().map(|(k, _)| k.to_str().unwrap().to_owned()).collect();
        let expected = [
            "GIT_OPTIONAL_LOCKS",
            "GRADLE_OPTS",
            "HOME",
            "MINE",
            "NX_DAEMON",
            "PWD",
            "SUPERVISE_ATTEMPT",
            "SUPERVISE_ID",
            "SUPERVISE_RUN",
            "SUPERVISE_SLOT",
            "TMPDIR",
        ];
        assert_eq!(names, expected, "the program is found on the supervisor's PATH all the same");

        f.launch.env.insert("A=B".to_owned(), Template::text("1"));
        assert!(matches!(f.line(), Err(RunnerError::BadVariable { .. })));
    }

    #[test]
    fn verify_commands_are_shell_commands() {
        let mut f = Fixture::new(RunnerKind::Codex);
        let (place, timeout) = (VerifyIn::Workspace, Duration::from_secs(1));
        f.launch.verify = Some(VerifyPlan { commands: texts(&["make a", "make b"]), place, timeout });
        let line = f.with(verify_line).unwrap();
        assert_eq!(line.argv[1], "-c");
        assert_eq!(line.argv[3..], ["verify", "make a", "make b"]);
        assert!(!line.forward && line.stdin.is_none());
    }
}

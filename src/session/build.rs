//! One member becomes what the supervisor decides by (`AgentPlan`) and how it is launched (`Launch`).
//!
//! Invariant: every default of the session file is chosen here, and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::brief;
use super::manifest::AgentTable;
use super::plan::{Launch, RunnerKind, VerifyPlan};
use super::problem::Problems;
use super::roster::Member;
use super::runners::{self, COMMAND_RUNNER, DEFAULT_RUNNER, Runner};
use super::section::{At, shorten};
use super::source::Span;
use super::template::Template;
use super::text::{PromptFiles, fill, fill_now};
use crate::core::agent::{AgentPlan, Dependency, Priority, Rank, RetryMode};
use crate::core::claim::{Claim, Pattern, PatternError};
use crate::core::ids::RunnerName;
use crate::core::path::RepoPath;

/// Default of `timeout` and `lock_timeout`.
const TIMEOUT: Duration = Duration::from_mins(10);
const GRACE: Duration = Duration::from_secs(10);
const LOG_LIMIT: u64 = 64 << 20;
const COMMIT_MESSAGE: &str = "feat({{id}}): {{name}}";

/// What all members are built with.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    pub(super) session: &'a str,
    pub(super) runners: &'a BTreeMap<String, Runner>,
    /// In place of a runner that does not exist.
    pub(super) no_runner: &'a Runner,
    pub(super) files: PromptFiles<'a>,
}

impl<'a> Builder<'a> {
    /// Where something is wrong with it, that is reported, and what comes back is of no use.
    pub(super) fn build(
        &mut self,
        member: &Member<'_>,
        depends_on: Vec<Dependency>,
        problems: &mut Problems,
    ) -> (AgentPlan, Launch) {
        let own_command = member.first(|t| &t.command);
        let (runner_name, runner) = self.runner(member, own_command.is_some(), problems);
        let claim = claim(member, problems);
        let prompt = self.prompt(member, &claim, problems);
        let launch = launch(member, runner_name, runner, own_command, prompt, problems);
        let retry = retry(member, &launch, problems);
        let plan = plan(member, claim, depends_on, retry, &launch);
        (plan, launch)
    }

    fn runner(&self, member: &Member<'_>, commanded: bool, problems: &mut Problems) -> (&'a str, &'a Runner) {
        let named = member.first(|t| &t.runner);
        if let Some(name) = named.filter(|n| !self.runners.contains_key(&n.value)) {
            runners::unknown(name, self.runners.keys().map(String::as_str), problems);
            return (COMMAND_RUNNER, self.no_runner);
        }
        let name = match named {
            _ if commanded => COMMAND_RUNNER,
            Some(name) => name.value.as_str(),
            None => DEFAULT_RUNNER,
        };
        self.runners.get_key_value(name).map_or((COMMAND_RUNNER, self.no_runner), |(name, runner)| (name, runner))
    }

    /// Brief, preamble and the agent's own words. `None` where it has no words of its own.
    fn prompt(&mut self, member: &Member<'_>, claim: &Claim, problems: &mut Problems) -> Option<Template> {
        let preamble = self.preamble(member, problems);
        let source = member.layers.into_iter().find(|t| t.prompt.is_some() || t.prompt_file.is_some())?;
        if let (Some(_), Some(file)) = (&source.prompt, &source.prompt_file) {
            let message = "`prompt` and `prompt_file` are both given";
            problems.error("two_prompts", &file.span, message, Some("keep one of them".into()));
        }
        let words = self.words(source.prompt.as_ref(), source.prompt_file.as_ref(), member, problems);
        let at = source.prompt.as_ref().or(source.prompt_file.as_ref());
        if let Some(at) = at.filter(|_| words.as_ref().is_some_and(|w| w.fill(1, 0).trim().is_empty())) {
            problems.error("empty_prompt", &at.span, "the prompt is empty", Some("say what to do".into()));
        }
        let mut whole = Template::default();
        if member.first(|t| &t.brief).is_none_or(|b| b.value) {
            let id = member.id.as_str();
            whole.push_text(&brief::text(id, &member.name, self.session, claim));
            whole.push_text("\n");
        }
        for words in preamble {
            whole.append(words);
            whole.push_text("\n\n");
        }
        whole.mark_own();
        whole.append(words?);
        Some(whole)
    }

    /// What comes before an agent's own words: the text, then the file. Looked at for agents without
    /// a prompt too, so that a missing file is reported.
    fn preamble(&mut self, member: &Member<'_>, problems: &mut Problems) -> Vec<Template> {
        let table = member.layers.into_iter().find(|t| t.preamble.is_some() || t.preamble_file.is_some());
        let Some(table) = table else { return Vec::new() };
        let text = self.words(table.preamble.as_ref(), None, member, problems);
        let file = self.words(None, table.preamble_file.as_ref(), member, problems);
        text.into_iter().chain(file).collect()
    }

    /// A prompt that is given as a text or as a file.
    fn words(
        &mut self,
        text: Option<&At<String>>,
        file: Option<&At<String>>,
        member: &Member<'_>,
        problems: &mut Problems,
    ) -> Option<Template> {
        let scope = member.scope().with_launch().lenient();
        if let Some(text) = text {
            return Template::parse(&text.value, scope).ok();
        }
        let file = file?;
        let named = fill_now(file, member.scope(), problems)?;
        let text = self.files.get(&named, &file.span, problems)?;
        Template::parse(text, scope).ok()
    }
}

fn claim(member: &Member<'_>, problems: &mut Problems) -> Claim {
    let mut list = |found: Option<&At<Vec<At<String>>>>| patterns(member, found, problems);
    let exclusive = list(member.first(|t| &t.files));
    let late = list(member.first(|t| &t.late));
    let shared = list(member.first(|t| &t.reads));
    let mut deny = Vec::new();
    for layer in distinct(member) {
        deny.extend(list(layer.deny.as_ref()));
    }
    Claim { exclusive, late, shared, deny }
}

fn patterns(member: &Member<'_>, list: Option<&At<Vec<At<String>>>>, problems: &mut Problems) -> Vec<Pattern> {
    let Some(list) = list else { return Vec::new() };
    let mut out = Vec::with_capacity(list.value.len());
    for written in &list.value {
        let Some(text) = fill_now(written, member.scope(), problems) else { continue };
        out.extend(pattern(&text, &written.span, problems));
    }
    out
}

fn pattern(text: &str, span: &Span, problems: &mut Problems) -> Option<Pattern> {
    let error = match Pattern::new(text) {
        Ok(pattern) => return Some(pattern),
        Err(error) => error,
    };
    let help = match error {
        PatternError::Absolute => format!("write it relative to the workspace: `{}`", text.trim_start_matches('/')),
        PatternError::ParentComponent => "agents can only claim paths of the workspace".to_owned(),
        PatternError::EmptyComponent => "`**/` is any directory, `dir/` everything under dir".to_owned(),
        _ => "`*`, `?`, `**`, `{a,b}` and `[..]` are wildcards; `\\` takes their meaning away".to_owned(),
    };
    problems.error("bad_pattern", span, format!("`{}`: {error}", shorten(text)), Some(help));
    None
}

/// Reports what is wrong with defaults that no agent may use: their patterns and their runner.
/// Texts with placeholders are left out, since what is filled in depends on the agent.
pub(super) fn unused(defaults: &AgentTable, runners: &BTreeMap<String, Runner>, problems: &mut Problems) {
    let lists = [&defaults.files, &defaults.late, &defaults.reads, &defaults.deny];
    for written in lists.into_iter().flatten().flat_map(|list| &list.value) {
        if !written.value.contains("{{") {
            pattern(&written.value, &written.span, problems);
        }
    }
    if let Some(name) = defaults.runner.as_ref().filter(|n| !runners.contains_key(&n.value)) {
        runners::unknown(name, runners.keys().map(String::as_str), problems);
    }
}

/// The layers, each once: an agent without a phase has the defaults twice.
fn distinct<'m>(member: &Member<'m>) -> Vec<&'m AgentTable> {
    let [own, phase, defaults] = member.layers;
    if std::ptr::eq(phase, defaults) { vec![own, defaults] } else { vec![own, phase, defaults] }
}

fn launch(
    member: &Member<'_>,
    runner_name: &str,
    runner: &Runner,
    own_command: Option<&At<Vec<At<String>>>>,
    prompt: Option<Template>,
    problems: &mut Problems,
) -> Launch {
    let empty = own_command.filter(|c| c.value.first().is_none_or(|program| program.value.is_empty()));
    if let Some(command) = empty {
        let message = "`command` names no program";
        problems.error("empty_command", &command.span, message, Some("command = [\"program\", \"argument\"]".into()));
    }
    let command = own_command.map(|c| c.value.as_slice()).or(runner.command.as_deref());
    let args = member.first(|t| &t.args).map_or(&[][..], |a| &a.value);
    let inherited = if own_command.is_some() { &[][..] } else { &runner.args };
    let command = command.map(|c| argv(member, c, problems));
    let args = [argv(member, inherited, problems), argv(member, args, problems)].concat();
    missing(member, runner, command.as_deref(), &args, prompt.is_some(), problems);
    let words = |list: &[At<String>]| list.iter().map(|w| w.value.clone()).collect();
    let env_pass = member.first(|t| &t.env_pass).map(|l| l.value.as_slice()).or(runner.env_pass.as_deref());
    let later = member.scope().with_launch();
    let model = member.first(|t| &t.model).or(runner.model.as_ref().filter(|_| own_command.is_none()));
    let fallback = At { value: COMMIT_MESSAGE.to_owned(), span: member.span.clone() };
    let message = member.first(|t| &t.commit_message).unwrap_or(&fallback);
    let commit_message = fill(message, later, problems).unwrap_or_default();
    if message.value.trim().is_empty() {
        problems.error("empty_commit_message", &message.span, "the commit message is empty", None);
    }
    Launch {
        runner: RunnerName::new(runner_name),
        kind: runner.kind,
        command,
        args,
        model: model.and_then(|m| fill(m, later, problems)),
        prompt,
        env: env(member, runner, problems),
        env_pass: env_pass.map_or_else(Vec::new, words),
        env_clear: member.first(|t| &t.env_clear).map_or(runner.env_clear, |b| b.value),
        cwd: cwd(member, problems),
        log_limit: member.first(|t| &t.log_limit).map_or(LOG_LIMIT, |l| l.value),
        verify: verify(member, problems),
        commit_message,
    }
}

fn argv(member: &Member<'_>, words: &[At<String>], problems: &mut Problems) -> Vec<Template> {
    let scope = member.scope().with_launch().with_prompt();
    words.iter().filter_map(|w| fill(w, scope, problems)).collect()
}

/// Reports a prompt or a program that the launch would miss.
fn missing(
    member: &Member<'_>,
    runner: &Runner,
    command: Option<&[Template]>,
    args: &[Template],
    prompted: bool,
    problems: &mut Problems,
) {
    let program = command.is_some_and(|c| !c.is_empty());
    if runner.kind == RunnerKind::Command && command.is_none() {
        let help = "add command = [\"program\", \"argument\"]".to_owned();
        let message = format!("{} has no `command`", member.called());
        problems.error("missing_command", &member.span, message, Some(help));
    }
    let used = command.unwrap_or_default().iter().chain(args).any(|t| t.uses_prompt() || t.uses_prompt_file());
    // A prompt that is there but broken has been reported already.
    let given = prompted || member.layers.iter().any(|t| t.prompt.is_some() || t.prompt_file.is_some());
    if !given && (used || (runner.kind != RunnerKind::Command)) {
        let help = if program {
            "add prompt = \"…\" or prompt_file = \"…\""
        } else {
            "add prompt = \"…\" or prompt_file = \"…\"; or command = [\"program\"] for one that needs none"
        };
        let message = format!("{} has no prompt", member.called());
        problems.error("missing_prompt", &member.span, message, Some(help.into()));
    }
}

/// The runner's variables, then the defaults', the phase's and the agent's: later ones win.
fn env(member: &Member<'_>, runner: &Runner, problems: &mut Problems) -> BTreeMap<String, Template> {
    let mut written: BTreeMap<&str, &At<String>> = runner.env.iter().map(|(k, v)| (k.as_str(), v)).collect();
    for layer in member.layers.iter().rev() {
        written.extend(layer.env.iter().flat_map(|e| &e.value).map(|(k, v)| (k.as_str(), v)));
    }
    let scope = member.scope().with_launch();
    written.into_iter().filter_map(|(k, v)| Some((k.to_owned(), fill(v, scope, problems)?))).collect()
}

fn cwd(member: &Member<'_>, problems: &mut Problems) -> Option<RepoPath> {
    let written = member.first(|t| &t.cwd)?;
    let text = fill_now(written, member.scope(), problems)?;
    let trimmed = text.trim_end_matches('/');
    let trimmed = trimmed.strip_prefix("./").unwrap_or(trimmed);
    if text == "." || text == "./" {
        return None;
    }
    match RepoPath::new(trimmed.as_bytes()) {
        Ok(path) => Some(path),
        Err(error) => {
            let help = "a directory of the workspace, relative to its root".to_owned();
            problems.error("bad_cwd", &written.span, format!("`{}`: {error}", shorten(&text)), Some(help));
            None
        }
    }
}

fn verify(member: &Member<'_>, problems: &mut Problems) -> Option<VerifyPlan> {
    let written = member.first(|t| &t.verify).filter(|v| !v.value.is_empty())?;
    let scope = member.scope().with_launch();
    let mut commands = Vec::with_capacity(written.value.len());
    for command in &written.value {
        if command.value.trim().is_empty() {
            problems.error("empty_command", &command.span, "a verify command is empty", None);
        }
        commands.extend(fill(command, scope, problems));
    }
    let timeout = member.first(|t| &t.verify_timeout).or(member.first(|t| &t.timeout)).map_or(TIMEOUT, |t| t.value);
    let place = member.first(|t| &t.verify_in).map(|p| p.value).unwrap_or_default();
    Some(VerifyPlan { commands, place, timeout })
}

/// Who asks for `continue` itself has to be able to; for what is wanted of many, those who cannot begin anew.
fn retry(member: &Member<'_>, launch: &Launch, problems: &mut Problems) -> RetryMode {
    let Some(wanted) = member.first(|t| &t.retry) else { return RetryMode::default() };
    let off = |flag: &str| launch.args.iter().any(|arg| arg.fill(1, 0) == flag);
    let forgets = match launch.kind {
        RunnerKind::Codex => Some("--ephemeral").filter(|flag| off(flag)),
        RunnerKind::Claude => Some("--no-session-persistence").filter(|flag| off(flag)),
        RunnerKind::Command => Some("a command"),
    };
    let (RetryMode::Continue, Some(why)) = (wanted.value, forgets) else { return wanted.value };
    let [own, ..] = member.layers;
    if own.retry.is_some() {
        let (message, help) = if launch.kind == RunnerKind::Command {
            let runner = shorten(launch.runner.as_str());
            let message = format!("the runner `{runner}` has no threads that could be continued");
            (message, "leave `retry` out, or use codex or claude".to_owned())
        } else {
            let message = format!("`{why}` in its arguments keeps no thread that could be continued");
            (message, format!("leave `{why}` out, or `retry`"))
        };
        problems.error("cannot_continue", &wanted.span, message, Some(help));
    }
    RetryMode::CannotContinue
}

fn plan(
    member: &Member<'_>,
    claim: Claim,
    depends_on: Vec<Dependency>,
    retry: RetryMode,
    launch: &Launch,
) -> AgentPlan {
    fn or<'m, T: Copy + 'm>(member: &Member<'m>, get: impl Fn(&'m AgentTable) -> &'m Option<At<T>>, default: T) -> T {
        member.first(get).map_or(default, |at| at.value)
    }
    AgentPlan {
        id: member.id.clone(),
        name: member.name.clone(),
        rank: Rank {
            phase: member.phase,
            priority: or(member, |t| &t.priority, Priority::DEFAULT),
            position: member.position,
        },
        runner: launch.runner.clone(),
        claim,
        depends_on,
        on_dependency_failure: member.first(|t| &t.on_dependency_failure).map(|a| a.value).unwrap_or_default(),
        timeout: or(member, |t| &t.timeout, TIMEOUT),
        idle_timeout: member.first(|t| &t.idle_timeout).map(|a| a.value).filter(|d| !d.is_zero()),
        lock_timeout: or(member, |t| &t.lock_timeout, TIMEOUT),
        grace: or(member, |t| &t.grace, GRACE),
        retries: or(member, |t| &t.retries, 0),
        retry,
        verify: launch.verify.as_ref().map(|v| v.timeout),
        on_undeclared: member.first(|t| &t.on_undeclared).map(|a| a.value).unwrap_or_default(),
        on_conflict: member.first(|t| &t.on_conflict).map(|a| a.value).unwrap_or_default(),
        on_abort: member.first(|t| &t.on_abort).map(|a| a.value).unwrap_or_default(),
        on_outside_edit: member.first(|t| &t.on_outside_edit).map(|a| a.value).unwrap_or_default(),
        on_denied: member.first(|t| &t.on_denied).map(|a| a.value).unwrap_or_default(),
        ignored: member.first(|t| &t.ignored).map(|a| a.value).unwrap_or_default(),
        expect_changes: or(member, |t| &t.expect_changes, false),
    }
}

//! The file as written, table by table, each value with its place; nothing is expanded or looked up.
//!
//! Invariant: every value here has the right type and form; names, placeholders and patterns are
//! still unchecked texts.
//!
//! Deliberately absent: defaults; who reads a [`Manifest`] lays agent, phase and defaults over each other.

use std::num::NonZeroU32;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hooks::{self, Hook};
use super::keys;
use super::plan::{GitHooks, VerifyIn};
use super::problem::Problems;
use super::section::{At, EnvList, Section, type_name};
use super::source::Span;
use crate::core::agent::{
    IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit, OnPhaseFailure, OnUndeclared,
    Priority, RetryMode,
};

#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) session: SessionTable,
    pub(super) defaults: AgentTable,
    pub(super) runners: Vec<RunnerTable>,
    pub(super) phases: Vec<PhaseTable>,
    pub(super) agents: Vec<AgentTable>,
    pub(super) hooks: Vec<Hook>,
}

#[derive(Debug, Default)]
pub(super) struct SessionTable {
    pub(super) name: Option<At<String>>,
    pub(super) max_concurrent: Option<At<NonZeroU32>>,
    pub(super) branch: Option<At<String>>,
    pub(super) checkpoint_interval: Option<At<Duration>>,
    pub(super) stop_at: Option<At<String>>,
    pub(super) max_failures: Option<At<NonZeroU32>>,
    pub(super) max_tokens: Option<At<u64>>,
    pub(super) git_hooks: Option<At<GitHooks>>,
    pub(super) salvage_days: Option<At<u32>>,
}

#[derive(Debug)]
pub(super) struct RunnerTable {
    pub(super) name: At<String>,
    pub(super) extends: Option<At<String>>,
    pub(super) command: Option<At<Vec<At<String>>>>,
    pub(super) args: Option<At<Vec<At<String>>>>,
    pub(super) model: Option<At<String>>,
    pub(super) env: Option<At<EnvList>>,
    pub(super) env_pass: Option<At<Vec<At<String>>>>,
    pub(super) env_clear: Option<At<bool>>,
    pub(super) max_concurrent: Option<At<NonZeroU32>>,
}

#[derive(Debug)]
pub(super) struct PhaseTable {
    pub(super) name: Option<At<String>>,
    pub(super) on_failure: Option<At<OnPhaseFailure>>,
    pub(super) defaults: AgentTable,
    pub(super) span: Span,
}

/// The values of an `each` variable.
#[derive(Debug)]
pub(super) enum EachValues {
    List(Vec<At<String>>),
    Dirs(At<String>),
}

#[derive(Debug)]
pub(super) struct EachVariable {
    pub(super) name: At<String>,
    pub(super) values: EachValues,
}

/// `[[agent]]`, `[defaults]` or `[phase.defaults]`.
#[derive(Debug, Default)]
pub(super) struct AgentTable {
    /// Where it starts.
    pub(super) span: Span,
    pub(super) id: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    pub(super) phase: Option<At<String>>,
    pub(super) each: Vec<EachVariable>,
    pub(super) priority: Option<At<Priority>>,
    pub(super) tags: Option<At<Vec<At<String>>>>,
    pub(super) runner: Option<At<String>>,
    pub(super) prompt: Option<At<String>>,
    pub(super) prompt_file: Option<At<String>>,
    pub(super) command: Option<At<Vec<At<String>>>>,
    pub(super) files: Option<At<Vec<At<String>>>>,
    pub(super) late: Option<At<Vec<At<String>>>>,
    pub(super) reads: Option<At<Vec<At<String>>>>,
    pub(super) deny: Option<At<Vec<At<String>>>>,
    pub(super) depends_on: Option<At<Vec<At<String>>>>,
    pub(super) wait_for_completion: Option<At<bool>>,
    pub(super) on_dependency_failure: Option<At<OnDependencyFailure>>,
    pub(super) timeout: Option<At<Duration>>,
    pub(super) idle_timeout: Option<At<Duration>>,
    pub(super) lock_timeout: Option<At<Duration>>,
    pub(super) grace: Option<At<Duration>>,
    pub(super) retries: Option<At<u32>>,
    pub(super) retry: Option<At<RetryMode>>,
    pub(super) verify: Option<At<Vec<At<String>>>>,
    pub(super) verify_in: Option<At<VerifyIn>>,
    pub(super) verify_timeout: Option<At<Duration>>,
    pub(super) commit_message: Option<At<String>>,
    pub(super) expect_changes: Option<At<bool>>,
    pub(super) model: Option<At<String>>,
    pub(super) args: Option<At<Vec<At<String>>>>,
    pub(super) env: Option<At<EnvList>>,
    pub(super) env_pass: Option<At<Vec<At<String>>>>,
    pub(super) env_clear: Option<At<bool>>,
    pub(super) cwd: Option<At<String>>,
    pub(super) log_limit: Option<At<u64>>,
    pub(super) on_undeclared: Option<At<OnUndeclared>>,
    pub(super) on_conflict: Option<At<OnConflict>>,
    pub(super) on_abort: Option<At<OnAbort>>,
    pub(super) on_outside_edit: Option<At<OnOutsideEdit>>,
    pub(super) on_denied: Option<At<OnDenied>>,
    pub(super) ignored: Option<At<IgnoredPaths>>,
    pub(super) brief: Option<At<bool>>,
    pub(super) preamble: Option<At<String>>,
    pub(super) preamble_file: Option<At<String>>,
}

impl Manifest {
    /// Reads a whole document.
    pub(super) fn read(document: &DeTable<'_>, p: &mut Problems) -> Self {
        let top = Section::new(document, "the session file", keys::TOP, &[], p);
        let session = table(&top, "session", "write [session]", p).map(|(t, _)| SessionTable::read(t, p));
        let defaults = table(&top, "defaults", "write [defaults]", p)
            .map(|(t, span)| AgentTable::read(t, span, "[defaults]", keys::ONLY_AGENT, p));
        let mut runners = Vec::new();
        if let Some((all, _)) = table(&top, "runner", "write [runner.NAME]", p) {
            for (name, value) in all {
                match value.get_ref().as_table() {
                    Some(t) => {
                        let name = At { value: name.get_ref().to_string(), span: name.span() };
                        runners.push(RunnerTable::read(t, name, p));
                    }
                    None => wrong("a runner", value, "a table", "write [runner.NAME]", p),
                }
            }
        }
        let phases = tables(&top, "phase", "write [[phase]]", p);
        let phases = phases.into_iter().map(|(t, span)| PhaseTable::read(t, span, p)).collect();
        let agents = tables(&top, "agent", "write [[agent]]", p);
        let agents = agents.into_iter().map(|(t, span)| AgentTable::read(t, span, "[[agent]]", &[], p)).collect();
        let hooks = table(&top, "hooks", "write [hooks]", p).map(|(t, _)| hooks::read(t, p));
        Self {
            session: session.unwrap_or_default(),
            defaults: defaults.unwrap_or_default(),
            runners,
            phases,
            agents,
            hooks: hooks.unwrap_or_default(),
        }
    }
}

fn wrong(what: &str, value: &Spanned<DeValue<'_>>, wanted: &str, help: &str, p: &mut Problems) {
    let message = format!("{what} must be {wanted}, not {}", type_name(value.get_ref()));
    p.error("wrong_type", &value.span(), message, Some(help.to_owned()));
}

pub(super) fn table<'t, 'i>(
    section: &Section<'t, 'i>,
    key: &str,
    help: &str,
    p: &mut Problems,
) -> Option<(&'t DeTable<'i>, Span)> {
    let value = section.raw(key)?;
    let table = value.get_ref().as_table();
    if table.is_none() {
        wrong(&format!("`{key}`"), value, "a table", help, p);
    }
    Some((table?, value.span()))
}

/// The elements of an array of tables.
fn tables<'t, 'i>(section: &Section<'t, 'i>, key: &str, help: &str, p: &mut Problems) -> Vec<(&'t DeTable<'i>, Span)> {
    let Some(value) = section.raw(key) else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        wrong(&format!("`{key}`"), value, "a list of tables", help, p);
        return Vec::new();
    };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match item.get_ref().as_table() {
            Some(t) => out.push((t, item.span())),
            None => wrong(&format!("`{key}`"), item, "a list of tables", help, p),
        }
    }
    out
}

impl SessionTable {
    fn read(table: &DeTable<'_>, p: &mut Problems) -> Self {
        let s = Section::new(table, "[session]", keys::SESSION, &[], p);
        s.string("workspace", p);
        let hooks = [("skip", GitHooks::Skip), ("run", GitHooks::Run)];
        Self {
            name: s.string("name", p),
            max_concurrent: s.positive("max_concurrent", p),
            branch: s.string("branch", p),
            checkpoint_interval: s.duration("checkpoint_interval", true, p),
            stop_at: s.string("stop_at", p),
            max_failures: s.positive("max_failures", p),
            max_tokens: s.count("max_tokens", 1, p),
            git_hooks: s.choice("git_hooks", &hooks, p),
            salvage_days: s.count("salvage_days", 0, p),
        }
    }
}

impl RunnerTable {
    fn read(table: &DeTable<'_>, name: At<String>, p: &mut Problems) -> Self {
        let s = Section::new(table, "[runner.NAME]", keys::RUNNER, &[], p);
        Self {
            name,
            extends: s.string("extends", p),
            command: s.strings("command", false, p),
            args: s.strings("args", false, p),
            model: s.string("model", p),
            env: s.env("env", p),
            env_pass: s.strings("env_pass", true, p),
            env_clear: s.boolean("env_clear", p),
            max_concurrent: s.positive("max_concurrent", p),
        }
    }
}

impl PhaseTable {
    fn read(t: &DeTable<'_>, span: Span, p: &mut Problems) -> Self {
        let s = Section::new(t, "[[phase]]", keys::PHASE, &[], p);
        let on_failure = [("stop", OnPhaseFailure::Stop), ("continue", OnPhaseFailure::Continue)];
        let defaults = table(&s, "defaults", "write [phase.defaults] under its [[phase]]", p)
            .map(|(t, span)| AgentTable::read(t, span, "[phase.defaults]", keys::ONLY_AGENT, p));
        Self {
            name: s.string("name", p),
            on_failure: s.choice("on_failure", &on_failure, p),
            defaults: defaults.unwrap_or_default(),
            span,
        }
    }
}

impl AgentTable {
    fn read(table: &DeTable<'_>, span: Span, title: &'static str, except: &[&str], p: &mut Problems) -> Self {
        let s = Section::new(table, title, keys::AGENT, except, p);
        let mut agent = Self::basics(&s, p);
        agent.policies(&s, p);
        agent.span = span;
        agent
    }

    fn basics(s: &Section<'_, '_>, p: &mut Problems) -> Self {
        Self {
            id: s.string("id", p),
            name: s.string("name", p),
            phase: s.string("phase", p),
            each: each(s, p),
            priority: priority(s, p),
            tags: s.strings("tags", true, p),
            runner: s.string("runner", p),
            prompt: s.string("prompt", p),
            prompt_file: s.string("prompt_file", p),
            command: s.strings("command", false, p),
            files: s.strings("files", true, p),
            late: s.strings("late", true, p),
            reads: s.strings("reads", true, p),
            deny: s.strings("deny", true, p),
            depends_on: s.strings("depends_on", true, p),
            wait_for_completion: s.boolean("wait_for_completion", p),
            timeout: s.duration("timeout", false, p),
            idle_timeout: s.duration("idle_timeout", true, p),
            lock_timeout: s.duration("lock_timeout", false, p),
            grace: s.duration("grace", true, p),
            retries: s.count("retries", 0, p),
            verify: s.strings("verify", true, p),
            verify_timeout: s.duration("verify_timeout", false, p),
            commit_message: s.string("commit_message", p),
            expect_changes: s.boolean("expect_changes", p),
            model: s.string("model", p),
            args: s.strings("args", false, p),
            env: s.env("env", p),
            env_pass: s.strings("env_pass", true, p),
            env_clear: s.boolean("env_clear", p),
            cwd: s.string("cwd", p),
            log_limit: s.size("log_limit", p),
            brief: s.boolean("brief", p),
            preamble: s.string("preamble", p),
            preamble_file: s.string("preamble_file", p),
            ..Self::default()
        }
    }

    fn policies(&mut self, s: &Section<'_, '_>, p: &mut Problems) {
        let skip_or_run = [("skip", OnDependencyFailure::Skip), ("run", OnDependencyFailure::Run)];
        self.on_dependency_failure = s.choice("on_dependency_failure", &skip_or_run, p);
        self.retry = s.choice("retry", &[("restart", RetryMode::Restart), ("continue", RetryMode::Continue)], p);
        let places = [("workspace", VerifyIn::Workspace), ("commit", VerifyIn::Commit)];
        self.verify_in = s.choice("verify_in", &places, p);
        let undeclared = [
            ("deny", OnUndeclared::Deny),
            ("kill", OnUndeclared::Kill),
            ("warn", OnUndeclared::Warn),
            ("claim", OnUndeclared::Claim),
        ];
        self.on_undeclared = s.choice("on_undeclared", &undeclared, p);
        let conflict = [
            ("terminate", OnConflict::Terminate),
            ("deny", OnConflict::Deny),
            ("priority", OnConflict::Priority),
            ("wait", OnConflict::Wait),
            ("manual", OnConflict::Manual),
        ];
        self.on_conflict = s.choice("on_conflict", &conflict, p);
        self.on_abort = s.choice("on_abort", &[("restore", OnAbort::Restore), ("keep", OnAbort::Keep)], p);
        let edits = [("fail", OnOutsideEdit::Fail), ("commit", OnOutsideEdit::Commit)];
        self.on_outside_edit = s.choice("on_outside_edit", &edits, p);
        self.on_denied = s.choice("on_denied", &[("warn", OnDenied::Warn), ("fail", OnDenied::Fail)], p);
        let ignored = [("allow", IgnoredPaths::Allow), ("enforce", IgnoredPaths::Enforce)];
        self.ignored = s.choice("ignored", &ignored, p);
    }
}

fn priority(s: &Section<'_, '_>, p: &mut Problems) -> Option<At<Priority>> {
    let number = s.integer("priority", p)?;
    let priority = Priority::new(number.value);
    if priority.is_none() {
        let message = format!("priority {} is outside 1–5", number.value);
        p.error("bad_priority", &number.span, message, Some("1 starts first, 5 last; 3 is the default".into()));
    }
    Some(At { value: priority?, span: number.span })
}

const EACH_HELP: &str = "write each = { pkg = [\"a\", \"b\"] } or each = { pkg = { dirs = \"packages/*\" } }";

fn each(s: &Section<'_, '_>, p: &mut Problems) -> Vec<EachVariable> {
    let Some(value) = s.raw("each") else { return Vec::new() };
    let Some(table) = value.get_ref().as_table() else {
        wrong("`each`", value, "a table of variables", EACH_HELP, p);
        return Vec::new();
    };
    let mut out = Vec::new();
    for (name, item) in table {
        // Where the values are wrong, one stands in: the placeholders are known all the same.
        let stand_in = || EachValues::List(vec![At { value: name.get_ref().to_string(), span: item.span() }]);
        let values = match item.get_ref() {
            DeValue::Array(items) => EachValues::List(each_list(items, p)),
            DeValue::Table(t) => {
                let dirs = t.get("dirs").filter(|_| t.len() == 1);
                if let Some((text, span)) = dirs.and_then(|d| Some((d.get_ref().as_str()?, d.span()))) {
                    EachValues::Dirs(At { value: text.to_owned(), span })
                } else {
                    let message = "a table of `each` has the one key `dirs`, a pattern of directories";
                    p.error("bad_each", &item.span(), message, Some(EACH_HELP.into()));
                    stand_in()
                }
            }
            _ => {
                wrong("a variable of `each`", item, "a list or { dirs = … }", EACH_HELP, p);
                stand_in()
            }
        };
        out.push(EachVariable { name: At { value: name.get_ref().to_string(), span: name.span() }, values });
    }
    out.sort_by_key(|v| v.name.span.start);
    out
}

fn each_list(items: &[Spanned<DeValue<'_>>], p: &mut Problems) -> Vec<At<String>> {
    let mut out = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let text = match item.get_ref() {
            DeValue::String(text) if !text.contains('\0') => text.to_string(),
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().to_owned(),
            _ => {
                wrong("a value of `each`", item, "a string or a whole number", EACH_HELP, p);
                format!("value-{index}")
            }
        };
        out.push(At { value: text, span: item.span() });
    }
    out
}

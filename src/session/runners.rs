//! Runners: the built-in ones, and those of `[runner.NAME]` with what they extend.
//!
//! Invariant: a resolved runner extends nothing any more.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::manifest::RunnerTable;
use super::plan::RunnerKind;
use super::problem::{Problems, suggest};
use super::section::{At, shorten};

/// The runner of an agent that names none.
pub(super) const DEFAULT_RUNNER: &str = "codex";
/// The runner of agents with a `command` of their own.
pub(super) const COMMAND_RUNNER: &str = "command";
const BUILT_IN: [(&str, RunnerKind); 3] =
    [("codex", RunnerKind::Codex), ("claude", RunnerKind::Claude), (COMMAND_RUNNER, RunnerKind::Command)];

/// A runner with all that it inherits.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) kind: RunnerKind,
    pub(super) command: Option<Vec<At<String>>>,
    pub(super) args: Vec<At<String>>,
    pub(super) model: Option<At<String>>,
    pub(super) env: Vec<(String, At<String>)>,
    pub(super) env_pass: Option<Vec<At<String>>>,
    pub(super) env_clear: bool,
    pub(super) max_concurrent: Option<NonZeroU32>,
}

impl Runner {
    fn built_in(kind: RunnerKind) -> Self {
        Self {
            kind,
            command: None,
            args: Vec::new(),
            model: None,
            env: Vec::new(),
            env_pass: None,
            env_clear: false,
            max_concurrent: None,
        }
    }

    /// In place of one that is not known: it lacks nothing, so that only its own mistake is reported.
    pub(super) fn stand_in() -> Self {
        Self { command: Some(Vec::new()), ..Self::built_in(RunnerKind::Command) }
    }

    /// `table` laid over `self`.
    fn with(mut self, table: &RunnerTable) -> Self {
        let values = |list: &At<Vec<At<String>>>| list.value.clone();
        if let Some(command) = &table.command {
            self.command = Some(values(command));
        }
        self.args.extend(table.args.iter().flat_map(values));
        self.model = table.model.clone().or(self.model);
        self.env.extend(table.env.iter().flat_map(|e| e.value.clone()));
        self.env_pass = table.env_pass.as_ref().map(values).or(self.env_pass);
        self.env_clear = table.env_clear.as_ref().map_or(self.env_clear, |b| b.value);
        self.max_concurrent = table.max_concurrent.as_ref().map(|n| n.value).or(self.max_concurrent);
        self
    }
}

/// All runners by name. Those with something wrong are reported and stand there as
/// [`Runner::stand_in`], so that agents that name them are not reported too.
pub(super) fn resolve(tables: &[RunnerTable], problems: &mut Problems) -> BTreeMap<String, Runner> {
    let mut out: BTreeMap<String, Runner> =
        BUILT_IN.iter().map(|(name, kind)| ((*name).to_owned(), Runner::built_in(*kind))).collect();
    let by_name: BTreeMap<&str, &RunnerTable> = tables.iter().map(|t| (t.name.value.as_str(), t)).collect();
    for table in tables {
        let name = &table.name;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.value.is_empty() || name.value.len() > 64 || !name.value.chars().all(word) {
            let message = format!("`{}` cannot be the name of a runner", shorten(&name.value));
            problems.error("bad_name", &name.span, message, Some("letters, digits, `_` and `-`".into()));
        }
        if table.command.as_ref().is_some_and(|c| c.value.is_empty()) {
            problems.error(
                "empty_command",
                &name.span,
                format!("runner `{}` has an empty `command`", name.value),
                None,
            );
        }
    }
    // Each round resolves what extends something resolved; what never is, is part of a cycle or hangs on one.
    let mut done: BTreeMap<&str, Runner> = BTreeMap::new();
    let mut open: Vec<&RunnerTable> = tables.iter().collect();
    loop {
        let before = open.len();
        open.retain(|table| match base(table, &by_name, &done, problems) {
            Some(base) => {
                done.insert(&table.name.value, base.with(table));
                false
            }
            None => true,
        });
        if open.is_empty() || open.len() == before {
            break;
        }
    }
    for table in open {
        let path = chain(table, &by_name);
        let span = table.extends.as_ref().map_or(&table.name.span, |e| &e.span);
        let message = format!("runner `{}` extends itself: {}", table.name.value, path.join(" → "));
        problems.error("cyclic_extends", span, message, Some("end the chain at a built-in runner".into()));
        done.insert(&table.name.value, Runner::stand_in());
    }
    out.extend(done.into_iter().map(|(name, runner)| (name.to_owned(), runner)));
    out
}

/// What `table` is laid over; `None` where that is not resolved yet.
fn base(
    table: &RunnerTable,
    by_name: &BTreeMap<&str, &RunnerTable>,
    done: &BTreeMap<&str, Runner>,
    problems: &mut Problems,
) -> Option<Runner> {
    let own = |name: &str| BUILT_IN.iter().find(|(n, _)| *n == name).map(|(_, kind)| Runner::built_in(*kind));
    let Some(extends) = &table.extends else {
        if let Some(built_in) = own(&table.name.value) {
            return Some(built_in);
        }
        if table.command.is_none() {
            let message =
                format!("runner `{}` neither extends another nor has a `command`", shorten(&table.name.value));
            let help = "add extends = \"codex\", or command = [\"program\", \"{{prompt}}\"]";
            problems.error("incomplete_runner", &table.name.span, message, Some(help.into()));
            return Some(Runner::stand_in());
        }
        return Some(Runner::built_in(RunnerKind::Command));
    };
    let name = extends.value.as_str();
    // A built-in runner that is overridden may name itself: it extends what is built in.
    if name == table.name.value {
        return own(name);
    }
    if by_name.contains_key(name) {
        return done.get(name).cloned();
    }
    own(name).or_else(|| {
        unknown(extends, by_name.keys().copied().filter(|n| *n != table.name.value), problems);
        Some(Runner::stand_in())
    })
}

/// The names that follow from `table` until one repeats.
fn chain<'t>(table: &'t RunnerTable, by_name: &BTreeMap<&str, &'t RunnerTable>) -> Vec<&'t str> {
    let mut path = vec![table.name.value.as_str()];
    let mut at = table;
    while let Some(next) = at.extends.as_ref().and_then(|e| by_name.get(e.value.as_str())) {
        let name = next.name.value.as_str();
        let repeats = path.contains(&name);
        path.push(name);
        if repeats || path.len() > 20 {
            break;
        }
        at = next;
    }
    path
}

/// Reports a runner that does not exist.
pub(super) fn unknown<'n>(name: &At<String>, known: impl Iterator<Item = &'n str>, problems: &mut Problems) {
    let mut names: Vec<&str> = known.chain(BUILT_IN.iter().map(|(n, _)| *n)).collect();
    names.sort_unstable();
    names.dedup();
    let help = suggest(&name.value, names.iter().copied())
        .unwrap_or_else(|| format!("known runners: {}; add [runner.NAME] for another", names.join(", ")));
    let message = format!("there is no runner `{}`", shorten(&name.value));
    problems.error("unknown_runner", &name.span, message, Some(help));
}

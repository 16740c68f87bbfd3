//! A session as it was understood: a session file in which nothing is left to defaults.
//!
//! Invariant: what is printed is itself a session file, of the same agents in the same order with the
//! same claims, limits and prompts (which stand in it whole, so `brief` is off).

use std::collections::BTreeMap;
use std::time::Duration;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value, value};

use crate::core::agent::{
    AgentPlan, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit, OnPhaseFailure,
    OnUndeclared, Plan, RetryMode,
};
use crate::core::claim::Pattern;
use crate::core::ids::AgentId;
use crate::session::template::Template;
use crate::session::{GitHooks, HookCommand, Launch, RunnerKind, Session, VerifyIn};

/// The session as TOML.
#[must_use]
pub fn resolved(session: &Session) -> String {
    let mut document = DocumentMut::new();
    document["session"] = Item::Table(session_table(session));
    if !session.hooks.is_empty() {
        document["hooks"] = Item::Table(hooks_table(session));
    }
    if session.plan.agents.iter().any(|agent| agent.retry == RetryMode::CannotContinue) {
        // Who cannot may only be told so together with others; those have it themselves.
        document["defaults"] = Item::Table(Table::from_iter([("retry", "continue")]));
    }
    let runners = Runners::of(session);
    let written = runners.written();
    if !written.is_empty() {
        document["runner"] = Item::Table(written);
    }
    let named = session.plan.phases.iter().filter_map(|phase| Some((phase.name.as_deref()?, phase.on_failure)));
    let phases: ArrayOfTables = named.map(|(name, on_failure)| phase_table(name, on_failure)).collect();
    if !phases.is_empty() {
        document["phase"] = Item::ArrayOfTables(phases);
    }
    let agents = session.plan.agents.iter().filter_map(|agent| Some((agent, session.launches.get(&agent.id)?)));
    let table = |(agent, launch)| agent_table(&session.plan, agent, launch, &runners);
    document["agent"] = Item::ArrayOfTables(agents.map(table).collect());
    document.to_string()
}

fn session_table(session: &Session) -> Table {
    let plan = &session.plan;
    let mut table = Table::new();
    table["name"] = value(&session.name);
    table["max_concurrent"] = count(u64::from(plan.max_concurrent.get()));
    if let Some(branch) = &session.branch {
        table["branch"] = literal(branch);
    }
    table["checkpoint_interval"] = duration(plan.checkpoint_interval.unwrap_or_default());
    if let Some(time) = session.stop_at {
        table["stop_at"] = value(time.strftime("%H:%M:%S").to_string());
    }
    if let Some(n) = plan.max_failures {
        table["max_failures"] = count(u64::from(n.get()));
    }
    if let Some(n) = plan.max_tokens {
        table["max_tokens"] = count(n);
    }
    table["git_hooks"] = value(match session.git_hooks {
        GitHooks::Skip => "skip",
        GitHooks::Run => "run",
    });
    table["salvage_days"] = count(u64::from(session.salvage_days));
    table
}

fn hooks_table(session: &Session) -> Table {
    let mut table = Table::new();
    for hook in &session.hooks {
        table[hook.point.name()] = match &hook.command {
            HookCommand::Shell(line) => value(line),
            HookCommand::Program(words) => value(words.iter().map(String::as_str).collect::<Array>()),
        };
    }
    table
}

/// The runners that a session file has to name, and which of them each agent has; their arguments stand with the
/// agents.
#[derive(Default)]
struct Runners<'a> {
    tables: BTreeMap<String, Table>,
    /// By agent; without those that have a command of their own.
    of: BTreeMap<&'a AgentId, String>,
}

impl<'a> Runners<'a> {
    fn of(session: &'a Session) -> Self {
        let mut runners = Self::default();
        for (agent, launch) in &session.launches {
            let table = runner_table(&session.plan, launch);
            let name = launch.runner.as_str();
            let same =
                |name: &String| runners.tables.get(name).is_none_or(|known| known.to_string() == table.to_string());
            // The command of a runner may have been filled in differently for each agent.
            let names = std::iter::once(name.to_owned()).chain((2_u32..).map(|n| format!("{name}-{n}")));
            let Some(name) = names.into_iter().find(same) else { continue };
            if !commands_itself(launch) {
                runners.of.insert(agent, name.clone());
            }
            runners.tables.insert(name, table);
        }
        runners
    }

    /// The tables that say something.
    fn written(&self) -> Table {
        let mut out = Table::new();
        out.set_implicit(true);
        for (name, table) in self.tables.iter().filter(|(_, table)| !table.is_empty()) {
            out[name] = Item::Table(table.clone());
        }
        out
    }
}

fn runner_table(plan: &Plan, launch: &Launch) -> Table {
    let mut table = Table::new();
    if launch.runner.as_str() != builtin(launch.kind) {
        table["extends"] = value(builtin(launch.kind));
    }
    if let (false, Some(command)) = (commands_itself(launch), &launch.command) {
        table["command"] = templates(command);
    }
    if let Some(limit) = plan.runner_limits.get(&launch.runner) {
        table["max_concurrent"] = count(u64::from(limit.get()));
    }
    table
}

/// Is the command the agent's own, and not its runner's?
fn commands_itself(launch: &Launch) -> bool {
    launch.kind == RunnerKind::Command && launch.runner.as_str() == builtin(launch.kind)
}

fn builtin(kind: RunnerKind) -> &'static str {
    match kind {
        RunnerKind::Codex => "codex",
        RunnerKind::Claude => "claude",
        RunnerKind::Command => "command",
    }
}

fn phase_table(name: &str, on_failure: OnPhaseFailure) -> Table {
    let mut table = Table::new();
    table["name"] = value(name);
    table["on_failure"] = value(match on_failure {
        OnPhaseFailure::Stop => "stop",
        OnPhaseFailure::Continue => "continue",
    });
    table
}

fn agent_table(plan: &Plan, agent: &AgentPlan, launch: &Launch, runners: &Runners<'_>) -> Table {
    let mut table = Table::new();
    table["id"] = value(agent.id.as_str());
    table["name"] = literal(&agent.name);
    if let Some(name) = plan.phases.get(agent.rank.phase).and_then(|phase| phase.name.as_deref()) {
        table["phase"] = literal(name);
    }
    table["priority"] = count(u64::from(agent.rank.priority.get()));
    if let Some(runner) = runners.of.get(&agent.id) {
        table["runner"] = literal(runner);
    } else if let Some(command) = &launch.command {
        table["command"] = templates(command);
    }
    launch_keys(&mut table, launch);
    let claim = &agent.claim;
    for (key, patterns) in
        [("files", &claim.exclusive), ("late", &claim.late), ("reads", &claim.shared), ("deny", &claim.deny)]
    {
        table[key] = list(patterns.iter().map(Pattern::as_str).map(escape));
    }
    table["depends_on"] = list(agent.depends_on.iter().map(|d| d.on.to_string()));
    table["wait_for_completion"] = value(agent.depends_on.iter().all(|d| d.wait_for_completion));
    limits(&mut table, agent);
    rules(&mut table, agent);
    table
}

fn launch_keys(table: &mut Table, launch: &Launch) {
    table["args"] = templates(&launch.args);
    if let Some(model) = &launch.model {
        table["model"] = value(model.source());
    }
    if let Some(prompt) = &launch.prompt {
        table["brief"] = value(false);
        table["prompt"] = value(prompt.source());
    }
    let env: InlineTable = launch.env.iter().map(|(key, text)| (key.as_str(), Value::from(text.source()))).collect();
    table["env"] = value(env);
    table["env_pass"] = list(launch.env_pass.iter().map(|name| escape(name)));
    table["env_clear"] = value(launch.env_clear);
    if let Some(cwd) = &launch.cwd {
        table["cwd"] = literal(&cwd.to_string());
    }
    table["log_limit"] = count(launch.log_limit);
    if let Some(verify) = &launch.verify {
        table["verify"] = templates(&verify.commands);
        table["verify_timeout"] = duration(verify.timeout);
        table["verify_in"] = value(match verify.place {
            VerifyIn::Workspace => "workspace",
            VerifyIn::Commit => "commit",
        });
    }
    table["commit_message"] = value(launch.commit_message.source());
}

fn limits(table: &mut Table, agent: &AgentPlan) {
    table["timeout"] = duration(agent.timeout);
    if let Some(idle) = agent.idle_timeout {
        table["idle_timeout"] = duration(idle);
    }
    table["lock_timeout"] = duration(agent.lock_timeout);
    table["grace"] = duration(agent.grace);
    table["retries"] = count(u64::from(agent.retries));
    table["expect_changes"] = value(agent.expect_changes);
}

fn rules(table: &mut Table, agent: &AgentPlan) {
    match agent.retry {
        RetryMode::Restart => table["retry"] = value("restart"),
        RetryMode::Continue => table["retry"] = value("continue"),
        RetryMode::CannotContinue => {}
    }
    let words = [
        (
            "on_dependency_failure",
            match agent.on_dependency_failure {
                OnDependencyFailure::Skip => "skip",
                OnDependencyFailure::Run => "run",
            },
        ),
        (
            "on_undeclared",
            match agent.on_undeclared {
                OnUndeclared::Deny => "deny",
                OnUndeclared::Kill => "kill",
                OnUndeclared::Warn => "warn",
                OnUndeclared::Claim => "claim",
            },
        ),
        (
            "on_conflict",
            match agent.on_conflict {
                OnConflict::Terminate => "terminate",
                OnConflict::Deny => "deny",
                OnConflict::Priority => "priority",
                OnConflict::Wait => "wait",
                OnConflict::Manual => "manual",
            },
        ),
        (
            "on_abort",
            match agent.on_abort {
                OnAbort::Restore => "restore",
                OnAbort::Keep => "keep",
            },
        ),
        (
            "on_outside_edit",
            match agent.on_outside_edit {
                OnOutsideEdit::Fail => "fail",
                OnOutsideEdit::Commit => "commit",
            },
        ),
        (
            "on_denied",
            match agent.on_denied {
                OnDenied::Warn => "warn",
                OnDenied::Fail => "fail",
            },
        ),
        (
            "ignored",
            match agent.ignored {
                IgnoredPaths::Allow => "allow",
                IgnoredPaths::Enforce => "enforce",
            },
        ),
    ];
    for (key, word) in words {
        table[key] = value(word);
    }
}

/// Text with nothing left to fill in.
fn escape(text: &str) -> String {
    text.replace("{{", "{{{{")
}

fn literal(text: &str) -> Item {
    value(escape(text))
}

fn duration(of: Duration) -> Item {
    value(humantime::format_duration(of).to_string())
}

fn count(n: u64) -> Item {
    value(i64::try_from(n).unwrap_or(i64::MAX))
}

fn templates(texts: &[Template]) -> Item {
    list(texts.iter().map(Template::source))
}

fn list(items: impl Iterator<Item = String>) -> Item {
    value(items.collect::<Array>())
}

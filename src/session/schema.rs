//! The shape of a session file as a JSON Schema, for editors.
//!
//! Invariant: the keys here are those that the reader knows; a test compares the two.
//!
//! Deliberately absent: reading. Nothing is ever deserialized into these types; they are documentation
//! in the form that schemars understands. Names are as in the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;

/// A session: several agents that work in one git working tree.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, title = "supervise session")]
#[expect(dead_code, reason = "the types are read by schemars only")]
struct File {
    session: Option<SessionKeys>,
    /// Keys of `[[agent]]` for all agents.
    defaults: Option<DefaultKeys>,
    /// Ways to launch an agent, by name. `codex`, `claude` and `command` are built in.
    runner: Option<BTreeMap<String, RunnerKeys>>,
    /// Phases run one after another.
    phase: Option<Vec<PhaseKeys>>,
    agent: Vec<AgentKeys>,
    /// Commands to run when something happens.
    hooks: Option<HookKeys>,
}

/// A string or a list of strings.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the types are read by schemars only")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A time span like "90s", "10m" or "1h 30m"; a bare number is seconds.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the types are read by schemars only")]
enum Span {
    Text(String),
    Seconds(u64),
}

/// A size like "64MiB"; a bare number is bytes.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the types are read by schemars only")]
enum Size {
    Text(String),
    Bytes(u64),
}

/// The value of a variable.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the types are read by schemars only")]
enum Value {
    Text(String),
    Number(i64),
}

/// The values of an `each` variable: listed, or the directories that a pattern matches.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "the types are read by schemars only")]
enum Values {
    List(Vec<Value>),
    Dirs(Dirs),
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the types are read by schemars only")]
struct Dirs {
    /// `packages/*`: one value for each directory of the workspace that matches.
    dirs: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($word:ident),+ }) => {
        $(#[$doc])*
        #[derive(JsonSchema)]
        #[schemars(rename_all = "snake_case")]
        #[expect(dead_code, reason = "the types are read by schemars only")]
        enum $name { $($word),+ }
    };
}
words!(SkipOrRun { Skip, Run });
words!(StopOrContinue { Stop, Continue });
words!(RestartOrContinue { Restart, Continue });
words!(WorkspaceOrCommit { Workspace, Commit });
words!(OnUndeclaredWord { Deny, Kill, Warn, Claim });
words!(OnConflictWord { Terminate, Deny, Priority, Wait, Manual });
words!(RestoreOrKeep { Restore, Keep });
words!(FailOrCommit { Fail, Commit });
words!(WarnOrFail { Warn, Fail });
words!(AllowOrEnforce { Allow, Enforce });

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the types are read by schemars only")]
struct SessionKeys {
    /// Default: the file's name.
    name: Option<String>,
    /// The repository to work in, relative to the file; `-C DIR` comes first.
    workspace: Option<String>,
    /// How many agents run at once. Default 4.
    #[schemars(range(min = 1))]
    max_concurrent: Option<u32>,
    /// As `max_concurrent`.
    #[schemars(range(min = 1))]
    max_concurrent_agents: Option<u32>,
    /// Made and switched to at the start. Default: the current branch.
    branch: Option<String>,
    /// Default "5m"; "0s" turns checkpoints off.
    checkpoint_interval: Option<Span>,
    /// Time of day after which nothing more is started: "07:00".
    stop_at: Option<String>,
    /// Start nothing more after so many agents failed.
    #[schemars(range(min = 1))]
    max_failures: Option<u32>,
    /// Start nothing more after so many tokens.
    #[schemars(range(min = 1))]
    max_tokens: Option<u64>,
    /// Are the repository's commit hooks run? Default "skip".
    git_hooks: Option<SkipOrRun>,
    /// How long salvaged work is kept; 0: for ever. Default 30.
    salvage_days: Option<u32>,
}

/// Each is a command for `sh -c`, or a list of a program and its arguments. It gets JSON on standard input.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the types are read by schemars only")]
#[expect(clippy::struct_field_names, reason = "they are named as in the file")]
struct HookKeys {
    /// An agent has ended, whatever its end.
    on_agent_end: Option<OneOrMany>,
    /// A write into another agent's lock.
    on_conflict: Option<OneOrMany>,
    /// Something needs a person.
    on_attention: Option<OneOrMany>,
    /// The run is over.
    on_run_end: Option<OneOrMany>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the types are read by schemars only")]
struct PhaseKeys {
    name: String,
    /// What an agent that does not complete means for later phases. Default "stop".
    on_failure: Option<StopOrContinue>,
    /// Keys of `[[agent]]` for the agents of this phase.
    defaults: Option<DefaultKeys>,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "the types are read by schemars only")]
struct RunnerKeys {
    /// The runner that this one is laid over.
    extends: Option<String>,
    /// Program and first arguments; `{{prompt}}` and `{{prompt_file}}` stand for the prompt.
    command: Option<Vec<String>>,
    /// Further arguments.
    args: Option<Vec<String>>,
    model: Option<String>,
    env: Option<BTreeMap<String, Value>>,
    /// With `env_clear`, the variables that are passed on all the same.
    env_pass: Option<OneOrMany>,
    env_clear: Option<bool>,
    /// How many agents of this runner run at once.
    #[schemars(range(min = 1))]
    max_concurrent: Option<u32>,
    /// As `max_concurrent`.
    #[schemars(range(min = 1))]
    max_concurrent_agents: Option<u32>,
}

/// `[[agent]]` and its defaults have most keys in common; schemars has no closed, flattened structs.
macro_rules! agent_tables {
    ({ $($own:tt)* } { $($common:tt)* }) => {
        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "the types are read by schemars only")]
        struct AgentKeys { $($own)* $($common)* }

        #[derive(JsonSchema)]
        #[schemars(deny_unknown_fields)]
        #[expect(dead_code, reason = "the types are read by schemars only")]
        struct DefaultKeys { $($common)* }
    };
}

agent_tables! {
    {
        /// Letters, digits, `_`, `-`, inner `.`; at most 64.
        id: String,
        /// For people. Default: the id.
        name: Option<String>,
        /// Default: the first phase.
        phase: Option<String>,
        /// One agent for each value: `{ pkg = { dirs = "packages/*" } }` or `{ os = ["a", "b"] }`.
        each: Option<BTreeMap<String, Values>>,
    }
    {
        /// 1 first … 5 last. Default 3.
        #[schemars(range(min = 1, max = 5))]
        priority: Option<u8>,
        tags: Option<OneOrMany>,
        /// Default "codex".
        runner: Option<String>,
        prompt: Option<String>,
        /// Relative to the session file.
        prompt_file: Option<String>,
        /// A program of its own instead of a runner.
        command: Option<Vec<String>>,
        /// What it may change; locked while it runs.
        files: Option<OneOrMany>,
        /// As `files`.
        exclusive: Option<OneOrMany>,
        /// As `files`.
        file_locks: Option<OneOrMany>,
        /// What it may change; locked at the first write.
        late: Option<OneOrMany>,
        /// What must not change while it runs.
        reads: Option<OneOrMany>,
        /// As `reads`.
        shared: Option<OneOrMany>,
        /// What it never may change. Adds to the defaults.
        deny: Option<OneOrMany>,
        /// Ids, patterns of ids, `tag:T`.
        depends_on: Option<OneOrMany>,
        /// As `depends_on`.
        dependencies: Option<OneOrMany>,
        /// As `depends_on`.
        needs: Option<OneOrMany>,
        /// false: may start as soon as the dependencies have started. Default true.
        wait_for_completion: Option<bool>,
        /// Default "skip".
        on_dependency_failure: Option<SkipOrRun>,
        /// Longest run of one attempt. Default "10m".
        timeout: Option<Span>,
        /// Longest silence. Default: none.
        idle_timeout: Option<Span>,
        /// Longest idle hold of a lock that another waits for. Default "10m".
        lock_timeout: Option<Span>,
        /// From SIGTERM to SIGKILL. Default "10s".
        grace: Option<Span>,
        /// Further attempts after a failure. Default 0.
        retries: Option<u32>,
        /// "continue": go on with the thread and the work of the attempt before (codex, claude). Default "restart".
        retry: Option<RestartOrContinue>,
        /// Shell commands that must succeed before the commit.
        verify: Option<OneOrMany>,
        /// Default "workspace".
        verify_in: Option<WorkspaceOrCommit>,
        /// Default: `timeout`.
        verify_timeout: Option<Span>,
        /// Default "feat({{id}}): {{name}}".
        commit_message: Option<String>,
        /// Success without a change is a failure. Default false.
        expect_changes: Option<bool>,
        model: Option<String>,
        /// Further arguments of the program.
        args: Option<Vec<String>>,
        /// Environment variables. Adds to the defaults.
        env: Option<BTreeMap<String, Value>>,
        env_pass: Option<OneOrMany>,
        env_clear: Option<bool>,
        /// Where it starts, in the workspace.
        cwd: Option<String>,
        /// Longest log file. Default "64MiB".
        log_limit: Option<Size>,
        /// A write outside every claim. Default "deny".
        on_undeclared: Option<OnUndeclaredWord>,
        /// A write into another agent's lock. Default "terminate".
        on_conflict: Option<OnConflictWord>,
        /// Files of an attempt that did not complete. Default "restore".
        on_abort: Option<RestoreOrKeep>,
        /// Files that somebody else changed too. Default "fail".
        on_outside_edit: Option<FailOrCommit>,
        /// Success although writes were refused. Default "warn".
        on_denied: Option<WarnOrFail>,
        /// Writes to paths that git ignores. Default "allow".
        ignored: Option<AllowOrEnforce>,
        /// Tell the agent about the session before its prompt. Default true.
        brief: Option<bool>,
        /// Comes before the prompt.
        preamble: Option<String>,
        /// Relative to the session file.
        preamble_file: Option<String>,
    }
}

/// The JSON Schema of session files.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

#[cfg(test)]
mod tests {
    use super::super::keys::{self, Key};
    use super::*;
    use std::collections::BTreeSet;

    fn properties(table: &serde_json::Value) -> BTreeSet<String> {
        assert_eq!(table["additionalProperties"], serde_json::json!(false));
        table["properties"].as_object().unwrap().keys().cloned().collect()
    }

    fn words(keys: &'static [Key], except: &[&str]) -> BTreeSet<String> {
        keys::words(keys).filter(|w| !except.contains(w)).map(str::to_owned).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_are_read() {
        let schema = schema();
        assert_eq!(properties(&schema), words(keys::TOP, &[]));
        let table = |name: &str| properties(&schema["$defs"][name]);
        assert_eq!(table("SessionKeys"), words(keys::SESSION, &[]));
        assert_eq!(table("HookKeys"), words(keys::HOOKS, &[]));
        assert_eq!(table("PhaseKeys"), words(keys::PHASE, &[]));
        assert_eq!(table("RunnerKeys"), words(keys::RUNNER, &[]));
        assert_eq!(table("AgentKeys"), words(keys::AGENT, &[]));
        assert_eq!(table("DefaultKeys"), words(keys::AGENT, keys::ONLY_AGENT));
    }
}

//! The keys of a session file: their names and aliases, table by table.
//!
//! Invariant: what the reader asks for, what the schema lists and what is suggested for a misspelt
//! key come from here; a test compares them.

/// One key of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) aliases: &'static [&'static str],
}

const fn key(name: &'static str) -> Key {
    Key { name, aliases: &[] }
}

const fn alias(name: &'static str, aliases: &'static [&'static str]) -> Key {
    Key { name, aliases }
}

const MAX_CONCURRENT: Key = alias("max_concurrent", &["max_concurrent_agents"]);

pub(super) const TOP: &[Key] =
    &[key("session"), key("defaults"), key("runner"), key("phase"), key("agent"), key("hooks")];

pub(super) const HOOKS: &[Key] = &[key("on_agent_end"), key("on_conflict"), key("on_attention"), key("on_run_end")];

/// The keys of the user's own file.
pub(super) const CONFIG: &[Key] = &[key("hooks"), key("notify")];

pub(super) const SESSION: &[Key] = &[
    key("name"),
    key("workspace"),
    MAX_CONCURRENT,
    key("branch"),
    key("checkpoint_interval"),
    key("stop_at"),
    key("max_failures"),
    key("max_tokens"),
    key("git_hooks"),
    key("salvage_days"),
];

pub(super) const PHASE: &[Key] = &[key("name"), key("on_failure"), key("defaults")];

pub(super) const RUNNER: &[Key] = &[
    key("extends"),
    key("command"),
    key("args"),
    key("model"),
    key("env"),
    key("env_pass"),
    key("env_clear"),
    MAX_CONCURRENT,
];

/// The keys of `[[agent]]` that make no sense for many; the rest are those of `[defaults]` too.
pub(super) const ONLY_AGENT: &[&str] = &["id", "name", "phase", "each"];

pub(super) const AGENT: &[Key] = &[
    key("id"),
    key("name"),
    key("phase"),
    key("each"),
    key("priority"),
    key("tags"),
    key("runner"),
    key("prompt"),
    key("prompt_file"),
    key("command"),
    alias("files", &["exclusive", "file_locks"]),
    key("late"),
    alias("reads", &["shared"]),
    key("deny"),
    alias("depends_on", &["dependencies", "needs"]),
    key("wait_for_completion"),
    key("on_dependency_failure"),
    key("timeout"),
    key("idle_timeout"),
    key("lock_timeout"),
    key("grace"),
    key("retries"),
    key("retry"),
    key("verify"),
    key("verify_in"),
    key("verify_timeout"),
    key("commit_message"),
    key("expect_changes"),
    key("model"),
    key("args"),
    key("env"),
    key("env_pass"),
    key("env_clear"),
    key("cwd"),
    key("log_limit"),
    key("on_undeclared"),
    key("on_conflict"),
    key("on_abort"),
    key("on_outside_edit"),
    key("on_denied"),
    key("ignored"),
    key("brief"),
    key("preamble"),
    key("preamble_file"),
];

/// The key that `word` is the name or an alias of.
pub(super) fn find(keys: &'static [Key], word: &str) -> Option<&'static Key> {
    keys.iter().find(|k| k.name == word || k.aliases.contains(&word))
}

/// All words that name a key.
pub(super) fn words(keys: &'static [Key]) -> impl Iterator<Item = &'static str> {
    keys.iter().flat_map(|k| std::iter::once(k.name).chain(k.aliases.iter().copied()))
}

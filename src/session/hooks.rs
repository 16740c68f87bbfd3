//! `[hooks]`: commands that run when something happens, of a session or of the user's own file.
//!
//! Invariant: a [`Hook`]'s command has a program.
//!
//! Deliberately absent: running them (`host::hooks`), and placeholders: what happened comes on standard
//! input, so nothing has to be put into a command.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys;
use super::problem::Problems;
use super::section::Section;

/// What a hook waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookPoint {
    /// An agent has ended, whatever its end.
    AgentEnd,
    /// A write into another agent's lock.
    Conflict,
    /// Something needs a person.
    Attention,
    /// The run is over.
    RunEnd,
}

impl HookPoint {
    pub const ALL: [Self; 4] = [Self::AgentEnd, Self::Conflict, Self::Attention, Self::RunEnd];

    /// Its key, and what `SUPERVISE_HOOK` says.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AgentEnd => "on_agent_end",
            Self::Conflict => "on_conflict",
            Self::Attention => "on_attention",
            Self::RunEnd => "on_run_end",
        }
    }
}

/// A command, and when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    pub point: HookPoint,
    pub command: HookCommand,
}

/// As it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum HookCommand {
    /// For `sh -c`.
    Shell(String),
    /// The program and its arguments.
    Program(Vec<String>),
}

impl HookCommand {
    /// Program and arguments.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(line) => ["sh", "-c", line].map(str::to_owned).to_vec(),
            Self::Program(words) => words.clone(),
        }
    }
}

/// Reads a table of hooks.
pub(super) fn read(table: &DeTable<'_>, problems: &mut Problems) -> Vec<Hook> {
    let section = Section::new(table, "[hooks]", keys::HOOKS, &[], problems);
    let mut hooks = Vec::new();
    for point in HookPoint::ALL {
        let Some(words) = section.strings(point.name(), true, problems) else { continue };
        let is_text = matches!(section.raw(point.name()).map(Spanned::get_ref), Some(DeValue::String(_)));
        let mut texts: Vec<String> = words.value.into_iter().map(|word| word.value).collect();
        if texts.first().is_none_or(|program| program.trim().is_empty()) {
            let message = format!("`{}` has no command", point.name());
            let help = "write a shell command, or a list of a program and its arguments".to_owned();
            problems.error("empty_command", &words.span, message, Some(help));
            continue;
        }
        let command = if is_text { HookCommand::Shell(texts.swap_remove(0)) } else { HookCommand::Program(texts) };
        hooks.push(Hook { point, command });
    }
    hooks
}

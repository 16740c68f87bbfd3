//! Which agents of a session a command is about, and what it changes of the session's settings.
//!
//! Invariant: all commands that read a session take these in the same words.

use std::num::NonZeroU32;

/// The flags that choose agents and change settings.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SelectArgs {
    /// Only these agents, and what they depend on: ids, patterns, `tag:NAME`
    #[arg(long, value_name = "ID|PATTERN|tag:T")]
    pub only: Vec<String>,
    /// All but these agents
    #[arg(long, value_name = "ID|PATTERN|tag:T")]
    pub skip: Vec<String>,
    /// Only this phase
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    /// Set a key of the session file: `session.max_concurrent=2`, `defaults.timeout=5m`
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// At most N agents at once
    #[arg(short = 'j', long = "max-concurrent", value_name = "N")]
    pub max_concurrent: Option<NonZeroU32>,
}

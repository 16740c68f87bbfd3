//! `supervise grant`: adds to what an agent may write, while the run goes on.

use super::look::{AboutRun, Look, LookError, agent_id, print};
use super::{Common, Exit, Failure, Format};
use crate::control::{Reply, Request};
use crate::core::claim::{Pattern, PatternError};
use crate::render::json::pretty;
use crate::render::steer;

/// Let an agent that runs or waits write more, if nobody else has it locked or reserved
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[command(override_usage = "supervise grant [OPTIONS] <ID> <PATTERN>")]
pub struct GrantArgs {
    /// The agent
    #[arg(value_name = "ID")]
    first: String,
    /// What it may write too: a pattern as in `files`
    #[arg(value_name = "PATTERN", required_unless_present = "id")]
    second: Option<String>,
    /// The agent, before the pattern alone
    #[arg(long = "id", value_name = "ID", hide_short_help = true, conflicts_with = "second")]
    id: Option<String>,
    #[command(flatten)]
    pub about: AboutRun,
}

const AFTER_HELP: &str = "\
It holds to the end of the run, for further attempts too; the session file is not changed.

Examples:
  supervise grant api services/backend/main.py
  supervise grant docs 'docs/**/*.md'";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum GrantError {
    #[error("`{}` is no pattern", .text.escape_debug())]
    #[diagnostic(help("patterns are relative to the root of the repository, like `src/**/*.rs` or `docs/`"))]
    Pattern { text: String, source: PatternError },
}

impl GrantArgs {
    /// The agent, and what it is granted.
    fn words(&self) -> (&str, &str) {
        match (&self.id, &self.second) {
            (Some(agent), _) => (agent, &self.first),
            (None, pattern) => (&self.first, pattern.as_deref().unwrap_or_default()),
        }
    }
}

pub fn run(args: &GrantArgs, common: &Common) -> Result<Exit, Failure> {
    let (_, text) = args.words();
    let no_pattern = |source| Failure::new(Exit::Invalid, GrantError::Pattern { text: text.to_owned(), source });
    let pattern = Pattern::new(text).map_err(no_pattern)?;
    grant(args, &pattern, common).map_err(LookError::fail)
}

fn grant(args: &GrantArgs, pattern: &Pattern, common: &Common) -> Result<Exit, LookError> {
    let look = Look::at(common, &args.about.run)?;
    let state = look.state()?;
    let agent = agent_id(args.words().0, &state.view)?;
    let wish = Request::Grant { agent: agent.clone(), pattern: pattern.clone() };
    if let Reply::Granted { from } = look.wish(&wish)? {
        print(match args.about.format {
            Format::Human => steer::granted(&agent, pattern, from),
            Format::Json => pretty(&steer::granted_document(&agent, pattern, from, &look.run)),
        });
    }
    Ok(Exit::Success)
}

//! `supervise conflicts`: which agents met at which path, and what became of it.

use serde_json::Value;

use super::look::{Look, LookError, RunArg, pretty, print};
use super::status::document;
use super::{Common, Exit, Failure, Format};

/// Show the conflicts of the run: who wrote into whose files, and what was decided
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct ConflictsArgs {
    #[command(flatten)]
    pub run: RunArg,
    /// How to print them
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const AFTER_HELP: &str = "\
Examples:
  supervise conflicts
  supervise conflicts --format json";

pub fn run(args: &ConflictsArgs, common: &Common) -> Result<Exit, Failure> {
    let text = answer(args, common).map_err(LookError::fail)?;
    print(text);
    Ok(Exit::Success)
}

fn answer(args: &ConflictsArgs, common: &Common) -> Result<String, LookError> {
    let look = Look::at(common, &args.run)?;
    let state = look.state()?;
    Ok(match args.format {
        Format::Json => {
            let mut document = document(&state);
            let conflicts = document.get_mut("conflicts").map_or(Value::Null, Value::take);
            pretty(&serde_json::json!({"version": 1, "run": look.run.as_str(), "conflicts": conflicts}))
        }
        Format::Human => format!("no conflicts in run {}\n", look.run),
    })
}

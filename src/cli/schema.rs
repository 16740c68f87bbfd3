//! `supervise schema`: the JSON Schema of session files, for editors.

use std::io::Write as _;

use super::{Common, Exit, Failure};
use crate::session::schema::schema;

/// Print the JSON Schema of session files
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct SchemaArgs {}

const AFTER_HELP: &str = "\
Example:
  supervise schema > supervise.schema.json";

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
#[error("cannot print the schema")]
struct PrintError(#[source] std::io::Error);

pub fn run(_args: &SchemaArgs, _common: &Common) -> Result<Exit, Failure> {
    let written = writeln!(std::io::stdout().lock(), "{:#}", schema());
    match written {
        // Whoever reads may have seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Unusable, PrintError(error)))
        }
        _ => Ok(Exit::Success),
    }
}

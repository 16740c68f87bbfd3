//! The command line: one verb, one file. Parses, hands over, renders what comes back.
//!
//! Invariant: standard output carries the result and nothing else; progress and errors go to
//! standard error. Exit codes are those of [`Exit`], and nowhere else in the crate is one chosen.

pub mod check;
pub mod doctor;
pub mod exit;
pub mod init;
pub mod progress;
pub mod schema;
pub mod select;
pub mod terminal;

pub use exit::{Exit, Failure};
pub use select::SelectArgs;

use std::path::PathBuf;

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Human,
    Json,
}

/// What every command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// Work in the repository that DIR is in
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub directory: Option<PathBuf>,
}

//! What keeps the bench from measuring. A broken promise is not among it: that is a result.

use std::process::ExitStatus;

use crate::desk::Deed;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("input or output: {0}")]
    Io(#[from] std::io::Error),
    #[error("reading JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{agent} ended with {status}")]
    Writer { agent: String, status: ExitStatus },
    #[error("{agent} could not do what it tried: {deed:?}")]
    NotDone { agent: String, deed: Deed },
    #[error("the writers' accounts and the workspace differ: {differ:?}")]
    Account { differ: Vec<String> },
    #[error("git {args}: {stderr}")]
    Git { args: String, stderr: String },
    #[error("the run did not end within {seconds} s")]
    Endless { seconds: u64 },
    #[error("the run ended with {status}: {stderr}")]
    Run { status: ExitStatus, stderr: String },
    #[error("`supervise grant` ended with {status}: {stderr}")]
    Grant { status: ExitStatus, stderr: String },
    #[error("{0}")]
    Usage(String),
    #[error("no `{0}` in what the run printed")]
    Missing(&'static str),
}

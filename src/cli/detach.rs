//! `--detach` of `run`, `resume` and `retry`: the run in a session of its own (setsid(2)), its output in its directory.
//!
//! The program starts itself again with `FLAG` instead of `WISH`, and passes on what that process
//! writes to its standard output until it lets go of it: one text when the run is open. Before that,
//! the two stand and fall together: the same terminal, the same Ctrl-C, errors on the same standard
//! error, and the exit code of the one is that of the other.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::look::print;
use super::relay::STDERR;
use super::{Exit, Failure};
use crate::host::process::OWN_BINARY;

/// The flag that people give, and the one that the process in the background has instead.
const WISH: &str = "--detach";
const FLAG: &str = "--detached";

/// The wish and its fulfilment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DetachArgs {
    /// Run in the background; returns when the run is open
    #[arg(long)]
    pub detach: bool,
    /// This is the process in the background
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub detached: bool,
}

#[derive(Debug, thiserror::Error, miette::Diagnostic)]
enum DetachError {
    #[error("cannot start a process for the run")]
    #[diagnostic(help("without --detach it runs here"))]
    Start(#[source] io::Error),
    #[error("the process of the run was killed before the run was open")]
    #[diagnostic(help("without --detach it runs here"))]
    Killed,
}

/// Starts the run in the background, and returns when it is open or has failed.
pub fn launch() -> Result<Exit, Failure> {
    let failed = |error| Failure::new(Exit::Unusable, DetachError::Start(error));
    let arguments = std::env::args_os().skip(1).map(|word| if word == WISH { FLAG.into() } else { word });
    let child = Command::new(OWN_BINARY).args(arguments).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(failed)?;
    let mut told = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut told).map_err(failed)?;
    }
    if !told.is_empty() {
        print(told);
        return Ok(Exit::Success);
    }
    let status = child.wait().map_err(failed)?;
    // It has said why.
    let exit = status.code().map(|code| Exit::from_code(code).unwrap_or(Exit::Unusable));
    exit.ok_or_else(|| Failure::new(Exit::Unusable, DetachError::Killed))
}

/// In the background: says that the run is open, and leaves the terminal.
pub fn leave(log: &Path, text: &str) -> io::Result<()> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(log)?;
    let nothing = File::open("/dev/null")?;
    STDERR.settle();
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    // Fails only for the leader of a process group, which has no terminal to leave then.
    let _ = setsid();
    dup2_stdin(nothing)?;
    dup2_stderr(&log)?;
    dup2_stdout(&log)?;
    Ok(())
}

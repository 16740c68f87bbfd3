//! Runners: how an agent is launched, and how its output is read. argv out, events in.
//!
//! Invariant: nothing is started here. [`command_line`] turns a launch into a complete
//! [`CommandLine`] (program, arguments, environment, standard input), and a [`Reader`] turns bytes
//! of output into [`Progress`] and one [`Summary`](crate::core::record::Summary). The file system
//! is only asked which programs exist; the environment comes in as an argument.
//!
//! What a runner prints is the agent's word: it serves progress, usage and the final message, and
//! never attribution.
//!
//! Deliberately absent: processes (`shim`), the clock, log files (`shim`), retries (`core`).

mod again;
mod claude;
mod codex;
mod environment;
mod launch;
mod limits;
mod needs;
mod program;
mod progress;
mod reader;
mod reset;

pub use again::{Again, MAX_TOLD, Told};
pub use launch::{CommandLine, Context, MAX_ARGUMENT, RunnerError, check_launch, command_line, verify_line};
pub use program::{NotFound, codex_program, find_program};
pub use progress::Progress;
pub use reader::{MAX_LINE, Reader};
pub use reset::told_as_a_time;

use crate::session::RunnerKind;

/// Directories, relative to the workspace, that this kind of runner makes and removes as it works.
/// They are never committed, and removed if empty when no agent of that runner runs.
#[must_use]
pub fn scratch_directories(kind: RunnerKind) -> &'static [&'static str] {
    match kind {
        RunnerKind::Codex => &[".agents", ".codex", ".aws"],
        RunnerKind::Claude | RunnerKind::Command => &[],
    }
}

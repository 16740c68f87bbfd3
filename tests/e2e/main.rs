//! The whole program, end to end: real processes, real git, and (where it is there) the real codex.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod again;
mod alone;
mod at_once;
mod ci;
mod clocks;
mod codex;
mod codex_gate;
mod deaths;
mod dry_run;
mod examples;
mod formats;
mod gate;
mod gone;
mod hooks;
#[path = "../support/model/mod.rs"]
mod model;
mod nights;
mod options;
mod outage;
mod private;
#[path = "../support/real.rs"]
mod real;
mod register;
mod resume;
mod run;
mod starts;
#[expect(dead_code, reason = "shared with other tests")]
mod support;
mod unread;
#[path = "../support/again.rs"]
#[expect(dead_code, reason = "shared with tests that run again as another user")]
mod within;
mod workflow;
mod worktrees;

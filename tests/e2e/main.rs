//! The whole program, end to end: real processes, real git, and (where it is there) the real codex.
#![expect(clippy::unwrap_used, reason = "tests")]

mod alone;
mod ci;
mod codex;
mod codex_gate;
mod dry_run;
mod examples;
mod gate;
mod hooks;
#[path = "../support/model/mod.rs"]
mod model;
mod nights;
mod options;
mod private;
#[path = "../support/real.rs"]
mod real;
mod register;
mod resume;
mod run;
#[expect(dead_code, reason = "shared with other tests")]
mod support;

//! What agents and the machine can do to a supervisor, done to the real program with real processes: whatever happens, within
//! a second after the grace nothing of an agent lives, its end is written down only then, and every agent has exactly
//! one end.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod deaths;
mod machine;
mod ordeal;
mod output;
#[path = "../e2e/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole program")]
mod support;
mod trees;

//! Whatever the user does with git in the middle of a run, and however his repository is set up: no byte of his is
//! lost or committed as an agent's, and every agent's work is in a commit or in salvage.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod acts;
mod crowd;
mod files;
mod nested;
mod oracle;
mod scene;
mod setups;
#[path = "../e2e/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole program")]
mod support;

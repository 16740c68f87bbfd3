//! Session files: the TOML as written becomes a [`Session`], in which nothing can be wrong any more.
//!
//! Invariant: a value of [`Session`] has no unknown names, no cycles and no pattern that could leave
//! the workspace; whoever holds one checks nothing again. All that is wrong with a file is reported
//! at once, each with its place.
//!
//! Deliberately absent: launching, the clock, git. The file system is read only for what the file
//! names: itself, prompt files, and the directories of an `each`.

pub mod analysis;
pub mod orchestrator;
pub mod plan;
pub mod template;

pub use plan::{GitHooks, Launch, RunnerKind, Session, VerifyIn, VerifyPlan};

//! Session files: the TOML as written becomes a [`Session`], in which nothing can be wrong any more.
//!
//! Invariant: a value of [`Session`] has no unknown names, no cycles and no pattern that could leave
//! the workspace; whoever holds one checks nothing again. All that is wrong with a file is reported
//! at once, each with its place.
//!
//! Deliberately absent: launching, the clock, git. The file system is read only for what the file
//! names: itself, prompt files, and the directories of an `each`.

pub mod analysis;
pub mod append;
mod brief;
mod build;
pub mod config;
mod depend;
mod each;
pub mod hooks;
pub mod kept;
mod keys;
mod load;
mod manifest;
mod narrow;
pub mod newcomer;
pub mod orchestrator;
pub mod plan;
pub mod problem;
mod roster;
mod runners;
pub mod schema;
mod section;
mod select;
mod sets;
pub mod source;
pub mod template;
mod text;
mod warn;

pub use config::UserConfig;
pub use hooks::{Hook, HookCommand, HookPoint};
pub use load::{LoadOptions, Loaded, load, read, workspace_of};
pub use plan::{GitHooks, Ground, Launch, Origin, RunnerKind, Session, VerifyIn, VerifyPlan};
pub use problem::{Problem, SessionErrors, Severity};
pub use source::{SourceText, base_dir, origin_name};

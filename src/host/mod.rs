//! The room with effects: processes, git, the clock, the file system.
//!
//! Invariant: nothing here decides what a run does; it performs what `core` asks for and reports
//! what came of it.

pub mod cgroup;
pub mod changes;
pub mod clock;
pub mod control;
pub mod doctor;
pub mod driver;
mod failpoint;
pub mod feed;
pub mod follow;
pub mod gate;
pub mod git;
pub mod git_thread;
pub mod hooks;
pub mod leftovers;
pub mod limits;
pub mod lookups;
pub mod past;
pub mod process;
pub mod prune;
pub mod resume;
pub mod salvage;
pub mod signals;
pub mod state;
pub mod watch;

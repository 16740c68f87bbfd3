//! The room with effects: processes, git, the clock, the file system.
//!
//! Invariant: nothing here decides what a run does; it performs what `core` asks for and reports
//! what came of it.

pub mod cgroup;
pub mod clock;
pub mod doctor;
pub mod driver;
pub mod gate;
pub mod git;
pub mod git_thread;
pub mod process;
pub mod signals;
pub mod state;

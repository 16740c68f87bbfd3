//! The room with effects: processes, git, the clock, the file system.
//!
//! Invariant: nothing here decides what a run does; it performs what `core` asks for and reports
//! what came of it.

pub mod cgroup;
pub mod doctor;
pub mod git;
pub mod process;

//! The room with effects: processes, git, the clock, the file system.

pub mod doctor;
pub mod git;

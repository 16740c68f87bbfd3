//! The room with effects: processes, git, the clock, the file system.

pub mod cgroup;
pub mod doctor;
pub mod process;

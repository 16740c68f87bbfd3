//! The room of effects: processes, and what the machine allows.

pub mod cgroup;
pub mod process;

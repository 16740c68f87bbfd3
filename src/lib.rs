//! `supervise` runs several coding agents in one git working tree: in priority and dependency
//! order, with locks on the files that each declared, contained, and committed separately.
//!
//! The rooms and the one direction between them: `cli → host → {session, journal, control, runner,
//! shim} → core`; `render → {session, core}`; `shim → core`. A test guards it.

pub mod cli;
pub mod control;
pub mod core;
pub mod host;
pub mod journal;
pub mod render;
pub mod runner;
pub mod session;
pub mod shim;

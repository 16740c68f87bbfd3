//! `supervise shim`: the small process that owns one agent's tree.
//!
//! It leads a session of its own and is the subreaper of everything under it, so that no descendant
//! gets away: not by `setsid`, not by a double fork. Its standard input is a socket to the
//! supervisor, which is the lifeline too: when the other end closes, the tree is ended.
//! Its gate judges what the tree would write.
//!
//! Invariant: when a shim ends by itself, its tree is empty (or the exit record names who is left),
//! the logs are whole, and the exit record is written. It never waits for the supervisor while the
//! agent lives. One thread, no runtime, no allocation that grows with the agent's output.
//! Deliberately absent: policy. When to end a tree, and what its end means, is the supervisor's.

pub mod clock;
pub mod ending;
pub mod gate;
pub mod link;
pub mod logs;
pub mod record;
mod run;
pub mod server;
mod start;
pub mod tree;
pub mod wire;

pub use run::main;

/// The first argument that makes the binary a shim.
pub const ARGUMENT: &str = "shim";

//! The pure room: what a run is, and what follows from what happened.
//!
//! Invariant: nothing here reads a clock, a file, the environment or another thread, and nothing
//! here imports another room of this crate. State comes in, time is an argument, records and
//! effects come out. The live run, recovery and the simulator all run this same code.
//!
//! Deliberately absent: text for people (`render`), the journal's wire format (`journal`), and
//! every system call (`host`, `shim`).

pub mod agent;
pub mod attention;
pub mod attribution;
pub mod call;
pub mod change;
pub mod claim;
pub mod conflict;
pub mod effect;
pub mod event;
pub mod facts;
pub mod ids;
pub(crate) mod lease;
pub mod lifecycle;
pub mod moment;
pub mod newcomer;
pub mod path;
pub(crate) mod queue;
pub mod reason;
pub mod record;
pub mod rehearsal;
pub mod steer;
pub mod supervisor;
pub mod verdict;
pub mod view;

//! The core in a simulator: a virtual clock, a fake world, and an oracle that checks every record.
//!
//! `rules` reads as a specification: small sessions and the timeline that each must give. `seeds`
//! makes up sessions and worlds by the hundred; a failure prints the seed and the size that replay
//! it. `calls` is the fake gate, `gate_oracle` what must hold of it. Deliberately absent: processes, files, git; those are tested where they are.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing has failed")]

mod again_rules;
mod calls;
mod crash;
mod gate_oracle;
mod gate_rules;
mod join_rules;
mod oracle;
mod plan;
mod rehearsal;
mod rules;
mod scale;
mod seeds;
mod steer_rules;
mod story;
mod world;

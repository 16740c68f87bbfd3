//! The core in a simulator: a virtual clock, a fake world, and an oracle that checks every record.
//!
//! `rules` reads as a specification: small sessions and the timeline that each must give. `seeds`
//! makes up sessions and worlds by the hundred; a failure prints the seed and the size that replay
//! it. Deliberately absent: processes, files, git; those are tested where they are.

mod oracle;
mod plan;
mod rules;
mod scale;
mod seeds;
mod story;
mod world;

//! `supervise run --dry-run`: the run as it would unfold, without starting anything.
//!
//! Invariant: nothing is written, no branch is switched and no lock is taken; another run may go on. It ends
//! with the code that a run would end with that is refused before it starts.

use super::look::print;
use super::run::{Request, load, refuse, setting};
use super::{Exit, Failure, RunFormat};
use crate::core::rehearsal::rehearse;
use crate::host::clock::Clock;
use crate::render::json::{line, pretty};
use crate::render::rehearsal;

pub(super) fn run(request: &Request, format: RunFormat) -> Result<Exit, Failure> {
    let (session, mut repository) = load(request)?;
    let setting = setting(&session, &repository, &Clock::start(), Vec::new());
    let waves = rehearse(&session.plan);
    let document = || rehearsal::document(&session.name, &session.plan, &waves, &setting);
    print(match format {
        RunFormat::Human => rehearsal::table(&session.name, &session.plan, &waves, &setting),
        RunFormat::Json => pretty(&document()),
        RunFormat::Jsonl => line(&document()),
    });
    refuse(request, &session, &mut repository)?;
    Ok(Exit::Success)
}

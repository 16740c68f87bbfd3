//! `supervise run --dry-run`: the run as it would unfold, without starting anything.
//!
//! Invariant: nothing is written, no branch is switched and no lock is taken; another run may go on. It ends
//! with the code that a run would end with that is refused before it starts.

use std::io::Write as _;

use super::run::{Request, load, refuse, setting};
use super::{Exit, Failure, RunFormat};
use crate::core::rehearsal::rehearse;
use crate::host::clock::Clock;
use crate::render::rehearsal;

pub(super) fn run(request: &Request) -> Result<Exit, Failure> {
    let (session, mut repository) = load(request)?;
    let setting = setting(&session, &repository, &Clock::start(), Vec::new());
    let waves = rehearse(&session.plan);
    let document = || rehearsal::document(&session.name, &session.plan, &waves, &setting);
    let text = match request.manner.format {
        RunFormat::Human => rehearsal::table(&session.name, &session.plan, &waves, &setting),
        RunFormat::Json => serde_json::to_string_pretty(&document()).unwrap_or_default() + "\n",
        RunFormat::Jsonl => serde_json::to_string(&document()).unwrap_or_default() + "\n",
    };
    let mut out = std::io::stdout().lock();
    // A reader that went away has read what it wanted.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    refuse(request, &session, &mut repository)?;
    Ok(Exit::Success)
}

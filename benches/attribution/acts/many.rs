//! Many writes: from many agents at once, and while nobody listens.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};

use crate::desk::Desk;

/// Over how many files an agent of the storm spreads its writes.
const FILES: usize = 300;
/// And how many of those that it did not declare the stray one goes for.
const UNDECLARED: usize = 10;

/// A large number of writes, each with its own open. Declared files are accounted once; each undeclared
/// write is a deed of its own, so that one refusal does not end the trying.
pub(crate) fn storm(desk: &mut Desk) -> io::Result<()> {
    let own = desk.is_own();
    let (files, writes) = if own { (FILES, desk.size) } else { (UNDECLARED, desk.size / 50) };
    for n in 0..files {
        let path = desk.at(&format!("sub/deep/storm{n}"));
        let write = |w: usize| {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            writeln!(file, "write {w}")
        };
        let mut numbers = (n..writes).step_by(files);
        if own {
            desk.content(&[&path], || numbers.clone().try_for_each(write))?;
        } else {
            numbers.try_for_each(|w| desk.content(&[&path], || write(w)).map(drop))?;
        }
    }
    Ok(())
}

/// New files in many directories, while the supervisor stands still.
pub(crate) fn flood(desk: &mut Desk) -> io::Result<()> {
    if !desk.is_own() {
        // A call that must be asked about waits for seconds when nobody answers: one is enough.
        let path = desk.at("f0");
        desk.content(&[&path], || fs::write(&path, "while nobody listens\n"))?;
        return Ok(());
    }
    let files = if desk.is_stray() { desk.size / 20 } else { desk.size };
    for n in 0..files {
        let dir = desk.at(&format!("flood{}", n / 100));
        if n % 100 == 0 {
            fs::create_dir(&dir)?;
        }
        let path = dir.join(format!("f{n}"));
        desk.content(&[&path], || fs::write(&path, "new\n"))?;
    }
    Ok(())
}

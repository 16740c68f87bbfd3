//! Many writes: from many agents at once, and while nobody listens.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::desk::Desk;

/// Over how many files an agent of the storm spreads its writes.
const FILES: usize = 300;
/// And how many of those that it did not declare the stray one goes for.
const UNDECLARED: usize = 10;

/// A large number of writes, each with its own open. The files are accounted once.
pub(crate) fn storm(desk: &mut Desk) -> io::Result<()> {
    let (files, writes) = if desk.is_own() { (FILES, desk.size) } else { (UNDECLARED, desk.size / 50) };
    let paths: Vec<PathBuf> = (0..files).map(|n| desk.at(&format!("sub/deep/storm{n}"))).collect();
    for (n, path) in paths.iter().enumerate() {
        desk.content(&[path], || {
            (n..writes).step_by(files).try_for_each(|w| {
                let mut file = OpenOptions::new().append(true).create(true).open(path)?;
                writeln!(file, "write {w}")
            })
        })?;
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
